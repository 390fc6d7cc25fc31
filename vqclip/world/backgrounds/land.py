"""Open land: meadow, desert, snow, forest, mountains."""

from __future__ import annotations

import numpy as np

from vqclip.world.backgrounds.canvas import Canvas, Color, clouds, conifer, waves


def meadow(canvas: Canvas) -> None:
    """Grass with flowers before green hills."""
    rng = canvas.rng
    horizon = rng.uniform(0.3, 0.46)
    canvas.gradient([(0, canvas.tint((88, 165, 235))), (1, canvas.tint((190, 225, 248)))], 0.0, horizon + 0.06)
    clouds(canvas, int(rng.integers(0, 4)), horizon - 0.06, (248, 250, 252))
    canvas.mark_sky(y1=horizon + 0.06)
    hills = waves(rng, 24, horizon, (0.025, 0.02))
    canvas.ridge(hills, canvas.tint((96, 170, 66)))
    canvas.gradient([(0, canvas.tint((98, 175, 58))), (1, canvas.tint((40, 115, 36)))], horizon + 0.06, 1.0)
    for x, depth, lean, shade in rng.random((130, 4)):
        y = horizon + 0.05 + (1.0 - horizon) * depth**0.8
        tall = 0.03 + 0.09 * depth
        dark = 0.55 + 0.75 * shade
        blade = (int(62 * dark), int(min(255, 150 * dark)), int(46 * dark))
        canvas.line([(x, y), (x + (lean - 0.5) * 0.05, y - tall)], 0.008, blade)
    petals = ((236, 60, 60), (250, 225, 60), (250, 250, 250), (225, 110, 210))
    for x, depth in rng.random((int(rng.integers(14, 34)), 2)):
        y, radius = horizon + 0.08 + (1.0 - horizon) * depth * 0.9, 0.009 + 0.013 * depth
        canvas.disc(x, y, radius * 1.25, petals[int(rng.integers(4))])
        canvas.disc(x, y, radius * 0.4, (240, 180, 40))


def desert(canvas: Canvas) -> None:
    """Dunes with sharp crests."""
    rng = canvas.rng
    horizon = rng.uniform(0.3, 0.48)
    canvas.gradient([(0, canvas.tint((120, 185, 225))), (1, canvas.tint((246, 226, 178)))], 0.0, horizon + 0.15)
    if rng.random() < 0.5:
        canvas.disc(rng.uniform(0.1, 0.9), rng.uniform(0.06, 0.2), 0.055, (255, 246, 200))
    canvas.mark_sky(y1=horizon + 0.15)
    for layer in range(4):
        base = horizon + layer * 0.16
        sand = (238 - 8 * layer, 196 - 17 * layer, 122 - 17 * layer)
        crest = waves(rng, 40, base, (0.06, 0.025))
        canvas.ridge(crest, canvas.tint(sand, 6.0))
        # the lee side of a dune lies in shadow below its sharp crest
        start = int(rng.integers(0, 26))
        part = crest[start : start + 14]
        xs = np.linspace(0.0, 1.0, 40)[start : start + 14]
        foot = part + 0.1 * np.sin(np.linspace(0.0, np.pi, 14)) ** 1.5
        shadow = tuple(int(value * 0.8) for value in sand)
        canvas.polygon(
            [*zip(xs.tolist(), part.tolist(), strict=True), *zip(xs[::-1].tolist(), foot[::-1].tolist(), strict=False)],
            shadow,
        )
        for row in range(1, 4):
            ripple = crest + 0.035 * row + 0.006 * np.sin(np.arange(40) * 1.4)
            canvas.line(list(zip(np.linspace(0, 1, 40).tolist(), ripple.tolist(), strict=True)), 0.004, shadow)


