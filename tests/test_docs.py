"""The documents tell the truth: links, options, exit codes and the Python of the README."""

from __future__ import annotations

import importlib
import inspect
import json
import math
import re
import shlex
import signal
from pathlib import Path

import click
import pytest
import safetensors
from support.runs import threads

from vqclip import errors
from vqclip.animation.story import read_story, scenes_of
from vqclip.cli import ends
from vqclip.cli.animate import of_file
from vqclip.cli.generate import generate
from vqclip.cli.main import cli
from vqclip.config import make_config
from vqclip.config.fields import leaves
from vqclip.config.film import Film, film_from

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (".", "docs", "benchmarks", "checkpoints", "examples")
DOCUMENTS = sorted(file for folder in FOLDERS for file in (ROOT / folder).glob("*.md"))
README = (ROOT / "README.md").read_text("utf-8")
FILMS = (ROOT / "docs/films.md").read_text("utf-8")
# signals, not errors: see vqclip/cli/generate.py
SIGNALS = {130, 143}


def blocks(language: str, document: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document, re.MULTILINE | re.DOTALL)


def commands(document: str = README) -> list[list[str]]:
    """Return the arguments of every vqclip command in a document."""
    whole = [block.replace("\\\n", " ") for block in blocks("bash", document)]
    lines = [part.strip() for block in whole for line in block.splitlines() for part in line.split("&&")]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("vqclip ")]


def options_of(command: click.Command) -> set[str]:
    found = {name for p in command.params if isinstance(p, click.Option) for name in (*p.opts, *p.secondary_opts)}
    return found | {"--help", "-h"}


def all_options() -> set[str]:
    context = click.Context(cli)
    found = {"--version"}
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        found |= options_of(command)
    return found


ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")


@pytest.mark.parametrize("walk", ["The walk of a prompt", "The walk of a film"])
def test_a_walk_has_twelve_hops_at_most_and_each_is_there(walk: str) -> None:
    section = ARCHITECTURE.partition(f"\n## {walk}\n")[2].partition("\n## ")[0]
    hops = re.findall(r"^\| \d+ \| `([\w.]+):([\w.]+)` \|", section, re.MULTILINE)
    assert 8 <= len(hops) <= 12
    for module, name in hops:
        thing: object = importlib.import_module(module)
        for part in name.split("."):
            thing = getattr(thing, part)
        assert callable(thing)


def test_what_is_added_from_outside_is_added_by_a_test() -> None:
    rows = re.findall(r"^\| .* \| \d+ \| `(test_\w+\.py)::(test_\w+)` \|$", ARCHITECTURE, re.MULTILINE)
    assert len(rows) >= 10
    for file, test in rows:
        assert f"def {test}(" in (ROOT / "tests" / file).read_text("utf-8"), f"{file} has no {test}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_linked_file_exists(document: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8"))
    local = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if target and not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_anchor_is_a_heading(document: Path) -> None:
    text = document.read_text("utf-8")
    headings = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings


def test_every_option_in_the_readme_exists() -> None:
    words = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert len(words) > 15
    assert words - all_options() == set()


def test_every_option_of_films_is_on_their_page() -> None:
    words = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", FILMS))
    assert words - all_options() - {"--neg"} == set()
    own = {field.setting.flags[0] for field in leaves(Film) if field.setting.flags}
    assert own - words == set()


@pytest.mark.parametrize("code", blocks("python", FILMS), ids=lambda code: code.splitlines()[3][:40])
def test_the_python_of_films_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    short = code.replace("seed=3)", "seed=3, steps=1, size=64)").replace("seconds=2", "seconds=0.25, steps=1")
    assert short.count("seconds=0.25") == short.count("size=64") == 1
    with threads(1):
        exec(compile(short, "films.md", "exec"), {})
    assert [*tmp_path.glob("castle-*.png"), *tmp_path.glob("castle.mp4")]


