"""Which steps of a run become which frames of its video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vqclip.config import Config
from vqclip.errors import UsageError

DEFAULT_FPS, LOWEST_FPS, HIGHEST_FPS = 30.0, 10.0, 60.0
# A GIF counts hundredths of a second, and players slow down what lasts fewer than two of them.
HIGHEST_GIF_FPS = 50.0
LONGEST = 3600.0


@dataclass(frozen=True)
class FramePlan:
    """How `steps` steps share the `frames` frames of a video of `fps` frames a second."""

    fps: float
    steps: int
    frames: int

    def before(self, step: int) -> int:
        """Return how many frames the steps before `step` (from 0) have."""
        return step * self.frames // self.steps

    def times(self, step: int) -> int:
        """Return how many frames show `step` (from 0): spread evenly, so that those of all steps are `frames`.

        With fewer frames than steps some steps have none, but never the last; with more of them each is held.
        """
        return self.before(step + 1) - self.before(step)


def plan(steps: int, fps: float | None = None, length: float | None = None, suffix: str = ".mp4") -> FramePlan:
    """Return which steps become frames, for a rate `fps` in 1/s and a `length` in seconds, both optional.

    Without `length` every step is a frame. A length is kept to half a frame: steps are skipped, or held for several
    frames, to meet it. Without `fps` the rate is that of the steps, between 10 and 60 (GIF: 50) a second. Raises
    UsageError for values out of range.
    """
    highest = highest_fps(suffix)
    if fps is not None and not 1 <= fps <= highest:
        raise UsageError(f"--fps {fps:g} is out of range: give 1 to {highest:g} frames a second for {suffix}")
    if length is not None and not 0 < length <= LONGEST:
        raise UsageError(f"--length {length:g} is out of range: give seconds, more than 0 and at most {LONGEST:g}")
    steps = max(steps, 1)
    if length is None:
        return FramePlan(fps or DEFAULT_FPS, steps, steps)
    rate = fps or min(max(steps / length, LOWEST_FPS), highest)
    return FramePlan(rate, steps, max(1, round(length * rate)))


def highest_fps(suffix: str) -> float:
    """Return the highest rate that players of a kind of file show truly."""
    return HIGHEST_GIF_FPS if suffix == ".gif" else HIGHEST_FPS


def remarks(config: Config) -> list[str]:
    """Return what somebody should know of the video that a config asks for, or does not."""
    output = config.output
    if not output.video:
        unused = output.fps or output.length
        return ["--fps and --length are those of a video: give --video FILE to have one"] if unused else []
    if Path(output.video).suffix.lower() != ".mp4" or not any(side % 2 for side in config.size):
        return []
    width, height = (side + side % 2 for side in config.size)
    return [
        f"{Path(output.video).name} has {width}x{height} pixels, as MP4 takes even sides only: its edge is shown twice"
    ]
