"""Carrying out a film: its frames are drawn into its folder, one after the other, and then become its file."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vqclip import atomic
from vqclip.animation.draw import FilmDrawer
from vqclip.animation.folder import FRAMES, PREVIEW, FilmFolder, resumed
from vqclip.animation.frames import frames_between
from vqclip.animation.job import FilmFinished, FilmJob, FilmOutcome, FilmStarted, FrameDrawn
from vqclip.animation.output import check_output, film_path, is_folder, side_car
from vqclip.animation.plan import Plan, absolute, files_of, plan_film
from vqclip.animation.record import comment_of, record_of, sha256
from vqclip.errors import ResumeError, VqclipError
from vqclip.generation.control import Control, Stopped
from vqclip.generation.models import Models
from vqclip.images import contact_sheet
from vqclip.session import replay, savepoint
from vqclip.session.api import versions
from vqclip.session.events import Event, NoticeGiven, PreviewWritten
from vqclip.types import Notice
from vqclip.weights import cache
from vqclip.writers import metadata, names
from vqclip.writers.films import film_remarks, write_film
from vqclip.writers.picture import save_image
from vqclip.writers.video import MAX_COMMENT

Listen = Callable[[Event], object]
# pictures of a storyboard
_BOARD, _COLUMNS, _CELL = 24, 6, 192


def run_film(
    job: FilmJob, listen: Listen = lambda event: None, models: Models | None = None, control: Control | None = None
) -> FilmOutcome:
    """Draw a film, or go on with one, and return what came of it.

    `listen` is told what happens. When the job is stopped, or fails, every frame that was drawn is kept, the film so
    far is written, and the folder stays, from which it can go on. Raises VqclipError.
    """
    return _Work(job, listen, models, control or Control()).carry_out()


class _Work:
    """One film, from its settings to its file."""

    def __init__(self, job: FilmJob, listen: Listen, models: Models | None, control: Control) -> None:
        self.job, self.listen, self.control, self.models = job, listen, control, models
        if job.resume is not None:
            self.folder = FilmFolder(job.resume)
            self.settings = self.folder.read()
            self.film, self.config, self.output = resumed(job.resume, self.settings)
        elif job.config is not None and job.film is not None:
            check_output(job.output, job.replace, job.film.storyboard)
            self.film, self.config = absolute(job.film), savepoint.absolute(job.config)
            self.settings = dict[str, Any]()

    def carry_out(self) -> FilmOutcome:
        """Draw what is missing and write the film."""
        plan = plan_film(self.film, self.config)
        self.config.seed = plan.asked.seed  # a seed that was drawn is the same when the film goes on
        with cache.no_network(self.job.offline):
            drawer = FilmDrawer(plan, Models.given(self.config, self.models), self.control)
        notices = list(drawer.notices)
        if self.job.record is not None:
            notices += replay.check(self.job.record, drawer.stages[0].still)
        if self.job.resume is None:
            self._begin(plan)
        lock = savepoint.lock(self.folder.path)
        try:
            return self._carry_out(plan, drawer, notices)
        finally:
            lock.release()
            if self.job.resume is None and not len(self.folder):  # there is nothing to go on with
                shutil.rmtree(self.folder.path, ignore_errors=True)

    def _begin(self, plan: Plan) -> None:
        """Choose the film's name and folder, and that of its storyboard. Raises OutputError."""
        if self.job.output is None:
            first = (*plan.scenes[0].prompts, *self.config.image_prompts, "film")[0]
            self.output = names.next_path(self.config.output.folder, self.config.seed, first, ".mp4")
        else:
            self.output = film_path(self.job.output, self.job.replace)
        if self.film.storyboard and not (self.job.replace and names.is_replaceable(self.film.storyboard)):
            self.film.storyboard = str(names.free_path(self.film.storyboard))
        self.folder = FilmFolder(names.run_folder(self.output))
        self.folder.make()

    def _carry_out(self, plan: Plan, drawer: FilmDrawer, notices: Sequence[Notice]) -> FilmOutcome:
        weights = drawer.weights
        outside: dict[str, Any] = {f"film.{key}": sha256(Path(name)) for key, name in files_of(self.film).items()}
        for place, stage in enumerate(drawer.stages):
            outside |= {f"{key} of scene {place + 1}": seen for key, seen in stage.still.outside.items()}
        if self.job.resume is None:
            shutil.rmtree(self.folder.path / FRAMES, ignore_errors=True)
            self.folder.write({
                "film": self.film.to_dict(), "config": self.config.to_dict(), "name": self.output.name,
                "weights": weights, "outside": outside, "versions": versions(),
            })  # fmt: skip
        else:
            _check_same(self.settings, weights, outside, self._notice)
        done = self.folder.keep_only(plan.numbers)
        self.listen(FilmStarted(self.output, self.folder.path, len(plan.numbers), done, plan.fps, plan.size,
                                self.config.seed, plan.scenes[0].prompts))  # fmt: skip
        for notice in notices:
            self.listen(NoticeGiven(notice))
        for text in self._remarks(plan):
            self._notice(text)
        self._remarked = 0 if plan.source is None else len(plan.source.video.notices)
        return self._draw(plan, drawer, done)

    def _remarks(self, plan: Plan) -> list[str]:
        """Return what there is to say of the film's files before it is drawn."""
        remarks = [] if plan.source is None else list(plan.source.video.notices)
        return remarks if is_folder(self.output) else remarks + film_remarks(self.output, plan.size, _sound_of(plan))

    def _draw(self, plan: Plan, drawer: FilmDrawer, done: int) -> FilmOutcome:
        """Draw the frames that are missing, and write the film."""
        try:
            stopped = self._draw_frames(plan, drawer, done)
            return self._end(plan, stopped)
        except BaseException:
            self._say_kept(plan)
            raise

    def _draw_frames(self, plan: Plan, drawer: FilmDrawer, done: int) -> bool:
        """Draw the frames that are missing; return whether that was stopped."""
        try:
            for place in range(done, len(plan.numbers)):
                self.control.checkpoint()
                number = plan.numbers[place]
                drawn = drawer.next(number, plan.numbers[place - 1], self.folder) if place else drawer.first()
                self.folder.add(number, drawn.image, drawn.record if self.config.output.metadata else None)
                self.listen(FrameDrawn(drawn, place + 1, len(plan.numbers)))
                self.listen(PreviewWritten(place + 1, (self.folder.path / PREVIEW,)))
                if self.control.take_save():
                    self._notice(f"saved as far as it goes: {self._write(plan, place + 1)[0]}")
        except Stopped:
            return True
        return False

    def _say_kept(self, plan: Plan) -> None:
        """After something went wrong: say what is kept, which is every frame."""
        count = len(self.folder)
        with contextlib.suppress(VqclipError):
            if count:
                self._notice(
                    f"{count} of {len(plan.numbers)} frames are kept; go on with: vqclip resume {self.folder.path}"
                )

    def _end(self, plan: Plan, stopped: bool) -> FilmOutcome:
        count = len(self.folder)
        # what is wrong with a video shows only while it is read
        for text in [] if plan.source is None else plan.source.video.notices[self._remarked :]:
            self._notice(text)
        if not count:
            return self._finished(FilmOutcome(stopped=stopped))
        film, others = self._write(plan, count)
        keeps = stopped or self.job.keep_run or self.config.output.keep_run
        if not keeps:
            shutil.rmtree(self.folder.path, ignore_errors=True)
        return self._finished(FilmOutcome(film, others, self.folder.path if keeps else None, count, stopped))

    def _finished(self, outcome: FilmOutcome) -> FilmOutcome:
        self.listen(FilmFinished(outcome))
        return outcome

    def _write(self, plan: Plan, count: int) -> tuple[Path, tuple[Path, ...]]:
        """Write the film as far as it was drawn, and what stands beside it. Raises OutputError."""
        numbers, others = plan.numbers[:count], list[Path]()
        record = record_of(plan, self._first_record()) if self.config.output.metadata else None
        frames = frames_between(plan, self.folder, numbers)
        if is_folder(self.output):
            film = self._write_folder(plan, frames, record)
        else:
            comment = None if record is None else comment_of(record)
            if comment is not None and len(comment) > MAX_COMMENT:
                comment = " | ".join(self.config.prompts)  # the file beside it says the rest
            self.output = self._place()
            film = write_film(
                (np.asarray(frame) for frame in frames), self.output, plan.size, plan.shown_fps,
                folder=self.folder.path, comment=comment, sound=_sound_of(plan),
            )  # fmt: skip
            self.folder.note(film)
            if record is not None:
                others.append(atomic.write_text(side_car(self.output), comment_of(record)))
        if self.film.storyboard:
            others.append(self._write_storyboard(plan, numbers, self.film.storyboard))
        return film, tuple(others)

    def _place(self) -> Path:
        """Return where the film goes: beside what came to stand at its name while it was drawn."""
        if self.job.replace or not os.path.lexists(self.output) or self.folder.wrote(self.output):
            return self.output
        return next(path for path in names.numbered(self.output) if not os.path.lexists(path))

    def _write_folder(self, plan: Plan, frames: Iterator[Image.Image], record: Mapping[str, Any] | None) -> Path:
        """Write all frames as PNGs, each with its metadata."""
        names.check_writable(self.output)
        for place, (number, frame) in enumerate(zip(plan.shown, frames, strict=False)):
            own = None
            if record is not None:
                drawn = metadata.read(self.folder.file(number))["record"] if number in self.folder else None
                own = drawn or {key: value for key, value in record.items() if key != "film"} | {
                    "frame": {"number": number}
                }
            save_image(frame, self.output / f"{place:06d}.png", own)
        if record is not None:
            atomic.write_text(self.output / "film.json", comment_of(record))
        return self.output

    def _write_storyboard(self, plan: Plan, numbers: tuple[int, ...], name: str) -> Path:
        step = max(-(-len(numbers) // _BOARD), 1)
        chosen = numbers[::step]
        times = [f"{number / plan.fps:.1f} s" for number in chosen]
        sheet = contact_sheet([self.folder[number] for number in chosen], times, _COLUMNS, _CELL)
        return save_image(sheet, Path(name), None)

    def _first_record(self) -> dict[str, Any]:
        record = metadata.read(self.folder.file(0))["record"]
        return record if isinstance(record, dict) else {}

    def _notice(self, text: str) -> None:
        self.listen(NoticeGiven(Notice(text)))


def _sound_of(plan: Plan) -> str | None:
    """Return the file whose sound the film has: the one that was given, or its video."""
    return plan.film.audio or (plan.film.video if plan.source and plan.source.video.has_sound else None)


def _check_same(
    settings: Mapping[str, Any], weights: Mapping[str, str], outside: Mapping[str, Any], notice: Callable[[str], None]
) -> None:
    """Raise ResumeError where weights or files are others now; say so of versions."""
    for what, now in (("weights", weights), ("outside", outside)):
        before = settings.get(what)
        if not isinstance(before, dict):
            continue
        # what was loaded and not used is not loaded again
        keys = before.keys() & now.keys() if what == "weights" else before.keys() | now.keys()
        changed = sorted(key for key in keys if before.get(key) != now.get(key))
        if changed:
            raise ResumeError(f"{', '.join(changed)} changed since the film was begun: put back what there was")
    if settings.get("versions") != versions():
        notice(
            "versions or threads are others than when the film was begun: its further frames may differ in their bits"
        )
