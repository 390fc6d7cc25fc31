"""Small image tools shared by landscapes and styles: noise, orientation, contours, resizing.

Everything that has a length takes it as a fraction of the picture's side, so that a scene looks alike at every size.
Arrays are float32; pictures are (size, size, 3) in 0..1, fields (size, size).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_PAD = 4  # cells repeated on each side, so that the field has no seam


def to_image(picture: np.ndarray) -> Image.Image:
    """A PIL picture (RGB or L) of a float array in 0..1; values outside are clipped."""
    return Image.fromarray((np.clip(picture, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))


def to_array(image: Image.Image) -> np.ndarray:
    """The float32 array in 0..1 of a PIL picture."""
    out: np.ndarray = np.asarray(image, dtype=np.float32) * np.float32(1 / 255)
    return out


def luma(picture: np.ndarray) -> np.ndarray:
    """Brightness (size, size) of a picture (ITU-R BT.601 weights)."""
    return picture @ LUMA


def resize_field(field: np.ndarray, size: int, resample: int = Image.Resampling.BICUBIC) -> np.ndarray:
    """Resize a float32 field to (size, size) without rounding."""
    if field.shape[0] == size:
        return field
    return np.asarray(Image.fromarray(np.ascontiguousarray(field, dtype=np.float32)).resize((size, size), resample))


def resize_picture(picture: np.ndarray, size: int, resample: int = Image.Resampling.BICUBIC) -> np.ndarray:
    """Resize a picture to (size, size, 3), rounding to 8 bits on the way."""
    if picture.shape[0] == size:
        return picture
    return to_array(to_image(picture).resize((size, size), resample))


def blur(picture: np.ndarray, radius: float) -> np.ndarray:
    """Gaussian blur of a picture or field in 0..1; `radius` (sigma) is a fraction of the side."""
    pixels = radius * picture.shape[0]
    if pixels < 0.2:
        return picture
    return to_array(to_image(picture).filter(ImageFilter.GaussianBlur(pixels)))


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, a smooth cubic between."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


@lru_cache(maxsize=256)
def noise(size: int, cells: int, variant: int = 0) -> np.ndarray:
    """Tileable smooth value noise with `cells` bumps per side: (size, size), mean 0, standard deviation 1."""
    grid = np.random.default_rng((variant, cells, 7)).random((cells, cells), dtype=np.float32)
    padded = Image.fromarray(np.pad(grid, _PAD, mode="wrap"))
    box = (_PAD, _PAD, _PAD + cells, _PAD + cells)
    field = np.array(padded.resize((size, size), Image.Resampling.BICUBIC, box=box))
    field -= field.mean()
    field /= max(float(field.std()), 1e-6)
    field.setflags(write=False)
    return field


def shifted_noise(size: int, cells: int, rng: np.random.Generator, variants: int = 4) -> np.ndarray:
    """Noise rolled by a random offset: fresh-looking at the price of a copy."""
    field = noise(size, cells, int(rng.integers(variants)))
    shift = (int(rng.random() * size), int(rng.random() * size))
    return np.roll(field, shift, axis=(0, 1))


@lru_cache(maxsize=32)
def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel-centre coordinates (y, x) in 0..1, each (size, size)."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    y, x = np.meshgrid(axis, axis, indexing="ij")
    y.setflags(write=False)
    x.setflags(write=False)
    return y, x


def saturate(picture: np.ndarray, amount: float) -> np.ndarray:
    """Move colours away from (amount > 1) or to (amount < 1) their grey of equal brightness."""
    grey = luma(picture)[..., None]
    out: np.ndarray = grey + (picture - grey) * np.float32(amount)
    return out


def gradient(field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central differences (d/dy, d/dx) with repeated borders, for (h, w) or (h, w, c)."""
    dy = np.empty_like(field)
    dx = np.empty_like(field)
    dy[1:-1] = field[2:] - field[:-2]
    dy[0] = field[1] - field[0]
    dy[-1] = field[-1] - field[-2]
    dx[:, 1:-1] = field[:, 2:] - field[:, :-2]
    dx[:, 0] = field[:, 1] - field[:, 0]
    dx[:, -1] = field[:, -1] - field[:, -2]
    return dy, dx


