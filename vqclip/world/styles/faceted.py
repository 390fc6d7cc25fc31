"""Clear forms: line art and low poly."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from vqclip.world.fields import (
    blur,
    contours,
    gradient,
    luma,
    resize_field,
    resize_picture,
    saturate,
    smoothstep,
)
from vqclip.world.styles.context import StyleContext

# contours are looked for on so many pixels a side (a multiple of both grids of triangles)
_WORK = 96
_LEFTOVER = 1e-6


def line_art(picture: np.ndarray, context: StyleContext) -> np.ndarray:
    """Black ink lines of even width along the contours, on white paper; only what is black itself is filled.

    Contours are thinned to their crests across the gradient (Canny 1986) and drawn with one pen.
    """
    size = context.size
    # thinned lines are a pixel wide: a finer grid keeps them smooth on small pictures
    work = int(np.clip(1.5 * size, 128, 256))
    fine = resize_picture(picture, work, Image.Resampling.BICUBIC)
    least = np.float32(0.1)
    parts = blur(fine, 0.006)
    dark = smoothstep(0.2, 0.1, luma(fine))
    if context.matte is not None:
        matte = blur(resize_field(context.matte, work, Image.Resampling.BILINEAR), 0.008)
        inside = smoothstep(0.3, 0.6, matte)
        # behind the subject only strong contours are drawn: grass and bricks would be a tangle
        least = 0.19 - 0.09 * inside
        behind = blur(fine, 0.011)
        parts = np.concatenate([behind + (parts - behind) * inside[..., None], 0.6 * matte[..., None]], axis=-1)
        dark = dark * inside
    pen = blur(_crests(parts, least * np.float32(128 / work)), 0.0052)
    ink = np.maximum(smoothstep(0.1, 0.3, pen), dark)
    ink = resize_field(ink, size, Image.Resampling.BOX if work > size else Image.Resampling.BICUBIC)
    out: np.ndarray = (0.985 - 0.945 * np.clip(ink, 0.0, 1.0))[..., None] * np.ones(3, dtype=np.float32)
    return out


def _crests(picture: np.ndarray, least: np.ndarray) -> np.ndarray:
    """1 where the colour changes by more than `least` and more than on both sides across the edge, else 0."""
    dy, dx = gradient(picture)
    across, down, both = (dx * dx).sum(-1), (dy * dy).sum(-1), (dx * dy).sum(-1)
    strength = across + down
    padded = np.pad(strength, 1)
    height, width = strength.shape

    def beside(below: int, right: int) -> np.ndarray:
        return padded[1 + below : 1 + below + height, 1 + right : 1 + right + width]

    # the neighbours across the edge lie to the sides, above and below, or on one of the diagonals
    pairs = (((0, 1), (0, -1)), ((1, 0), (-1, 0)), ((1, 1), (-1, -1)), ((-1, 1), (1, -1)))
    kind = np.where(across > 5.8 * down, 0, np.where(down > 5.8 * across, 1, np.where(both > 0, 2, 3)))
    crest = np.zeros(strength.shape, dtype=bool)
    for k, (one, other) in enumerate(pairs):
        crest |= (kind == k) & (strength >= beside(*one)) & (strength > beside(*other))
    out: np.ndarray = (crest & (strength > least * least)).astype(np.float32)
    return out


def low_poly(picture: np.ndarray, context: StyleContext) -> np.ndarray:
    """Flat-coloured triangles whose corners lie on the contours, smaller where the subject is."""
    size, rng = context.size, context.rng
    small = resize_picture(picture, _WORK, Image.Resampling.BOX)
    matte = None if context.matte is None else resize_field(context.matte, _WORK, Image.Resampling.BOX)
    edge = contours(small, matte, 0.014)
    side = 2 * size
    labels = Image.new("I", (side, side))
    pen = ImageDraw.Draw(labels)
    count = 0
    for cells in (12, 24):
        corners = _corners(edge, cells, rng)
        chosen = np.ones((cells, cells), dtype=bool) if cells == 12 else _busy(edge, matte, cells)
        for triangle in _triangles(corners, edge, chosen):
            pen.polygon([(x * side, y * side) for x, y in triangle], fill=count)
            count += 1
    number = np.asarray(labels, dtype=np.int32)
    # a triangle takes the colour of its flat part, not a mixture of both sides of the contour it crosses
    weight = 1.0 / (0.04 + resize_field(edge, size, Image.Resampling.BILINEAR)) ** 2
    color = _means(saturate(picture, 1.15), number[::2, ::2], weight, count)
    color = color * (1.0 + rng.normal(0.0, 0.05, (count, 1))).astype(np.float32)
    out: np.ndarray = color[number].reshape(size, 2, size, 2, 3).mean((1, 3), dtype=np.float32)
    return out


def _corners(edge: np.ndarray, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Corners (cells + 1, cells + 1, 2) as (x, y) in 0..1: of a grid, moved to the strongest contour nearby."""
    pitch = _WORK // cells
    # one block of pixels around every crossing of the grid's lines
    around = np.pad(edge + np.float32(0.03) * rng.random(edge.shape, dtype=np.float32), pitch // 2)
    blocks = around.reshape(cells + 1, pitch, cells + 1, pitch).transpose(0, 2, 1, 3)
    best = blocks.reshape(cells + 1, cells + 1, -1).argmax(axis=-1)
    rows, columns = np.indices(best.shape)
    y = (rows * pitch + best // pitch - pitch // 2 + 0.5) / _WORK
    x = (columns * pitch + best % pitch - pitch // 2 + 0.5) / _WORK
    # the outermost corners stay on the picture's border
    y[0], y[-1], x[:, 0], x[:, -1] = 0.0, 1.0, 0.0, 1.0
    out: np.ndarray = np.clip(np.stack([x, y], axis=-1), 0.0, 1.0)
    return out


def _busy(edge: np.ndarray, matte: np.ndarray | None, cells: int) -> np.ndarray:
    """Which cells (cells, cells) are worth small triangles: those of the subject and of strong contours."""
    pitch = len(edge) // cells
    blocks: np.ndarray = edge.reshape(cells, pitch, cells, pitch).max((1, 3)) > 0.45
    if matte is None:
        return blocks
    blocks = matte.reshape(cells, pitch, cells, pitch).max((1, 3)) > 0.3
    return blocks


def _triangles(corners: np.ndarray, edge: np.ndarray, chosen: np.ndarray) -> list[list[tuple[float, float]]]:
    """Two triangles of every chosen cell, parted along the diagonal that runs along a contour."""
    work = len(edge)
    a, b, c, d = corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]

    def along(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        total = np.zeros(one.shape[:2], dtype=np.float32)
        for share in (0.25, 0.5, 0.75):
            at = np.minimum(((one + (other - one) * share) * work).astype(int), work - 1)
            total += edge[at[..., 1], at[..., 0]]
        return total

    falling = along(a, c) >= along(b, d)
    triangles = []
    for row, column in zip(*np.nonzero(chosen), strict=True):
        p, q, r, s = (tuple(part[row, column].tolist()) for part in (a, b, c, d))
        triangles += [[p, q, r], [p, r, s]] if falling[row, column] else [[p, q, s], [q, r, s]]
    return triangles


def _means(picture: np.ndarray, number: np.ndarray, weight: np.ndarray, count: int) -> np.ndarray:
    """Weighted mean colour (count, 3) of the pixels of every triangle; the picture's mean where it has none."""
    flat = number.ravel()
    total = np.bincount(flat, weight.ravel(), count) + _LEFTOVER
    mean = picture.mean((0, 1)) * _LEFTOVER
    channels = [
        (np.bincount(flat, (picture[..., channel] * weight).ravel(), count) + mean[channel]) / total
        for channel in range(3)
    ]
    return np.stack(channels, axis=-1).astype(np.float32)
