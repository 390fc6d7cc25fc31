"""A run with its files: consumes the stream of snapshots and writes pictures, preview, video and savepoints.

While it runs, `<picture without ending>.run/` stands beside each picture; it goes when the run ends well, and stays for
`vqclip resume` when it does not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vqclip.config import Config, checked
from vqclip.errors import NumericError, OutputError, ResumeError, VqclipError
from vqclip.generation.loop import batches, stream
from vqclip.generation.prepare import Prepared
from vqclip.session import savepoint
from vqclip.session.api import Picture, of_snapshot, versions
from vqclip.session.outputs import Outputs
from vqclip.session.savepoint import Savepoint, Saver
from vqclip.types import Notice, PackedState, Snapshot
from vqclip.writers import metadata, names
from vqclip.writers.frames import FramePlan, plan, remarks
from vqclip.writers.picture import FORMATS, candidates_sheet, save_image
from vqclip.writers.video import VideoWriter, check_encoder

# frames after which a segment of a video may end: few, since those of an unfinished one are drawn again
_SEGMENT = 25
# steps after which one ends however few its frames
_FAR = 100


def check_outputs(config: Config, replace: bool = False) -> None:
    """Raise UsageError or OutputError, before any network is loaded, for files that could not be written.

    With `replace` nothing but ordinary files may stand at their names; without, names that are taken are numbered.
    """
    config = checked(config)
    for name in (config.output.file, config.output.video):
        if name and replace:
            names.check_replaceable(name)
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
    taken: Collection[str] = (),
) -> Drawn:
    """Draw all pictures of a prepared run into files and return them.

    Existing files of the configured names are replaced only with `replace`, and those `taken` never: else the new ones
    are numbered. When the listener stops the run, or it fails, the best picture so far and the video up to there are
    kept, and the run's folder, from which it can be gone on with; the error follows. `begin` is such a folder with its
    savepoint.
    """
    listener = listener or Listener()
    for remark in remarks(prepared.config) if begin is None else ():
        listener.on_notice(Notice(remark))
    own = Outputs(prepared.config, replace, begin[1] if begin else None, taken)
    drawn, every = Drawn(), list(enumerate(batches(prepared.config)))
    first = begin[1].batch if begin else 0
    if not 0 <= first < len(every):
        raise ResumeError(f"{begin[0]} holds the state of pictures that its config does not name: draw them anew")
    # a run that ended and is drawn on is one of these alone
    last = first + 1 if begin and begin[1].ended else len(every)
    snapshots = stream(prepared, (first, begin[1].packed) if begin else None)
    with contextlib.closing(snapshots):
        for number, seeds in every[first:last]:
            batch = _Batch(prepared, number, seeds, listener, own, begin)
            begin = None
            try:
                drawn.stopped = batch.consume(snapshots)
                batch.keep(drawn)
            except BaseException as error:
                # whatever ended the run, the picture is worth more than the reason, which is raised after it
                with contextlib.suppress(VqclipError):
                    batch.keep(drawn, failed=error)
                _tell_of_end(drawn, listener, error)
                raise
            if drawn.stopped:
                break
    return drawn


def _tell_of_end(drawn: Drawn, listener: Listener, error: BaseException) -> None:
    """Say what a run that failed has kept, and how it can go on."""
    for path in drawn.pictures:
        listener.on_notice(Notice(f"the run ended early; kept so far: {path}"))
    if drawn.folder is not None:
        change = " --set optimizer.lr=SMALLER --force" if isinstance(error, NumericError) else ""
        listener.on_notice(Notice(f"it can go on from there: vqclip resume {drawn.folder}{change}"))


class _Batch:
    """The files of the pictures that are drawn together."""

    def __init__(
        self,
        prepared: Prepared,
        number: int,
        seeds: tuple[int, ...],
        listener: Listener,
        own: Outputs,
        begin: tuple[Path, Savepoint] | None = None,
    ) -> None:
        self.prepared, self.config, self.listener = prepared, prepared.config, listener
        self.number, self.own = number, own
        self.wanted = [k for k in range(len(seeds)) if self.config.only in (None, k)]
        found = None if begin is None else begin[1]
        if found is not None and len(found.pictures) != len(self.wanted):
            raise ResumeError(f"{begin[0]} holds the state of {len(found.pictures)} pictures, not {len(self.wanted)}")
        self.paths = {k: self._picture_path(seeds[k], place, begin) for place, k in enumerate(self.wanted)}
        # the run's folder reserves the name, so that the next picture gets another one
        self.folders = {k: names.check_writable(names.run_folder(path)) for k, path in self.paths.items()}
        own.folders |= set(self.folders.values())
        self.saver = Saver(list(self.folders.values()), found)
        self.versions, self.untold = versions(), set[str]()
        self.frames = _frame_plan(self.config) if self.config.output.video else None
        # the last step that has a frame, frames since the last segment, and where that ended
        self.framed = self.cut_at = found.step if found else 0
        self.since_cut = 0
        self.videos = {k: self._video(k, place, found) for place, k in enumerate(self.wanted)} if self.frames else {}
        self.last: Snapshot | None = None
        self.closed = False
        self.resumed = found is not None
        if not self.resumed:
            self._note_begin(None)

    def _note_begin(self, packed: PackedState | None) -> None:
        """Write what a run that is killed from here on can be gone on with."""
        for folder in self.folders.values():
            savepoint.write_config(folder, savepoint.absolute(self.config))
        self._try("state", lambda: self._offer(packed))

    def consume(self, snapshots: Iterator[Snapshot]) -> bool:
        """Take the snapshots of this batch; return True if the user stopped it."""
        for snapshot in snapshots:
            if snapshot.resumed:  # the state fits, also the settings that it was forced to take
                self._note_begin(snapshot.packed)
            self.last = snapshot
            self._tell(snapshot)
            self._try("sheet of candidates", lambda: self._save_candidates(snapshot))  # noqa: B023 - called at once
            self._write_frames(snapshot)
            self._try("preview", lambda: self._preview(snapshot))  # noqa: B023
            self._offer_state(snapshot)
            if snapshot.last:
                return False
            if self.listener.save():
                self._try("picture", self._save_now)
            if self.listener.stop():
                return True
        return False

    def keep(self, drawn: Drawn, failed: BaseException | None = None) -> None:
        """Write the pictures of the last snapshot and, unless the user is in a hurry, the videos; clean up."""
        if self.closed:
            return
        whole = False
        try:
            if self.last is not None:
                drawn.pictures += self._save_pictures()
                self._try("state", self.saver.flush)
                if not isinstance(failed, KeyboardInterrupt):
                    drawn.videos += self._finish_videos()
                whole = self.last.last and failed is None
        finally:
            if whole and self.config.output.keep_run:
                self._try("state", lambda: self._offer(self.last.packed, ended=True))
            # what is wrong before the first picture is a mistake in what was asked for: there is nothing to go on with
            mistaken = self.last is None and not self.resumed and isinstance(failed, VqclipError)
            self._try("state", self.saver.flush)
            self._close(remove=mistaken or (whole and not self.config.output.keep_run))
            drawn.folder = self.saver.folder if savepoint.is_saved(self.saver.folder) else None

    def _save_pictures(self) -> list[Path]:
        """Write the best pictures so far."""
        pictures = of_snapshot(self.prepared, self.last)
        return [
            self.own.note(self._save(picture, self.own.in_place(self.paths[k], self.last.last)))
            for k, picture in zip(self.wanted, pictures, strict=True)
        ]

    def _finish_videos(self) -> list[Path]:
        """Write the videos that have a frame."""
        written = []
        for video in self.videos.values():
            video.cut()
            if video.frames:
                video.path = self.own.in_place(video.path, self.last.last)
                written.append(self.own.note(video.finish()))
        return written

    def _save_now(self) -> None:
        """Write pictures, videos as far as they are encoded, and the state, and go on."""
        kept = self._save_pictures()
        for video in self.videos.values():
            if video.frames:
                video.path = self.own.in_place(video.path, self.last.last)
                kept.append(self.own.note(video.join()))
        self.saver.flush()
        self.listener.on_notice(Notice(f"saved at step {self.last.step}: {', '.join(str(path) for path in kept)}"))

    def _offer_state(self, snapshot: Snapshot) -> None:
        """Take the state of this step, if it is one that the run can go on from, as the next savepoint.

        With a video only where a segment ends, so that one that went on has the frames of one that was never stopped.
        """
        packed = snapshot.packed
        if packed is None or packed.step != snapshot.step or snapshot.resumed:
            return
        if self.videos:
            # after trouble a step may come again whose frame is in a segment with later ones
            due = self.since_cut >= _SEGMENT or snapshot.step - self.cut_at >= _FAR
            if snapshot.step < self.framed or (snapshot.step and not snapshot.last and not due):
                return
            for video in self.videos.values():
                video.cut()
            self.since_cut, self.cut_at = 0, snapshot.step
        self._try("state", lambda: self._offer(packed))

    def _offer(self, packed: PackedState | None, ended: bool = False) -> None:
        segments = max((video.segment for video in self.videos.values()), default=0)
        self.saver.offer(lambda: self._point(packed, segments, ended))

    def _point(self, packed: PackedState | None, segments: int = 0, ended: bool = False) -> Savepoint:
        return Savepoint(
            packed,
            self.number,
            tuple(path.name for path in self.paths.values()),
            config=savepoint.absolute(self.config).to_dict(),
            videos=tuple(os.path.abspath(video.path) for video in self.videos.values()),
            segments=segments,
            used=tuple(sorted(self.own.used)),
            weights=self.prepared.models.recorded_hashes(),
            outside=self.prepared.outside,
            versions=self.versions,
            kept=dict(self.own.kept),
            forced=tuple(self.prepared.forced),
            ended=ended,
        )

    def _try(self, what: str, work: Callable[[], None]) -> None:
        """Do what a run can do without; say once that it failed."""
        try:
            work()
        except OutputError as error:
            if what not in self.untold:
                self.listener.on_notice(Notice(f"the {what} is not saved: {error}"))
            self.untold.add(what)

    def _save(self, picture: Picture, path: Path) -> Path:
        record = picture.record
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
            sheet = candidates_sheet(candidates, snapshot.size)
            first = next((k for k in self.wanted if snapshot.seeds[k] == seed), None)
            if first is not None:
                path = self.paths[first].with_suffix(".candidates.png")
                path = path if self.own.replace and names.is_replaceable(path) else names.free_path(path)
                save_image(sheet, path, None)
                self.listener.on_notice(Notice(f"the prior's candidates, best first: {path}"))

    def _write_frames(self, snapshot: Snapshot) -> None:
        times = 0 if self.frames is None else self._times(snapshot)
        if not times:
            return
        # a step that is done again, after trouble, has its frame already
        if snapshot.step <= self.framed and (self.config.total_steps or snapshot.resumed):
            return
        self.framed = snapshot.step
        self.since_cut += times
        pictures = snapshot.pictures()
        for k, video in self.videos.items():
            frame = np.asarray(pictures[k])
            for _ in range(times):
                video.write(frame)

    def _times(self, snapshot: Snapshot) -> int:
        """Return how many frames of the video show a step; the last one that came early fills what was asked for."""
        step = max(snapshot.step - 1, 0)
        if not snapshot.last or snapshot.step >= self.config.total_steps:
            return self.frames.times(step)
        return max(self.frames.frames - self.frames.before(step) if self.config.output.length else 0, 1)

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
            self.own.take(path)
            return path
        if output.file is None:
            first = (*self.config.prompts, *self.config.image_prompts)[0]
            return names.next_path(output.folder, seed, first)
        return self.own.next(output.file, drawn=True)

    def _video(self, k: int, place: int, found: Savepoint | None) -> VideoWriter:
        known = found is not None and place < len(found.videos)
        path = Path(found.videos[place]) if known else self.own.next(self.config.output.video, drawn=False)
        self.own.take(path)
        comment = " | ".join(self.config.prompts) if self.config.output.metadata else None
        segments = found.segments if known else 0
        size, fps = tuple(self.config.size), self.frames.fps
        return VideoWriter(path, self.folders[k], size, fps, comment=comment, start_segment=segments)

    def _close(self, remove: bool) -> None:
        """End the encoders and let go of the run's folders; remove them, or leave them for the run to go on."""
        for video in self.videos.values():
            with contextlib.suppress(OutputError):
                video.close()
        self.saver.close()
        self.closed = True
        if remove:
            for folder in self.folders.values():
                shutil.rmtree(folder, ignore_errors=True)


def _frame_plan(config: Config) -> FramePlan:
    output = config.output
    return plan(config.steps, output.fps, output.length, Path(output.video or "").suffix.lower())
