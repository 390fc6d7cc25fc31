"""Every example runs as a user would run it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_there_are_at_least_five_short_examples_that_say_what_they_show() -> None:
    assert len(EXAMPLES) >= 5
    for file in EXAMPLES:
        text = file.read_text("utf-8")
        assert ast.get_docstring(ast.parse(text)), f"{file.name} does not say what it shows"
        assert len(text.splitlines()) <= 60, f"{file.name} is not short"


@pytest.mark.nightly
@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_runs(file: Path, tmp_path: Path) -> None:
    before = sorted(file.parent.iterdir())
    variables = {"VQCLIP_EXAMPLE_STEPS": "3", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg",
                 # as `vqclip.cli.allocator` sets it, and as it tells programs of one's own to
                 "MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}  # fmt: skip
    done = subprocess.run([sys.executable, "-B", str(file)], cwd=tmp_path, env=os.environ | variables,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240)  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.rglob("*.*")), "it wrote nothing"
    assert sorted(file.parent.iterdir()) == before, "it wrote beside itself"
