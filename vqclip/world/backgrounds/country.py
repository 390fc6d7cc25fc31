"""Tended land: in a garden, on a farm."""

from __future__ import annotations

import numpy as np

from vqclip.world.backgrounds.canvas import Canvas, Color, clouds, toned, waves

_PETALS = ((230, 60, 70), (250, 200, 60), (240, 120, 180), (250, 250, 246), (150, 90, 200), (250, 140, 60))


def garden(canvas: Canvas) -> None:
    """A mown lawn between flower beds, a white picket fence and a hedge behind."""
    rng = canvas.rng
    fence = rng.uniform(0.52, 0.57)
    canvas.gradient([(0, canvas.tint((104, 184, 240))), (1, canvas.tint((214, 238, 250)))], 0.0, fence)
    clouds(canvas, int(rng.integers(0, 3)), 0.16, (250, 252, 254))
    canvas.mark_sky(y1=fence)
    for back, tone in ((True, (70, 138, 74)), (False, (44, 112, 58))):
        base, green = fence - (0.1 if back else 0.03), canvas.tint(tone, 6.0)
        canvas.box(0.0, base, 1.0, fence + 0.04, green)
        for slot in range(9):
            x, radius = (slot + rng.uniform(0.2, 0.8)) / 9, rng.uniform(0.07, 0.11)
            canvas.disc(x, base + 0.02, radius * (1.2 if back else 0.8), green)
    if rng.random() < 0.45:
        side = 1.0 if rng.random() < 0.5 else -1.0
        _fruit_tree(canvas, 0.5 + side * rng.uniform(0.3, 0.42), fence + 0.03)
    _pickets(canvas, fence)
    lawn = canvas.tint((112, 184, 72), 8.0)
    canvas.box(0.0, fence + 0.05, 1.0, 1.0, lawn)
    light = toned(lawn, 1.0, 16)
    for k in range(-4, 4):
        near, far = 0.5 + 0.34 * np.array([k, k + 0.5]), 0.5 + 0.15 * np.array([k, k + 0.5])
        canvas.polygon([(far[0], fence + 0.05), (far[1], fence + 0.05), (near[1], 1.0), (near[0], 1.0)], light)
    if rng.random() < 0.5:
        _stepping_stones(canvas, fence + 0.1, rng.uniform(0.36, 0.64))
    _flower_bed(canvas, fence + 0.06, 0.0, 1.0, 26, 0.016)
    for x0, x1 in ((-0.02, 0.17), (0.83, 1.02)):
        canvas.polygon(
            [(x0 if x0 < 0.5 else x0 + 0.07, fence + 0.08), (x1 - 0.07 if x0 < 0.5 else x1, fence + 0.08), (x1, 1.0),
             (x0, 1.0)], (112, 78, 52)
        )  # fmt: skip
        for y in np.linspace(fence + 0.14, 0.97, 6):
            inner = x1 - 0.04 if x0 < 0.5 else x1
            _flower_bed(canvas, float(y), x0 if x0 < 0.5 else x0 + 0.04, inner, 4, 0.026)


def _pickets(canvas: Canvas, y: float) -> None:
    """A fence of boards with pointed tops, white or of bare wood."""
    white, shade = (250, 250, 246), (206, 210, 212)
    if canvas.rng.random() < 0.3:
        white, shade = (196, 150, 100), (150, 110, 70)
    for rail in (-0.03, 0.03):
        canvas.box(0.0, y + rail, 1.0, y + rail + 0.018, shade)
    for k in range(17):
        x = k / 16.5 + 0.004
        top, foot = y - 0.07, y + 0.075
        canvas.polygon([(x, foot), (x, top), (x + 0.019, top - 0.025), (x + 0.038, top), (x + 0.038, foot)], white)


def _fruit_tree(canvas: Canvas, x: float, foot: float) -> None:
    """A round tree with red or yellow fruit."""
    canvas.line([(x, foot), (x, foot - 0.24)], 0.035, (112, 78, 50))
    green = canvas.tint((66, 148, 66), 8.0)
    for dx, dy, radius in ((-0.07, -0.2, 0.085), (0.07, -0.2, 0.085), (0.0, -0.28, 0.1)):
        canvas.disc(x + dx, foot + dy, radius, green)
    fruit = (214, 50, 50) if canvas.rng.random() < 0.6 else (250, 196, 60)
    for dx, dy in canvas.rng.random((9, 2)):
        canvas.disc(x + 0.22 * (dx - 0.5), foot - 0.15 - 0.19 * dy, 0.014, fruit)


def _stepping_stones(canvas: Canvas, top: float, aim: float) -> None:
    """Flat stones in the grass, from the front to the fence."""
    stone = canvas.tint((186, 182, 172), 6.0)
    for share in (0.0, 0.14, 0.32, 0.56, 0.9):
        y, half = top + (0.98 - top) * share, 0.035 + 0.05 * share
        x = aim + (0.5 - aim) * share + 0.03 * (canvas.rng.random() - 0.5)
        canvas.oval(x, y, half, 0.32 * half, toned(stone, 0.78))
        canvas.oval(x, y - 0.05 * half, half, 0.3 * half, stone)


