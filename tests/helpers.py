"""What several test files share: small runs of the bundled models on the CPU."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vqclip
from vqclip import config as configs
from vqclip.cli.main import run
from vqclip.config import Config
from vqclip.generation.control import Control
from vqclip.generation.models import Models
from vqclip.generation.prepare import Prepared, prepare
from vqclip.generation.run import Run
from vqclip.session import events
from vqclip.session.job import Job, Outcome
from vqclip.session.session import run_job
from vqclip.types import Notice, Snapshot

ROOT = Path(__file__).resolve().parent.parent
# the same small run for the command line
SMALL_FLAGS = ("--size", "64", "--steps", "3", "--seed", "7", "--views", "4", "--device", "cpu", "--precision", "fp32",
               "--set", "best.views=2", "--set", "stages=['full:1']", "--set", "latent.noise=0",
               "--set", "models.prior=", "--set", "models.upsampler=", "--set", "models.memory=",
               "--set", "optimizer.lr=0.1")  # fmt: skip
_SMALL: dict[str, Any] = {
    "seed": 7,
    "steps": 3,
    "size": 64,
    "stages": ["full:1"],
    "views": {"count": 4},
    "best": {"views": 2},
    "latent": {"noise": 0.0},
    # three steps of the preset's rate, meant for grids that show something already, change no code
    "optimizer": {"lr": 0.1},
    # runs with a prior, an upsampler or a memory have tests of their own
    "models": {"prior": "", "upsampler": "", "memory": ""},
    # in bf16, which `auto` may choose, other batches and threads round by per cents
    "run": {"device": "cpu", "precision": "fp32"},
}


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with that many threads for a while: small runs gain nothing from two, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def small(*prompts: str, **values: Any) -> Config:
    """Return a config of three steps at 64 pixels; groups given are merged into its own."""
    merged = dict(_SMALL)
    for key, value in values.items():
        merged[key] = {**_SMALL.get(key, {}), **value} if isinstance(value, dict) else value
    return configs.make_config(*(prompts or ("a red cat",)), **merged)


@functools.cache
def models() -> Models:
    """Return the bundled models, loaded once."""
    return Models.load(small())


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


def prepared(config: Config) -> Prepared:
    """Return the prepared run of a config with the bundled models."""
    return prepare(models().resolve(config), models())


def run_of(config: Config, seeds: Sequence[int] = (7,)) -> Run:
    """Return a run before its first step."""
    return prepared(config).run(seeds)


def draw(config: Config) -> vqclip.Result:
    """Draw a config with the bundled models."""
    return vqclip.generate(config, models())


def carry_out(
    job: Job | Config,
    on_snapshot: Callable[[Snapshot], Any] = lambda snapshot: None,
    *,
    on_notice: Callable[[Notice], Any] = lambda notice: None,
    stop: Callable[[], bool] = lambda: False,
    networks: Models | None = None,
) -> Outcome:
    """Carry out a job with the bundled models; `stop` is asked at every step whether the job is to end after it."""
    control = Control()

    def listen(event: events.Event) -> None:
        if isinstance(event, events.Stepped):
            on_snapshot(event.snapshot)
            if stop():
                control.stop()
        elif isinstance(event, events.NoticeGiven):
            on_notice(event.notice)

    return run_job(job if isinstance(job, Job) else Job(job), listen, networks or models(), control)


def snapshots(config: Config) -> list[Snapshot]:
    """Return all snapshots of a run."""
    return list(vqclip.generate_stream(config, models()))


def sha(image: Image.Image | Path | str) -> str:
    """Return a hash of a picture's size and pixels, whatever its metadata."""
    if not isinstance(image, Image.Image):
        with Image.open(image) as opened:
            image = opened.convert("RGB")
    return hashlib.sha256(f"{image.size}".encode() + image.convert("RGB").tobytes()).hexdigest()


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the norm of the difference relative to that of `b`."""
    return float((a - b).norm() / b.norm())


def photo(path: Path, size: tuple[int, int] = (64, 64)) -> Path:
    """Write a picture with a red disc on a gradient and return its path."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]] / max(size)
    disc = (x - 0.4) ** 2 + (y - 0.5) ** 2 < 0.08
    pixels = np.stack([np.where(disc, 0.9, x), np.where(disc, 0.1, y), np.where(disc, 0.1, 0.6)], -1)
    Image.fromarray((pixels * 255).astype(np.uint8)).save(path)
    return path


def start_cli(*args: str, cwd: Path, **env: str) -> subprocess.Popen[str]:
    """Start the command line of this checkout in a process of its own."""
    variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())} | env
    return subprocess.Popen(
        [sys.executable, "-m", "vqclip", *args],
        cwd=cwd, env=variables, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