def snow(canvas: Canvas) -> None:
    """Snowy hills with white conifers and falling flakes."""
    rng = canvas.rng
    horizon = rng.uniform(0.36, 0.5)
    canvas.gradient([(0, canvas.tint((120, 146, 180))), (1, canvas.tint((196, 212, 230)))], 0.0, horizon + 0.08)
    canvas.mark_sky(y1=horizon + 0.08)
    for x in rng.random(int(rng.integers(2, 6))):
        conifer(canvas, x, horizon + rng.uniform(0.02, 0.06), rng.uniform(0.18, 0.32), canvas.tint((58, 92, 88)), True)
    for layer, shade in enumerate(((226, 234, 245), (238, 244, 251), (250, 252, 255))):
        canvas.ridge(waves(rng, 30, horizon + 0.03 + 0.17 * layer, (0.03, 0.015)), canvas.tint(shade, 3.0))
    for x, y, size in rng.random((90, 3)):
        # flakes over white ground show by a bluish tone only
        color = (252, 254, 255) if y < horizon + 0.05 else (208, 222, 242)
        canvas.disc(x, y, 0.006 + 0.011 * size, color)


def forest(canvas: Canvas) -> None:
    """Trunks before rows of conifers."""
    rng = canvas.rng
    ground = rng.uniform(0.66, 0.8)
    canvas.gradient([(0, canvas.tint((150, 190, 140))), (1, canvas.tint((80, 130, 84)))], 0.0, ground)
    canvas.mark_sky(y1=ground)
    canvas.gradient([(0, canvas.tint((66, 96, 44))), (1, canvas.tint((38, 58, 28)))], ground, 1.0)
    for x in rng.random(9):
        conifer(canvas, x, ground + rng.uniform(-0.02, 0.03), rng.uniform(0.4, 0.75), canvas.tint((66, 116, 72), 6.0))
    for x in rng.random(7):
        conifer(canvas, x, ground + rng.uniform(0.02, 0.1), rng.uniform(0.5, 0.95), canvas.tint((26, 76, 42), 7.0))
    for slot in range(5):
        x, wide = (slot + rng.uniform(0.1, 0.9)) / 5, rng.uniform(0.018, 0.036)
        foot = ground + rng.uniform(0.04, 0.2)
        bark = canvas.tint((84, 58, 40), 8.0)
        canvas.polygon([(x - wide, 0.0), (x + wide, 0.0), (x + 1.4 * wide, foot), (x - 1.4 * wide, foot)], bark)
        canvas.line([(x + 0.7 * wide, 0.0), (x + wide, foot)], 0.01, (128, 98, 68))


def mountains(canvas: Canvas) -> None:
    """Ranges with snowy peaks."""
    rng = canvas.rng
    canvas.gradient([(0, canvas.tint((92, 150, 215))), (1, canvas.tint((222, 232, 242)))], 0.0, 0.8)
    canvas.mark_sky(y1=0.8)
    for layer, rock in enumerate(((146, 160, 188), (104, 116, 142), (74, 84, 100))):
        peaks, base = 4 - layer // 2, 0.34 + 0.19 * layer
        offset = rng.uniform(-0.15, 0.15)
        for peak in range(-1, peaks + 1):
            x = (peak + 0.5 + rng.uniform(-0.25, 0.25)) / peaks + offset
            top, half = base - rng.uniform(0.05, 0.26), rng.uniform(0.26, 0.4)
            _peak(canvas, x, top, half, canvas.tint(rock, 5.0), snow=layer < 2)
    canvas.ridge(waves(rng, 24, 0.88, (0.025, 0.015)), canvas.tint((82, 122, 70)))


def _peak(canvas: Canvas, x: float, top: float, half: float, rock: Color, snow: bool) -> None:
    """One mountain with a lit left and a shaded right flank, and a jagged cap of snow."""
    low = top + 1.25 * half
    dark = tuple(int(value * 0.72) for value in rock)
    canvas.polygon([(x, top), (x, 1.0), (x - half, low), (x - half, low)], rock)
    canvas.polygon([(x - half, low), (x, top), (x + 0.12 * half, low), (x - half, 1.0)], rock)
    canvas.polygon([(x, top), (x + half, low), (x + half, 1.0), (x + 0.12 * half, low)], dark)
    canvas.polygon([(x - half, low), (x + half, low), (x + half, 1.0), (x - half, 1.0)], dark)
    if snow:
        cap = ((0.0, 0.0), (0.34, 0.42), (0.16, 0.34), (0.04, 0.48), (-0.14, 0.32), (-0.3, 0.38))
        canvas.polygon([(x + dx * half, top + dy * half) for dx, dy in cap], (246, 249, 253))
