"""Signals that end a program and can be caught: what was done so far is kept, and the exit code names the signal."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

# Ctrl-C; a kind request; a closed terminal; Ctrl-\; the limit of processor time; what clusters and timers send before
# they kill; Windows' Ctrl-Break
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGXCPU", "SIGUSR2", "SIGALRM", "SIGBREAK")
# a closed terminal and a logout send several, one by one, and so does a limit that is passed
_PATIENT = ("SIGTERM", "SIGHUP", "SIGXCPU", "SIGUSR2", "SIGALRM")


class Ended(KeyboardInterrupt):
    """A signal other than SIGINT ended the program."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = exit_code(number)


def exit_code(number: int) -> int:
    """Return the exit code of a program that a signal ended, as shells count."""
    return 128 + number


def is_hurry(number: int, first: int) -> bool:
    """Whether a signal that comes after the first one wants the end at once."""
    return signal.Signals(number).name not in _PATIENT or number == first == signal.SIGTERM


@contextlib.contextmanager
def caught(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Let a handler take the signals that end a program, but those that the caller wants ignored (nohup)."""
    former = {}
    for name in NAMES:
        number = getattr(signal, name, None)
        # a script's background job ignores SIGINT too, and yet is ended by it as always
        if number is not None and (name == "SIGINT" or signal.getsignal(number) is not signal.SIG_IGN):
            former[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in former.items():
            # None was no handler of Python's, and cannot be put back
            signal.signal(number, signal.SIG_DFL if before is None else before)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Let the first such signal raise Ended, or KeyboardInterrupt for SIGINT, in whatever is done."""
    owner = os.getpid()
    first: list[int] = []

    def handler(number: int, frame: object) -> None:
        if os.getpid() != owner:  # a process of ours that was forked: its parent ends it
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif not first or is_hurry(number, first[0]):
            first.append(number)
            raise KeyboardInterrupt if number == signal.SIGINT else Ended(number)

    with caught(handler):
        yield
