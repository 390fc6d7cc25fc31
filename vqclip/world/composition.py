"""A picture of the second world as a list of drawings over a ground, and the painter that makes pixels of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from vqclip.errors import UsageError
from vqclip.world.atmosphere import before, behind, scenery
from vqclip.world.backgrounds import ground
from vqclip.world.compositing import compose, light, place, pyramid, rotate_hue
from vqclip.world.model import load_world
from vqclip.world.recoloring import recolor
from vqclip.world.shapes import shape_mask
from vqclip.world.styles import ALL_STYLES, StyleContext

# streams of random numbers, one per stage: changing one attribute leaves the other stages alone
_GROUND, _STYLE, _AIR = 11, 33, 44
_SMALLEST = 16  # pixels a side
# less coverage than this is no part of a thing's box
_VISIBLE = 0.3


@dataclass(frozen=True)
class Thing:
    """One drawing in a picture.

    `drawing` names it in the painter's `Sprites`. `x`, `y` are its centre (0..1, right and down), `scale` its longest
    side as a fraction of the picture's, `angle` degrees counter-clockwise. A `color` is one of world.yaml's and becomes
    its main color; `hue` turns its colors by degrees.
    """

    drawing: str
    x: float = 0.5
    y: float = 0.5
    scale: float = 0.75
    angle: float = 0.0
    flip: bool = False
    color: str | None = None
    hue: float = 0.0


@dataclass(frozen=True)
class Composition:
    """One picture, painted the same way every time: things from back to front over a setting or a colored ground.

    At most one of `setting` and `background` is set. `brightness`, `contrast`, `saturation` are factors around 1,
    `warmth` is in -1..1. `seed` feeds landscapes, weather and strokes.
    """

    things: tuple[Thing, ...] = ()
    setting: str | None = None
    background: str | None = None
    season: str | None = None
    weather: str | None = None
    time: str | None = None
    style: str | None = None
    brightness: float = 1.0
    contrast: float = 1.0
    warmth: float = 0.0
    saturation: float = 1.0
    seed: int = 0


class Sprites(Protocol):
    """Where drawings come from: an atlas in training, the memory's codes in a run, a user's own pictures."""

    def pixels(self, name: str) -> np.ndarray:
        """Return a drawing (side, side, 4) uint8, colors premultiplied by alpha. Raises KeyError if it is unknown."""


class AllSprites:
    """The drawings of several sources; the first that knows a name has it. Shapes of the world are always known."""

    def __init__(self, *sources: Sprites) -> None:
        self._sources = sources

    def pixels(self, name: str) -> np.ndarray:
        """Return a drawing (side, side, 4) uint8, colors premultiplied by alpha. Raises KeyError if it is unknown."""
        for source in self._sources:
            try:
                return source.pixels(name)
            except KeyError:
                continue
        if name not in load_world().shapes:
            raise KeyError(name)
        mask = np.asarray(shape_mask(name))
        return np.repeat(mask[..., None], 4, axis=2)


@dataclass(frozen=True)
class Painted:
    """A picture (S, S, 3) uint8 and what each thing covers of it, (n, S, S) in 0..1, before others hide it."""

    picture: np.ndarray
    coverage: np.ndarray

    def boxes(self) -> list[tuple[float, float, float, float] | None]:
        """Return left, top, right and bottom of each thing in sides of the picture; None for one outside of it."""
        boxes: list[tuple[float, float, float, float] | None] = []
        for one in self.coverage > _VISIBLE:
            rows, columns = np.flatnonzero(one.any(1)), np.flatnonzero(one.any(0))
            inside = len(rows) and len(columns)
            corners = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if inside else ()
            boxes.append(tuple(float(value) / one.shape[0] for value in corners) if inside else None)
        return boxes


class Painter:
    """Paints compositions with the drawings of one source; keeps no state but the drawings it has scaled."""

    def __init__(self, sprites: Sprites, kept: int = 64) -> None:
        self._sprites, self._kept = sprites, kept
        self._levels: dict[tuple[str, str | None], list[Image.Image]] = {}

    def paint(self, composition: Composition, size: int) -> Painted:
        """Paint a picture; the same composition and size always give the same bytes.

        Raises UsageError for a size below 16, KeyError for an unknown drawing.
        """
        if size < _SMALLEST:
            raise UsageError(f"a picture needs at least {_SMALLEST} pixels a side, not {size}")
        picture = self._ground(composition, size)
        covers = []
        for thing in composition.things:
            color, coverage = self._thing(thing, size)
            picture = compose(picture, color, coverage)
            covers.append(coverage)
        together = np.max(covers, axis=0) if covers else np.zeros((size, size), np.float32)
        c = composition
        air = np.random.default_rng((c.seed, _AIR))
        picture = before(picture, together, air, c.season, c.weather, c.time, setting=c.setting)
        picture = light(picture, composition)
        if composition.style is not None:
            context = StyleContext(size, np.random.default_rng((composition.seed, _STYLE)), together)
            picture = ALL_STYLES[composition.style](np.clip(picture, 0.0, 1.0), context)
        pixels = (np.clip(picture, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
        return Painted(pixels, np.stack(covers) if covers else together[None][:0])

    def _ground(self, composition: Composition, size: int) -> np.ndarray:
        rng = np.random.default_rng((composition.seed, _GROUND))
        when = composition.season, composition.weather, composition.time
        if composition.setting is not None:
            return scenery(composition.setting, size, rng, *when)
        color = composition.background
        plain = ground(None if color is None else load_world().colors[color], size, rng)
        return behind(plain, rng, *when)

    def _thing(self, thing: Thing, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Premultiplied color (S, S, 3) and coverage (S, S) of a thing, in place."""
        warped = np.asarray(place(self._scaled(thing), thing, size), dtype=np.float32) / np.float32(255)
        return rotate_hue(warped[..., :3], thing.hue), warped[..., 3]

    def _scaled(self, thing: Thing) -> list[Image.Image]:
        key = (thing.drawing, thing.color)
        if key not in self._levels:
            pixels = self._sprites.pixels(thing.drawing)
            if thing.color is not None:
                pixels = recolor(pixels, load_world().colors[thing.color])
            picture = Image.frombuffer("RGBa", (pixels.shape[1], pixels.shape[0]), np.ascontiguousarray(pixels), "raw",
                                       "RGBa", 0, 1)  # fmt: skip
            if len(self._levels) >= self._kept:
                self._levels.pop(next(iter(self._levels)))
            self._levels[key] = pyramid(cropped(picture))
        return self._levels[key]


def cropped(picture: Image.Image) -> Image.Image:
    """Return a premultiplied picture without the transparent rows and columns around its ink."""
    box = picture.getchannel("a").point(lambda level: 255 * (level > 8)).getbbox()
    return picture if box is None else picture.crop(box)


def of_things(drawings: Sequence[str]) -> Composition:
    """Return the plain picture of one drawing or of several in a row."""
    count = max(len(drawings), 1)
    scale = 0.8 / count
    things = (Thing(name, x=(k + 0.5) / count, scale=scale) for k, name in enumerate(drawings))
    return Composition(things=tuple(things))
