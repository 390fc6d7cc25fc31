"""When a film shows what: frames, times, and what the camera does between them."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from vqclip.animation.camera import Motion, matrix
from vqclip.animation.sampling import Border
from vqclip.animation.tracks import FilmTracks
from vqclip.config.film import Film
from vqclip.tracks import Time

_ADDED = ("x", "y", "rotate", "yaw", "pitch", "roll")


@dataclass(frozen=True)
class Timeline:
    """The frames of a film, 0 to `count` - 1, `fps` a second, of pictures of `size` (width, height).

    `shrunk` is by how much a draft is smaller than the film that it shows. `sound` holds the features of the sound at
    each frame, by their names. Raises UsageError for a track that cannot be read or leaves its range.
    """

    film: Film
    count: int
    fps: float
    size: tuple[int, int]
    shrunk: float = 1.0
    sound: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the tracks."""
        self.tracks.check()

    @functools.cached_property
    def tracks(self) -> FilmTracks:
        """The tracks of the film."""
        return FilmTracks(self.film, self.count, self.fps, self.sound)

    def time(self, number: int) -> Time:
        """Return the time of a frame as tracks know it."""
        return self.tracks.time(number)

    def motion(self, number: int) -> Motion:
        """Return what the camera does between the frame before and this one."""
        time = self.time(number)
        values = {name: track.at(time) for name, track in self.tracks.camera.items()}
        values["x"], values["y"] = values["x"] / self.shrunk, values["y"] / self.shrunk
        # "center" is not among them
        return Motion(**values)  # type: ignore[arg-type]

    def motions(self, first: int, last: int) -> Motion:
        """Return what the camera does from a frame to a later one, taken together."""
        steps = [self.motion(number) for number in range(first + 1, last + 1)]
        added = {name: sum(getattr(step, name) for step in steps) for name in _ADDED}
        left = math.prod(1 - step.dolly for step in steps)
        return Motion(zoom=math.prod(step.zoom for step in steps), dolly=1 - left, **added)

    def between(self, first: int, last: int) -> Tensor:
        """Return the homography (3, 3) from pixels of a frame to those of another one, later or earlier.

        It is made of the moves between the two only: over many frames a zoom grows beyond what numbers hold.
        """
        if last < first:
            back: Tensor = torch.linalg.inv(self.between(last, first))
            return back
        *_, (_, move) = self.ways(first, last)
        return move

    def ways(self, first: int, last: int) -> Iterator[tuple[int, Tensor]]:
        """Yield each frame from `first` to `last`, and the homography (3, 3) from pixels of `first` to its own."""
        move = torch.eye(3, dtype=torch.float64)
        yield first, move
        for number in range(first + 1, last + 1):
            move = self._move(number) @ move
            yield number, move

    def hold(self, number: int) -> float:
        """Return how strongly a frame holds to the one before."""
        return self.tracks.hold.at(self.time(number))

    def strength(self, number: int) -> float:
        """Return how far the frame of a video is redrawn."""
        return self.tracks.strength.at(self.time(number))

    @property
    def border(self) -> Border:
        """What comes in at the edge of a frame; where the prior is to draw it, first its edge pixels."""
        border = self.film.camera.border
        return cast("Border", "smear" if border == "prior" else border)

    @functools.cached_property
    def moves(self) -> bool:
        """Whether the camera does anything at any frame."""
        still = torch.eye(3, dtype=torch.float64)
        return any(not torch.equal(self._move(number), still) for number in range(1, self.count + 1))

    def _move(self, number: int) -> Tensor:
        """Return the homography from pixels of the frame before; the last motion goes on beyond the end."""
        number = min(number, self.count - 1)
        if number not in self._moves:
            self._moves[number] = matrix(self.motion(number), (self.size[1], self.size[0]))
        return self._moves[number]

    @functools.cached_property
    def _moves(self) -> dict[int, Tensor]:
        return {}


def eased(ease: str, share: float) -> float:
    """Return how far a change is at a share, 0 to 1, of its time."""
    share = min(max(share, 0.0), 1.0)
    if ease == "smooth":
        return share * share * (3 - 2 * share)
    return share if ease == "linear" else share**2 if ease == "in" else 1 - (1 - share) ** 2
