"""Skies: in the night sky, at sunset, at night, in the rain, in space."""

from __future__ import annotations

import numpy as np

from vqclip.world.backgrounds.canvas import Canvas, Color, toned, waves


def night_sky(canvas: Canvas) -> None:
    """Stars, now and then a moon."""
    rng = canvas.rng
    heights = ((0.0, (8, 10, 34)), (0.7, (20, 26, 74)), (1.0, (50, 44, 108)))
    canvas.gradient([(place, canvas.tint(color, 5.0)) for place, color in heights])
    for x, y in rng.random((3, 2)):
        canvas.glow(x, y, 0.3, (84, 74, 160), 0.4)
    if rng.random() < 0.5:
        x, y = rng.uniform(0.08, 0.92), rng.uniform(0.08, 0.22)
        canvas.glow(x, y, 0.24, (200, 206, 240), 0.6)
        canvas.disc(x, y, 0.06, (246, 243, 222))
    for x, y, size in rng.random((110, 3)):
        tone = int(170 + 85 * size)
        canvas.disc(x, y, 0.0035 + 0.0075 * size**3, (tone, tone, 235))
    for x, y, size in rng.random((7, 3)):
        reach = 0.02 + 0.02 * size
        canvas.line([(x - reach, y), (x + reach, y)], 0.007, (240, 240, 255))
        canvas.line([(x, y - reach), (x, y + reach)], 0.007, (240, 240, 255))
    canvas.mark_sky()


def sunset(canvas: Canvas) -> None:
    """A low sun over water."""
    rng = canvas.rng
    horizon = rng.uniform(0.66, 0.78)
    sky = ((0.0, (66, 38, 110)), (0.4, (190, 66, 110)), (0.75, (248, 130, 54)), (1.0, (255, 206, 92)))
    canvas.gradient([(place, canvas.tint(color)) for place, color in sky], 0.0, horizon)
    x, y = rng.uniform(0.15, 0.85), horizon - rng.uniform(0.0, 0.07)
    canvas.glow(x, y, 0.42, (255, 226, 120), 0.85)
    canvas.disc(x, y, rng.uniform(0.09, 0.13), (255, 242, 170))
    for cx, cy, wide in rng.random((8, 3)):
        streak = canvas.tint((244, 120, 96), 14.0)
        canvas.oval(cx, 0.06 + cy * (horizon - 0.2), 0.1 + 0.16 * wide, 0.012 + 0.012 * wide, streak)
    canvas.mark_sky(y1=horizon)
    canvas.gradient([(0, canvas.tint((150, 66, 74))), (1, canvas.tint((36, 22, 52)))], horizon, 1.0)
    for depth, shift, wide in rng.random((12, 3)):
        half = 0.02 + 0.07 * wide
        at = horizon + 0.012 + (1.0 - horizon) * depth
        canvas.oval(x + (shift - 0.5) * 0.14, at, half, 0.007, (255, 196, 104))


def night(canvas: Canvas) -> None:
    """A land in the dark: moon and stars, houses with lit windows, a lamp at the wayside."""
    rng = canvas.rng
    horizon = rng.uniform(0.56, 0.64)
    side = 1.0 if rng.random() < 0.5 else -1.0
    canvas.gradient([(0, canvas.tint((9, 13, 40), 4.0)), (1, canvas.tint((52, 66, 124), 6.0))], 0.0, horizon + 0.06)
    moon = (0.5 - side * rng.uniform(0.2, 0.36), rng.uniform(0.13, 0.22))
    canvas.glow(*moon, 0.3, (190, 200, 240), 0.6)
    canvas.disc(*moon, 0.075, (248, 244, 218))
    for dx, dy, radius in ((-0.02, -0.015, 0.016), (0.026, 0.01, 0.012), (-0.005, 0.032, 0.01)):
        canvas.disc(moon[0] + dx, moon[1] + dy, radius, (226, 220, 190))
    for x, y, size in rng.random((60, 3)):
        canvas.disc(x, y * horizon * 0.9, 0.0035 + 0.005 * size, (226, 230, 250))
    lamp = 0.5 + side * rng.uniform(0.36, 0.42)
    canvas.glow(lamp - 0.05 * side, 0.4, 0.16, (255, 222, 130), 0.8)
    canvas.mark_sky(y1=horizon + 0.06)
    canvas.ridge(waves(rng, 24, horizon - 0.05, (0.04, 0.025)), canvas.tint((30, 40, 82), 4.0))
    for slot in range(5):
        x = (slot + rng.uniform(0.25, 0.75)) / 5
        _cottage(canvas, x, horizon + 0.03, rng.uniform(0.07, 0.11))
    canvas.ridge(waves(rng, 24, horizon + 0.025, (0.015, 0.01)), canvas.tint((26, 52, 56), 4.0))
    canvas.gradient([(0, canvas.tint((26, 52, 56), 4.0)), (1, canvas.tint((10, 24, 32), 4.0))], horizon + 0.06, 1.0)
    for x, depth, lean in rng.random((40, 3)):
        y = horizon + 0.1 + (0.92 - horizon) * depth
        canvas.line([(x, y), (x + 0.02 * (lean - 0.5), y - 0.03)], 0.006, (44, 82, 78))
    _lamp(canvas, lamp, 0.84, side)


