"""Water: by the sea, under water, on the beach, by a lake."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from vqclip.world.backgrounds.canvas import Canvas, Color, clouds, conifer, toned, waves


def sea(canvas: Canvas) -> None:
    """Waves and a narrow beach."""
    rng = canvas.rng
    horizon = rng.uniform(0.3, 0.45)
    shore = rng.uniform(0.78, 0.9)
    canvas.gradient([(0, canvas.tint((100, 178, 240))), (1, canvas.tint((212, 236, 250)))], 0.0, horizon)
    clouds(canvas, int(rng.integers(0, 4)), horizon - 0.07, (250, 252, 254))
    canvas.mark_sky(y1=horizon)
    canvas.gradient([(0, canvas.tint((18, 88, 160))), (1, canvas.tint((64, 180, 196)))], horizon, 1.0)
    for depth, x, wide in rng.random((46, 3)):
        y = horizon + 0.02 + (shore - horizon) * depth
        half = 0.03 + 0.09 * wide * (0.4 + depth)
        rise = 0.006 + 0.014 * depth
        white = (226, 243, 250) if wide > 0.45 else (40, 120, 180)
        crests = [(x - half, y), (x - half / 2, y - rise), (x, y), (x + half / 2, y - rise), (x + half, y)]
        canvas.line(crests, 0.008, white)
    beach = waves(rng, 40, shore, (0.02, 0.012))
    canvas.ridge(beach - 0.03, (244, 250, 252))
    canvas.ridge(beach, canvas.tint((236, 208, 150), 6.0))


def under_water(canvas: Canvas) -> None:
    """Light from above, weeds, bubbles."""
    rng = canvas.rng
    depths = ((0.0, (110, 220, 235)), (0.4, (30, 140, 205)), (1.0, (8, 46, 112)))
    canvas.gradient([(place, canvas.tint(color)) for place, color in depths])
    light = Image.new("L", (canvas.side, canvas.side))
    pen = ImageDraw.Draw(light)
    source = rng.uniform(0.2, 0.8)
    for offset, wide, length in rng.random((6, 3)):
        x = source + (offset - 0.5) * 0.7
        foot, half, reach = source + (offset - 0.5) * 1.9, 0.05 + 0.09 * wide, 0.5 + 0.5 * length
        corners = [(x - half / 3, 0.0), (x + half / 3, 0.0), (foot + half, reach), (foot - half, reach)]
        pen.polygon([(px * canvas.side, py * canvas.side) for px, py in corners], fill=int(40 + 40 * wide))
    canvas.image.paste((196, 246, 250), (0, 0), light)
    canvas.ridge(waves(rng, 30, 0.94, (0.02, 0.015)), canvas.tint((150, 150, 110)))
    for x, tall, lean in rng.random((int(rng.integers(4, 9)), 3)):
        t = np.linspace(0.0, 1.0, 10)
        weed = zip(
            (x + 0.025 * np.sin(7 * t + 6 * lean)).tolist(), (0.98 - (0.12 + 0.22 * tall) * t).tolist(), strict=True
        )
        canvas.line(list(weed), 0.022, canvas.tint((30, 120, 78)))
    for x, y, size in rng.random((int(rng.integers(14, 26)), 3)):
        radius = 0.01 + 0.024 * size * size
        canvas.disc(x, y * 0.9, radius, (120, 205, 232), (226, 250, 255))


def beach(canvas: Canvas) -> None:
    """Wide sand before a strip of sea, with a palm at one side and a parasol at the other."""
    rng = canvas.rng
    horizon = rng.uniform(0.34, 0.42)
    shore = horizon + rng.uniform(0.1, 0.14)
    side = 1.0 if rng.random() < 0.5 else -1.0
    canvas.gradient([(0, canvas.tint((64, 176, 244))), (1, canvas.tint((196, 234, 250)))], 0.0, horizon)
    if rng.random() < 0.6:
        canvas.disc(0.5 - side * rng.uniform(0.1, 0.3), rng.uniform(0.09, 0.16), 0.06, (255, 240, 150))
    clouds(canvas, int(rng.integers(0, 3)), horizon - 0.12, (252, 253, 254))
    canvas.mark_sky(y1=horizon)
    canvas.gradient([(0, canvas.tint((20, 120, 190))), (1, canvas.tint((70, 205, 210)))], horizon, shore + 0.06)
    for x, depth, wide in rng.random((10, 3)):
        y, half = horizon + 0.015 + (shore - horizon - 0.03) * depth, 0.03 + 0.05 * wide
        canvas.line([(x - half, y), (x, y - 0.006), (x + half, y)], 0.007, (226, 246, 250))
    edge = waves(rng, 40, shore, (0.014, 0.008))
    canvas.ridge(edge - 0.018, (248, 252, 252))
    canvas.ridge(edge, canvas.tint((214, 180, 124), 4.0))
    sand = canvas.tint((244, 216, 156), 6.0)
    canvas.ridge(edge + 0.03, sand)
    dark, light = toned(sand, 1.0, -24), toned(sand, 1.0, 10)
    for x, depth, wide in rng.random((44, 3)):
        y, half = shore + 0.06 + (0.96 - shore) * depth, (0.012 + 0.03 * wide) * (0.5 + depth)
        canvas.oval(x, y, half, 0.004 + 0.003 * depth, dark if wide < 0.6 else light)
    _parasol(canvas, 0.5 - side * rng.uniform(0.34, 0.4), shore + rng.uniform(0.1, 0.16))
    _palm(canvas, 0.5 + side * rng.uniform(0.42, 0.5), shore + rng.uniform(0.16, 0.26), side)
    for x, y, tone in rng.random((5, 3)):
        place = (0.03 + 0.2 * x if tone < 0.5 else 0.97 - 0.2 * x, 0.8 + 0.17 * y)
        _starfish(canvas, *place, canvas.tint((236, 120, 92), 16.0))


def _parasol(canvas: Canvas, x: float, foot: float) -> None:
    """A sunshade of coloured stripes on a pole, with its shadow."""
    colors = ((226, 60, 60), (40, 130, 200), (240, 150, 40), (60, 160, 110))
    color = colors[int(canvas.rng.integers(4))]
    radius, top = 0.13, foot - 0.2
    canvas.oval(x, foot, 0.11, 0.018, (196, 164, 112))
    canvas.line([(x, top - radius), (x, foot)], 0.012, (240, 240, 236))
    for k in range(6):
        canvas.sector(x, top, radius, 180 + 30 * k, 210 + 30 * k, color if k % 2 else (250, 246, 238))


def _palm(canvas: Canvas, x: float, foot: float, side: float) -> None:
    """A palm that leans inwards, its crown near the picture's upper corner."""
    rng = canvas.rng
    t = np.linspace(0.0, 1.0, 8)
    top = rng.uniform(0.14, 0.2)
    lean = side * rng.uniform(0.04, 0.12)
    xs, ys = x - lean * t**2, foot + (top - foot) * t
    trunk = canvas.tint((140, 98, 60), 6.0)
    for k in range(7):
        canvas.line([(xs[k], ys[k]), (xs[k + 1], ys[k + 1])], 0.036 - 0.0022 * k, trunk)
        canvas.line([(xs[k] - 0.014, ys[k]), (xs[k] + 0.014, ys[k] - 0.006)], 0.006, (104, 70, 42))
    crown = (float(xs[-1]), float(ys[-1]))
    for turn in np.linspace(-1.35, 1.35, 8) + rng.uniform(-0.12, 0.12, 8):
        long = rng.uniform(0.16, 0.22)
        tip = (crown[0] + long * np.sin(turn), crown[1] - 0.06 * np.cos(turn) + 0.11 * np.sin(turn) ** 2)
        canvas.leaf(crown, tip, -0.035, 0.017, canvas.tint((46, 140, 60), 14.0))


