"""Lines and light on paper or black: pencil sketch, charcoal, woodcut, neon."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vqclip.world.fields import (
    blur,
    contours,
    grid,
    line_integral,
    luma,
    noise,
    orientation,
    resize_field,
    saturate,
    shifted_noise,
    smoothstep,
)
from vqclip.world.styles.context import StyleContext


def _tones(picture: np.ndarray) -> np.ndarray:
    """Brightness stretched to the full range of 0..1, so that dim pictures draw as well as bright ones."""
    tone = luma(picture)
    small = resize_field(tone, 32, Image.Resampling.BOX)
    low, high = np.percentile(small, (3, 97))
    low, high = min(float(low), 0.18), max(float(high), 0.65)
    return np.clip((tone - low) / (high - low), 0.0, 1.0)


def _hatching(size: int, angle: float, lines: float, wobble: np.ndarray) -> np.ndarray:
    """Parallel lines across the picture as a wave in 0..1 (`lines` per side), bent a little by `wobble`."""
    y, x = grid(size)
    across = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    out: np.ndarray = 0.5 + 0.5 * np.cos(np.float32(2.0 * np.pi * lines) * (across + np.float32(0.008) * wobble))
    return out


def pencil_sketch(picture: np.ndarray, context: StyleContext) -> np.ndarray:
    """Grey contours and hatching on white paper: darker tones get a second and denser layer of lines."""
    size, rng = context.size, context.rng
    tone = _tones(picture)
    wobble = shifted_noise(size, 12, rng)
    slope = 0.78 + rng.normal(0.0, 0.1)
    first = _hatching(size, slope, 19.0, wobble)
    second = _hatching(size, slope + 0.65, 21.0, wobble)
    dark = 1.0 - tone
    ink = smoothstep(0.2, 0.85, dark) * 0.4 * first
    ink = np.maximum(ink, smoothstep(0.6, 1.0, dark) * 0.5 * second) + 0.16 * dark * dark
    line = smoothstep(0.14, 0.42, contours(picture, context.matte, 0.012))
    pressure = 0.86 + 0.1 * shifted_noise(size, 22, rng)
    grain = noise(size, min(size, 128), 2)
    paper = 0.975 - 0.012 * np.abs(grain)
    drawn = paper - np.maximum(ink * (0.9 + 0.1 * grain), 0.78 * line * pressure)
    out: np.ndarray = drawn[..., None] * np.array([1.0, 1.0, 0.995], dtype=np.float32)
    return out


def charcoal(picture: np.ndarray, context: StyleContext) -> np.ndarray:
    """Soft broad dark strokes, smudged, on rough toned paper whose tooth stays light."""
    size, rng = context.size, context.rng
    soft = blur(picture, 0.012)
    tone = _tones(soft)
    rub = shifted_noise(size, 30, rng)
    slope = rng.uniform(-0.2, 0.2) + 0.9
    cos2, sin2 = orientation(picture)
    cos2, sin2 = cos2 + 0.5 * np.float32(np.cos(2 * slope)), sin2 + 0.5 * np.float32(np.sin(2 * slope))
    strokes = line_integral(cos2, sin2, rub[..., None], 0.06, 4)[..., 0] * 2.0
    dark = smoothstep(0.05, 1.1, 1.0 - tone) * 0.7 + 0.1
    dark = dark * (1.0 + 0.22 * strokes)
    line = blur(smoothstep(0.12, 0.38, contours(picture, context.matte, 0.02)), 0.005)
    tooth = noise(size, max(16, min(size, 150)), 5)
    ink = np.maximum(dark, line) + 0.06 * tooth
    smudge = 0.06 * shifted_noise(size, 4, rng)
    drawn = 0.88 - 0.86 * np.clip(ink + smudge, 0.0, 1.0)
    out: np.ndarray = drawn[..., None] * np.array([1.0, 0.975, 0.94], dtype=np.float32)
    return out


def woodcut(picture: np.ndarray, context: StyleContext) -> np.ndarray:
    """Black and white only: carved lines that swell with the light and bend with the form, solid black contours."""
    size, rng = context.size, context.rng
    tone = _tones(blur(picture, 0.006))
    y, x = grid(size)
    relief = blur(tone, 0.03)
    lines = 17.0
    bend = 0.05 * (relief - 0.5) + 0.006 * shifted_noise(size, 8, rng)
    tilt = np.float32(rng.normal(0.0, 0.12))
    wave = 0.5 + 0.5 * np.cos(2.0 * np.pi * lines * (y + tilt * x + bend))
    # full white above 0.8 and full black below 0.15; between them the carved line grows
    light = np.clip((tone - 0.12) / 0.7, 0.0, 1.0) * 1.2 - 0.1
    sharp = np.float32(max(3.0, size / 20.0))
    white = np.clip((light - wave) * sharp + 0.5, 0.0, 1.0)
    edge = contours(picture, context.matte, 0.014)
    line = smoothstep(0.2, 0.36, edge)
    white = white * (1.0 - line)
    if context.matte is not None:
        # a carved white rim lifts dark subjects off black ground
        outer = blur(context.matte, 0.02)
        rim = smoothstep(0.06, 0.2, outer) * (1.0 - smoothstep(0.3, 0.5, outer))
        white = np.maximum(white, rim)
    out: np.ndarray = (0.04 + 0.93 * white)[..., None] * np.array([1.0, 0.99, 0.96], dtype=np.float32)
    return out


def neon(picture: np.ndarray, context: StyleContext) -> np.ndarray:
    """Glowing outlines in bright colours on black, white-hot in the middle of the tube."""
    edge = contours(picture, context.matte, 0.016)
    tube = smoothstep(0.17, 0.45, edge)
    color = blur(picture, 0.025)
    color = color - 0.75 * color.min(axis=-1, keepdims=True)
    peak = color.max(axis=-1, keepdims=True)
    # greys have no colour of their own to shine in: give them the sign-maker's blue
    gas = np.array([0.25, 0.65, 1.0], dtype=np.float32)
    share = smoothstep(0.04, 0.2, peak)
    color = gas + (color / np.maximum(peak, 0.05) - gas) * share
    color = saturate(color, 1.5)
    color = np.clip(color, 0.08, 1.0)
    light = color * tube[..., None]
    glow = blur(light, 0.02) * np.float32(0.9) + blur(light, 0.07) * np.float32(0.7)
    core = smoothstep(0.5, 0.95, edge)[..., None] * np.float32(0.45)
    out: np.ndarray = np.float32(0.015) + light * (1.0 - core) + core + glow
    return out
