"""Carrying out a film: its frames are drawn into its folder, one after the other, and then become its file."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from vqclip import atomic
from vqclip.animation.draw import FilmDrawer
from vqclip.animation.folder import PREVIEW, FilmFolder, film_of
from vqclip.animation.frames import frames_between
from vqclip.animation.job import FilmFinished, FilmJob, FilmOutcome, FilmStarted, FrameDrawn
from vqclip.animation.plan import Plan, absolute, plan_film
from vqclip.animation.record import comment_of, record_of, side_car
from vqclip.config import Config, Resolved, from_dict
from vqclip.config.film import Film, film_from
from vqclip.errors import OutputError, ResumeError, UsageError, VqclipError
from vqclip.generation.control import Control, Stopped
from vqclip.generation.models import Models
from vqclip.images import contact_sheet
from vqclip.session import savepoint
from vqclip.session.api import versions
from vqclip.session.events import Event, NoticeGiven, PreviewWritten
from vqclip.types import Notice
from vqclip.weights import cache
from vqclip.writers import metadata, names
from vqclip.writers.films import film_remarks, write_film
from vqclip.writers.picture import save_image
from vqclip.writers.video import MAX_COMMENT, check_encoder

if TYPE_CHECKING:
    from filelock import FileLock

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


def check_output(output: str | None, replace: bool) -> None:
    """Raise UsageError or OutputError for a film that could not be written, before anything is loaded."""
    if output is None:
        check_encoder("film.mp4")
        return
    path = Path(output)
    if _is_folder(path):
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path} is a file: name a folder for PNGs, or a film that ends in .mp4, .gif or .webp")
        names.check_writable(path.parent if path.name else Path("."))
        return
    names.check_suffix(path, "video")
    if replace:
        names.check_replaceable(path)
    names.check_writable(path.parent)
    check_encoder(path)


def _is_folder(path: Path) -> bool:
    return path.suffix == "" or path.is_dir() or str(path).endswith(os.sep)


class _Work:
    """One film, from its settings to its file."""

    def __init__(self, job: FilmJob, listen: Listen, models: Models | None, control: Control) -> None:
        self.job, self.listen, self.control = job, listen, control
        if job.resume is not None:
            self.folder, settings = FilmFolder(job.resume), FilmFolder(job.resume).read()
            self.film, self.config, self.output = _resumed(job.resume, settings)
            self.settings: dict[str, Any] = settings
        else:
            if job.config is None or job.film is None:
                raise UsageError("a film needs a config and a film, or a folder to resume")
            check_output(job.output, job.replace)
            self.film, self.config = absolute(job.film), savepoint.absolute(job.config)
            self.settings = {}
        self.models = models

    def carry_out(self) -> FilmOutcome:
        """Draw what is missing and write the film."""
        plan = plan_film(self.film, self.config)
        with cache.no_network(self.job.offline):
            models = Models.given(self.config, self.models)
            drawer = FilmDrawer(plan, models, self.control)
        if self.job.resume is None:
            self._begin(drawer.stages[0].still.config)
        lock = self._locked()
        try:
            return self._carry_out(plan, drawer)
        finally:
            lock.release()
            if self.job.resume is None and not len(self.folder):  # there is nothing to go on with
                shutil.rmtree(self.folder.path, ignore_errors=True)

    def _begin(self, resolved: Resolved) -> None:
        """Choose the film's name and folder. Raises OutputError."""
        self.output = self._name(resolved)
        self.folder = FilmFolder(names.run_folder(self.output))
        self.folder.make()
        # a seed that was drawn, and all else that was settled, is the same when the film goes on
        self.config.seed = resolved.seed

    def _name(self, resolved: Resolved) -> Path:
        if self.job.output is None:
            first = (*resolved.prompts, *resolved.image_prompts, "film")[0]
            return names.next_path(self.config.output.folder, resolved.seed, first, ".mp4")
        path = Path(os.path.abspath(self.job.output))
        return path if self.job.replace and not _is_folder(path) else names.free_path(path)

    def _locked(self) -> FileLock:
        return savepoint.lock(self.folder.path)

    def _carry_out(self, plan: Plan, drawer: FilmDrawer) -> FilmOutcome:
        weights = drawer.weights
        outside = {key: value for stage in drawer.stages for key, value in stage.still.outside.items()}
        if self.job.resume is None:
            shutil.rmtree(self.folder.path / "frames", ignore_errors=True)
            savepoint.write_config(self.folder.path, self.config)
            self.folder.write({
                "film": self.film.to_dict(), "config": self.config.to_dict(), "name": self.output.name,
                "weights": weights, "outside": outside, "versions": versions(),
            })  # fmt: skip
        else:
            _check_same(self.settings, weights, outside, self._notice)
        done = self.folder.keep_only(plan.numbers)
        resolved = drawer.stages[0].still.config
        self.listen(FilmStarted(self.output, self.folder.path, len(plan.numbers), done, plan.fps, plan.size,
                                resolved.seed, tuple(resolved.prompts)))  # fmt: skip
        for notice in drawer.notices:
            self.listen(NoticeGiven(notice))
        for text in self._remarks(plan):
            self._notice(text)
        self._remarked = 0 if plan.source is None else len(plan.source.video.notices)
        return self._draw(plan, drawer, done)

    def _remarks(self, plan: Plan) -> list[str]:
        """Return what there is to say of the film's files before it is drawn."""
        remarks = [] if plan.source is None else list(plan.source.video.notices)
        return remarks if _is_folder(self.output) else remarks + film_remarks(self.output, plan.size, _sound_of(plan))

    def _draw(self, plan: Plan, drawer: FilmDrawer, done: int) -> FilmOutcome:
        stopped = False
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
            stopped = True
        except BaseException:
            self._keep_after(plan)
            raise
        return self._end(plan, stopped)

    def _keep_after(self, plan: Plan) -> None:
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
            return self._finished(FilmOutcome(None, (), self.folder.path, 0, stopped))
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
        if _is_folder(self.output):
            film = self._write_folder(plan, frames, record)
        else:
            comment = None if record is None else comment_of(record)
            if comment is not None and len(comment) > MAX_COMMENT:
                comment = " | ".join(self.config.prompts)  # the file beside it says the rest
            film = write_film(
                (np.asarray(frame) for frame in frames), self.output, plan.size, plan.shown_fps,
                folder=self.folder.path, comment=comment, sound=_sound_of(plan),
            )  # fmt: skip
            if record is not None:
                others.append(atomic.write_text(side_car(self.output), comment_of(record)))
        if plan.film.storyboard:
            others.append(self._write_storyboard(plan, numbers, plan.film.storyboard))
        return film, tuple(others)

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
        free = (path for path in names.numbered(name) if self.job.replace or not os.path.lexists(path))
        return save_image(sheet, next(free), None)

    def _first_record(self) -> dict[str, Any]:
        record = metadata.read(self.folder.file(0))["record"]
        return record if isinstance(record, dict) else {}

    def _notice(self, text: str) -> None:
        self.listen(NoticeGiven(Notice(text)))


def _sound_of(plan: Plan) -> str | None:
    """Return the file whose sound the film has: the one that was given, or its video."""
    return plan.film.audio or (plan.film.video if plan.source and plan.source.video.has_sound else None)


def _resumed(path: Path, settings: Mapping[str, Any]) -> tuple[Film, Config, Path]:
    """Return film, config and output that a folder tells of; ResumeError if they are damaged."""
    try:
        film, config = film_from(dict(settings["film"])), from_dict(dict(settings["config"]))
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise ResumeError(f"the settings of {path} are damaged ({error}): draw the film anew") from None
    return film, config, film_of(path, settings.get("name"))


def _check_same(
    settings: Mapping[str, Any], weights: Mapping[str, str], outside: Mapping[str, Any], notice: Callable[[str], None]
) -> None:
    """Raise ResumeError where weights or files are others now; say so of versions."""
    for what, now in (("weights", weights), ("outside", outside)):
        before = settings.get(what)
        if isinstance(before, dict) and before != dict(now):
            changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
            raise ResumeError(f"{', '.join(changed)} changed since the film was begun: put back what there was")
    if settings.get("versions") != versions():
        notice(
            "versions or threads are others than when the film was begun: its further frames may differ in their bits"
        )
