"""Priors that propose pictures, and the grids that priors draw best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqclip.models.amused import Amused
from vqclip.models.dalle import DalleMini
from vqclip.models.gpt import GPTPrior

if TYPE_CHECKING:
    from vqclip.weights.load import Prior

# priors that bring a VQGAN of their own, and read the prompt themselves: they propose pictures
PICTURING = (DalleMini, Amused)


def natural_grid(prior: Prior, height: int, width: int) -> tuple[int, int]:
    """Return height and width, in codes, of the grid that a prior knows best, of the same proportions if it can.

    DALL-E mini and aMUSEd draw squares only.
    """
    side = prior.side
    if isinstance(prior, PICTURING):
        return side, side
    patch = 1 if isinstance(prior, GPTPrior) else prior.architecture.patch
    scale = side / min(height, width) / patch
    rows, columns = (patch * max(round(length * scale), 1) for length in (height, width))
    return rows, columns
