"""How somebody outside stops, pauses and saves the work: flags that it looks at between its pieces. Torch-free."""

from __future__ import annotations

import threading

# a signal handler may set a flag just before its own thread waits for it, and is then not noticed at once
_LONGEST_WAIT = 0.2


class Stopped(Exception):
    """The work was asked to stop, and did so between two of its pieces."""


class Control:
    """Stops, pauses and saves work that another thread, or this one, does.

    Every method may be called from any thread and from a signal handler, any number of times. The work looks at the
    flags between its pieces: before each batch of pictures, each group of candidates and each step.
    """

    def __init__(self) -> None:
        # reentrant, as a signal handler may come while its own thread holds it
        self._changed = threading.Condition(threading.RLock())
        self._stopped = self._paused = self._save_wanted = False

    @property
    def stopped(self) -> bool:
        """Whether a stop was asked for; that is never taken back."""
        return self._stopped

    @property
    def paused(self) -> bool:
        """Whether the work is to wait; one that is to stop waits no longer."""
        return self._paused and not self._stopped

    def stop(self) -> None:
        """Ask the work to end after the piece that it is at."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def pause(self) -> None:
        """Ask the work to wait after the piece that it is at, until `go_on` or `stop`."""
        with self._changed:
            self._paused = True
            self._changed.notify_all()

    def go_on(self) -> None:
        """Let work that waits go on."""
        with self._changed:
            self._paused = False
            self._changed.notify_all()

    def save(self) -> None:
        """Ask for what there is so far, after the step that is being done or during a pause."""
        with self._changed:
            self._save_wanted = True
            self._changed.notify_all()

    def take_save(self) -> bool:
        """Whether what there is so far was asked for since this was last called."""
        with self._changed:
            wanted, self._save_wanted = self._save_wanted, False
            return wanted

    def wait(self) -> None:
        """Wait a moment for a change while the work is paused."""
        with self._changed:
            if self.paused and not self._save_wanted:
                self._changed.wait(_LONGEST_WAIT)

    def checkpoint(self) -> None:
        """Wait while the work is paused; raise Stopped if it is to end. The work calls this between its pieces."""
        while self.paused:
            with self._changed:
                self._changed.wait(_LONGEST_WAIT)
        if self._stopped:
            raise Stopped
