"""Rendered scenes on disk: what the bundled models are trained on, made once by worker processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vqclip.errors import UsageError, unknown_name
from vqclip.training.rendering import is_rendered, render_once
from vqclip.world import Renderer, Scene, SceneShares, load_world, sample_scene

# what stands for scenes without a style, and for every name; the most that a name may count
PLAIN, _ALL, _MOST = "none", "all", 100
# which scenes `framed` means: renders and codes of others are not taken for them
FRAMING = 2


@dataclass(frozen=True)
class SceneSet:
    """`count` scenes of `seed`, rendered at `side` pixels into `folder`; scene i depends on (seed, i) alone.

    `framed` ones show their subjects large and in the middle. Of `styles` and `subjects`, each is as frequent as it
    is named, the style "none" being no style; without any all are alike, and 60 % of the scenes have a style.
    """

    folder: Path
    seed: int
    count: int
    side: int
    framed: bool = False
    styles: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the set's files are called after."""
        chosen = "|".join(self.styles) + ("||" + "|".join(self.subjects) if self.subjects else "")
        suffix = f"-{hashlib.sha256(chosen.encode()).hexdigest()[:8]}" if chosen else ""
        return f"{self.seed}-{self.side}{f'-framed{FRAMING}' if self.framed else ''}{suffix}"

    @property
    def file(self) -> Path:
        """Raw pixels, uint8 (count, side, side, 3)."""
        return self.folder / f"scenes-{self.name}.raw"

    @cached_property
    def images(self) -> np.ndarray:
        """All pictures, uint8 (count, side, side, 3), mapped from the disk."""
        return np.memmap(self.file, np.uint8, "r", shape=(self.count, self.side, self.side, 3))

    @cached_property
    def scenes(self) -> list[Scene]:
        """All scenes, in the order of the pictures."""
        return [self.scene(index) for index in range(self.count)]

    def scene(self, index: int) -> Scene:
        """Return scene `index` of the endless series that the set begins."""
        rng = np.random.default_rng([self.seed, index])
        chosen: dict[str, Any] = {"subjects": self.subjects, "framed": self.framed}
        if self.styles:
            named = [style for style in self.styles if style != PLAIN]
            chosen |= {"styles": named, "shares": SceneShares(styled=len(named) / len(self.styles))}
        return sample_scene(load_world(), rng, **chosen)

    def render(self, font: Path | None = None, workers: int = 1) -> SceneSet:
        """Render what is not on the disk yet and return the set.

        Raises UsageError without the font, and OutputError if the disk lacks the room.
        """
        wanted = asdict(self) | {"folder": None, "styles": list(self.styles), "subjects": list(self.subjects)}
        if is_rendered(self.file, wanted):
            return self
        Renderer(font)  # a missing font is said before any worker starts
        shape = (self.count, self.side, self.side, 3)
        render_once(self.file, wanted, shape, _Scenes(self, font), workers)
        return self


def parse_shares(option: str, text: str, names: Iterable[str], besides: str = "") -> tuple[str, ...]:
    """Read `NAME[:COUNT],...`, such as "all,cat:3": each name as often as it counts; UsageError if wrong.

    "all" is each of `names` once; `besides` is known too.
    """
    all_names = list(names)
    known = [_ALL, *filter(None, [besides]), *all_names]
    shares: list[str] = []
    for part in text.split(",") if text else ():
        name, _, count = part.strip().partition(":")
        if name not in known:
            raise unknown_name(f"name in {option}", name, known)
        if count and not (count.isascii() and count.isdigit() and 1 <= int(count) <= _MOST):
            raise UsageError(f"{option} {part.strip()}: give a whole number from 1 to {_MOST} after the colon")
        shares += (all_names if name == _ALL else [name]) * int(count or 1)
    return tuple(shares)


@lru_cache(maxsize=2)
def _renderer(font: Path | None) -> Renderer:
    return Renderer(font)


@dataclass(frozen=True)
class _Scenes:
    """What paints the scenes of a set."""

    scenes: SceneSet
    font: Path | None

    def paint(self, index: int) -> np.ndarray:
        """Return picture `index`, (side, side, 3) uint8."""
        return _renderer(self.font).render(self.scenes.scene(index), self.scenes.side)
