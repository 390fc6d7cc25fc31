"""Which drawing shows a subject in a picture, and how wide and high it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vqclip.world.drawings import Drawing

# sets of drawings in one manner; a picture takes from one of them what it has
_MANNERS = ("noto", "fluent-3d", "fluent-flat", "twemoji", "noto-v1", "emojione2", "openclipart")
# how often each is the manner of a picture: clip art is of every kind, so it hardly ever is
_SHARES = (0.24, 0.26, 0.17, 0.14, 0.11, 0.07, 0.01)


@dataclass(frozen=True)
class Figure:
    """A drawing by name, what it shows, and its width and height, the longer of which is 1."""

    drawing: str
    subject: str
    width: float = 1.0
    height: float = 1.0


class Figures:
    """Chooses drawings of one manner where it can, so that the things of a picture look as if drawn by one hand.

    `known` holds the drawings of each subject, `like` the names of a user's drawings of a thing; `extent` gives
    the width and height of a drawing by name.
    """

    def __init__(
        self,
        known: Mapping[str, Sequence[Drawing]],
        like: Mapping[str, Sequence[str]],
        extent: Callable[[str], tuple[float, float]],
        rng: np.random.Generator,
    ) -> None:
        self._known, self._like, self._extent, self._rng = known, like, extent, rng
        self._manners = [_MANNERS[k] for k in rng.choice(len(_MANNERS), len(_MANNERS), replace=False, p=_SHARES)]

    def knows(self, subject: str) -> bool:
        """Whether there is a drawing of a subject."""
        return subject in self._known

    def choose(self, subject: str, kind: str, count: int = 1) -> list[Figure]:
        """Return `count` figures of a subject, a shape or a thing of the user's own ("own").

        They are alike more often than not, else different ones of the same manner. Raises KeyError if it is unknown.
        """
        if kind == "shape":
            return [Figure(subject, subject)] * count
        names = list(self._like[subject]) if kind == "own" else self._of_one_manner(self._known[subject])
        order = self._rng.permutation(len(names))
        alike = kind != "own" and self._rng.random() < 0.6
        chosen = [names[order[0 if alike else k % len(names)]] for k in range(count)]
        return [Figure(name, subject, *self._extent(name)) for name in chosen]

    def _of_one_manner(self, drawings: Sequence[Drawing]) -> list[str]:
        for manner in self._manners:
            names = [drawing.id for drawing in drawings if drawing.source == manner]
            if names:
                return names
        return [drawing.id for drawing in drawings]