def contours(picture: np.ndarray, matte: np.ndarray | None = None, width: float = 0.014) -> np.ndarray:
    """Edge strength, about 0..1, (size, size): the largest colour difference over `width` of the side.

    Works on at most 128 pixels a side. `matte` (the subject's coverage) makes the silhouette count as an edge.
    """
    size = picture.shape[0]
    work = min(size, 128)
    small = blur(resize_picture(picture, work, Image.Resampling.BOX), 0.5 * width)
    dy, dx = gradient(small)
    strength = np.sqrt(dy * dy + dx * dx).max(axis=-1)
    if matte is not None:
        outline = blur(resize_field(matte, work, Image.Resampling.BOX), 0.5 * width)
        oy, ox = gradient(outline)
        strength = np.maximum(strength, 0.6 * np.sqrt(oy * oy + ox * ox))
    # a difference over two pixels shrinks as pixels get finer
    return resize_field(strength * np.float32((work / 64.0) ** 0.75), size)


def orientation(picture: np.ndarray, cells: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Direction along contours as a doubled-angle vector (cos 2a, sin 2a) scaled by its coherence 0..1.

    The smoothed structure tensor (Bigün & Granlund 1987), computed on `cells` x `cells` and enlarged.
    """
    size = picture.shape[0]
    small = resize_picture(picture, cells, Image.Resampling.BOX)
    dy, dx = gradient(small)
    parts = ((dx * dx).sum(-1), (dy * dy).sum(-1), (dx * dy).sum(-1))
    xx, yy, xy = (resize_field(resize_field(part, cells // 2, Image.Resampling.BILINEAR), size) for part in parts)
    scale = 1.0 / (np.sqrt((xx - yy) ** 2 + 4.0 * xy * xy) + 0.004)
    # the tensor's main direction is across the edge: half a turn of the doubled angle is a quarter turn
    return (yy - xx) * scale, -2.0 * xy * scale


def swirls(size: int, cells: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A field of eddies as a doubled-angle unit vector: the direction along the level lines of smooth noise."""
    potential = shifted_noise(size, cells, rng)
    dy, dx = gradient(potential)
    norm = 1.0 / (dx * dx + dy * dy + 1e-9)
    # direction (-dy, dx) -> doubled angle
    return (dy * dy - dx * dx) * norm, -2.0 * dx * dy * norm


def line_integral(cos2: np.ndarray, sin2: np.ndarray, values: np.ndarray, length: float, steps: int) -> np.ndarray:
    """Average `values` (size, size, c) along the direction field: line integral convolution (Cabral & Leedom 1993).

    The field is a doubled-angle vector; `length` is half a stroke as a fraction of the side, in `steps` steps.
    """
    size = cos2.shape[0]
    angle = 0.5 * np.arctan2(sin2, cos2)
    packed = np.concatenate([np.cos(angle)[..., None], np.sin(angle)[..., None], values], axis=-1)
    packed = np.ascontiguousarray(packed.reshape(size * size, -1), dtype=np.float32)
    total = packed[:, 2:].copy()
    y0, x0 = (axis.ravel() * np.float32(size) for axis in grid(size))
    for sign in (1.0, -1.0):
        _trace(packed, total, (y0, x0), sign, np.float32(length * size / steps), steps)
    out: np.ndarray = (total / (2 * steps + 1)).reshape(values.shape)
    return out


def _trace(
    packed: np.ndarray, total: np.ndarray, start: tuple[np.ndarray, np.ndarray], sign: float, step: float, steps: int
) -> None:
    """Follow the field from `start` in one direction, adding what is met to `total`."""
    size = round(np.sqrt(len(packed)))
    y, x = start
    ux, uy = packed[:, 0] * np.float32(sign), packed[:, 1] * np.float32(sign)
    for _ in range(steps):
        x = np.clip(x + ux * step, 0.0, size - 0.01)
        y = np.clip(y + uy * step, 0.0, size - 0.01)
        here = packed.take(y.astype(np.int32) * size + x.astype(np.int32), axis=0)
        # a direction field has no sign: keep walking forwards
        turn = np.where(here[:, 0] * ux + here[:, 1] * uy < 0, np.float32(-1), np.float32(1))
        ux, uy = here[:, 0] * turn, here[:, 1] * turn
        total += here[:, 2:]
