"""Paint on a brush: Van Gogh, oil painting, watercolor."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vqclip.world.fields import (
    blur,
    contours,
    gradient,
    grid,
    line_integral,
    luma,
    noise,
    orientation,
    saturate,
    shifted_noise,
    smoothstep,
    swirls,
)
from vqclip.world.styles.context import StyleContext


def van_gogh(picture: np.ndarray, context: StyleContext) -> np.ndarray:
    """Swirling strokes along the contours, thick paint lit from the side, saturated blues and yellows.

    Line integral convolution (Cabral & Leedom 1993) of noise and colour along the structure tensor's direction,
    blended with a field of eddies where the picture has no direction of its own.
    """
    size, rng = context.size, context.rng
    cos2, sin2 = orientation(picture)
    eddy_cos, eddy_sin = swirls(size, 4, rng)
    cos2, sin2 = 1.5 * cos2 + 0.6 * eddy_cos, 1.5 * sin2 + 0.6 * eddy_sin
    paint = shifted_noise(size, 40, rng)
    hue = shifted_noise(size, 26, rng)
    values = np.concatenate([paint[..., None], hue[..., None], picture], axis=-1)
    walked = line_integral(cos2, sin2, values, 0.07, 5)
    stroke, tone = walked[..., 0] * 2.0, walked[..., 1] * 1.8
    # the strokes' own colour is sharper than the walk's average, which would wash small subjects out
    edge = smoothstep(0.2, 0.6, contours(picture, context.matte))[..., None]
    color = walked[..., 2:] + (picture - walked[..., 2:]) * (0.4 + 0.3 * edge)
    color = saturate(color, 1.55)
    bright = luma(color)
    if context.matte is not None:
        # the subject keeps more of its own colours than its surroundings do
        tone = tone * (1.0 - 0.45 * context.matte)
    warm = np.array([0.16, 0.11, -0.14], dtype=np.float32)
    cool = np.array([-0.1, -0.02, 0.2], dtype=np.float32)
    color = color + np.maximum(tone, 0.0)[..., None] * warm * (0.35 + bright[..., None])
    color = color + np.maximum(-tone, 0.0)[..., None] * cool * (1.25 - bright[..., None])
    dy, dx = gradient(stroke)
    relief = (dx + dy) * np.float32(0.1 * min(1.6, size / 64.0)) + stroke * np.float32(0.085)
    out: np.ndarray = color + relief[..., None]
    return out


def _stroke_map(size: int, direction: int, across: int) -> np.ndarray:
    """A tileable covering with overlapping straight strokes in one of eight directions: (size, size, 3).

    Holds for every pixel its offset (down, right) from its stroke's middle, as fractions of the side, and the height
    of the paint there.
    """
    rng = np.random.default_rng((direction, across, 5))
    count = across * across
    middles = (np.stack(np.divmod(np.arange(count), across), -1) + rng.random((count, 2))) / across
    order = np.argsort(rng.random(count))
    turns = direction * np.pi / 8 + rng.normal(0.0, 0.16, count)
    long, wide = 1.35 / across, 0.62 / across
    # a stroke reaches only so far: work on its own window of pixels
    reach = int(np.ceil(1.1 * long * size)) + 1
    window = np.arange(-reach, reach + 1)
    covering = np.zeros((size, size, 3), dtype=np.float32)
    for (my, mx), turn in zip(middles[order], turns[order], strict=True):
        rows, columns = window + int(my * size), window + int(mx * size)
        oy, ox = np.meshgrid((rows + 0.5) / size - my, (columns + 0.5) / size - mx, indexing="ij")
        along = (ox * np.cos(turn) + oy * np.sin(turn)) / long
        off = (oy * np.cos(turn) - ox * np.sin(turn)) / wide
        # a squarish brush mark: flat in the middle, with bristle grooves along it
        inside = along**4 + off**4 < 1.0
        height = (1.0 - off**2) * 0.7 + 0.3 * np.cos(off * 9.0)
        i, j = np.nonzero(inside)
        covering[rows[i] % size, columns[j] % size] = np.stack((oy, ox, height), axis=-1)[i, j]
    return covering


def _lay_strokes(picture: np.ndarray, context: StyleContext, across: int) -> tuple[np.ndarray, np.ndarray]:
    """Every stroke in the colour of the picture at its middle; gives the colours and the paint's height."""
    size = context.size
    cos2, sin2 = orientation(picture, 24)
    lean = context.rng.uniform(0.0, 2.0 * np.pi)
    angle = 0.5 * np.arctan2(sin2 + 0.3 * np.sin(lean), cos2 + 0.3 * np.cos(lean))
    choice = np.round(angle * (8 / np.pi)).astype(np.int32) % 8
    shift = (int(context.rng.random() * size), int(context.rng.random() * size))
    maps = _stroke_stack(size, across)
    rolled = np.roll(maps, shift, axis=(1, 2))
    rows, columns = np.indices((size, size), sparse=True)
    oy, ox, height = (rolled[choice, rows, columns, part] for part in range(3))
    my = np.clip(rows - oy * size, 0, size - 1).astype(np.int32)
    mx = np.clip(columns - ox * size, 0, size - 1).astype(np.int32)
    return picture[my, mx], height