def _cottage(canvas: Canvas, x: float, foot: float, wide: float) -> None:
    """A dark house far away with lit windows."""
    wall = foot - 0.75 * wide
    canvas.box(x - wide / 2, wall, x + wide / 2, foot, (24, 26, 50))
    canvas.polygon([(x - 0.64 * wide, wall), (x, wall - 0.55 * wide), (x + 0.64 * wide, wall)], (16, 16, 36))
    for shift in (-0.22, 0.22):
        left = x + shift * wide
        canvas.box(left - 0.12 * wide, wall + 0.18 * wide, left + 0.12 * wide, wall + 0.46 * wide, (255, 214, 104))


def _lamp(canvas: Canvas, x: float, foot: float, side: float) -> None:
    """A street lamp and the light it throws on the ground."""
    top = foot - 0.46
    canvas.glow(x - 0.05 * side, foot, 0.2, (250, 214, 120), 0.45)
    canvas.line([(x, foot), (x, top), (x - 0.05 * side, top)], 0.013, (18, 20, 30))
    canvas.oval(x - 0.05 * side, top + 0.018, 0.024, 0.02, (255, 240, 180))


def rain(canvas: Canvas) -> None:
    """Dark clouds, slanting streaks, puddles with rings on wet ground."""
    rng = canvas.rng
    horizon = rng.uniform(0.5, 0.58)
    canvas.gradient([(0, canvas.tint((92, 104, 124), 6.0)), (1, canvas.tint((170, 182, 194), 6.0))], 0.0, horizon)
    for x, y, size in rng.random((11, 3)):
        tone = toned((66, 76, 94), 1.0, 34 * y)
        wide = 0.13 + 0.08 * size
        canvas.oval(x, 0.15 * y, wide, 0.45 * wide, tone)
    canvas.mark_sky(y1=horizon)
    canvas.ridge(waves(rng, 24, horizon - 0.07, (0.03, 0.02)), canvas.tint((122, 142, 146), 5.0))
    canvas.ridge(waves(rng, 24, horizon - 0.01, (0.02, 0.012)), canvas.tint((84, 112, 104), 5.0))
    ends = (canvas.tint((104, 120, 128), 5.0), canvas.tint((64, 78, 92), 5.0))
    canvas.gradient([(0, ends[0]), (1, ends[1])], horizon + 0.04, 1.0)
    for x, depth, wide in rng.random((9, 3)):
        y, half = horizon + 0.1 + (0.86 - horizon) * depth, (0.06 + 0.1 * wide) * (0.5 + depth)
        canvas.oval(x, y, half, 0.22 * half, (150, 170, 188))
        canvas.ring(x, y, 0.6 * half, 0.13 * half, 0.005, (206, 220, 230))
        canvas.ring(x, y, 0.28 * half, 0.06 * half, 0.005, (206, 220, 230))
    slant = rng.uniform(0.12, 0.34) * (1 if rng.random() < 0.5 else -1)
    for x, y, long in rng.random((150, 3)):
        long = 0.05 + 0.08 * long
        start = (1.4 * x - 0.2, 1.1 * y - 0.1)
        canvas.line([start, (start[0] - slant * long, start[1] + long)], 0.005, (204, 218, 232))
    for x, y, size in rng.random((26, 3)):
        at, reach = horizon + 0.1 + (0.88 - horizon) * y, 0.008 + 0.008 * size
        canvas.line([(x - reach, at - reach), (x, at), (x + reach, at - reach)], 0.005, (216, 228, 238))


