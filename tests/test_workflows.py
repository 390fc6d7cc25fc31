"""The forge's workflows, the hooks and the package agree on versions of Python, on tools and on commands."""

from __future__ import annotations

import configparser
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
FORGE = ROOT / ".github"
WORKFLOWS = sorted((FORGE / "workflows").glob("*.yml"))
FORMS = sorted((FORGE / "ISSUE_TEMPLATE").glob("*.yml"))


def parsed(file: Path) -> dict[Any, Any]:
    content = yaml.safe_load(file.read_text("utf-8"))
    assert isinstance(content, dict)
    return content


def settings() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def classified() -> list[str]:
    """Return the versions of Python that the classifiers name, in their order."""
    return re.findall(r"^Programming Language :: Python :: (3\.\d+)$", settings()["metadata"]["classifiers"], re.M)


def jobs() -> list[tuple[str, dict[str, Any]]]:
    return [(f"{file.stem}: {name}", job) for file in WORKFLOWS for name, job in parsed(file)["jobs"].items()]


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def pins() -> dict[str, str]:
    lines = settings()["options.extras_require"]["dev"].split()
    return dict(line.split("==") for line in lines)  # a line without a pin fails here


def versions_of(job: dict[str, Any]) -> set[str]:
    named = {step.get("with", {}).get("python-version") for step in job["steps"]} - {None}
    assert named, "a job takes the system's Python, whatever that is"
    matrix = job.get("strategy", {}).get("matrix", {}).get("python-version", [])
    return {version for version in named if "${{" not in version} | set(matrix)


def test_the_classifiers_begin_at_the_required_python_and_leave_none_out() -> None:
    names = classified()
    assert settings()["options"]["python_requires"] == f">={names[0]}"
    minors = [int(name.removeprefix("3.")) for name in names]
    assert len(minors) > 1
    assert all(later == earlier + 1 for earlier, later in pairwise(minors))


def test_the_tests_run_on_all_classified_versions_and_three_systems() -> None:
    matrix = dict(jobs())["checks: tests"]["strategy"]["matrix"]
    assert matrix["python-version"] == classified()
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}


@pytest.mark.parametrize(("name", "job"), jobs(), ids=[name for name, _ in jobs()])
def test_a_job_names_quoted_known_versions_and_ends_by_itself(name: str, job: dict[str, Any]) -> None:
    versions = versions_of(job)
    assert all(isinstance(version, str) for version in versions), f"{name}: quote versions, YAML reads 3.10 as 3.1"
    assert versions <= set(classified())
    assert job["timeout-minutes"] <= 120
    assert commands(job)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_may_only_read(file: Path) -> None:
    workflow = parsed(file)
    assert workflow["permissions"] == {"contents": "read"}
    assert True in workflow, "no trigger: YAML reads the key `on` as true"


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.name)
def test_an_issue_form_has_what_the_forge_asks_for(file: Path) -> None:
    form = parsed(file)
    if file.name == "config.yml":
        assert isinstance(form["blank_issues_enabled"], bool)
        return
    assert form["name"] and form["description"]
    fields = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(fields) == len(set(fields)) > 0


def test_the_hooks_run_pinned_tools() -> None:
    (repository,) = parsed(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    assert {hook["entry"].split()[0] for hook in repository["hooks"]} <= set(pins())


def test_the_check_before_a_merge_runs_the_tools_first_and_all_tests_last() -> None:
    lines = (ROOT / ".ci/run").read_text("utf-8").splitlines()
    extras = next(line for line in lines if "pip install" in line)
    assert ".[test,dev]" in extras
    tools = [line.replace(" --quiet", "") for line in lines[lines.index(extras) + 1 :]]
    assert tools == [*commands(dict(jobs())["checks: style"])[1:], "python -m pytest"]


def test_the_tools_of_the_forge_are_those_of_the_hooks() -> None:
    (repository,) = parsed(ROOT / ".pre-commit-config.yaml")["repos"]
    hooks = {" ".join(hook["entry"].replace("--force-exclude", "").split()) for hook in repository["hooks"]}
    run = {line.replace(" --check", "").removesuffix(" .") for line in commands(dict(jobs())["checks: style"])}
    assert hooks <= run