def _starfish(canvas: Canvas, x: float, y: float, color: Color) -> None:
    turns = np.arange(10) * np.pi / 5 + canvas.rng.uniform(0.0, 2.0)
    reach = np.where(np.arange(10) % 2, 0.009, 0.022)
    canvas.polygon([(x + r * np.cos(a), y + 0.7 * r * np.sin(a)) for a, r in zip(turns, reach, strict=True)], color)


def lake(canvas: Canvas) -> None:
    """Still water that mirrors wooded hills, reeds and a grassy shore in front."""
    rng = canvas.rng
    far, near = rng.uniform(0.4, 0.47), rng.uniform(0.8, 0.84)
    canvas.gradient([(0, canvas.tint((96, 170, 232))), (1, canvas.tint((216, 234, 244)))], 0.0, far)
    clouds(canvas, int(rng.integers(1, 4)), far - 0.2, (250, 252, 254))
    canvas.mark_sky(y1=far)
    canvas.ridge(waves(rng, 24, far - 0.15, (0.05, 0.03)), canvas.tint((120, 158, 170), 6.0), far)
    canvas.ridge(waves(rng, 24, far - 0.07, (0.03, 0.02)), canvas.tint((84, 140, 92), 6.0), far)
    for x, tall in rng.random((16, 2)):
        conifer(canvas, x, far, 0.06 + 0.1 * tall, canvas.tint((38, 98, 62), 8.0))
    canvas.box(0.0, far - 0.012, 1.0, far, canvas.tint((150, 156, 96), 5.0))
    canvas.mirror(far, near + 0.06, (60, 128, 176), 0.45)
    for depth, x, wide in rng.random((22, 3)):
        y, half = far + 0.02 + (near - far - 0.02) * depth, (0.03 + 0.1 * wide) * (0.4 + depth)
        canvas.line([(x - half, y), (x + half, y)], 0.005, (186, 222, 238) if wide > 0.35 else (70, 130, 170))
    for x, depth in rng.random((int(rng.integers(3, 7)), 2)):
        place = 0.02 + 0.24 * x if depth < 0.5 else 0.98 - 0.24 * x
        y = near - 0.06 - 0.1 * abs(depth - 0.5)
        canvas.oval(place, y, 0.04, 0.013, canvas.tint((74, 156, 76)))
        if depth < 0.7:
            canvas.oval(place, y - 0.012, 0.014, 0.011, (250, 190, 214))
    grass = canvas.tint((92, 160, 62))
    canvas.ridge(waves(rng, 30, near, (0.014, 0.008)), toned(grass, 0.7))
    canvas.ridge(waves(rng, 30, near + 0.02, (0.014, 0.008)), grass)
    for x, depth, shade in rng.random((50, 3)):
        y, tone = near + 0.05 + (0.98 - near) * depth, 0.7 + 0.5 * shade
        canvas.line([(x, y), (x + 0.02 * (shade - 0.5), y - 0.035)], 0.007, toned(grass, tone))
    side = 1.0 if rng.random() < 0.5 else -1.0
    _reeds(canvas, 0.5 + side * 0.43, near + 0.06, 9)
    _reeds(canvas, 0.5 - side * 0.46, near + 0.04, 4)


def _reeds(canvas: Canvas, x: float, foot: float, count: int) -> None:
    """A tuft of reeds, every second one with a brown head."""
    for k, (shift, tall, lean) in enumerate(canvas.rng.random((count, 3))):
        root = x + 0.13 * (shift - 0.5)
        tip = (root + 0.06 * (lean - 0.5), foot - 0.16 - 0.2 * tall)
        canvas.line([(root, foot), tip], 0.009, canvas.tint((88, 132, 54)))
        if k % 2 == 0:
            canvas.oval(*tip, 0.013, 0.036, canvas.tint((112, 70, 40), 6.0))
