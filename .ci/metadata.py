"""Adds the addresses of the repository to the metadata of the package.

MPESA_STK_REPOSITORY is the only place that names the repository. The workflows set it to the one that they
run in, so a release cannot lead anywhere else. Relative links and pictures of the README then lead to the
files of the released version there. Without the variable there are no addresses, and the README stays as
it is.
"""

import os
import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(
    r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>(?!https?:|mailto:|#)[^)\s]+)\)"
)


class Addresses(MetadataHookInterface):
    """Hatchling's hook."""

    def update(self, metadata: dict[str, object]) -> None:
        """Set the README and the addresses."""
        readme = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        urls: dict[str, str] = {}
        repository = os.environ.get("MPESA_STK_REPOSITORY", "").rstrip("/")
        if repository:
            tag = f"v{metadata['version']}"
            readme = LINK.sub(lambda link: absolute(link, repository, tag), readme)
            urls = {
                "Homepage": repository,
                "Documentation": f"{repository}/blob/{tag}/docs/index.md",
                "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
                "Source": repository,
                "Issues": f"{repository}/issues",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}
        metadata["urls"] = urls


def absolute(link: re.Match[str], repository: str, tag: str) -> str:
    """Return a relative link of the README as an absolute one."""
    view = "raw" if link["picture"] else "blob"
    return f"{link['picture']}[{link['text']}]({repository}/{view}/{tag}/{link['target']})"