@pytest.mark.parametrize("language", ["yaml", "json"])
def test_stories_and_cameras_of_films_are_read(language: str, tmp_path: Path) -> None:
    for number, text in enumerate(blocks(language, FILMS)):
        file = tmp_path / f"{number}.{language}"
        file.write_text(text, "utf-8")
        if text.startswith(("- ", "{")):
            story = read_story(file)
            assert len(scenes_of(film_from({"story": story}), make_config(), 96, 12.0)) == len(story) > 1
        else:
            assert film_from(of_file(file)).camera.zoom != "1"


def test_the_options_of_older_tools_in_the_readme_exist() -> None:
    (line,) = re.findall(r"^Options of older tools work too: `(.+)`", README, re.MULTILINE)
    assert set(line.split()) <= options_of(generate)


@pytest.mark.parametrize("arguments", [*commands(), *commands(FILMS)], ids=" ".join)
def test_every_command_in_the_readme_and_of_films_parses(arguments: list[str]) -> None:
    arguments = arguments[: arguments.index(">")] if ">" in arguments else arguments
    named = arguments[0] in cli.list_commands(click.Context(cli))
    name, rest = (arguments[0], arguments[1:]) if named else ("generate", arguments)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    if "--help" not in rest:
        command.make_context(name, list(rest))


def test_the_exit_codes_in_the_readme_are_those_of_the_errors() -> None:
    table = README.partition("## Exit codes")[2].partition("\n## ")[0]
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    raised = {kind.exit_code for _, kind in inspect.getmembers(errors, inspect.isclass) if hasattr(kind, "exit_code")}
    assert told == {0} | raised | SIGNALS
    assert {ends.exit_code(number) for number in (signal.SIGINT, signal.SIGTERM)} == SIGNALS
    assert {"SIGINT", "SIGBREAK"} == {name for name in ends.NAMES if name not in table}


@pytest.mark.parametrize("kind", ["vqgan", "clip", "judge", "prior"])
def test_the_model_cards_tell_the_size_of_the_files(kind: str) -> None:
    card = (ROOT / "docs/models.md").read_text("utf-8").partition(f"\n## tiny-{kind}\n")[2].partition("\n## ")[0]
    file = ROOT / "checkpoints" / f"tiny-{kind}.safetensors"
    with safetensors.safe_open(file, framework="np") as opened:
        shapes = [opened.get_slice(name).get_shape() for name in opened.keys()]  # noqa: SIM118 (no mapping)
        architecture = json.loads(opened.metadata()["architecture"])
    told = re.search(r"\| size \| ([\d.]+) million parameters.*?, ([\d.]+) MB \|", card)
    assert told is not None
    assert told.groups() == (f"{sum(map(math.prod, shapes)) / 1e6:.1f}", f"{file.stat().st_size / 1e6:.1f}")
    if kind == "vqgan":
        assert f"| codes | {architecture['n_embed']} of {architecture['embed_dim']} dimensions" in card


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.splitlines()[2][:40])
def test_the_python_of_the_readme_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    short = re.sub(r"steps=\d+", "steps=1, size=64", re.sub(r', size="\w+"', "", code))
    short = short.replace("% 50", "% 1")  # a picture at the one step there is
    with threads(1):
        exec(compile(short, "README.md", "exec"), {})
    assert list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_figure_is_left_to_be_filled_in(document: Path) -> None:
    assert not re.search(r"@@|TODO|TBD", document.read_text("utf-8"))


def test_every_test_that_a_document_names_exists() -> None:
    named = set()
    for document in DOCUMENTS:
        file = ""
        for found in re.finditer(r"`(tests/\w+\.py)?(?:::(test_\w+))?`", document.read_text("utf-8")):
            file = found[1] or file
            if found[1] or found[2]:
                named.add((file, found[2]))
    assert len(named) > 20
    for file, test in named:
        text = (ROOT / file).read_text("utf-8")
        assert test is None or f"def {test}(" in text, f"{file} has no {test}"
