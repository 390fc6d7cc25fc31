"""Mistakes that can be seen without torch are told of without it: it takes seconds to load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import CommandLine
from support.paths import ROOT
from support.pictures import photo

from vqclip.session import savepoint

CASES = [
    (["resume", "nothing.run"], 2, "there is no run"),
    (["resume", "begun.run"], 2, "stopped before any state was saved"),
    (["resume", "drawn.run"], 5, "being drawn by another process"),
    (["cat", "--vqgan", "missing.ckpt"], 3, "missing.ckpt: No such file"),
    (["cat", "--vqgan", "tinny"], 2, "did you mean 'tiny'"),
    (["cat", "--vqgan", "imagenet_f16_16384"], 3, "is not here yet"),
    (["cat", "--clip", "missing.safetensors"], 3, "missing.safetensors: No such file"),
    (["cat", "--clip", "tiny", "--clip", "missing.pt"], 3, "missing.pt: No such file"),
    (["cat", "--prior", "missing.ckpt", "--init", "prior"], 3, "missing.ckpt"),
    (["cat", "--upsampler", "missing.safetensors"], 3, "missing.safetensors"),
    (["cat", "--vqgan-config", "missing.yaml"], 3, "missing.yaml"),
    (["cat", "--init-image", "missing.png"], 2, "missing.png does not exist"),
    (["cat", "--init-image", "half.png"], 2, "damaged"),
    (["cat", "--init-image", "in.png", "--mask", "missing.png"], 2, "missing.png does not exist"),
    (["cat", "--image-prompt", "half.png:0.5"], 2, "damaged"),
    (["cat", "-c", "missing.yaml"], 2, "missing.yaml"),
    (["cat", "--from", "in.png"], 2, "no metadata to draw from"),
]


def test_mistakes_are_told_of_before_torch_is_loaded(tmp_path: Path) -> None:
    """All in one process, in which torch must never be loaded."""
    photo(tmp_path / "in.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "in.png").read_bytes()[:300])
    for name in ("begun", "drawn"):
        (tmp_path / f"{name}.run").mkdir()
        (tmp_path / f"{name}.run/config.yaml").touch()
    (tmp_path / "drawn.run/state.safetensors").touch()
    held = savepoint.lock(tmp_path / "drawn.run")
    code = (
        "import sys; from vqclip.cli.main import run\n"
        f"for args, code, _ in {CASES!r}:\n"
        "    assert run(args) == code, args\n"
        "    assert not {'torch', 'open_clip'} & set(sys.modules), args\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    held.release()
    assert done.returncode == 0, done.stderr[-600:]
    lines = done.stderr.splitlines()
    assert len(lines) == len(CASES), done.stderr
    for line, (args, _, words) in zip(lines, CASES, strict=True):
        assert words in line, (args, line)
    assert done.stdout == ""


@pytest.mark.parametrize(("size", "told"), [("8", True), ("24x64", True), ("31", False), ("32", False), ("64", False)])
def test_a_grid_of_few_cells_is_told_of(cli: CommandLine, size: str, told: bool) -> None:
    ran = cli.draw("cat", "--steps", "0", "--size", size)
    assert ran.code == 0
    assert [line for line in ran.complaints if "too few to show anything: give --size 32 or more" in line][told:] == []
    assert ("too few" in ran.err) is told
