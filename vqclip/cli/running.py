"""What drawing from the command line has in common: signals, progress, the files' names, the exit code."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqclip import prompts
from vqclip.cli import ends, streams
from vqclip.cli.progress import Progress
from vqclip.errors import OutputError
from vqclip.registry.plugins import load_plugin
from vqclip.types import Notice

if TYPE_CHECKING:
    from vqclip.generation.models import Models
    from vqclip.session.events import Event, Started
    from vqclip.session.job import Job, Outcome

_LONGEST_TITLE = 200


class Stopper:
    """The first signal that ends a program asks the session to end soon; a second Ctrl-C ends it at once.

    SIGUSR1, where there is one, asks for what there is so far, and the session goes on.
    """

    def __init__(self) -> None:
        from vqclip.generation.control import Control

        self.number = 0
        self.control = Control()
        self._undo = contextlib.ExitStack()

    def asked(self) -> bool:
        """Whether the user asked to stop."""
        return bool(self.number)

    def __enter__(self) -> Stopper:
        self._undo.enter_context(ends.caught(self._stop))
        # Windows has none
        user = getattr(signal, "SIGUSR1", None)
        if user is not None:
            self._undo.callback(signal.signal, user, signal.signal(user, self._save))
        return self

    def __exit__(self, *error: object) -> None:
        self._undo.close()

    def _stop(self, number: int, frame: object) -> None:
        if self.number and ends.is_hurry(number, self.number):
            raise KeyboardInterrupt
        self.number = self.number or number
        self.control.stop()

    def _save(self, number: int, frame: object) -> None:
        self.control.save()


def load_plugins(paths: Sequence[Path], progress: Progress) -> None:
    """Run the Python files that the user named, and say what each registered."""
    for path in paths:
        progress.notice(Notice(load_plugin(path).notice()))


def carry_out(job: Job, progress: Progress, stopper: Stopper, models: Models | None = None) -> Outcome:
    """Carry out a job, show how it goes, print the names of its files, and return what came of it."""
    from vqclip.session.session import run_job

    try:
        outcome = run_job(job, lambda event: _show(event, progress), models, stopper.control)
    finally:
        progress.close()
    with contextlib.ExitStack() as stack:
        if outcome.stopped:  # by a terminal that was closed, perhaps: then nobody reads the names
            stack.enter_context(contextlib.suppress(OutputError, BrokenPipeError))
        for path in (*outcome.pictures, *outcome.videos):
            streams.say(path)
    return outcome


def exit_code(outcome: Outcome, progress: Progress, stopper: Stopper) -> int:
    """Say of a job that was stopped how it can go on; return the exit code."""
    if not outcome.stopped:
        return outcome.exit_code
    further = f"; go on with: vqclip resume {outcome.folder}" if outcome.folder else ""
    kept = "stopped before the first step" if outcome.step is None else "stopped: the best picture so far is kept"
    progress.notice(Notice(f"{kept}{further}"))
    return ends.exit_code(stopper.number)


def _show(event: Event, progress: Progress) -> None:
    """Show an event on stderr."""
    from vqclip.session import events

    if isinstance(event, events.Stepped):
        progress.snapshot(event.snapshot)
    elif isinstance(event, events.NoticeGiven):
        progress.notice(event.notice)
    elif isinstance(event, events.Saved):
        progress.notice(Notice(f"saved at step {event.step}: {', '.join(str(path) for path in event.files)}"))
    elif isinstance(event, events.Started):
        progress.several |= event.config.count > 1
        progress.notice(Notice(_title(event)))


def _title(event: Started) -> str:
    """Say what is drawn."""
    config = event.config
    if event.picture:
        return f"going on with {event.picture} from step {event.step} of {config.total_steps}"
    width, height = config.size
    about = f"seed {config.seed}, {width}x{height}, on {config.run.device} in {config.run.precision}"
    what = " | ".join(prompts.clean(text) for text in (*config.prompts, *config.image_prompts))
    return f"drawing {what if len(what) <= _LONGEST_TITLE else what[: _LONGEST_TITLE - 3] + '...'!r}: {about}"
