"""Small runs of the bundled models on the CPU."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch

import vqclip
from vqclip import config as configs
from vqclip.config import Config
from vqclip.generation.models import Models
from vqclip.generation.prepare import Prepared, prepare
from vqclip.generation.run import Run
from vqclip.types import Snapshot

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
    # pixels, on which the preset's sketches are, have tests of their own
    "canvas": {"name": "vqgan"},
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


def prepared(config: Config) -> Prepared:
    """Return the prepared run of a config with the bundled models."""
    return prepare(models().resolve(config), models())


def run_of(config: Config, seeds: Sequence[int] = (7,)) -> Run:
    """Return a run before its first step."""
    return prepared(config).run(seeds)


def draw(config: Config) -> vqclip.Result:
    """Draw a config with the bundled models."""
    return vqclip.generate(config, models())


def snapshots(config: Config) -> list[Snapshot]:
    """Return all snapshots of a run."""
    return list(vqclip.generate_stream(config, models()))
