"""A run with its files: consumes the stream of snapshots and writes pictures, preview, video and savepoints.

While it runs, `<picture without ending>.run/` stands beside each picture; it goes when the run ends well, and stays for
`vqclip resume` when it does not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vqclip import images, savepoint
from vqclip.api import Picture, of_snapshot, versions
from vqclip.config import Config
from vqclip.errors import OutputError, ResumeError, VqclipError
from vqclip.generation.loop import batches, stream
from vqclip.generation.prepare import Prepared
from vqclip.savepoint import Savepoint, Saver
from vqclip.types import Notice, Snapshot
from vqclip.writers import metadata, names
from vqclip.writers.image import FORMATS, save_image
from vqclip.writers.video import FramePlan, VideoWriter, check_encoder, plan

# frames after which a segment of a video may end: few, since those of an unfinished one are drawn again
_SEGMENT = 25
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
    """What a face of the program wants to hear: every snapshot, and notices.

    `stop` is asked after every step whether the user wants an end, `save` whether picture, video and state are wanted
    now.
    """

    on_snapshot: Callable[[Snapshot], None] = lambda snapshot: None
    on_notice: Callable[[Notice], None] = lambda notice: None
    stop: Callable[[], bool] = lambda: False
    save: Callable[[], bool] = lambda: False


@dataclass
class Drawn:
    """The files of a run; `stopped` says whether the user ended it early, `folder` what it can be gone on with from."""

    pictures: list[Path] = field(default_factory=list)
    videos: list[Path] = field(default_factory=list)
    stopped: bool = False
    folder: Path | None = None


def draw(
    prepared: Prepared,
    listener: Listener | None = None,
    *,
    replace: bool = False,
    begin: tuple[Path, Savepoint] | None = None,
) -> Drawn:
    """Draw all pictures of a prepared run into files and return them.

    Existing files of the configured names are replaced only with `replace`, else the new ones are numbered. When the
    listener stops the run, or it fails, the best picture so far and the video up to there are kept, and the run's
    folder, from which it can be gone on with; the error follows. `begin` is such a folder with its savepoint.
    """
    listener = listener or Listener()
    drawn, own = Drawn(), _OwnNames(replace)
    first = begin[1].batch if begin else 0
    if not 0 <= first < len(batches(prepared.config)):
        raise ResumeError(f"{begin[0]} holds the state of pictures that its config does not name: draw them anew")
    snapshots = stream(prepared, (first, begin[1].packed) if begin else None)
    with contextlib.closing(snapshots):
        for number, seeds in list(enumerate(batches(prepared.config)))[first:]:
            batch = _Batch(prepared, number, seeds, listener, own, begin)
            begin = None
            try:
                drawn.stopped = batch.consume(snapshots)
            except BaseException as error:
                # whatever ended the run, the picture is worth more than the reason, which is raised after it
                with contextlib.suppress(VqclipError):
                    batch.keep(drawn, videos=not isinstance(error, KeyboardInterrupt))
                for path in drawn.pictures:
                    listener.on_notice(Notice(f"the run failed; kept so far: {path}"))
                if drawn.folder is not None and drawn.pictures:
                    listener.on_notice(Notice(f"it can go on from there: vqclip resume {drawn.folder}"))
                raise
            batch.keep(drawn)
            if drawn.stopped:
                break
    return drawn


class _Batch:
    """The files of the pictures that are drawn together."""

    def __init__(
        self,
        prepared: Prepared,
        number: int,
        seeds: tuple[int, ...],
        listener: Listener,
        own: _OwnNames,
        begin: tuple[Path, Savepoint] | None = None,
    ) -> None:
        self.prepared, self.config, self.listener = prepared, prepared.config, listener
        self.number, self.own = number, own
        self.wanted = [k for k in range(len(seeds)) if self.config.only in (None, k)]
        self.paths: dict[int, Path] = {}
        self.folders: dict[int, Path] = {}
        # sha256 of what this run wrote before its end, and whether other files may stand in the way
        self.kept: dict[str, str] = {} if begin is None else dict(begin[1].kept)
        self.wary = begin is not None and not own.replace
        told = savepoint.absolute(self.config)
        for place, k in enumerate(self.wanted):
            # the run's folder reserves the name, so that the next picture gets another one
            self.paths[k] = self._picture_path(seeds[k], place, begin)
            self.folders[k] = names.check_writable(names.run_folder(self.paths[k]))
            own.folders.add(self.folders[k])
            savepoint.write_config(self.folders[k], told)
        lead, *others = self.folders.values()
        self.saver = Saver(lead, others, None if begin is None else begin[1])
        self.versions = versions()
        self.frames = _frame_plan(self.config) if self.config.output.video else None
        # the last step that has a frame, and frames since the last segment
        self.framed, self.since_cut = 0 if begin is None else begin[1].packed.step, 0
        self.videos = {k: self._video(k, place, begin) for place, k in enumerate(self.wanted)} if self.frames else {}
        self.last: Snapshot | None = None
        self.unsaved = False

    def consume(self, snapshots: Iterator[Snapshot]) -> bool:
        """Take the snapshots of this batch; return True if the user stopped it."""
        for snapshot in snapshots:
            self.last = snapshot
            self._tell(snapshot)
            self._save_candidates(snapshot)
            self._write_frames(snapshot)
            self._preview(snapshot)
            self._offer_state(snapshot)
            if snapshot.last:
                return False
            if self.listener.save():
                self._save_now()
            if self.listener.stop():
                return True
        return False

    def keep(self, drawn: Drawn, *, videos: bool = True) -> None:
        """Write the pictures of the last snapshot and, unless the user is in a hurry, the videos; clean up."""
        if self.last is None:
            self._close(remove=self.saver.point is None)
            return
        whole = False
        try:
            drawn.pictures += self._save_pictures()
            if videos and (self.last.step or not self.config.total_steps):
                drawn.videos += [self._note(video.finish()) for video in self.videos.values()]
            whole = self.last.last
        finally:
            if not whole or self.config.output.keep_run:
                drawn.folder = self._keep_state(whole)
            self._close(remove=drawn.folder is None)

    def _save_pictures(self) -> list[Path]:
        """Write the best pictures so far; what a resumed run finds in their place stays, unless it wrote it itself."""
        written = []
        for k, picture in zip(self.wanted, of_snapshot(self.prepared, self.last), strict=True):
            written.append(self._note(self._save(picture, self._in_place(self.paths[k]))))
        return written

    def _in_place(self, path: Path) -> Path:
        strange = self.wary and path.exists() and self.kept.get(os.path.abspath(path)) != savepoint.sha256(path)
        return names.free_path(path) if strange else path

    def _note(self, path: Path) -> Path:
        """Remember a file that was written before the run's end, so that it may be replaced; return its path."""
        self.kept[os.path.abspath(path)] = savepoint.sha256(path)
        return path

    def _save_now(self) -> None:
        """Write pictures, videos as far as they are encoded, and the state, and go on."""
        kept = [*self._save_pictures(), *(self._note(v.join()) for v in self.videos.values() if v.frames)]
        self._keep_state()
        self.listener.on_notice(Notice(f"saved at step {self.last.step}: {', '.join(str(path) for path in kept)}"))

    def _offer_state(self, snapshot: Snapshot) -> None:
        """Take the state of this step, if it is one that the run can go on from, as the next savepoint.

        With a video only where a segment ends, so that one that went on has the frames of one that was never stopped.
        """
        packed = snapshot.packed
        if packed is None or packed.step != snapshot.step or snapshot.resumed:
            return
        if self.videos:
            if snapshot.step and not snapshot.last and self.since_cut < _SEGMENT:
                return
            for video in self.videos.values():
                video.cut()
            self.since_cut = 0
        point = Savepoint(
            packed,
            self.number,
            tuple(path.name for path in self.paths.values()),
            config=savepoint.absolute(self.config).to_dict(),
            videos=tuple(os.path.abspath(video.path) for video in self.videos.values()),
            segments=max((video.segment for video in self.videos.values()), default=0),
            weights=self.prepared.models.recorded_hashes(),
            outside=self.prepared.outside,
            versions=self.versions,
            kept=dict(self.kept),
            replace=self.own.replace,
        )
        self._try_to_save(lambda: self.saver.offer(point))

    def _keep_state(self, ended: bool = False) -> Path | None:
        """Write the latest savepoint, with what was kept; return the folder if it holds one."""
        if self.saver.point is None:
            return None
        self.saver.point = dataclasses.replace(self.saver.point, kept=dict(self.kept), ended=ended)
        self.saver.written = False
        self._try_to_save(self.saver.flush)
        return self.saver.folder if self.saver.written else None

    def _try_to_save(self, save: Callable[[], None]) -> None:
        try:
            save()
        except OutputError as error:
            if not self.unsaved:
                self.listener.on_notice(Notice(f"the run goes on, but its state is not saved: {error}"))
            self.unsaved = True

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
        # a step that is done again, after trouble, has its frame already
        if snapshot.step <= self.framed and (self.config.total_steps or snapshot.resumed):
            return
        self.framed = snapshot.step
        self.since_cut += 1
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

    def _picture_path(self, seed: int, place: int, begin: tuple[Path, Savepoint] | None) -> Path:
        output = self.config.output
        if begin is not None:
            path = begin[0].parent / begin[1].pictures[place]
            self.own.used.add(path)
            return path
        if output.file is None:
            first = (*self.config.prompts, *self.config.image_prompts)[0]
            return names.next_path(output.folder, seed, first)
        return self.own.next(output.file)

    def _video(self, k: int, place: int, begin: tuple[Path, Savepoint] | None) -> VideoWriter:
        known = begin is not None and place < len(begin[1].videos)
        path = self._in_place(Path(begin[1].videos[place])) if known else self.own.next(self.config.output.video)
        self.own.used.add(path)
        comment = " | ".join(self.config.prompts) if self.config.output.metadata else None
        return VideoWriter(
            path,
            self.folders[k],
            tuple(self.config.size),
            self.frames.fps,
            comment=comment,
            start_segment=begin[1].segments if known else 0,
        )

    def _close(self, remove: bool) -> None:
        """End the encoders and let go of the run's folders; remove them, or leave them for the run to go on."""
        for video in self.videos.values():
            with contextlib.suppress(OutputError):
                video.close()
        self.saver.close()
        if remove and not self.config.output.keep_run:
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
