"""A session carries out one job: it loads, prepares and draws, tells what happens, and hands the steps to its sinks.

Importing this loads no torch, so that an error in what is asked for comes before seconds of loading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from vqclip.generation.control import Control
from vqclip.registry.plugins import load_plugin
from vqclip.session.events import Event
from vqclip.session.job import Job, Outcome
from vqclip.session.outputs import check_outputs
from vqclip.session.resuming import Continuation
from vqclip.session.work import Work

if TYPE_CHECKING:
    from vqclip.generation.models import Models
    from vqclip.generation.run import Callback


class Session:
    """A job that is carried out while it is iterated over; every item is an event, see `vqclip.session.events`.

    One thread iterates. `stop`, `save`, `pause` and `go_on` may be called from any thread, and from a signal handler.
    A session that is stopped, that fails, or that is closed before its end keeps the best pictures so far, the videos
    up to there, and the run's folder, from which it can go on. Errors are raised by the iteration, after the notices
    that say what was kept. As a context manager it is closed at the end of the block.
    """

    def __init__(
        self,
        job: Job,
        models: Models | None,
        control: Control,
        callbacks: Sequence[Callback],
        continuation: Continuation | None,
    ) -> None:
        self.job = job
        self._control = control
        self._work = Work(job, models, control, callbacks, continuation)
        self._events = self._work.carry_out()

    @classmethod
    def start(
        cls,
        job: Job,
        models: Models | None = None,
        control: Control | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Session:
        """Return the session of a job, which loads and draws when it is iterated over.

        Raises UsageError, OutputError and ResumeError for what can be refused before anything is loaded. `models` serve
        many sessions that name the same networks; they are loaded if there are none. `control` is shared with whoever
        stops it. Each of `callbacks` is called in every step with a `StepReport`: losses, also of each view, and
        gradients.
        """
        for path in job.plugins:  # of a job that another process made
            load_plugin(path)
        continuation = None if job.resume is None else Continuation.find(job.resume)
        if job.config is not None:
            from vqclip.generation.prepare import check_wanted

            check_wanted(job.config)
            check_outputs(job.config, job.replace, job.sinks)
        return cls(job, models, control or Control(), callbacks, continuation)

    @property
    def outcome(self) -> Outcome:
        """What came of the job so far; all of it after the last event, and after an error."""
        return self._work.outcome

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def stop(self) -> None:
        """End after the step, or the group of candidates, that is being drawn."""
        self._control.stop()

    def save(self) -> None:
        """Write pictures, videos and state after the step that is being drawn; during a pause between steps at once."""
        self._control.save()

    def pause(self) -> None:
        """Wait after the step, or the group of candidates, that is being drawn, until `go_on` or `stop`."""
        self._control.pause()

    def go_on(self) -> None:
        """Go on after `pause`."""
        self._control.go_on()

    def close(self) -> None:
        """End at once, in the thread that iterates; what is not at its end is kept as if it had been stopped."""
        self._events.close()

    def abort(self, error: BaseException) -> list[Event]:
        """End at once because of an error of the caller's, in the thread that iterates; return what is left to tell.

        What there is so far is kept, as after an error of the session's own. Raises what goes wrong thereby.
        """
        remaining: list[Event] = []
        try:
            remaining.append(self._events.throw(error))
            remaining.extend(self._events)
        except BaseException as raised:
            if raised is not error:
                raise
        return remaining

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort(error)


def run_job(
    job: Job,
    listen: Callable[[Event], object] | None = None,
    models: Models | None = None,
    control: Control | None = None,
    callbacks: Sequence[Callback] = (),
) -> Outcome:
    """Carry out a job, in any process, and return what came of it.

    `listen` is called with every event; what it raises ends the job, whose best pictures so far are kept. `models` that
    are loaded already serve many jobs, and `control` stops, pauses and saves this one from another thread; `callbacks`
    are those of `Session.start`. Raises VqclipError: `exit_code` of the error is that of the command line.
    """
    session = Session.start(job, models, control, callbacks)
    try:
        for event in session:
            if listen is not None:
                listen(event)
    except BaseException as error:
        for event in session.abort(error):
            if listen is not None:
                listen(event)
        raise
    return session.outcome