def space(canvas: Canvas) -> None:
    """Black depth with coloured mist, small stars, a banded planet at one corner and a ringed one at another."""
    rng = canvas.rng
    canvas.gradient([(0, canvas.tint((7, 5, 18), 3.0)), (1, canvas.tint((14, 7, 32), 3.0))])
    mists = ((150, 40, 130), (40, 90, 170), (30, 140, 140), (120, 50, 180), (180, 70, 60))
    for x, y, tone, size in rng.random((6, 4)):
        canvas.glow(x, y, 0.22 + 0.22 * size, mists[int(5 * tone)], 0.5)
    for x, y, size, tone in rng.random((130, 4)):
        color = ((255, 255, 255), (255, 226, 170), (170, 200, 255))[int(3 * tone)]
        canvas.disc(x, y, 0.003 + 0.006 * size**4, color)
    left, high = rng.random(2) < 0.5
    colors = ((214, 120, 70), (80, 150, 210), (196, 160, 110), (110, 180, 140), (190, 90, 120))
    pick = rng.permutation(5)[:3]
    big = (rng.uniform(0.0, 0.08), rng.uniform(0.02, 0.12), rng.uniform(0.23, 0.3))
    x, y = big[0] if left else 1.0 - big[0], big[1] if high else 1.0 - big[1]
    _planet(canvas, x, y, big[2], canvas.tint(colors[pick[0]]))
    x, y = rng.uniform(0.82, 0.9), rng.uniform(0.82, 0.9)
    _ringed(canvas, x if left else 1.0 - x, y if high else 1.0 - y, rng.uniform(0.06, 0.08), colors[pick[1]])
    x, y = rng.uniform(0.8, 0.92), rng.uniform(0.06, 0.2)
    _planet(canvas, x if left else 1.0 - x, y if high else 1.0 - y, 0.035, canvas.tint(colors[pick[2]]), bands=0)


def _planet(canvas: Canvas, x: float, y: float, radius: float, color: Color, bands: int = 5) -> None:
    """A disc with bands across and a dark rim away from the light."""
    canvas.disc(x, y, radius, toned(color, 0.5))
    canvas.disc(x - 0.1 * radius, y - 0.1 * radius, 0.9 * radius, color)
    middle, reach = (x - 0.1 * radius, y - 0.1 * radius), 0.9 * radius
    for height, thick, tone in canvas.rng.random((bands, 3)):
        top = (1.7 * height - 0.9) * reach
        levels = np.linspace(top, min(top + (0.08 + 0.16 * thick) * reach, 0.97 * reach), 5)
        half = np.sqrt(reach**2 - levels**2)
        right = zip((middle[0] + half).tolist(), (middle[1] + levels).tolist(), strict=True)
        other = zip((middle[0] - half)[::-1].tolist(), (middle[1] + levels)[::-1].tolist(), strict=True)
        canvas.polygon([*right, *other], toned(color, 0.75 + 0.5 * tone))


def _ringed(canvas: Canvas, x: float, y: float, radius: float, color: Color) -> None:
    """A small planet with a ring around it."""
    ring = (226, 206, 160)
    canvas.ring(x, y, 1.9 * radius, 0.55 * radius, 0.014, ring)
    _planet(canvas, x, y, radius, color, bands=2)
    # the front half of the ring passes over the planet
    t = np.linspace(0.0, np.pi, 16)
    front = zip((x + 1.86 * radius * np.cos(t)).tolist(), (y + 0.5 * radius * np.sin(t)).tolist(), strict=True)
    canvas.line(list(front), 0.014, ring)
