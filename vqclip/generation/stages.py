"""Coarse to fine: which grid the steps of a run work on. Torch-free arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vqclip.errors import UsageError

_FULL = "full"


@dataclass(frozen=True)
class Stage:
    """Steps `start`..`stop` (exclusive) on a grid of `height x width` cells."""

    start: int
    stop: int
    height: int
    width: int


def plan(texts: Sequence[str], steps: int, size: Sequence[int], factor: int, extra: int = 0) -> list[Stage]:
    """Return the stages of a run of `steps` for pictures of `size` (width, height) pixels, `factor` pixels a cell.

    A stage is `SIDE:SHARE`. Those not coarser than the picture are left out, their share given to the others in
    proportion; the last is always the picture's own grid, the next one that covers its size, with `extra` steps more.
    """
    shares = [_parse(text) for text in texts]
    short = min(size)
    coarse = [(side, share) for side, share in shares if side is not None and side < short and share > 0]
    full = sum(share for side, share in shares if side is None)
    if not full:
        raise UsageError(f"stages {', '.join(texts)!r}: the last one must be 'full:SHARE', such as 'full:0.2'")
    # a coarse stage that falls away gives its share to the other coarse ones: the fine stage is the dear one
    given = sum(share for side, share in shares if side is not None)
    scale = (given / sum(s for _, s in coarse)) if coarse else 0.0
    total = full + (given if coarse else 0.0)
    stages, start, passed = [], 0, 0.0
    for side, share in sorted(coarse):
        passed += share * scale / total
        # however few they are, the last step belongs to the picture's own grid
        stop = min(round(steps * passed), max(steps - 1, 0))
        stages.append(Stage(start, stop, *_cells(size, factor, side / short)))
        start = stop
    stages.append(Stage(start, steps + extra, *_cells(size, factor, 1.0)))
    return [stage for stage in stages if stage.stop > stage.start] or stages[-1:]


def work(stages: Sequence[Stage], step: int) -> float:
    """Return the share in [0, 1] of a run's work that lies before `step`.

    A step costs what its grid costs to decode, and the views, which cost alike at every size: with the bundled models
    about a seventh of the finest grid (measured on a CPU).
    """
    finest = max(stage.height * stage.width for stage in stages)
    costs = [stage.height * stage.width + finest / 7 for stage in stages]
    done = sum(max(min(step, s.stop) - s.start, 0) * cost for s, cost in zip(stages, costs, strict=True))
    total = sum((s.stop - s.start) * cost for s, cost in zip(stages, costs, strict=True))
    return done / total if total else 1.0


def _parse(text: str) -> tuple[int | None, float]:
    side, _, share = text.partition(":")
    try:
        value = float(share or 1)
        pixels = None if side.strip() == _FULL else int(side)
    except ValueError:
        value, pixels = -1.0, 0
    if not 0 < value < math.inf or (pixels is not None and pixels < 1):
        raise UsageError(f"stage {text!r}: give SIDE:SHARE, SIDE in pixels or 'full', such as '128:0.8'")
    return pixels, value


def _cells(size: Sequence[int], factor: int, scale: float) -> tuple[int, int]:
    width, height = (max(math.ceil(side * scale / factor), 1) for side in size)
    return height, width
