"""Laying drawings over a ground: pyramids of scaled drawings, placing, shadow and halo, light, colors."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from PIL import Image

from vqclip.world.fields import blur, luma, resize_field, resize_picture


def pyramid(picture: Image.Image) -> list[Image.Image]:
    """A square picture at half-octave steps, largest first, with a transparent margin of 1/8 on every side."""
    side = math.ceil(max(picture.size) * 1.25)
    square = Image.new(picture.mode, (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    levels = [square]
    while levels[-1].width > 28:
        edge = round(side / 2 ** (len(levels) / 2))
        levels.append(square.resize((edge, edge), Image.Resampling.LANCZOS))
    return levels


class Placed(Protocol):
    """Where a drawing lies, in sides of the picture."""

    @property
    def x(self) -> float:
        """Centre from the left, 0..1."""

    @property
    def y(self) -> float:
        """Centre from the top, 0..1."""

    @property
    def scale(self) -> float:
        """Longest side."""

    @property
    def angle(self) -> float:
        """Degrees counter-clockwise."""

    @property
    def flip(self) -> bool:
        """Whether it is mirrored."""


class Lit(Protocol):
    """The light of a whole picture: factors around 1, and warmth in -1..1."""

    @property
    def brightness(self) -> float:
        """Factor of everything."""

    @property
    def contrast(self) -> float:
        """Factor around middle gray."""

    @property
    def warmth(self) -> float:
        """From blue, -1, to red, 1."""

    @property
    def saturation(self) -> float:
        """Factor of colors."""


def place(levels: list[Image.Image], scene: Placed, size: int) -> Image.Image:
    """Scale, turn and flip the fitting pyramid level onto an empty (size, size) picture."""
    wanted = scene.scale * size * 1.25
    level = next((one for one in reversed(levels) if one.width >= wanted), levels[0])
    ratio = level.width / wanted
    angle = math.radians(scene.angle)
    cos, sin = math.cos(angle) * ratio, math.sin(angle) * ratio
    mirror = -1.0 if scene.flip else 1.0
    cx, cy, half = scene.x * size, scene.y * size, level.width / 2
    # the inverse map: picture pixel -> glyph pixel
    a, b, d, e = mirror * cos, -mirror * sin, sin, cos
    matrix = (a, b, half - a * cx - b * cy, d, e, half - d * cx - e * cy)
    return level.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


def rotate_hue(color: np.ndarray, degrees: float) -> np.ndarray:
    """Turn colours about the grey axis (linear, so it works on premultiplied colours too)."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    third, root = (1.0 - cos) / 3.0, sin / math.sqrt(3.0)
    matrix = np.full((3, 3), third) + cos * np.eye(3)
    matrix += root * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    out: np.ndarray = color @ matrix.T.astype(np.float32)
    return out


def compose(picture: np.ndarray, color: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """Lay the object over the ground with a soft shadow, and a halo where the two would be hard to tell apart."""
    alpha = coverage[..., None]
    near = blur(coverage, 0.03)
    shadow = np.roll(near, (picture.shape[0] // 40, picture.shape[0] // 60), axis=(0, 1))
    lit = picture * (1.0 - np.float32(0.22) * (shadow * (1.0 - coverage))[..., None])
    strength, tone = _halo(picture, color, coverage, near)
    if strength > 0.02:
        ring = np.clip(near * 2.2, 0.0, 1.0) * (1.0 - coverage) * np.float32(strength)
        lit = lit + (tone - lit) * ring[..., None]
    out: np.ndarray = lit * (1.0 - alpha) + color
    return out


def _halo(picture: np.ndarray, color: np.ndarray, coverage: np.ndarray, near: np.ndarray) -> tuple[float, np.float32]:
    """How strong a halo the object needs (0..1) and its tone, from the colours on both sides of its rim."""
    work = 32
    rim = resize_field(near * (1.0 - near) * 4.0, work, Image.Resampling.BOX)
    inside = resize_picture(color, work, Image.Resampling.BOX)
    cover = resize_field(coverage, work, Image.Resampling.BOX)
    outside = resize_picture(picture, work, Image.Resampling.BOX)
    weight = rim * (cover > 0.4)
    total = float(weight.sum()) + 1e-6
    apart = inside / np.maximum(cover, 0.4)[..., None] - outside
    # brightness tells forms apart better than colour does
    distance = np.abs(luma(apart)) + 0.25 * np.abs(apart).max(axis=-1)
    difference = float((distance * weight).sum()) / total
    behind = float((luma(outside) * weight).sum()) / total
    # against light grounds a dark line reads, against dark and middling ones a light one
    tone = np.float32(0.16 if behind > 0.6 else 0.97)
    return float(np.clip((0.36 - difference) / 0.26, 0.0, 0.7)), tone


def light(picture: np.ndarray, scene: Lit) -> np.ndarray:
    """Brightness, contrast, warmth and saturation of the whole picture."""
    warm = np.array([1.0 + 0.07 * scene.warmth, 1.0, 1.0 - 0.09 * scene.warmth], dtype=np.float32)
    gain = warm * np.float32(scene.brightness * scene.contrast)
    offset = np.float32(0.5 * (1.0 - scene.contrast))
    lit = picture * gain + offset
    grey = luma(lit)[..., None]
    out: np.ndarray = grey + (lit - grey) * np.float32(scene.saturation)
    return out