def _flower_bed(canvas: Canvas, y: float, x0: float, x1: float, count: int, radius: float) -> None:
    """A row of flowers on green leaves."""
    color = _PETALS[int(canvas.rng.integers(6))]
    for k, (shift, rise, tone) in enumerate(canvas.rng.random((count, 3))):
        x = x0 + (x1 - x0) * (k + 0.2 + 0.6 * shift) / count
        top = y - radius * (0.5 + 1.6 * rise)
        canvas.oval(x, y + 0.6 * radius, 1.5 * radius, 1.1 * radius, (52, 126, 54))
        canvas.disc(x, top, radius, color if tone < 0.7 else _PETALS[int(tone * 60) % 6])
        canvas.disc(x, top, 0.38 * radius, (250, 220, 90))


def farm(canvas: Canvas) -> None:
    """A red barn with a silo on one side, golden fields, furrows to the front, a rail fence."""
    rng = canvas.rng
    horizon = rng.uniform(0.4, 0.46)
    side = 1.0 if rng.random() < 0.5 else -1.0
    canvas.gradient([(0, canvas.tint((110, 186, 238))), (1, canvas.tint((232, 240, 234)))], 0.0, horizon + 0.02)
    clouds(canvas, int(rng.integers(1, 4)), horizon - 0.18, (252, 252, 250))
    canvas.mark_sky(y1=horizon + 0.02)
    canvas.ridge(waves(rng, 24, horizon - 0.03, (0.02, 0.012)), canvas.tint((132, 170, 92), 6.0))
    wheat = canvas.tint((232, 194, 92), 6.0)
    canvas.ridge(waves(rng, 24, horizon + 0.03, (0.01, 0.006)), wheat)
    _windbreak(canvas, 0.5 - side * 0.36, horizon + 0.035)
    _barn(canvas, 0.5 + side * rng.uniform(0.27, 0.32), horizon + 0.14, side)
    for x, y in rng.random((3, 2)):
        _bale(canvas, 0.5 - side * (0.12 + 0.34 * x), horizon + 0.1 + 0.05 * y)
    crops = ((128, 168, 70), (170, 190, 80), (86, 146, 74))
    field = canvas.tint(crops[int(rng.integers(3))], 8.0)
    line = horizon + 0.2
    canvas.gradient([(0, field), (1, toned(field, 0.82))], line, 1.0)
    soil = canvas.tint((150, 108, 68), 8.0)
    for k in range(-9, 9):
        canvas.polygon(
            [(0.5 + 0.07 * k, line), (0.5 + 0.07 * (k + 0.45), line), (0.5 + 0.22 * (k + 0.5), 1.0),
             (0.5 + 0.22 * k, 1.0)], soil
        )  # fmt: skip
    _rails(canvas, line)


def _barn(canvas: Canvas, x: float, foot: float, side: float) -> None:
    """A red barn with a white cross on its door, and a silo beside it."""
    red = canvas.tint((186, 48, 42), 8.0)
    white, roof = (248, 244, 236), canvas.tint((96, 92, 100), 5.0)
    half, eaves, ridge = 0.13, foot - 0.15, foot - 0.27
    silo = x + side * 0.175
    canvas.box(silo - 0.04, foot - 0.3, silo + 0.04, foot, (196, 198, 200))
    canvas.box(silo + 0.015, foot - 0.3, silo + 0.04, foot, (168, 170, 176))
    canvas.sector(silo, foot - 0.3, 0.041, 180, 360, roof)
    gable = [(x - half, foot), (x - half, eaves), (x - 0.08, ridge + 0.04), (x, ridge), (x + 0.08, ridge + 0.04),
             (x + half, eaves), (x + half, foot)]  # fmt: skip
    canvas.polygon(gable, red)
    canvas.line([(x - half - 0.02, eaves + 0.012), *gable[2:5], (x + half + 0.02, eaves + 0.012)], 0.02, roof)
    canvas.box(x - 0.055, foot - 0.11, x + 0.055, foot, white)
    canvas.box(x - 0.046, foot - 0.101, x + 0.046, foot, toned(red, 0.8))
    for lean in (-1.0, 1.0):
        canvas.line([(x - 0.046 * lean, foot - 0.1), (x + 0.046 * lean, foot)], 0.01, white)
    canvas.box(x - 0.026, foot - 0.2, x + 0.026, foot - 0.15, white)
    canvas.box(x - 0.017, foot - 0.191, x + 0.017, foot - 0.159, (70, 50, 46))


def _windbreak(canvas: Canvas, x: float, foot: float) -> None:
    """A few round trees far away."""
    for shift, size in canvas.rng.random((4, 2)):
        at, radius = x + 0.22 * (shift - 0.5), 0.03 + 0.02 * size
        canvas.box(at - 0.006, foot - 0.05, at + 0.006, foot, (98, 70, 46))
        canvas.disc(at, foot - 0.06, radius, canvas.tint((62, 124, 62), 8.0))


def _bale(canvas: Canvas, x: float, y: float) -> None:
    """A round bale of straw."""
    canvas.oval(x, y + 0.03, 0.045, 0.01, (178, 142, 62))
    canvas.box(x, y - 0.032, x + 0.032, y + 0.032, (208, 166, 70))
    canvas.oval(x + 0.032, y, 0.014, 0.032, (208, 166, 70))
    canvas.disc(x, y, 0.032, (238, 202, 110))
    canvas.ring(x, y, 0.018, 0.018, 0.005, (200, 158, 66))


def _rails(canvas: Canvas, y: float) -> None:
    """A wooden fence across the picture."""
    wood: Color = (150, 112, 76)
    for rail in (-0.055, -0.025):
        canvas.line([(0.0, y + rail), (1.0, y + rail)], 0.012, wood)
    for k in range(7):
        canvas.box(k / 6 - 0.012, y - 0.075, k / 6 + 0.012, y + 0.012, (124, 90, 60))
