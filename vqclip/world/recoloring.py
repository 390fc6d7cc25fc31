"""Giving a drawing another main color, as in "a blue cat": its shading stays, eyes and small parts keep theirs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vqclip.world.fields import LUMA, smoothstep

# chroma below which a pixel counts as gray, and the least share of colored ink that makes a color the main one
_GRAY, _COLORED = 0.12, 0.2
_BINS = 36  # of hues around the circle
# how far from the main hue, in degrees, a pixel still takes the new color wholly, and from where on not at all
_NEAR, _FAR = 45.0, 80.0


def recolor(pixels: np.ndarray, color: Sequence[int]) -> np.ndarray:
    """Return a drawing (H, W, 4) uint8, premultiplied, with its main color turned into `color` (r, g, b).

    The main color of a drawing is the hue that most of its ink has, or gray if hardly any is colored. Brighter and
    darker parts of it become brighter and darker parts of the new color; black lines and white eyes stay.
    """
    alpha = pixels[..., 3:].astype(np.float32) / 255
    rgb = np.where(alpha > 0, pixels[..., :3].astype(np.float32) / 255 / np.maximum(alpha, 1 / 255), 0.0).clip(0, 1)
    weight = _belonging(rgb, alpha[..., 0])
    bright = rgb @ LUMA
    total = float((weight * alpha[..., 0]).sum())
    if total <= 0:
        return pixels
    usual = float((bright * weight * alpha[..., 0]).sum()) / total
    tinted = _shaded(np.asarray(color, dtype=np.float32) / 255, bright, max(usual, 0.05))
    mixed = rgb + weight[..., None] * (tinted - rgb)
    return np.concatenate([mixed * alpha * 255 + 0.5, pixels[..., 3:]], axis=2).astype(np.uint8)


def _belonging(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return how much each pixel (H, W) belongs to the main color, 0..1."""
    high, low = rgb.max(-1), rgb.min(-1)
    chroma = high - low
    hue = hues(rgb)
    strength = chroma * alpha * (chroma > _GRAY)
    bright = rgb @ LUMA
    if (alpha * (chroma > _GRAY)).sum() < _COLORED * max(alpha.sum(), 1e-6):
        # gray, black or white all over: everything but the darkest lines and the purest white takes the color
        dark = float(np.average(bright, weights=alpha + 1e-9))
        edge = 0.06 if dark < 0.35 else 0.16
        kept = smoothstep(0.0, edge, bright)
        out: np.ndarray = (kept if dark > 0.85 else kept * (1 - smoothstep(0.97, 1.0, bright))) * (
            1 - smoothstep(0.2, 0.4, chroma)
        )
        return out
    counts = np.bincount((hue / 360 * _BINS).astype(int).ravel() % _BINS, strength.ravel(), minlength=_BINS)
    smooth = counts + 0.5 * (np.roll(counts, 1) + np.roll(counts, -1))
    main = (int(smooth.argmax()) + 0.5) * 360 / _BINS
    away = np.abs((hue - main + 180) % 360 - 180)
    out = (1 - smoothstep(_NEAR, _FAR, away)) * smoothstep(0.04, _GRAY, chroma)
    return out


def hues(rgb: np.ndarray) -> np.ndarray:
    """Return the hue (H, W) of colors (H, W, 3) in degrees, 0 for gray."""
    high, low = rgb.max(-1), rgb.min(-1)
    chroma = np.maximum(high - low, 1e-6)
    red, green, blue = (rgb[..., k] for k in range(3))
    others = np.where(high == green, (blue - red) / chroma + 2, (red - green) / chroma + 4)
    sector = np.where(high == red, (green - blue) / chroma % 6, others)
    out: np.ndarray = sector * 60 * (high > low)
    return out


def _shaded(color: np.ndarray, bright: np.ndarray, usual: float) -> np.ndarray:
    """Return `color` as bright as each pixel is, compared with how bright the main color usually is."""
    ratio = bright / usual
    darker = color * np.minimum(ratio, 1.0)[..., None]
    room = np.clip((bright - usual) / max(1.0 - usual, 0.05), 0.0, 1.0)[..., None]
    # highlights go to white by half at most, or a black thing would turn gray
    return darker + (1.0 - darker) * room * (0.6 if float(color @ LUMA) > 0.2 else 0.25)
