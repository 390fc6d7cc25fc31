"""The notebooks run from top to bottom, and are kept without what they printed."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from support.paths import ROOT
from support.runs import threads

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells(file: Path) -> list[dict[str, Any]]:
    return list(json.loads(file.read_text("utf-8"))["cells"])


def test_there_is_one_that_shows_a_film() -> None:
    assert "film.ipynb" in {file.name for file in NOTEBOOKS}


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_has_its_form_and_no_output(file: Path) -> None:
    notebook = json.loads(file.read_text("utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("code", "markdown")
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
        for target in re.findall(r"\]\(([^)#]+)\)", "".join(cell["source"])):
            assert (file.parent / target).exists()


class Shown:
    """What IPython's `display` gives back: it keeps what is shown there."""

    def __init__(self) -> None:
        self.pictures: list[object] = []

    def update(self, picture: object) -> None:
        self.pictures.append(picture)


def test_the_notebook_of_a_film_shows_its_frames_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells run in one namespace, small; of IPython there is only what they display with."""
    shown, files = Shown(), []

    def display(picture: object, display_id: bool) -> Shown:
        assert display_id
        shown.update(picture)
        return shown

    ipython = types.ModuleType("IPython.display")
    ipython.display, ipython.Image = display, lambda filename: files.append(Path(filename))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", ipython)
    monkeypatch.chdir(tmp_path)
    printed, space = io.StringIO(), dict[str, Any]()
    with threads(1), contextlib.redirect_stdout(printed):
        for cell in cells(ROOT / "notebooks" / "film.ipynb"):
            if cell["cell_type"] == "code":
                space["last"] = run("".join(cell["source"]), space)
    assert len(shown.pictures) == len(space["frames"]) == 3
    assert len(printed.getvalue().splitlines()) > 3
    assert "--zoom" in printed.getvalue()
    assert [file.name for file in files] == ["castle.webp"]
    assert files[0].is_file()


def run(code: str, space: dict[str, Any]) -> object:
    """Run a cell, of a small film, and return the value of its last line, which a notebook would show."""
    small = code.replace("size=256, steps=30", "size=64, steps=1").replace("frames=12", "frames=3, steps=1")
    tree = ast.parse(small)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "film.ipynb", "exec"), space)
    return None if last is None else eval(compile(ast.Expression(last.value), "film.ipynb", "eval"), space)  # type: ignore[attr-defined]
