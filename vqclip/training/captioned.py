"""Captioned compositions of the second world: pictures laid out from readings, and all that can be said of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from vqclip.sketch.figures import Figure, Figures
from vqclip.sketch.layout import lay_out
from vqclip.sketch.sampling import sample_reading
from vqclip.training.compositions import TRAINED, AtlasSprites
from vqclip.training.gathering import SIDE, gather
from vqclip.training.rendering import render_once
from vqclip.words.reading import Reading
from vqclip.world.atlas import Atlas, digest
from vqclip.world.composition import AllSprites, Composition, Painter
from vqclip.world.drawings import Drawing, drawings_of, load_drawings, weights

# which pictures a series means: renders of others are not taken for them
_VERSION = 1
# how often the drawing of a thing is any of its subject's, each source alike, instead of one of the picture's manner
_ANY = 0.5


@dataclass(frozen=True)
class Captioned:
    """A picture to paint, all that is true of it, and which noun each of its things shows (-1 for none)."""

    composition: Composition
    reading: Reading
    owners: tuple[int, ...]


@dataclass(frozen=True)
class CaptionedSet:
    """`count` captioned compositions of `seed`, rendered at `side` pixels into `folder`, each of (seed, number) alone.

    A larger `count` goes on with the pictures that are on the disk. `styled` is the share that has a style, `held`
    says which drawings are shown, `most` how many nouns at most.
    """

    folder: Path
    seed: int
    count: int
    side: int
    held: tuple[str, ...] = TRAINED
    styled: float = 0.6
    most: int = 3

    @property
    def file(self) -> Path:
        """Raw pixels, uint8 (count, side, side, 3)."""
        return self.folder / f"captioned-{'held-' if self.held != TRAINED else ''}{self.seed}-{self.side}.raw"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of all pictures."""
        return self.count, self.side, self.side, 3

    @cached_property
    def images(self) -> np.ndarray:
        """All pictures, uint8 (count, side, side, 3), mapped from the disk."""
        return np.memmap(self.file, np.uint8, "r", shape=self.shape)

    @cached_property
    def readings(self) -> list[Reading]:
        """What is true of each picture, in their order."""
        return [self.captioned(index).reading for index in range(self.count)]

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects that are shown."""
        return tuple(_drawings(self.held))

    def captioned(self, index: int) -> Captioned:
        """Return number `index` of the endless series that the set begins."""
        rng = np.random.default_rng([self.seed, index])
        drawings, extents = _drawings(self.held), _extents(self.folder)
        reading = sample_reading(rng, tuple(drawings), self.styled, self.most)
        figures = _Chosen(drawings, extents, rng)
        composition = lay_out(reading, figures, rng, int(rng.integers(2**31)))
        owners = tuple(figures.owner(thing.drawing) for thing in composition.things)
        return Captioned(replace(composition, style=reading.style), _complete(reading, composition), owners)

    def paint(self, index: int) -> np.ndarray:
        """Return picture `index`, (side, side, 3) uint8."""
        return _painter(self.folder).paint(self.captioned(index).composition, self.side).picture

    def boxes(self, index: int, side: int = 64) -> list[tuple[int, tuple[float, float, float, float] | None]]:
        """Return, for each thing of a picture, the number of its noun (-1 for none) and its box.

        Boxes are left, top, right and bottom in sides of the picture, as exact as one of `side` pixels; None for a
        thing outside of it.
        """
        captioned = self.captioned(index)
        bare = Composition(things=captioned.composition.things)
        return list(zip(captioned.owners, _painter(self.folder).paint(bare, side).boxes(), strict=True))

    def render(self, workers: int = 1) -> CaptionedSet:
        """Fetch drawings and render the pictures that are not on the disk yet; return the set."""
        gather(self.folder / "drawings")
        wanted = asdict(self) | {"folder": None, "held": list(self.held), "version": _VERSION}
        wanted |= {"table": digest(load_drawings())}
        render_once(self.file, wanted, self.shape, self, workers)
        return self


class _Chosen(Figures):
    """Figures of a training: every drawing is shown, those of clip art too; remembers which noun has which."""

    def __init__(
        self, known: dict[str, tuple[Drawing, ...]], extents: dict[str, tuple[float, float]], rng: np.random.Generator
    ) -> None:
        super().__init__(known, {}, extents.__getitem__, rng)
        self._drawings, self._extents, self._draws = known, extents, rng
        self._shown: list[frozenset[str]] = []

    def choose(self, subject: str, kind: str, count: int = 1) -> list[Figure]:
        """Return `count` figures of a subject or shape, see `Figures.choose`; one call for each noun, in order."""
        if kind == "subject" and self._draws.random() < _ANY:
            drawings = self._drawings[subject]
            name = drawings[int(self._draws.choice(len(drawings), p=weights(drawings)))].id
            figures = [Figure(name, subject, *self._extents[name])] * count
        else:
            figures = super().choose(subject, kind, count)
        self._shown.append(frozenset(figure.drawing for figure in figures))
        return figures

    def owner(self, drawing: str) -> int:
        """Return the number of the noun that a drawing shows, -1 if none does."""
        return next((number for number, shown in enumerate(self._shown) if drawing in shown), -1)


def _complete(reading: Reading, composition: Composition) -> Reading:
    """Return a reading with what its picture shows besides: a ground that nobody asked for."""
    c = composition
    return replace(reading, setting=c.setting, background=c.background, season=c.season, weather=c.weather, time=c.time)


@lru_cache(maxsize=4)
def _drawings(held: tuple[str, ...]) -> dict[str, tuple[Drawing, ...]]:
    return dict(drawings_of(held=held))


@lru_cache(maxsize=2)
def _atlas(folder: Path) -> Atlas:
    return Atlas(folder / "drawings" / f"atlas-{SIDE}", SIDE)


@lru_cache(maxsize=2)
def _painter(folder: Path) -> Painter:
    return Painter(AllSprites(AtlasSprites(_atlas(folder))))


@lru_cache(maxsize=2)
def _extents(folder: Path) -> dict[str, tuple[float, float]]:
    """Return width and height of every drawing, the longer one 1: the ink of a drawing fills its square one way."""
    return _Extents(_atlas(folder))


class _Extents(dict[str, tuple[float, float]]):
    """Width and height of drawings, measured when they are first asked for."""

    def __init__(self, atlas: Atlas) -> None:
        super().__init__()
        self._atlas = atlas

    def __missing__(self, name: str) -> tuple[float, float]:
        inked = self._atlas.drawing(name)[..., 3] > 64
        width, height = (max(int(np.ptp(np.flatnonzero(inked.any(axis)))) + 1, 1) for axis in (0, 1))
        extent = width / max(width, height), height / max(width, height)
        self[name] = extent
        return extent