@lru_cache(maxsize=8)
def _stroke_stack(size: int, across: int) -> np.ndarray:
    """The coverings of all eight directions, (8, size, size, 3), built once per size."""
    return np.stack([_stroke_map(size, turn, across) for turn in range(8)])


def oil_painting(picture: np.ndarray, context: StyleContext) -> np.ndarray:
    """Short broad opaque strokes that take one colour each (Haeberli 1990), with bristle marks and lit ridges."""
    size, rng = context.size, context.rng
    base = saturate(blur(picture, 0.008), 1.12)
    color, height = _lay_strokes(base, context, 24)
    # strokes that straddle an edge would eat small details: let the edge itself show through
    edge = smoothstep(0.25, 0.6, contours(base, context.matte))[..., None]
    color = color + (base - color) * (0.75 * edge)
    dy, dx = gradient(height)
    relief = (dx + dy) * np.float32(0.045) + (height - 0.5) * np.float32(0.1)
    tone = shifted_noise(size, 20, rng) * np.float32(0.03)
    out: np.ndarray = (color - 0.5) * np.float32(1.05) + np.float32(0.47) + (relief + tone)[..., None]
    return out


def watercolor(picture: np.ndarray, context: StyleContext) -> np.ndarray:
    """Pale wet washes that bleed over their edges, pigment gathering at the rims, paper grain, a white margin.

    After Bousseau et al. 2006: pigment density changes the paint's strength c to c - (c - c^2)(d - 1).
    """
    size, rng = context.size, context.rng
    wash = _bleed(picture, size, rng)
    wash = blur(wash, 0.012)
    edge = smoothstep(0.12, 0.45, contours(wash, context.matte, 0.02))
    pale = 1.0 - 0.82 * (1.0 - saturate(wash, 1.25))
    pale = 0.2 + 0.8 * pale
    flow = shifted_noise(size, 5, rng) * 0.28 + shifted_noise(size, 14, rng) * 0.12
    grain = noise(size, max(16, min(size // 2, 110)), 3)
    density = 1.0 + flow + 0.14 * grain + 0.75 * edge
    painted = pale - (pale - pale * pale) * (density - 1.0)[..., None]
    y, x = grid(size)
    border = np.minimum(np.minimum(x, 1.0 - x), np.minimum(y, 1.0 - y)) + 0.018 * shifted_noise(size, 9, rng)
    cover = smoothstep(0.015, 0.06, border)[..., None]
    paper = np.array([0.985, 0.975, 0.95], dtype=np.float32) + np.float32(0.018) * grain[..., None]
    out: np.ndarray = paper + (painted - paper) * (cover * np.float32(0.94))
    return out


def _bleed(picture: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Pull every pixel a little aside along smooth noise, so that straight edges wobble."""
    rows, columns = np.indices((size, size), sparse=True)
    pull = size * 0.011
    y = np.clip(rows + pull * shifted_noise(size, 16, rng) + 0.5, 0, size - 1).astype(np.int32)
    x = np.clip(columns + pull * shifted_noise(size, 16, rng) + 0.5, 0, size - 1).astype(np.int32)
    return picture[y, x]
