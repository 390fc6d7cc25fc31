"""The video that a film draws anew: its frames, and how what they show moves."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from vqclip import images
from vqclip.animation import flow
from vqclip.animation.camera import warp_field
from vqclip.errors import UsageError
from vqclip.writers.clips import VideoSource


class Source:
    """The frames of a video as pictures (1, 3, H, W) of a film's size, at the film's rate, read in their order.

    An earlier frame than the last one that was read is read again from the beginning.
    """

    def __init__(self, video: VideoSource, fps: float, size: tuple[int, int], network: flow.Flow | None = None) -> None:
        self.video, self.fps, self.size = video, fps, size
        self.network = network or flow.optical_flow
        self._read: Iterator[np.ndarray] | None = None
        self._next = 0
        self._kept: dict[int, Tensor] = {}

    @classmethod
    def open(cls, path: str | Path, fps: float, size: tuple[int, int], network: flow.Flow | None = None) -> Source:
        """Open a video; UsageError for a file that holds none."""
        return cls(VideoSource.open(path), fps, size, network)

    def frame(self, number: int) -> Tensor:
        """Return a frame; beyond the end the last one."""
        if number in self._kept:
            return self._kept[number]
        if self._read is None or number < self._next:
            self._read, self._next = self.video.frames(start=number, fps=self.fps, size=self.size), number
        latest: Tensor | None = None
        while self._next <= number:
            pixels = next(self._read, None)
            if pixels is None:
                break
            latest = images.to_tensor(Image.fromarray(pixels))
            self._next += 1
        if latest is None:  # the video is over, or damaged from here on
            latest = self._last_before(number)
        # two neighbours are enough for the flow between them
        self._kept = {key: value for key, value in self._kept.items() if key >= max(self._kept, default=0)}
        self._kept[number] = latest
        return latest

    def _last_before(self, number: int) -> Tensor:
        """Return the last frame that can be read before a number; UsageError if there is none."""
        if self._kept:
            return self._kept[max(self._kept)]
        there = itertools.islice(self.video.frames(fps=self.fps, size=self.size), number)
        latest = deque(there, maxlen=1)
        if not latest:
            raise UsageError(f"{self.video.path} has no frame that can be read: give another video")
        return images.to_tensor(Image.fromarray(latest[0]))

    def carried(self, picture: Tensor, before: int, number: int) -> tuple[Tensor, Tensor]:
        """Return a picture of an earlier frame moved as the video moves, and where that can be known (1, 1, H, W)."""
        one, two = self.frame(before), self.frame(number)
        field, known = flow.flow_and_known(one, two, self.network)
        moved, inside = warp_field(picture, field, "smear")
        return moved, inside & known
