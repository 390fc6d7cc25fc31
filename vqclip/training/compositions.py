"""Rendered compositions of the second world: what its models are trained on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from vqclip.training.gathering import SIDE, gather
from vqclip.training.rendering import render_once
from vqclip.world import load_world
from vqclip.world.atlas import Atlas
from vqclip.world.composition import AllSprites, Composition, Painter
from vqclip.world.drawings import Drawing, drawings_of
from vqclip.world.sampling import sample_composition
from vqclip.world.styles import STYLES

# which compositions a series means: renders of others are not taken for them
_VERSION = 1
# what a picture may show: drawings that trainings may use, or only those that are held out of them
TRAINED, HELD_OUT = ("",), ("drawing",)


@dataclass(frozen=True)
class AtlasSprites:
    """The drawings of an atlas."""

    atlas: Atlas

    def pixels(self, name: str) -> np.ndarray:
        """Return a drawing (side, side, 4) uint8, colors premultiplied by alpha."""
        return np.array(self.atlas.drawing(name))


@lru_cache(maxsize=1)
def _painter(atlas: Atlas) -> Painter:
    return Painter(AllSprites(AtlasSprites(atlas)))


@dataclass(frozen=True)
class CompositionSet:
    """`count` compositions of `seed`, rendered at `side` pixels into `folder`; number i depends on (seed, i) alone.

    `paired` ones are rendered twice, without their style and with it.
    """

    folder: Path
    seed: int
    count: int
    side: int
    held: tuple[str, ...] = TRAINED
    styled: float = 0.6
    paired: bool = False
    settings: tuple[str, ...] = field(default_factory=lambda: tuple(load_world().settings))
    styles: tuple[str, ...] = field(default_factory=lambda: tuple(STYLES))

    @property
    def atlas(self) -> Atlas:
        """The drawings."""
        return Atlas(self.folder / "drawings" / f"atlas-{SIDE}", SIDE)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all pictures: (count, side, side, 3), of paired ones (count, 2, side, side, 3)."""
        pair = (2,) if self.paired else ()
        return (self.count, *pair, self.side, self.side, 3)

    @property
    def file(self) -> Path:
        """Raw pixels, uint8."""
        kind = f"{'held-' if self.held != TRAINED else ''}{'pairs-' if self.paired else ''}"
        return self.folder / f"compositions-{kind}{self.seed}-{self.side}.raw"

    @cached_property
    def images(self) -> np.ndarray:
        """All pictures, uint8, mapped from the disk."""
        return np.memmap(self.file, np.uint8, "r", shape=self.shape)

    @cached_property
    def scenes(self) -> list[Composition]:
        """All compositions, in the order of the pictures."""
        return [self.composition(index) for index in range(self.count)]

    def composition(self, index: int) -> Composition:
        """Return composition `index` of the endless series that the set begins."""
        rng = np.random.default_rng([self.seed, index])
        return sample_composition(
            rng, _drawings(self.held), settings=self.settings, styles=self.styles, styled=self.styled
        )

    def paint(self, index: int) -> np.ndarray:
        """Return picture `index`, (side, side, 3) uint8, or its pair (2, side, side, 3), plain and styled."""
        composition, painter = self.composition(index), _painter(self.atlas)
        styled = painter.paint(composition, self.side).picture
        if not self.paired:
            return styled
        return np.stack([painter.paint(replace(composition, style=None), self.side).picture, styled])

    def render(self, workers: int = 1) -> CompositionSet:
        """Fetch drawings and render pictures that are not on the disk yet; return the set."""
        gather(self.folder / "drawings")
        wanted = {
            "version": _VERSION,
            "shape": list(self.shape),
            "held": list(self.held),
            "styled": self.styled,
            "settings": list(self.settings),
            "styles": list(self.styles),
        }
        render_once(self.file, wanted, self.shape, self, workers)
        return self


@lru_cache(maxsize=4)
def _drawings(held: tuple[str, ...]) -> dict[str, tuple[Drawing, ...]]:
    return dict(drawings_of(held=held))
