"""Check what an index will show of a built wheel: python .ci/check_package.py FOLDER [TAG].

With a tag, which is `v` and the version, it checks that the wheel is of that version, and that the
changelog has its heading. Needs the variable MPESA_STK_REPOSITORY of the build.
"""

import os
import re
import sys
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

from readme_renderer.markdown import render

ROOT = Path(__file__).parents[1]
REPOSITORY = os.environ["MPESA_STK_REPOSITORY"].rstrip("/")
ADDRESSES = {"Homepage", "Documentation", "Changelog", "Source", "Issues"}


def metadata_of(folder: Path) -> Message:
    """Return the metadata of the only wheel in a folder."""
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        return BytesParser().parsebytes(files.read(name))


def problems(metadata: Message) -> list[str]:
    """Return what is wrong with the page, one line each."""
    found = []
    tag = f"v{metadata['Version']}"
    links = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL", []))
    if set(links) != ADDRESSES:
        found.append(f"the addresses are {sorted(links)}")
    page = render(str(metadata.get_payload()))
    if page is None:
        return [*found, "the README cannot be rendered"]
    shown = re.findall(r'(?:href|src)="([^"]*)"', page)
    if len(shown) < len(ADDRESSES):
        found.append("the README shows hardly any link")
    for link in [*links.values(), *shown]:
        view = re.fullmatch(rf"{re.escape(REPOSITORY)}/(?:blob|raw)/([^/]+)/([^#]+)(?:#.*)?", link)
        if view and view[1] == tag and not (ROOT / view[2]).is_file():
            found.append(f"{link} leads to no file")
        if (view and view[1] != tag) or not link.startswith(("https://", "#")):
            found.append(f"{link} leads nowhere from the page of the index")
    return found


def main(folder: str, tag: str = "") -> int:
    """Print what is wrong with the wheel in a folder."""
    metadata = metadata_of(Path(folder))
    found = problems(metadata)
    if tag and tag != f"v{metadata['Version']}":
        found.append(f"the wheel is of version {metadata['Version']}, the tag is {tag}")
    heading = f"## [{tag.removeprefix('v')}]"
    if tag and heading not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        found.append(f"CHANGELOG.md has no heading {heading}")
    print(*found or ["the page of the index is as it should be"], sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
