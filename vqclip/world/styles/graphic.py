"""Flat colour: pixel art, pop art, cartoon."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from vqclip.world.fields import (
    contours,
    grid,
    luma,
    resize_field,
    resize_picture,
    saturate,
    smoothstep,
    to_array,
    to_image,
)
from vqclip.world.styles.context import StyleContext


def limited_palette(picture: np.ndarray, matte: np.ndarray | None, colors: int) -> Image.Image:
    """A palette of `colors` colours (maximum coverage, then k-means), half of them the subject's if `matte` is known.

    A palette of the whole picture follows area, and would paint a small red head in the brown of the houses behind.
    """
    work = min(picture.shape[0], 64)
    pixels = np.asarray(to_image(picture).resize((work, work), Image.Resampling.BOX)).reshape(-1, 3)
    if matte is None:
        return _few_colors(pixels, colors)
    inside = resize_field(matte, work, Image.Resampling.BOX).ravel() > 0.6
    if inside.sum() < colors or (~inside).sum() < colors:
        return _few_colors(pixels, colors)
    palette = Image.new("P", (1, 1))
    parts = (_few_colors(pixels[inside], (colors + 1) // 2), _few_colors(pixels[~inside], colors // 2))
    entries = [value for part in parts for value in part.getpalette("RGB") or ()]
    # PIL fills a short palette up with black, so the spare places repeat the last colour
    palette.putpalette(entries + entries[-3:] * (256 - len(entries) // 3))
    return palette


def _few_colors(pixels: np.ndarray, colors: int) -> Image.Image:
    """A P picture whose palette covers the colours of `pixels` (n, 3), moved to the clusters' means."""
    row = Image.fromarray(np.ascontiguousarray(pixels[None]))
    return row.quantize(colors, method=Image.Quantize.MAXCOVERAGE, kmeans=2)


def flatten(picture: np.ndarray, palette: Image.Image) -> Image.Image:
    """The picture in the colours of `palette` only, without dithering (RGB)."""
    return to_image(picture).quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB")


def pixel_art(picture: np.ndarray, context: StyleContext) -> np.ndarray:
    """A dozen colours on a coarse square grid."""
    vivid = np.clip((saturate(picture, 1.3) - 0.5) * np.float32(1.15) + 0.5, 0.0, 1.0)
    small = resize_picture(vivid, 26, Image.Resampling.BOX)
    flat = flatten(small, limited_palette(vivid, context.matte, 14))
    return to_array(flat.resize((context.size, context.size), Image.Resampling.NEAREST))


def cartoon(picture: np.ndarray, context: StyleContext) -> np.ndarray:
    """A few flat bright colours inside bold dark outlines."""
    smooth = to_image(saturate(picture, 1.35) * 1.06).filter(ImageFilter.MedianFilter(3 if context.size < 96 else 5))
    colors = to_array(smooth)
    flat = to_array(flatten(colors, limited_palette(colors, context.matte, 16)))
    outline = smoothstep(0.2, 0.36, contours(picture, context.matte, 0.022))
    ink = np.array([0.05, 0.04, 0.08], dtype=np.float32)
    out: np.ndarray = flat + (ink - flat) * outline[..., None]
    return out


def pop_art(picture: np.ndarray, context: StyleContext) -> np.ndarray:
    """Posterised loud colours, halftone dots on the middle tones, a dark outline."""
    size, rng = context.size, context.rng
    loud = np.clip((saturate(picture, 1.9) - 0.5) * np.float32(1.5) + 0.56, 0.0, 1.0)
    flat = np.round(loud * 2.0) * np.float32(0.5)
    flat = flat * np.float32(0.94) + np.array([0.06, 0.0, 0.04], dtype=np.float32)
    tone = luma(picture)
    y, x = grid(size)
    lines = 17.0
    u, v = (x + y) * np.float32(0.7071), (x - y) * np.float32(0.7071)
    phase = rng.uniform(0.0, 2.0 * np.pi, 2)
    wave = np.cos(2.0 * np.pi * lines * u + phase[0]) + np.cos(2.0 * np.pi * lines * v + phase[1])
    # printed dots: bigger where the picture is darker
    sharp = np.float32(max(1.5, size / 48.0))
    dots = np.clip((wave * 0.5 + 0.62 - 1.15 * tone) * sharp + 0.3, 0.0, 1.0)
    second = _second_ink(flat)
    color = flat + (second - flat) * (0.85 * dots)[..., None]
    outline = smoothstep(0.24, 0.42, contours(picture, context.matte, 0.018))[..., None]
    out: np.ndarray = color * (1.0 - outline) + np.float32(0.03) * outline
    return out


def _second_ink(flat: np.ndarray) -> np.ndarray:
    """The ink the dots are printed in: magenta on light and warm colours, cyan-blue on the rest."""
    pink = np.array([0.95, 0.1, 0.5], dtype=np.float32)
    blue = np.array([0.1, 0.25, 0.85], dtype=np.float32)
    share = smoothstep(-0.15, 0.15, flat[..., 0] - flat[..., 2])[..., None]
    out: np.ndarray = blue + (pink - blue) * share
    return out
