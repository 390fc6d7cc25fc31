"""What is behind the subject: coloured or plain grounds and the ten landscapes of the world.

A landscape draws itself on a `Canvas` in unit coordinates, with random numbers that do not depend on the size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from vqclip.world.fields import grid, shifted_noise

Color = tuple[float, float, float]
_SUPERSAMPLING = 2


class Canvas:
    """A picture twice as fine as asked for, drawn on in unit coordinates (x right, y down) and then reduced."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        """An empty canvas for a picture of `size` pixels a side."""
        self.size = size
        self.rng = rng
        self.side = size * _SUPERSAMPLING
        self.image = Image.new("RGB", (self.side, self.side))
        self.draw = ImageDraw.Draw(self.image)

    def tint(self, color: Color, spread: float = 10.0) -> tuple[int, int, int]:
        """A random variation of a colour, all channels and each alone."""
        shift = self.rng.normal(0.0, spread, 4)
        return tuple(int(np.clip(value + shift[3] + 0.4 * shift[i], 0, 255)) for i, value in enumerate(color))

    def gradient(self, stops: Sequence[tuple[float, Color]], top: float = 0.0, bottom: float = 1.0) -> None:
        """Fill from `top` to `bottom` with a vertical gradient through `stops` (position 0..1, colour)."""
        y0, y1 = int(top * self.side), int(bottom * self.side)
        if y1 <= y0:
            return
        at = np.linspace(0.0, 1.0, y1 - y0)
        places = [place for place, _ in stops]
        columns = [np.interp(at, places, [color[channel] for _, color in stops]) for channel in range(3)]
        strip = Image.fromarray(np.stack(columns, axis=-1).astype(np.uint8)[:, None])
        self.image.paste(strip.resize((self.side, y1 - y0), Image.Resampling.NEAREST), (0, y0))

    def polygon(self, points: Sequence[tuple[float, float]], color: Color) -> None:
        """A filled polygon."""
        self.draw.polygon([(x * self.side, y * self.side) for x, y in points], fill=color)

    def ridge(self, ys: np.ndarray, color: Color, floor: float = 1.0) -> None:
        """Fill between an evenly spaced skyline `ys` and `floor`."""
        xs = np.linspace(0.0, 1.0, len(ys))
        self.polygon([*zip(xs.tolist(), ys.tolist(), strict=True), (1.0, floor), (0.0, floor)], color)

    def disc(self, x: float, y: float, radius: float, color: Color | None, outline: Color | None = None) -> None:
        """A disc and/or its outline."""
        box = tuple(self.side * value for value in (x - radius, y - radius, x + radius, y + radius))
        self.draw.ellipse(box, fill=color, outline=outline, width=max(1, self.side // 100))

    def oval(self, x: float, y: float, rx: float, ry: float, color: Color) -> None:
        """A filled axis-parallel ellipse."""
        box = tuple(self.side * value for value in (x - rx, y - ry, x + rx, y + ry))
        self.draw.ellipse(box, fill=color)

    def box(self, x0: float, y0: float, x1: float, y1: float, color: Color) -> None:
        """A filled rectangle."""
        self.draw.rectangle(tuple(self.side * value for value in (x0, y0, x1, y1)), fill=color)

    def line(self, points: Sequence[tuple[float, float]], width: float, color: Color) -> None:
        """A line through points; `width` as a fraction of the side."""
        flat = [(x * self.side, y * self.side) for x, y in points]
        self.draw.line(flat, fill=color, width=max(1, round(width * self.side)))

    def glow(self, x: float, y: float, radius: float, color: Color, strength: float) -> None:
        """Blend in a soft round light."""
        half = 24
        yy, xx = grid(2 * half)
        falloff = np.clip(1.0 - 2.0 * np.hypot(xx - 0.5, yy - 0.5), 0.0, 1.0) ** 2 * 255.0 * strength
        pixels = max(2, round(2 * radius * self.side))
        mask = Image.fromarray(falloff.astype(np.uint8)).resize((pixels, pixels), Image.Resampling.BILINEAR)
        corner = (round((x - radius) * self.side), round((y - radius) * self.side))
        self.image.paste(tuple(int(value) for value in color), (*corner, corner[0] + pixels, corner[1] + pixels), mask)

    def finish(self) -> np.ndarray:
        """The picture, (size, size, 3) float32 in 0..1."""
        return np.asarray(self.image.reduce(_SUPERSAMPLING), dtype=np.float32) * np.float32(1 / 255)


def _waves(rng: np.random.Generator, points: int, base: float, heights: Sequence[float]) -> np.ndarray:
    """A random skyline: `base` plus sines of growing frequency with the given amplitudes."""
    x = np.linspace(0.0, 2.0 * np.pi, points)
    line = np.full(points, base)
    for order, height in enumerate(heights, start=1):
        line += height * np.sin(order * 0.8 * x * rng.uniform(0.8, 1.2) + rng.uniform(0.0, 6.3))
    return line


def _clouds(canvas: Canvas, count: int, low: float, color: Color) -> None:
    rng = canvas.rng
    for _ in range(count):
        x, y, size = rng.random(), rng.uniform(0.04, low), rng.uniform(0.05, 0.09)
        for dx, scale in ((-1.2, 0.6), (0.0, 1.0), (1.2, 0.7)):
            canvas.oval(x + dx * size, y, 1.1 * size * scale, 0.6 * size * scale, color)


def _meadow(canvas: Canvas) -> None:
    rng = canvas.rng
    horizon = rng.uniform(0.3, 0.46)
    canvas.gradient([(0, canvas.tint((88, 165, 235))), (1, canvas.tint((190, 225, 248)))], 0.0, horizon + 0.06)
    _clouds(canvas, int(rng.integers(0, 4)), horizon - 0.06, (248, 250, 252))
    hills = _waves(rng, 24, horizon, (0.025, 0.02))
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


def _desert(canvas: Canvas) -> None:
    rng = canvas.rng
    horizon = rng.uniform(0.3, 0.48)
    canvas.gradient([(0, canvas.tint((120, 185, 225))), (1, canvas.tint((246, 226, 178)))], 0.0, horizon + 0.15)
    if rng.random() < 0.5:
        canvas.disc(rng.uniform(0.1, 0.9), rng.uniform(0.06, 0.2), 0.055, (255, 246, 200))
    for layer in range(4):
        base = horizon + layer * 0.16
        sand = (238 - 8 * layer, 196 - 17 * layer, 122 - 17 * layer)
        crest = _waves(rng, 40, base, (0.06, 0.025))
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


def _conifer(canvas: Canvas, x: float, foot: float, tall: float, color: Color, snow: bool = False) -> None:
    canvas.box(x - 0.05 * tall, foot - 0.15 * tall, x + 0.05 * tall, foot, (92, 64, 44))
    for tier in range(3):
        top, low = foot - tall * (1.0 - 0.22 * tier), foot - tall * (0.5 - 0.2 * tier)
        half = tall * (0.16 + 0.07 * tier)
        canvas.polygon([(x, top), (x + half, low), (x - half, low)], color)
        if snow:
            middle = 0.5 * (top + low)
            canvas.polygon([(x, top), (x + 0.5 * half, middle), (x - 0.5 * half, middle)], (245, 250, 255))


def _snow(canvas: Canvas) -> None:
    rng = canvas.rng
    horizon = rng.uniform(0.36, 0.5)
    canvas.gradient([(0, canvas.tint((120, 146, 180))), (1, canvas.tint((196, 212, 230)))], 0.0, horizon + 0.08)
    for x in rng.random(int(rng.integers(2, 6))):
        _conifer(canvas, x, horizon + rng.uniform(0.02, 0.06), rng.uniform(0.18, 0.32), canvas.tint((58, 92, 88)), True)
    for layer, shade in enumerate(((226, 234, 245), (238, 244, 251), (250, 252, 255))):
        canvas.ridge(_waves(rng, 30, horizon + 0.03 + 0.17 * layer, (0.03, 0.015)), canvas.tint(shade, 3.0))
    for x, y, size in rng.random((90, 3)):
        # flakes over white ground show by a bluish tone only
        color = (252, 254, 255) if y < horizon + 0.05 else (208, 222, 242)
        canvas.disc(x, y, 0.006 + 0.011 * size, color)


def _sea(canvas: Canvas) -> None:
    rng = canvas.rng
    horizon = rng.uniform(0.3, 0.45)
    shore = rng.uniform(0.78, 0.9)
    canvas.gradient([(0, canvas.tint((100, 178, 240))), (1, canvas.tint((212, 236, 250)))], 0.0, horizon)
    _clouds(canvas, int(rng.integers(0, 4)), horizon - 0.07, (250, 252, 254))
    canvas.gradient([(0, canvas.tint((18, 88, 160))), (1, canvas.tint((64, 180, 196)))], horizon, 1.0)
    for depth, x, wide in rng.random((46, 3)):
        y = horizon + 0.02 + (shore - horizon) * depth
        half = 0.03 + 0.09 * wide * (0.4 + depth)
        rise = 0.006 + 0.014 * depth
        white = (226, 243, 250) if wide > 0.45 else (40, 120, 180)
        crests = [(x - half, y), (x - half / 2, y - rise), (x, y), (x + half / 2, y - rise), (x + half, y)]
        canvas.line(crests, 0.008, white)
    beach = _waves(rng, 40, shore, (0.02, 0.012))
    canvas.ridge(beach - 0.03, (244, 250, 252))
    canvas.ridge(beach, canvas.tint((236, 208, 150), 6.0))


def _under_water(canvas: Canvas) -> None:
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
    canvas.ridge(_waves(rng, 30, 0.94, (0.02, 0.015)), canvas.tint((150, 150, 110)))
    for x, tall, lean in rng.random((int(rng.integers(4, 9)), 3)):
        t = np.linspace(0.0, 1.0, 10)
        weed = zip(
            (x + 0.025 * np.sin(7 * t + 6 * lean)).tolist(), (0.98 - (0.12 + 0.22 * tall) * t).tolist(), strict=True
        )
        canvas.line(list(weed), 0.022, canvas.tint((30, 120, 78)))
    for x, y, size in rng.random((int(rng.integers(14, 26)), 3)):
        radius = 0.01 + 0.024 * size * size
        canvas.disc(x, y * 0.9, radius, (120, 205, 232), (226, 250, 255))


def _night_sky(canvas: Canvas) -> None:
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


def _forest(canvas: Canvas) -> None:
    rng = canvas.rng
    ground = rng.uniform(0.66, 0.8)
    canvas.gradient([(0, canvas.tint((150, 190, 140))), (1, canvas.tint((80, 130, 84)))], 0.0, ground)
    canvas.gradient([(0, canvas.tint((66, 96, 44))), (1, canvas.tint((38, 58, 28)))], ground, 1.0)
    for x in rng.random(9):
        _conifer(canvas, x, ground + rng.uniform(-0.02, 0.03), rng.uniform(0.4, 0.75), canvas.tint((66, 116, 72), 6.0))
    for x in rng.random(7):
        _conifer(canvas, x, ground + rng.uniform(0.02, 0.1), rng.uniform(0.5, 0.95), canvas.tint((26, 76, 42), 7.0))
    for slot in range(5):
        x, wide = (slot + rng.uniform(0.1, 0.9)) / 5, rng.uniform(0.018, 0.036)
        foot = ground + rng.uniform(0.04, 0.2)
        bark = canvas.tint((84, 58, 40), 8.0)
        canvas.polygon([(x - wide, 0.0), (x + wide, 0.0), (x + 1.4 * wide, foot), (x - 1.4 * wide, foot)], bark)
        canvas.line([(x + 0.7 * wide, 0.0), (x + wide, foot)], 0.01, (128, 98, 68))


def _mountains(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.gradient([(0, canvas.tint((92, 150, 215))), (1, canvas.tint((222, 232, 242)))], 0.0, 0.8)
    for layer, rock in enumerate(((146, 160, 188), (104, 116, 142), (74, 84, 100))):
        peaks, base = 4 - layer // 2, 0.34 + 0.19 * layer
        offset = rng.uniform(-0.15, 0.15)
        for peak in range(-1, peaks + 1):
            x = (peak + 0.5 + rng.uniform(-0.25, 0.25)) / peaks + offset
            top, half = base - rng.uniform(0.05, 0.26), rng.uniform(0.26, 0.4)
            _peak(canvas, x, top, half, canvas.tint(rock, 5.0), snow=layer < 2)
    canvas.ridge(_waves(rng, 24, 0.88, (0.025, 0.015)), canvas.tint((82, 122, 70)))


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


def _city(canvas: Canvas) -> None:
    rng = canvas.rng
    dusk = rng.random() < 0.4
    sky = ((38, 46, 92), (206, 130, 120)) if dusk else ((140, 186, 226), (224, 232, 236))
    canvas.gradient([(0, canvas.tint(sky[0])), (1, canvas.tint(sky[1]))], 0.0, 0.85)
    for layer in range(2):
        x = -rng.uniform(0.0, 0.1)
        while x < 1.0:
            wide, top = rng.uniform(0.12, 0.2), rng.uniform(0.06, 0.34) + 0.2 * layer
            _building(canvas, x, top, wide, 0.86, layer, dusk)
            x += wide + rng.uniform(0.0, 0.03)
    canvas.box(0.0, 0.86, 1.0, 1.0, canvas.tint((74, 76, 82), 5.0))
    canvas.box(0.0, 0.855, 1.0, 0.875, (168, 168, 166))
    for slot in range(5):
        canvas.box(slot / 5 + 0.04, 0.93, slot / 5 + 0.13, 0.948, (236, 226, 160))


def _building(canvas: Canvas, x: float, top: float, wide: float, foot: float, layer: int, dusk: bool) -> None:
    tones = ((116, 122, 138), (138, 118, 112), (104, 112, 120), (146, 138, 126))
    tone = tones[int(canvas.rng.integers(4))]
    dim = (0.42 if dusk else 1.0) * (0.8 if layer else 1.0)
    canvas.box(x, top, x + wide, foot, tuple(int(value * dim) for value in tone))
    lit = (255, 222, 120) if dusk else (206, 226, 240)
    dark = tuple(int(value * dim * 0.62) for value in tone)
    across = 3
    on = canvas.rng.random((10, across))
    step = wide / (across + 0.35)
    for row in range(10):
        y = top + 0.04 + 0.075 * row
        if y > foot - 0.05:
            break
        for column in range(across):
            left = x + step * (column + 0.35)
            canvas.box(left, y, left + 0.62 * step, y + 0.036, lit if on[row, column] < 0.6 else dark)


def _sunset(canvas: Canvas) -> None:
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
    canvas.gradient([(0, canvas.tint((150, 66, 74))), (1, canvas.tint((36, 22, 52)))], horizon, 1.0)
    for depth, shift, wide in rng.random((12, 3)):
        half = 0.02 + 0.07 * wide
        at = horizon + 0.012 + (1.0 - horizon) * depth
        canvas.oval(x + (shift - 0.5) * 0.14, at, half, 0.007, (255, 196, 104))


SETTINGS: dict[str, Callable[[Canvas], None]] = {
    "in a meadow": _meadow,
    "in the desert": _desert,
    "in the snow": _snow,
    "by the sea": _sea,
    "under water": _under_water,
    "in the night sky": _night_sky,
    "in a forest": _forest,
    "in the mountains": _mountains,
    "in the city": _city,
    "at sunset": _sunset,
}


def landscape(name: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """Paint one of the settings: (size, size, 3) float32 in 0..1."""
    canvas = Canvas(size, rng)
    SETTINGS[name](canvas)
    return canvas.finish()


def ground(color: Sequence[int] | None, size: int, rng: np.random.Generator) -> np.ndarray:
    """A ground of one colour (0..255), slightly varied, with a soft gradient; None: nearly white or a soft tint."""
    if color is not None:
        base = np.array(color, dtype=np.float32) / 255 + rng.normal(0.0, 0.025, 3).astype(np.float32)
    elif rng.random() < 0.6:
        base = np.float32(rng.uniform(0.91, 1.0)) + rng.normal(0.0, 0.012, 3).astype(np.float32)
    else:
        base = np.float32(rng.uniform(0.45, 0.85)) + rng.normal(0.0, 0.1, 3).astype(np.float32)
    direction, depth = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.0, 0.16)
    vignette, mottle = rng.uniform(0.0, 0.14) * (rng.random() < 0.5), rng.uniform(0.0, 0.02)
    y, x = grid(size)
    shade = (np.cos(direction) * (x - 0.5) + np.sin(direction) * (y - 0.5)) * np.float32(depth)
    shade = shade - ((x - 0.5) ** 2 + (y - 0.5) ** 2) * np.float32(2.0 * vignette)
    shade = shade + shifted_noise(size, 6, rng) * np.float32(mottle)
    return np.clip(base + shade[..., None].astype(np.float32), 0.0, 1.0)
