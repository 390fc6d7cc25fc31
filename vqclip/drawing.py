"""A run with its files: consumes the stream of snapshots and writes pictures, preview, video and log.

While it runs, `<picture without ending>.run/` stands beside each picture; it goes when the run ends well.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vqclip import atomic, images
from vqclip.api import Picture, of_snapshot
from vqclip.config import Config, to_yaml
from vqclip.errors import OutputError, VqclipError
from vqclip.generation.loop import batches, stream
from vqclip.generation.prepare import Prepared
from vqclip.types import Notice, Snapshot
from vqclip.writers import metadata, names
from vqclip.writers.image import FORMATS, save_image
from vqclip.writers.video import FramePlan, VideoWriter, check_encoder, plan

# pixels of a candidate on its sheet
_THUMBNAIL = 128


def check_outputs(config: Config) -> None:
    """Raise UsageError or OutputError, before any network is loaded, for files that could not be written."""
    if config.output.file:
        names.check_suffix(config.output.file, "image")
        names.check_writable(Path(config.output.file).parent)
    else:
        names.check_writable(Path(config.output.folder))
    if config.output.video:
        names.check_suffix(config.output.video, "video")
        names.check_writable(Path(config.output.video).parent)
        _frame_plan(config)
        check_encoder(config.output.video)


@dataclass
class Listener:
    """What a face of the program wants to hear: every snapshot, notices, and whether the user asked to stop."""

    on_snapshot: Callable[[Snapshot], None] = lambda snapshot: None
    on_notice: Callable[[Notice], None] = lambda notice: None
    stop: Callable[[], bool] = lambda: False


@dataclass
class Drawn:
    """The files of a run; `stopped` says whether the user ended it early."""

    pictures: list[Path] = field(default_factory=list)
    videos: list[Path] = field(default_factory=list)
    stopped: bool = False


def draw(prepared: Prepared, listener: Listener | None = None, *, replace: bool = False) -> Drawn:
    """Draw all pictures of a prepared run into files and return them.

    Existing files of the configured names are replaced only with `replace`, else the new ones are numbered. When the
    listener stops the run, or it fails, the best picture so far and the video up to there are kept; the error follows.
    """
    listener = listener or Listener()
    drawn, own = Drawn(), _OwnNames(replace)
    snapshots = stream(prepared)
    with contextlib.closing(snapshots):
        for seeds in batches(prepared.config):
            batch = _Batch(prepared, seeds, listener, own)
            try:
                drawn.stopped = batch.consume(snapshots)
            except BaseException as error:
                # whatever ended the run, the picture is worth more than the reason, which is raised after it
                with contextlib.suppress(VqclipError):
                    batch.keep(drawn, videos=not isinstance(error, KeyboardInterrupt))
                for path in drawn.pictures:
                    listener.on_notice(Notice(f"the run failed; kept so far: {path}"))
                raise
            batch.keep(drawn)
            if drawn.stopped:
                break
    return drawn


class _Batch:
    """The files of the pictures that are drawn together."""

    def __init__(self, prepared: Prepared, seeds: tuple[int, ...], listener: Listener, own: _OwnNames) -> None:
        self.prepared, self.config, self.listener = prepared, prepared.config, listener
        self.own = own
        self.wanted = [k for k in range(len(seeds)) if self.config.only in (None, k)]
        self.paths: dict[int, Path] = {}
        self.folders: dict[int, Path] = {}
        for k in self.wanted:
            # the run's folder reserves the name, so that the next picture gets another one
            self.paths[k] = self._picture_path(seeds[k])
            self.folders[k] = names.check_writable(names.run_folder(self.paths[k]))
            own.folders.add(self.folders[k])
            atomic.write_text(self.folders[k] / "config.yaml", to_yaml(self.config))
        self.frames = _frame_plan(self.config) if self.config.output.video else None
        self.videos = {k: self._video(k, self.frames.fps) for k in self.wanted} if self.frames else {}
        self.last: Snapshot | None = None

    def consume(self, snapshots: Iterator[Snapshot]) -> bool:
        """Take the snapshots of this batch; return True if the user stopped it."""
        for snapshot in snapshots:
            self.last = snapshot
            self._tell(snapshot)
            self._save_candidates(snapshot)
            self._write_frames(snapshot)
            self._preview(snapshot)
            if snapshot.last:
                return False
            if self.listener.stop():
                return True
        return False

    def keep(self, drawn: Drawn, *, videos: bool = True) -> None:
        """Write the pictures of the last snapshot and, unless the user is in a hurry, the videos; clean up."""
        if self.last is None:
            self._clean()
            return
        for k, picture in zip(self.wanted, of_snapshot(self.prepared, self.last), strict=True):
            drawn.pictures.append(self._save(picture, self.paths[k]))
        if videos and (self.last.step or not self.config.steps):
            drawn.videos += [video.finish() for video in self.videos.values()]
        self._clean()

    def _save(self, picture: Picture, path: Path) -> Path:
        record = picture.record
        if self.last is not None and not self.last.last:
            record = record | {"stopped_at_step": self.last.step}
        # outside a mask every pixel must stay as it was
        lossless = self.config.init.mask is not None
        if lossless and FORMATS[path.suffix.lower()] == "JPEG":
            self.listener.on_notice(Notice(f"{path.name} changes pixels outside the mask a little: save as PNG"))
        if not self.config.output.metadata:
            return save_image(picture.image, path, None, lossless=lossless)
        if not metadata.fits(record, FORMATS[path.suffix.lower()]):
            self.listener.on_notice(Notice(f"{path.name} holds only a part of its metadata: save as PNG to keep all"))
        return save_image(picture.image, path, record, lossless=lossless)

    def _tell(self, snapshot: Snapshot) -> None:
        for notice in snapshot.notices:
            self.listener.on_notice(notice)
        self.listener.on_snapshot(snapshot)

    def _save_candidates(self, snapshot: Snapshot) -> None:
        """Write a contact sheet of what the prior proposed beside the picture of each seed, best first."""
        for seed, candidates in snapshot.candidates.items():
            shown = _thumbnail(snapshot.size)
            pictures = [images.cover(images.to_pil(picture), *shown) for picture in candidates.pictures]
            captions = [f"{place}: {score:.3f}" for place, score in enumerate(candidates.scores.tolist(), 1)]
            columns = math.ceil(math.sqrt(len(pictures)))
            sheet = images.contact_sheet(pictures, captions, columns, _THUMBNAIL)
            first = next((k for k in self.wanted if snapshot.seeds[k] == seed), None)
            if first is not None:
                path = self.paths[first].with_suffix(".candidates.png")
                path = path if self.own.replace else names.free_path(path)
                save_image(sheet, path, None)
                self.listener.on_notice(Notice(f"the prior's candidates, best first: {path}"))

    def _write_frames(self, snapshot: Snapshot) -> None:
        if self.frames is None or not self.frames.keeps(max(snapshot.step - 1, 0)):
            return
        if snapshot.step == 0 and self.config.steps:
            return
        pictures = snapshot.pictures()
        for k, video in self.videos.items():
            video.write(np.asarray(pictures[k]))

    def _preview(self, snapshot: Snapshot) -> None:
        every = self.config.output.save_every
        if not every or not snapshot.step or snapshot.step % every or snapshot.last:
            return
        pictures = snapshot.pictures()
        for k, folder in self.folders.items():
            save_image(pictures[k], folder / "preview.png", None)

    def _picture_path(self, seed: int) -> Path:
        output = self.config.output
        if output.file is None:
            first = (*self.config.prompts, *self.config.image_prompts)[0]
            return names.next_path(output.folder, seed, first)
        return self.own.next(output.file)

    def _video(self, k: int, fps: float) -> VideoWriter:
        path = self.own.next(self.config.output.video)
        comment = " | ".join(self.config.prompts) if self.config.output.metadata else None
        return VideoWriter(path, self.folders[k], tuple(self.config.size), fps, comment=comment)

    def _clean(self) -> None:
        """Remove the run folders, unless they are to be kept."""
        for video in self.videos.values():
            with contextlib.suppress(OutputError):
                video.close()
        if not self.config.output.keep_run:
            for folder in self.folders.values():
                shutil.rmtree(folder, ignore_errors=True)


class _OwnNames:
    """Names that the user gave, numbered where one is used already, in this run or (unless replacing) on the disk."""

    def __init__(self, replace: bool) -> None:
        self.replace = replace
        self.used: set[Path] = set()
        self.folders: set[Path] = set()

    def next(self, name: str) -> Path:
        """Return the next name to write to."""
        free = next(path for path in names.numbered(name) if path not in self.used and self._may_write(path))
        self.used.add(free)
        return free

    def _may_write(self, path: Path) -> bool:
        if self.replace:
            return True
        # a run folder that is not of this run tells of another one that draws the picture
        folder = names.run_folder(path)
        return not (os.path.lexists(path) or (folder not in self.folders and os.path.lexists(folder)))


def _thumbnail(size: tuple[int, int]) -> tuple[int, int]:
    width, height = (max(round(side * _THUMBNAIL / max(size)), 1) for side in size)
    return width, height


def _frame_plan(config: Config) -> FramePlan:
    output = config.output
    return plan(config.steps, output.fps, output.length, Path(output.video or "").suffix.lower())
