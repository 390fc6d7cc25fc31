"""The memory's drawings as pixels: their codes decoded, cut out along their outlines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqclip.errors import WeightsError
from vqclip.models.memory import Memory
from vqclip.types import MASKED
from vqclip.world.atlas import digest
from vqclip.world.drawings import Drawing, drawings_of, load_drawings

# how much steeper an outline is made than scaling leaves it
_STEEP = 1.7
_KEPT = 64  # drawings whose pixels are kept in memory


class MemorySprites:
    """Drawings by their id, decoded when first wanted; `decode` makes pictures (1, 3, H, W) of codes (1, h, w)."""

    def __init__(self, memory: Memory, decode: Callable[[Tensor], Tensor]) -> None:
        """Raise WeightsError if the memory holds other drawings than the table names."""
        held_in = [drawing for drawing in load_drawings() if not drawing.held]
        names = dict.fromkeys(drawing.id for drawing in held_in)
        if memory.architecture.table != digest(held_in) or len(memory) != len(names):
            raise WeightsError("the memory holds other drawings than this version's table: fetch or train it again")
        self.subjects: Mapping[str, tuple[Drawing, ...]] = drawings_of(held_in)
        self._memory, self._decode = memory, decode
        self._rows = {name: row for row, name in enumerate(names)}
        self.pixels = lru_cache(_KEPT)(self._pixels)

    def extent(self, name: str) -> tuple[float, float]:
        """Return width and height of a drawing, the longer one 1. Raises KeyError if it is unknown."""
        inked = self._memory.outline(self._rows[name]) > 0.25
        rows, columns = np.flatnonzero(inked.any(1)), np.flatnonzero(inked.any(0))
        if not len(rows):
            return 1.0, 1.0
        width, height = int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1
        return width / max(width, height), height / max(width, height)

    @torch.no_grad()
    def _pixels(self, name: str) -> np.ndarray:
        """Return a drawing (side, side, 4) uint8, colors premultiplied by alpha. Raises KeyError if it is unknown."""
        row = self._rows[name]
        grid = torch.from_numpy(filled(self._memory.grid(row)))
        picture = self._decode(grid[None])[0].float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
        alpha = _sharp(self._memory.outline(row), len(picture))
        return (np.concatenate([picture * alpha, alpha], 2) * 255 + 0.5).astype(np.uint8)


def _sharp(outline: np.ndarray, side: int) -> np.ndarray:
    larger = np.asarray(Image.fromarray(outline).resize((side, side), Image.Resampling.BICUBIC))
    return np.clip((larger - 0.5) * _STEEP + 0.5, 0.0, 1.0)[..., None]


def filled(grid: np.ndarray) -> np.ndarray:
    """Return a grid of codes in which those that are MASKED are as the nearest known ones, so that no edge shows."""
    grid = grid.copy()
    while (grid == MASKED).any():
        known = np.pad(grid, 1, constant_values=MASKED)
        before = grid.copy()
        for rows, columns in ((slice(0, -2), slice(1, -1)), (slice(2, None), slice(1, -1)),
                              (slice(1, -1), slice(0, -2)), (slice(1, -1), slice(2, None))):  # fmt: skip
            grid = np.where(grid == MASKED, known[rows, columns], grid)
        if (grid == before).all():
            return np.zeros_like(grid)  # nothing is known at all
    return grid
