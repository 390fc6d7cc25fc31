"""What a style knows besides the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StyleContext:
    """Side of the picture, the random numbers of its strokes, and the subject's coverage if it is known."""

    size: int
    rng: np.random.Generator
    matte: np.ndarray | None = None
