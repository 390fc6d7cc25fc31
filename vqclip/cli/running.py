"""What drawing from the command line has in common: signals, progress, the files' names, the exit code."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vqclip.cli.progress import Progress
from vqclip.types import Notice

if TYPE_CHECKING:
    from vqclip.generation.prepare import Prepared
    from vqclip.savepoint import Savepoint

_EXIT = {"SIGINT": 130, "SIGTERM": 143}


class Stopper:
    """The first SIGINT or SIGTERM asks the run to end after its step; a second SIGINT ends it at once.

    SIGUSR1, where there is one, asks for what there is so far, and the run goes on.
    """

    def __init__(self) -> None:
        self.name = ""
        self.wanted = False
        self._former: dict[signal.Signals, Any] = {}

    def asked(self) -> bool:
        """Whether the user asked to stop."""
        return bool(self.name)

    def save(self) -> bool:
        """Whether the user asked for what there is since this was asked last."""
        wanted, self.wanted = self.wanted, False
        return wanted

    def __enter__(self) -> Stopper:
        for name in (signal.SIGINT, signal.SIGTERM):
            self._former[name] = signal.signal(name, self._note)
        # Windows has none
        user = getattr(signal, "SIGUSR1", None)
        if user is not None:
            self._former[user] = signal.signal(user, self._want)
        return self

    def __exit__(self, *error: object) -> None:
        for name, handler in self._former.items():
            signal.signal(name, handler)

    def _note(self, number: int, frame: object) -> None:
        if self.name:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name

    def _want(self, number: int, frame: object) -> None:
        self.wanted = True


def draw(
    prepared: Prepared,
    progress: Progress,
    stopper: Stopper,
    replace: bool,
    begin: tuple[Path, Savepoint] | None = None,
    *,
    taken: set[str] | None = None,
) -> int:
    """Draw a prepared run, from a savepoint if there is one; print the files' names and return the exit code.

    `taken` are paths that were written before and are not written again; those of this run join them.
    """
    from vqclip import drawing

    listener = drawing.Listener(progress.snapshot, progress.notice, stopper.asked, stopper.save)
    try:
        drawn = drawing.draw(prepared, listener, replace=replace, begin=begin, taken=taken or ())
    finally:
        progress.close()
    if taken is not None:
        taken |= {os.path.abspath(path) for path in (*drawn.pictures, *drawn.videos)}
    for path in (*drawn.pictures, *drawn.videos):
        click.echo(str(path))
    if not drawn.stopped:
        return 0
    further = f"; go on with: vqclip resume {drawn.folder}" if drawn.folder else ""
    progress.notice(Notice(f"stopped: the best picture so far is kept{further}"))
    return exit_code(stopper)


def exit_code(stopper: Stopper) -> int:
    """Return the exit code of a run that was stopped."""
    return _EXIT[stopper.name]
