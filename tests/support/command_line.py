"""The command line, run in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from support.paths import ROOT
from support.runs import SMALL_FLAGS, models, small
from vqclip.cli.main import run
from vqclip.generation.models import Models


@dataclass(frozen=True)
class Ran:
    """What a call of the command line did."""

    code: int
    out: str
    err: str

    @property
    def files(self) -> list[Path]:
        """The names it printed."""
        return [Path(line) for line in self.out.splitlines()]

    @property
    def complaints(self) -> list[str]:
        """Its lines on stderr but those of a run that goes well, and of what a failed one kept."""
        told = ("drawing '", "going on with ", "the run ended early; kept so far: ", "it can go on from there: ")
        news = ("step ", "seed", *(f"vqclip: {text}" for text in told))
        return [line for line in self.err.splitlines() if not line.startswith(news)]


class CommandLine:
    """Runs the command line in this process, loading the bundled models only once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        load, loaded, bundled = Models.load, models(), small().models
        monkeypatch.setattr(Models, "load", lambda config: loaded if config.models == bundled else load(config))
        self.capsys = capsys

    def __call__(self, *args: str | Path) -> Ran:
        """Run `vqclip` with these arguments."""
        code = run([str(arg) for arg in args])
        captured = self.capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    def draw(self, *args: str | Path) -> Ran:
        """Run `vqclip` with these arguments and few small steps, which they may override."""
        return self(*SMALL_FLAGS, *args)


def start_cli(*args: str, cwd: Path, **env: str) -> subprocess.Popen[str]:
    """Start the command line of this checkout in a process of its own."""
    variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())} | env
    return subprocess.Popen(
        [sys.executable, "-m", "vqclip", *args],
        cwd=cwd, env=variables, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
