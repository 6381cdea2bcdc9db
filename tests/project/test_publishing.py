"""How the package is published: who may, from which files, and for which Pythons."""

from __future__ import annotations

import re
import shlex
import sys
from typing import Any

import yaml

from mpesa_stk import cli
from support import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WORKFLOWS = ROOT / ".github" / "workflows"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def jobs_of(workflow: str) -> dict[str, Any]:
    """The jobs of a workflow."""
    jobs = yaml.safe_load((WORKFLOWS / workflow).read_text(encoding="utf-8"))["jobs"]
    assert isinstance(jobs, dict)
    return jobs


def test_only_one_job_can_publish_and_it_runs_no_code_of_ours() -> None:
    """It gets the files and publishes them, and the index trusts it in its environment only."""
    jobs = {**jobs_of("ci.yml"), **jobs_of("release.yml")}
    may = [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})]
    assert may == ["publish"]

    publish = jobs["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"] == "release"
    assert [step["uses"].partition("@")[0] for step in publish["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]


def test_what_is_published_was_tested_and_built_twice() -> None:
    """The files are those of CI's build, and wait for all its tests and for a second machine."""
    release = jobs_of("release.yml")
    assert (release["publish"]["needs"], release["check"]["needs"]) == ("check", "ci")
    assert release["ci"]["uses"] == "$/.github/workflows/ci.yml"
    (fetched,) = (step["with"] for step in release["publish"]["steps"][:1])
    assert fetched == {"name": "dist", "path": "dist"}
    uploads = [
        (name, step["with"]["name"])
        for workflow in ("ci.yml", "release.yml")
        for name, job in jobs_of(workflow).items()
        for step in job.get("steps", [])
        if step.get("uses", "").startswith("actions/upload-artifact")
    ]
    assert uploads == [("build", "dist"), ("check", "sbom")]


def test_each_python_that_is_named_is_tested() -> None:
    """The classifiers and the lower bound name the Pythons of the workflow."""
    tested = jobs_of("ci.yml")["wheel"]["strategy"]["matrix"]["python"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))

    assert named == tested
    assert PROJECT["project"]["requires-python"] == f">={tested[0]}"


def test_each_place_names_the_same_build_tool() -> None:
    """The environment of a build, that of developers, and the hashes."""
    (tool,) = PROJECT["build-system"]["requires"]
    hashes = (ROOT / ".ci" / "build-requirements.txt").read_text(encoding="utf-8")

    assert re.fullmatch(r"hatchling==[\d.]+", tool)
    assert tool in PROJECT["project"]["optional-dependencies"]["dev"]
    assert f"\n{tool} \\\n    --hash=sha256:" in hashes


def test_the_commands_that_a_report_asks_for_exist() -> None:
    """Who reports something runs them as they are written."""
    templates = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in TEMPLATES]
    commands = {*re.findall(r"`mpesa-stk ([^`]+)`", str(templates))} - {"--version"}

    assert "payments show TRANSACTION_NO" in commands
    for words in map(shlex.split, commands):
        assert cli._parser().parse_args(words).name == words[0]
