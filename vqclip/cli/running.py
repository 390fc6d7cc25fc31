"""What drawing from the command line has in common: signals, progress, the files' names, the exit code."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from vqclip.cli import ends, streams
from vqclip.cli.progress import Progress
from vqclip.errors import OutputError
from vqclip.types import Notice

if TYPE_CHECKING:
    from vqclip.generation.prepare import Prepared
    from vqclip.session.savepoint import Savepoint


class Stopper:
    """The first signal that ends a program asks the run to end after its step; a second Ctrl-C ends it at once.

    SIGUSR1, where there is one, asks for what there is so far, and the run goes on.
    """

    def __init__(self) -> None:
        self.number = 0
        self.wanted = False
        self._undo = contextlib.ExitStack()

    def asked(self) -> bool:
        """Whether the user asked to stop."""
        return bool(self.number)

    def save(self) -> bool:
        """Whether the user asked for what there is since this was asked last."""
        wanted, self.wanted = self.wanted, False
        return wanted

    def __enter__(self) -> Stopper:
        self._undo.enter_context(ends.caught(self._note))
        # Windows has none
        user = getattr(signal, "SIGUSR1", None)
        if user is not None:
            self._undo.callback(signal.signal, user, signal.signal(user, self._want))
        return self

    def __exit__(self, *error: object) -> None:
        self._undo.close()

    def _note(self, number: int, frame: object) -> None:
        if self.number and ends.is_hurry(number, self.number):
            raise KeyboardInterrupt
        self.number = self.number or number

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
    from vqclip.session import drawing

    listener = drawing.Listener(progress.snapshot, progress.notice, stopper.asked, stopper.save)
    try:
        drawn = drawing.draw(prepared, listener, replace=replace, begin=begin, taken=taken or ())
    finally:
        progress.close()
    if taken is not None:
        taken |= {os.path.abspath(path) for path in (*drawn.pictures, *drawn.videos)}
    with contextlib.ExitStack() as stack:
        if drawn.stopped:  # by a terminal that was closed, perhaps: then nobody reads the names
            stack.enter_context(contextlib.suppress(OutputError, BrokenPipeError))
        for path in (*drawn.pictures, *drawn.videos):
            streams.say(path)
    if not drawn.stopped:
        return 0
    further = f"; go on with: vqclip resume {drawn.folder}" if drawn.folder else ""
    progress.notice(Notice(f"stopped: the best picture so far is kept{further}"))
    return ends.exit_code(stopper.number)
