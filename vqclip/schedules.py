"""How a quantity changes over a run: registered shapes, each a factor of the progress 0..1."""

from __future__ import annotations

import math
from collections.abc import Callable

from vqclip.errors import PluginError
from vqclip.registry import SCHEDULES
from vqclip.registry.outside import is_outside, place_of, run_outside


def constant(progress: float) -> float:
    """1 all the way."""
    del progress
    return 1.0


def linear(progress: float) -> float:
    """From 1 down to 0.1."""
    return 1.0 - 0.9 * progress


def cosine(progress: float) -> float:
    """Half a cosine from 1 down to 0.1 (Loshchilov and Hutter 2017, without restarts)."""
    return 0.1 + 0.9 * (1 + math.cos(math.pi * progress)) / 2


def quarter(progress: float) -> float:
    """The first 0.9 of a quarter of a cosine, from 1 down to 0.16: long steps first (clip-robust-gen)."""
    return math.cos(0.9 * math.pi / 2 * progress)


def step(progress: float) -> float:
    """1 for three quarters of the run, then 0.1 (pixray's default)."""
    return 1.0 if progress < 0.75 else 0.1


def factor(name: str, index: int, total: int, warmup: int = 0) -> float:
    """Return the factor of schedule `name` at step `index` of `total`, after a linear warm-up of `warmup` steps."""
    shape: Callable[[float], float] = SCHEDULES.load(name)
    progress = min(index / max(total, 1), 1.0)
    if not is_outside(shape):
        value = shape(progress)
    else:
        value = run_outside(f"the schedule {name!r}", shape, progress)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise PluginError(f"the schedule {name!r} ({place_of(shape)}) returned {value!r:.40}: return a number")
    return value * min((index + 1) / (warmup + 1), 1.0)


def between(start: float, end: float, progress: float) -> float:
    """Return the value on the straight way from `start` to `end`."""
    return start + (end - start) * progress
