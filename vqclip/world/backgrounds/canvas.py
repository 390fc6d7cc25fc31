"""The canvas that landscapes are drawn on, and what several of them draw: skylines, clouds, conifers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from vqclip.world.fields import grid

# red, green, blue from 0 to 255, and alpha on a canvas that has it
Color = tuple[int, ...]
_SUPERSAMPLING = 2
# how much sky is left of a pixel whose colour differs from the sky by 0..255: a faint glow leaves some
_UNCHANGED = [max(0, 255 - 10 * difference) for difference in range(256)]


class Canvas:
    """A picture twice as fine as asked for, drawn on in unit coordinates (x right, y down) and then reduced."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        """An empty canvas for a picture of `size` pixels a side."""
        self.size = size
        self.rng = rng
        self.side = size * _SUPERSAMPLING
        self.image = Image.new("RGB", (self.side, self.side))
        self.draw = ImageDraw.Draw(self.image)
        self._skies: list[tuple[tuple[int, int, int, int], Image.Image]] = []

    def tint(self, color: Color, spread: float = 10.0) -> Color:
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

    def ring(self, x: float, y: float, rx: float, ry: float, width: float, color: Color) -> None:
        """The outline of an axis-parallel ellipse; `width` as a fraction of the side."""
        box = tuple(self.side * value for value in (x - rx, y - ry, x + rx, y + ry))
        self.draw.ellipse(box, outline=color, width=max(1, round(width * self.side)))

    def sector(self, x: float, y: float, radius: float, start: float, end: float, color: Color) -> None:
        """A slice of a disc between two angles in degrees, clockwise from the right."""
        box = tuple(self.side * value for value in (x - radius, y - radius, x + radius, y + radius))
        self.draw.pieslice(box, start, end, fill=color)

    def leaf(self, root: tuple[float, float], tip: tuple[float, float], sag: float, width: float, color: Color) -> None:
        """A long leaf from `root` to `tip` whose middle lies `sag` below (above if negative) the straight line."""
        t = np.linspace(0.0, 1.0, 9)
        x = root[0] + (tip[0] - root[0]) * t
        y = root[1] + (tip[1] - root[1]) * t + 4.0 * sag * t * (1.0 - t)
        dx, dy = np.gradient(x), np.gradient(y)
        half = width * np.sin(np.pi * (0.12 + 0.88 * t)) / (np.hypot(dx, dy) + 1e-9)
        upper = zip((x - dy * half).tolist(), (y + dx * half).tolist(), strict=True)
        lower = zip((x + dy * half)[::-1].tolist(), (y - dx * half)[::-1].tolist(), strict=True)
        self.polygon([*upper, *lower], color)

    def mirror(self, line: float, bottom: float, tint: Color, strength: float) -> None:
        """Lay what is above `line` upside down between `line` and `bottom`, mixed with a tint."""
        y0, y1 = round(line * self.side), round(bottom * self.side)
        above = self.image.crop((0, max(0, y0 - (y1 - y0)), self.side, y0)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        above = above.resize((self.side, y1 - y0), Image.Resampling.BILINEAR)
        self.image.paste(Image.blend(above, Image.new("RGB", above.size, tint), strength), (0, y0))

    def mark_sky(self, x0: float = 0.0, y0: float = 0.0, x1: float = 1.0, y1: float = 1.0) -> None:
        """Call what is painted in this box so far the sky; what is painted over it later is not."""
        left, top, right, bottom = (min(self.side, max(0, round(self.side * value))) for value in (x0, y0, x1, y1))
        box = (left, top, right, bottom)
        self._skies.append((box, self.image.crop(box)))

    def sky(self) -> np.ndarray:
        """How much of each pixel is sky, (size, size) float32 in 0..1."""
        seen = Image.new("L", (self.side, self.side))
        for box, before in self._skies:
            changed = ImageChops.difference(self.image.crop(box), before)
            red, green, blue = changed.split()
            most = ImageChops.lighter(ImageChops.lighter(red, green), blue)
            seen.paste(most.point(_UNCHANGED), box[:2])
        out: np.ndarray = np.asarray(seen.reduce(_SUPERSAMPLING), dtype=np.float32) * np.float32(1 / 255)
        return out

    def finish(self) -> np.ndarray:
        """The picture, (size, size, 3) float32 in 0..1."""
        out: np.ndarray = np.asarray(self.image.reduce(_SUPERSAMPLING), dtype=np.float32) * np.float32(1 / 255)
        return out


class Overlay(Canvas):
    """A transparent canvas; what is drawn on it is laid over a picture. Colours may have an alpha (0..255)."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        """An empty overlay for a picture of `size` pixels a side."""
        super().__init__(size, rng)
        self.image = Image.new("RGBA", (self.side, self.side))
        self.draw = ImageDraw.Draw(self.image)

    def layer(self) -> tuple[np.ndarray, np.ndarray]:
        """Colour (size, size, 3) and opacity (size, size, 1) of what was drawn, float32 in 0..1."""
        drawn = np.asarray(self.image.reduce(_SUPERSAMPLING), dtype=np.float32) * np.float32(1 / 255)
        return drawn[..., :3], drawn[..., 3:]

    def over(self, picture: np.ndarray) -> np.ndarray:
        """Lay what was drawn over a picture (size, size, 3)."""
        color, alpha = self.layer()
        out: np.ndarray = picture + (color - picture) * alpha
        return out


def toned(color: Color, factor: float, offset: float = 0.0) -> Color:
    """A lighter or darker variation of a colour: every channel times `factor`, plus `offset`."""
    return tuple(int(min(255.0, max(0.0, value * factor + offset))) for value in color)


def waves(rng: np.random.Generator, points: int, base: float, heights: Sequence[float]) -> np.ndarray:
    """A random skyline: `base` plus sines of growing frequency with the given amplitudes."""
    x = np.linspace(0.0, 2.0 * np.pi, points)
    line = np.full(points, base)
    for order, height in enumerate(heights, start=1):
        line += height * np.sin(order * 0.8 * x * rng.uniform(0.8, 1.2) + rng.uniform(0.0, 6.3))
    return line


def clouds(canvas: Canvas, count: int, low: float, color: Color) -> None:
    """A number of small clouds between the top and `low`."""
    rng = canvas.rng
    for _ in range(count):
        x, y, size = rng.random(), rng.uniform(0.04, low), rng.uniform(0.05, 0.09)
        for dx, scale in ((-1.2, 0.6), (0.0, 1.0), (1.2, 0.7)):
            canvas.oval(x + dx * size, y, 1.1 * size * scale, 0.6 * size * scale, color)


def conifer(canvas: Canvas, x: float, foot: float, tall: float, color: Color, snow: bool = False) -> None:
    """A conifer of three tiers whose trunk ends at (x, foot), `tall` high."""
    canvas.box(x - 0.05 * tall, foot - 0.15 * tall, x + 0.05 * tall, foot, (92, 64, 44))
    for tier in range(3):
        top, low = foot - tall * (1.0 - 0.22 * tier), foot - tall * (0.5 - 0.2 * tier)
        half = tall * (0.16 + 0.07 * tier)
        canvas.polygon([(x, top), (x + half, low), (x - half, low)], color)
        if snow:
            middle = 0.5 * (top + low)
            canvas.polygon([(x, top), (x + 0.5 * half, middle), (x - 0.5 * half, middle)], (245, 250, 255))
