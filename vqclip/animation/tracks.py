"""The tracks of a film: read, checked at each of its frames, and followed. Torch-free."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vqclip.config.film import Film
from vqclip.tracks import Time, Track, check_track

# what a track may be at any frame: beyond that a picture shows nothing
_CAMERA = {
    "zoom": (0.05, 20.0), "x": (-4096.0, 4096.0), "y": (-4096.0, 4096.0), "rotate": (-360.0, 360.0),
    "yaw": (-60.0, 60.0), "pitch": (-60.0, 60.0), "roll": (-360.0, 360.0), "dolly": (-10.0, 0.9),
}  # fmt: skip
_HOLD, _STRENGTH, _WEIGHT = (0.0, 1000.0), (0.0, 1.0), (-1000.0, 1000.0)
_OPTIONS = {"x": "--pan-x", "y": "--pan-y"}


@dataclass(frozen=True)
class FilmTracks:
    """The tracks of a film of `count` frames, 0 to `count` - 1, `fps` a second.

    `sound` holds the features of the sound at each frame, by their names.
    """

    film: Film
    count: int
    fps: float
    sound: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def time(self, number: int) -> Time:
        """Return the time of a frame as tracks know it."""
        sound = {name: float(values[number]) for name, values in self.sound.items()}
        return Time(float(number), self.fps, self.count, sound)

    def check(self) -> None:
        """Raise UsageError for a track that cannot be read, or that leaves its range at some frame."""
        for name, track in self.camera.items():
            self._check(track, _CAMERA[name], _option(name))
        self._check(self.hold, _HOLD, "--hold")
        self._check(self.strength, _STRENGTH, "--strength")

    def check_weights(self, weights: Mapping[int, Track], text: str) -> None:
        """Raise UsageError for weights of a scene's prompts that leave their range at some frame."""
        for track in weights.values():
            self._check(track, _WEIGHT, f"the weight in {text!r}")

    def _check(self, track: Track, limits: tuple[float, float], option: str) -> None:
        check_track(track, map(self.time, range(self.count)), *limits, option)

    @functools.cached_property
    def camera(self) -> dict[str, Track]:
        """What the camera does, by the names of its settings."""
        return {name: Track.parse(getattr(self.film.camera, name), _option(name)) for name in _CAMERA}

    @functools.cached_property
    def hold(self) -> Track:
        """How strongly a frame holds to the one before."""
        return Track.parse(self.film.hold, "--hold")

    @functools.cached_property
    def strength(self) -> Track:
        """How far the frames of a video are redrawn."""
        return Track.parse(self.film.strength, "--strength")


def _option(name: str) -> str:
    return _OPTIONS.get(name, f"--{name}")
