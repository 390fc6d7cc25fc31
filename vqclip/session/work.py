"""The work of a session: one job, from loading to its last file, told of by events.

While it draws, `<picture without ending>.run/` stands beside each picture; it goes when all went well, and stays for
`vqclip resume` when it did not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqclip.errors import NumericError, ResumeError, UsageError, VqclipError
from vqclip.generation.control import Control, Stopped
from vqclip.registry.outside import blamed
from vqclip.session.batch import Batch
from vqclip.session.events import (
    BatchEnded,
    CandidatesDrawn,
    Event,
    Finished,
    NoticeGiven,
    Paused,
    Saved,
    Started,
    Stepped,
    WentOn,
)
from vqclip.session.job import Job, Outcome
from vqclip.session.outputs import Outputs
from vqclip.session.resuming import Continuation
from vqclip.session.savepoint import Savepoint
from vqclip.session.sinks.sink import KINDS
from vqclip.types import Notice, Snapshot
from vqclip.weights import cache
from vqclip.writers.frames import remarks

if TYPE_CHECKING:
    from vqclip.generation.models import Models
    from vqclip.generation.prepare import Prepared
    from vqclip.generation.run import Callback


class Work:
    """Carries out one job, once; the iterator that `carry_out` returns does it, and `outcome` says what came of it."""

    def __init__(
        self,
        job: Job,
        models: Models | None,
        control: Control,
        callbacks: Sequence[Callback],
        continuation: Continuation | None,
    ) -> None:
        self.job = job
        self._models, self._control, self._callbacks = models, control, callbacks
        self._continuation = continuation
        self._stopped = False
        self._folder: Path | None = None
        self._step: int | None = None
        self._files: dict[str, list[Path]] = {kind: [] for kind in KINDS}

    @property
    def outcome(self) -> Outcome:
        """What came of the job so far."""
        files = {kind: tuple(paths) for kind, paths in self._files.items()}
        return Outcome(**files, stopped=self._stopped, folder=self._folder, step=self._step)

    def carry_out(self) -> Generator[Event, None, None]:
        """Load, prepare and draw."""
        from vqclip.generation.loop import batches, stream

        prepared, begin = self._prepare()
        point = None if begin is None else begin[1]
        yield Started(prepared.config, 0 if point is None else point.step, "" if point is None else point.pictures[0])
        for remark in remarks(prepared.config) if point is None else ():
            yield NoticeGiven(Notice(remark))
        outputs = Outputs(prepared.config, self.job.replace, point, self.job.taken)
        numbered = list(enumerate(batches(prepared.config)))
        first = 0 if point is None else point.batch
        if begin is not None and not 0 <= first < len(numbered):
            raise ResumeError(f"{begin[0]} holds the state of pictures that its config does not name: draw them anew")
        # a run that ended and is drawn on is one of these alone
        last = first + 1 if point is not None and point.ended else len(numbered)
        snapshots = stream(prepared, None if point is None else (first, point.packed))
        with contextlib.closing(snapshots):
            for number, seeds in numbered[first:last]:
                yield from self._draw(Batch(prepared, number, seeds, outputs, begin), snapshots)
                begin = None
                if self._stopped:
                    break
        yield Finished(self.outcome)

    def _prepare(self) -> tuple[Prepared, tuple[Path, Savepoint] | None]:
        """Load what is needed and return the prepared run, and the savepoint to go on from."""
        from vqclip.generation.models import Models
        from vqclip.generation.prepare import prepare
        from vqclip.session import replay

        job, going_on = self.job, self._continuation
        config = job.config if going_on is None else going_on.config
        if config is None:
            raise UsageError("a job needs a config, or a run to resume")
        with cache.no_network(job.offline):
            models = Models.given(config, self._models)
            if going_on is None:
                prepared = prepare(models.resolve(config), models, self._callbacks)
            else:
                prepared = going_on.prepare(models, self._callbacks)
        if job.record is not None:
            prepared.notices += replay.check(job.record, prepared)
        prepared.control = self._control
        return prepared, None if going_on is None else (going_on.folder, going_on.point)

    def _draw(self, batch: Batch, snapshots: Generator[Snapshot, None, None]) -> Generator[Event, None, None]:
        """Draw the pictures of a batch into files; whatever ends it, what there is so far is kept first."""
        try:
            stopped = yield from self._follow(batch, snapshots)
            before = self.outcome
            whole = self._keep(batch, None, stopped)
            yield from batch.events()
            now = self.outcome
            pictures, videos = now.pictures[len(before.pictures) :], now.videos[len(before.videos) :]
            yield BatchEnded(batch.number, pictures, videos, whole)
        except GeneratorExit:
            with contextlib.suppress(VqclipError):
                self._keep(batch, None, stopped=True)
            raise
        except BaseException as error:
            # the picture is worth more than the reason, which is raised after it
            with contextlib.suppress(VqclipError):
                self._keep(batch, error, stopped=False)
            yield from batch.events()
            yield from self._tell_of_end(error)
            raise

    def _follow(self, batch: Batch, snapshots: Iterator[Snapshot]) -> Generator[Event, None, bool]:
        """Hand the snapshots of a batch to its sinks; return whether the user stopped it."""
        batch.begin(self.job.sinks)
        yield from batch.events()
        try:
            for snapshot in snapshots:
                batch.last = snapshot
                yield from self._tell(snapshot)
                for sink in batch.sinks:
                    with blamed():
                        sink.step(snapshot)
                    yield from batch.events()
                if snapshot.last:
                    # the files are written anyway; the wish is not one of the next batch
                    self._control.take_save()
                    break
                yield from self._heed(batch, snapshot)
        except Stopped:
            return True
        return False

    def _tell(self, snapshot: Snapshot) -> Iterator[Event]:
        """Tell what a snapshot says."""
        yield from (NoticeGiven(notice) for notice in snapshot.notices)
        if snapshot.candidates:
            yield CandidatesDrawn(snapshot.candidates)
        yield Stepped(snapshot)

    def _heed(self, batch: Batch, snapshot: Snapshot) -> Iterator[Event]:
        """Save and wait as the user wishes; a stop is left to the loop."""
        if self._control.take_save():
            yield from self._save(batch, snapshot)
        if not self._control.paused:
            return
        yield Paused(snapshot.step)
        while self._control.paused:
            self._control.wait()
            if self._control.take_save():
                yield from self._save(batch, snapshot)
        yield WentOn(snapshot.step)

    def _save(self, batch: Batch, snapshot: Snapshot) -> Iterator[Event]:
        """Write what there is so far, and go on."""

        def write() -> None:
            with blamed():
                files = [file for sink in reversed(batch.sinks) for file in sink.save(snapshot) or ()]
            batch.emit(Saved(snapshot.step, tuple(files)))

        batch.attempt("picture", write)
        yield from batch.events()

    def _keep(self, batch: Batch, failed: BaseException | None, stopped: bool) -> bool:
        """Write what there is after the last snapshot, once, and clean up; return whether all went well to the end."""
        if batch.closed:
            return False
        whole = False
        self._stopped = stopped
        self._step = None if batch.last is None else batch.last.step
        try:
            if batch.last is not None:
                # the user wants no waiting, such as for a video
                self._finish(batch, batch.last, isinstance(failed, KeyboardInterrupt))
                whole = batch.last.last and failed is None
        finally:
            # what is wrong before the first picture is a mistake in what was asked for: there is nothing to go on with
            mistaken = batch.last is None and batch.point is None and isinstance(failed, VqclipError)
            kept = self._keeps_states and not mistaken and not (whole and not batch.config.output.keep_run)
            self._folder = batch.close(whole, remove=not kept)
        return whole

    def _finish(self, batch: Batch, snapshot: Snapshot, hurry: bool) -> None:
        """Let all sinks write their files; raise the first error of one after the others have written theirs."""
        errors: list[Exception] = []
        for sink in reversed(batch.sinks):
            try:
                with blamed():
                    files = sink.finish(snapshot, hurry) or ()
            except Exception as error:  # noqa: BLE001 - raised below
                errors.append(error)
                continue
            # a table of all batches is written by each of them
            self._files[sink.kind] += [file for file in files if file not in self._files[sink.kind]]
        if errors:
            raise errors[0]

    @property
    def _keeps_states(self) -> bool:
        return self.job.sinks is None or "savepoint" in self.job.sinks

    def _tell_of_end(self, error: BaseException) -> Iterator[Event]:
        """Say what a session that failed has kept, and how it can go on."""
        for path in self._files["pictures"]:
            yield NoticeGiven(Notice(f"the run ended early; kept so far: {path}"))
        if self._folder is not None:
            change = " --set optimizer.lr=SMALLER --force" if isinstance(error, NumericError) else ""
            yield NoticeGiven(Notice(f"it can go on from there: vqclip resume {self._folder}{change}"))
