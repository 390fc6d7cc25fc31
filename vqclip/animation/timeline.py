"""When a film shows what: frames, times, what the camera does, and the tracks over all of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import cast

import torch
from torch import Tensor

from vqclip.animation.camera import Motion, matrix
from vqclip.animation.sampling import Border
from vqclip.config.film import CameraConfig, Film
from vqclip.tracks import Time, Track, check_track

# what a track may be at any frame: beyond that a picture shows nothing
_RANGES = {
    "zoom": (0.05, 20.0), "x": (-4096.0, 4096.0), "y": (-4096.0, 4096.0), "rotate": (-360.0, 360.0),
    "yaw": (-60.0, 60.0), "pitch": (-60.0, 60.0), "roll": (-360.0, 360.0), "dolly": (-10.0, 0.9),
}  # fmt: skip
_ADDED = ("x", "y", "rotate", "yaw", "pitch", "roll")
_HOLD, _STRENGTH, _WEIGHT = (0.0, 1000.0), (0.0, 1.0), (-1000.0, 1000.0)


@dataclass(frozen=True)
class Timeline:
    """The frames of a film, 0 to `count` - 1, `fps` a second, of pictures of `size` (width, height).

    `shrunk` is by how much a draft is smaller than the film that it shows. `sound` holds the features of the sound at
    each frame, by their names.
    """

    film: Film
    count: int
    fps: float
    size: tuple[int, int]
    shrunk: float = 1.0
    sound: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise UsageError for a track that cannot be read, or that is out of its range at some frame."""
        times = [self.time(number) for number in range(self.count)]
        for name, track in self._camera.items():
            check_track(track, times, *_RANGES[name], f"--{_OPTIONS.get(name, name)}")
        check_track(self._hold, times, *_HOLD, "--hold")
        check_track(self._strength, times, *_STRENGTH, "--strength")

    def time(self, number: int) -> Time:
        """Return the time of a frame as tracks know it."""
        sound = {name: float(values[number]) for name, values in self.sound.items()}
        return Time(float(number), self.fps, self.count, sound)

    def motion(self, number: int) -> Motion:
        """Return what the camera does between the frame before and this one."""
        time = self.time(number)
        values = {name: track.at(time) for name, track in self._camera.items()}
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
        """Return the homography (3, 3) from pixels of a frame to those of another one, later or earlier."""
        back: Tensor = torch.linalg.inv(self.total(first))
        return self.total(last) @ back

    def total(self, number: int) -> Tensor:
        """Return the homography (3, 3) from pixels of frame 0 to those of a frame, or of the one after the last."""
        return self._totals[number]

    def hold(self, number: int) -> float:
        """Return how strongly a frame holds to the one before."""
        return self._hold.at(self.time(number))

    def strength(self, number: int) -> float:
        """Return how far the frame of a video is redrawn."""
        return self._strength.at(self.time(number))

    def check_weights(self, weights: Mapping[int, Track], text: str) -> None:
        """Raise UsageError for weights of a scene's prompts that are out of range at some frame."""
        times = [self.time(number) for number in range(self.count)]
        for track in weights.values():
            check_track(track, times, *_WEIGHT, f"the weight in {text!r}")

    @property
    def border(self) -> Border:
        """What comes in at the edge of a frame; where the prior is to draw it, first its edge pixels."""
        border = self.film.camera.border
        return cast("Border", "smear" if border == "prior" else border)

    @functools.cached_property
    def moves(self) -> bool:
        """Whether the camera does anything at any frame."""
        still = torch.eye(3, dtype=torch.float64)
        return any(not torch.equal(self._totals[number], still) for number in range(self.count))

    @functools.cached_property
    def _totals(self) -> list[Tensor]:
        totals = [torch.eye(3, dtype=torch.float64)]
        for number in range(1, self.count + 1):
            move = matrix(self.motion(min(number, self.count - 1)), (self.size[1], self.size[0]))
            totals.append(move @ totals[-1])
        return totals

    @functools.cached_property
    def _camera(self) -> dict[str, Track]:
        names = [each.name for each in fields(CameraConfig) if each.name in _RANGES]
        return {name: Track.parse(getattr(self.film.camera, name), f"--{_OPTIONS.get(name, name)}") for name in names}

    @functools.cached_property
    def _hold(self) -> Track:
        return Track.parse(self.film.hold, "--hold")

    @functools.cached_property
    def _strength(self) -> Track:
        return Track.parse(self.film.strength, "--strength")


_OPTIONS = {"x": "pan-x", "y": "pan-y"}


def eased(ease: str, share: float) -> float:
    """Return how far a change is at a share, 0 to 1, of its time."""
    share = min(max(share, 0.0), 1.0)
    if ease == "smooth":
        return share * share * (3 - 2 * share)
    return share if ease == "linear" else share**2 if ease == "in" else 1 - (1 - share) ** 2
