"""A progress video of each picture, encoded in segments while the run goes on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vqclip.config import Config
from vqclip.errors import OutputError
from vqclip.session.sinks.sink import Sink
from vqclip.types import Snapshot
from vqclip.writers import names
from vqclip.writers.frames import FramePlan, plan
from vqclip.writers.video import VideoWriter, check_encoder

# frames after which a segment of a video may end: few, since those of an unfinished one are drawn again
SEGMENT = 25
# steps after which one ends however few its frames
FAR = 100


def frame_plan(config: Config) -> FramePlan:
    """Return which steps of a config become frames; UsageError for rates and lengths that no video has."""
    output = config.output
    return plan(config.steps, output.fps, output.length, Path(output.video or "").suffix.lower())


class VideoSink(Sink):
    """Writes a frame of every step that the plan wants, and joins the segments at the end.

    States are kept only where a segment ends, so that a video that went on has the frames of one that was never
    stopped.
    """

    kind = "videos"

    @staticmethod
    def wanted(config: Config) -> bool:
        """Whether a config asks for a video."""
        return bool(config.output.video)

    @staticmethod
    def check(config: Config) -> None:
        """Raise UsageError or OutputError for a video that could not be written, or without an encoder."""
        video = config.output.video
        if video:
            names.check_suffix(video, "video")
            names.check_writable(Path(video).parent)
            frame_plan(config)
            check_encoder(video)

    def begin(self) -> None:
        """Choose the names, or take those of the savepoint, and open the writers. Raises OutputError."""
        point = self.batch.point
        self.plan = frame_plan(self.config)
        # the last step that has a frame, frames since the last segment, and where that ended
        self.framed = self.cut_at = point.step if point else 0
        self.since_cut = 0
        self.writers: dict[int, VideoWriter] = {}
        for place, k in enumerate(self.batch.wanted):
            self.writers[k] = self._writer(k, place)

    def step(self, snapshot: Snapshot) -> None:
        """Write the frames of a step, unless it has them already, as after trouble. Raises OutputError."""
        times = self._times(snapshot)
        seen = snapshot.step <= self.framed and (self.config.total_steps or snapshot.resumed)
        if not times or seen:
            return
        self.framed = snapshot.step
        self.since_cut += times
        pictures = snapshot.pictures()
        for k, writer in self.writers.items():
            frame = np.asarray(pictures[k])
            for _ in range(times):
                writer.write(frame)

    def may_keep(self, snapshot: Snapshot) -> bool:
        """Whether a segment may end at this step."""
        # after trouble a step may come again whose frame is in a segment with later ones
        if snapshot.step < self.framed:
            return False
        due = self.since_cut >= SEGMENT or snapshot.step - self.cut_at >= FAR
        return bool(not snapshot.step or snapshot.last or due)

    def cut(self, snapshot: Snapshot) -> None:
        """End the segments. Raises OutputError."""
        for writer in self.writers.values():
            writer.cut()
        self.since_cut, self.cut_at = 0, snapshot.step

    def position(self) -> int:
        """Return the number of whole segments."""
        return max((writer.segment for writer in self.writers.values()), default=0)

    def fields(self, position: int) -> dict[str, Any]:
        """Return where the videos will be, and how many segments are theirs."""
        videos = tuple(os.path.abspath(writer.path) for writer in self.writers.values())
        return {"videos": videos, "segments": position}

    def save(self, snapshot: Snapshot) -> Sequence[Path]:
        """Join the whole segments; the one in progress goes on. Raises OutputError."""
        return [self._write(writer, snapshot, VideoWriter.join) for writer in self.writers.values() if writer.frames]

    def finish(self, snapshot: Snapshot, hurry: bool) -> Sequence[Path]:
        """Write the videos that have a frame; in a hurry none. Raises OutputError."""
        written = []
        for writer in () if hurry else self.writers.values():
            writer.cut()
            if writer.frames:
                written.append(self._write(writer, snapshot, VideoWriter.finish))
        return written

    def close(self, whole: bool) -> None:
        """End the encoders; their segments stay."""
        for writer in getattr(self, "writers", {}).values():
            with contextlib.suppress(OutputError):
                writer.close()

    def _write(self, writer: VideoWriter, snapshot: Snapshot, how: Any) -> Path:
        writer.path = self.batch.outputs.in_place(writer.path, snapshot.last)
        return self.batch.outputs.note(how(writer))

    def _times(self, snapshot: Snapshot) -> int:
        """Return how many frames of the video show a step; the last one that came early fills what was asked for."""
        step = max(snapshot.step - 1, 0)
        if not snapshot.last or snapshot.step >= self.config.total_steps:
            return self.plan.times(step)
        return max(self.plan.frames - self.plan.before(step) if self.config.output.length else 0, 1)

    def _writer(self, k: int, place: int) -> VideoWriter:
        point, outputs = self.batch.point, self.batch.outputs
        known = point is not None and place < len(point.videos)
        name = str(self.config.output.video)
        path = Path(point.videos[place]) if point and known else outputs.next(name, drawn=False)
        outputs.take(path)
        comment = " | ".join(self.config.prompts) if self.config.output.metadata else None
        segments = point.segments if point and known else 0
        size = (self.config.size[0], self.config.size[1])
        folder = self.batch.folders[k]
        return VideoWriter(path, folder, size, self.plan.fps, comment=comment, start_segment=segments)
