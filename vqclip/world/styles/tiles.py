"""Pictures put together from pieces: stained glass, mosaic, pointillism."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from vqclip.world.fields import (
    blur,
    contours,
    grid,
    saturate,
    shifted_noise,
    smoothstep,
    to_image,
)
from vqclip.world.styles.context import StyleContext


@lru_cache(maxsize=64)
def scattered_cells(size: int, cells: int, variant: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tileable Voronoi cells of a jittered grid (Worley 1996).

    Gives the cell number of every pixel (int32), and the distances to the nearest and second nearest cell centre
    in units of the grid's pitch.
    """
    rng = np.random.default_rng((variant, cells, 3))
    jitter = 0.5 + 0.62 * (rng.random((cells, cells, 2), dtype=np.float32) - 0.5)
    y, x = (axis * np.float32(cells) for axis in grid(size))
    row, column = y.astype(np.int32), x.astype(np.int32)
    near = np.full((size, size), 9.0, dtype=np.float32)
    second = near.copy()
    number = np.zeros((size, size), dtype=np.int32)
    for dr in (-1, 0, 1):
        for dc in (-1, 0, 1):
            r, c = (row + dr) % cells, (column + dc) % cells
            distance = np.hypot(row + dr + jitter[r, c, 0] - y, column + dc + jitter[r, c, 1] - x)
            closer = distance < near
            second = np.where(closer, near, np.minimum(second, distance))
            number = np.where(closer, r * cells + c, number)
            near = np.where(closer, distance, near)
    return number.astype(np.int32), near, second


def _cell_means(picture: np.ndarray, number: np.ndarray, count: int) -> np.ndarray:
    """Mean colour of every cell: (count, 3)."""
    flat = number.ravel()
    weight = np.maximum(np.bincount(flat, minlength=count), 1)
    channels = [np.bincount(flat, picture[..., channel].ravel(), count) / weight for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def _rolled(context: StyleContext, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scattered cells, shifted by a random offset."""
    number, near, second = scattered_cells(context.size, cells, int(context.rng.integers(4)))
    shift = (int(context.rng.random() * context.size), int(context.rng.random() * context.size))
    number, near, second = (np.roll(part, shift, axis=(0, 1)) for part in (number, near, second))
    return number, near, second


def pointillism(picture: np.ndarray, context: StyleContext) -> np.ndarray:
    """Separate round dots of pure colour on primed canvas: a layer of large dots and one of small ones between."""
    size, rng = context.size, context.rng
    vivid = saturate(picture, 1.5)
    canvas = np.array([0.93, 0.9, 0.83], dtype=np.float32)
    out: np.ndarray = canvas + (blur(vivid, 0.02) - canvas) * np.float32(0.5)
    for cells, radius in ((19, 0.47), (22, 0.36)):
        number, near, _ = _rolled(context, cells)
        color = _cell_means(vivid, number, cells * cells)
        color = color + rng.normal(0.0, 0.075, color.shape).astype(np.float32)
        color = np.clip(color, 0.0, 1.0)
        edge = np.float32(0.55 * cells / size)
        dot = np.clip((radius - near) / edge * 0.5 + 0.5, 0.0, 1.0)[..., None]
        out = out + (color[number] - out) * dot
    return out


def mosaic(picture: np.ndarray, context: StyleContext) -> np.ndarray:
    """Rows of small, slightly uneven square tiles with thin light grout."""
    size, rng = context.size, context.rng
    cells = 20
    y, x = grid(size)
    v = y * np.float32(cells) + np.float32(0.14) * shifted_noise(size, 5, rng) + np.float32(rng.random())
    row = np.floor(v).astype(np.int32)
    u = x * np.float32(cells) + np.float32(0.14) * shifted_noise(size, 5, rng) + (row % 2) * np.float32(0.5)
    column = np.floor(u).astype(np.int32)
    number = (row + 2) * (cells + 5) + column + 2
    count = (cells + 5) * (cells + 5)
    crisp = (saturate(picture, 1.3) - 0.5) * np.float32(1.12) + 0.48
    color = _cell_means(crisp, number, count) + rng.normal(0.0, 0.035, (count, 1)).astype(np.float32)
    inside = np.minimum(np.minimum(u - column, column + 1 - u), np.minimum(v - row, row + 1 - v))
    gap, soft = np.float32(0.07), np.float32(0.7 * cells / size)
    tile = np.clip((inside - gap) / soft + 0.6, 0.0, 1.0)[..., None]
    bevel = ((v - row) + (u - column) - 1.0)[..., None] * np.float32(-0.06)
    grout = np.array([0.82, 0.8, 0.75], dtype=np.float32)
    out: np.ndarray = grout + (color[number] + bevel - grout) * tile
    return out


def stained_glass(picture: np.ndarray, context: StyleContext) -> np.ndarray:
    """Flat, deep-coloured panes between dark lead: panes follow the picture's own flat regions, cut into cells."""
    size = context.size
    cells = 9
    number, near, second = _rolled(context, cells)
    smooth = blur(picture, 0.01)
    regions = to_image(smooth).resize((64, 64), Image.Resampling.BOX).quantize(6, method=Image.Quantize.MEDIANCUT)
    label = np.asarray(to_image(smooth).quantize(palette=regions, dither=Image.Dither.NONE), dtype=np.int32)
    inside = 0 if context.matte is None else (context.matte > 0.5).astype(np.int32) * 8
    pane = (number * 16 + inside + np.minimum(label, 7)).astype(np.int32)
    glass = _cell_means(saturate(picture, 1.9), pane, cells * cells * 16)
    glass = np.clip((glass - 0.5) * 1.15 + 0.5, 0.03, 1.0)
    color = glass[pane]
    lead = 1.0 - smoothstep(0.03, 0.03 + 1.6 * cells / size, second - near)
    if context.matte is not None:
        # cell borders inside the subject would cut up what makes it recognizable
        lead = lead * (1.0 - 0.55 * context.matte)
    lead = np.maximum(lead, smoothstep(0.2, 0.36, contours(picture, context.matte, 0.024)))
    shine = np.float32(0.07) * shifted_noise(size, 6, context.rng)
    color = color + shine[..., None]
    out: np.ndarray = color * (1.0 - lead[..., None]) + np.float32(0.04) * lead[..., None]
    return out
