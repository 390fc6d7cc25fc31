"""The plain shapes: coverage masks, drawn large once and then scaled and turned like glyphs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

MASK_SIDE = 256
_OVERSAMPLING = 4
_Point = tuple[float, float]


def _polygon(corners: int, start: float, radius: float = 0.5) -> list[_Point]:
    angles = np.deg2rad(start) + 2.0 * np.pi * np.arange(corners) / corners
    return [(0.5 + radius * float(np.cos(a)), 0.5 + radius * float(np.sin(a))) for a in angles]


def _star() -> list[_Point]:
    outer, inner = _polygon(5, -90.0), _polygon(5, -54.0, 0.2)
    return [point for pair in zip(outer, inner, strict=True) for point in pair]


def _draw_polygon(draw: ImageDraw.ImageDraw, side: int, points: list[_Point]) -> None:
    draw.polygon([(x * side, y * side) for x, y in points], fill=255)


def _box(side: int, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
    return (x0 * side, y0 * side, x1 * side - 1, y1 * side - 1)


def _circle(draw: ImageDraw.ImageDraw, side: int) -> None:
    draw.ellipse(_box(side, 0, 0, 1, 1), fill=255)


def _square(draw: ImageDraw.ImageDraw, side: int) -> None:
    draw.rectangle(_box(side, 0.06, 0.06, 0.94, 0.94), fill=255)


def _triangle(draw: ImageDraw.ImageDraw, side: int) -> None:
    _draw_polygon(draw, side, [(0.5, 0.05), (1.0, 0.93), (0.0, 0.93)])


def _star_shape(draw: ImageDraw.ImageDraw, side: int) -> None:
    _draw_polygon(draw, side, _star())


def _hexagon(draw: ImageDraw.ImageDraw, side: int) -> None:
    _draw_polygon(draw, side, _polygon(6, 0.0))


def _ring(draw: ImageDraw.ImageDraw, side: int) -> None:
    draw.ellipse(_box(side, 0, 0, 1, 1), fill=255)
    draw.ellipse(_box(side, 0.22, 0.22, 0.78, 0.78), fill=0)


def _cross(draw: ImageDraw.ImageDraw, side: int) -> None:
    draw.rectangle(_box(side, 0.34, 0.02, 0.66, 0.98), fill=255)
    draw.rectangle(_box(side, 0.02, 0.34, 0.98, 0.66), fill=255)


def _crescent(draw: ImageDraw.ImageDraw, side: int) -> None:
    draw.ellipse(_box(side, 0.02, 0.02, 0.98, 0.98), fill=255)
    draw.ellipse(_box(side, 0.3, -0.02, 1.14, 0.82), fill=0)


def _stripes(draw: ImageDraw.ImageDraw, side: int) -> None:
    for row in range(5):
        draw.rectangle(_box(side, 0, row / 4.5, 1, row / 4.5 + 1 / 9), fill=255)


def _checkerboard(draw: ImageDraw.ImageDraw, side: int) -> None:
    for row in range(6):
        for column in range(row % 2, 6, 2):
            draw.rectangle(_box(side, column / 6, row / 6, (column + 1) / 6, (row + 1) / 6), fill=255)


def _polka_dots(draw: ImageDraw.ImageDraw, side: int) -> None:
    for row in range(5):
        for column in range(5 - row % 2):
            x, y = (column + 0.5 + 0.5 * (row % 2)) / 5, (row + 0.5) / 5
            draw.ellipse(_box(side, x - 0.066, y - 0.066, x + 0.066, y + 0.066), fill=255)


def _spiral(draw: ImageDraw.ImageDraw, side: int) -> None:
    turn = np.linspace(0.0, 1.0, 420)
    angle, radius = 2.0 * np.pi * 2.9 * turn, 0.445 * turn
    dot = 0.05 * side
    for x, y in zip(side * (0.5 + radius * np.cos(angle)), side * (0.5 + radius * np.sin(angle)), strict=True):
        draw.ellipse((x - dot, y - dot, x + dot, y + dot), fill=255)


SHAPES: dict[str, Callable[[ImageDraw.ImageDraw, int], None]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star shape": _star_shape,
    "hexagon": _hexagon,
    "ring": _ring,
    "cross": _cross,
    "crescent": _crescent,
    "stripes": _stripes,
    "checkerboard": _checkerboard,
    "polka dots": _polka_dots,
    "spiral": _spiral,
}


def shape_mask(name: str) -> Image.Image:
    """The anti-aliased coverage of a shape: an L picture of MASK_SIDE x MASK_SIDE."""
    side = MASK_SIDE * _OVERSAMPLING
    mask = Image.new("L", (side, side))
    SHAPES[name](ImageDraw.Draw(mask), side)
    return mask.reduce(_OVERSAMPLING)
