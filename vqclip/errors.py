"""Every error that vqclip raises on purpose, each with the exit code of the command line.

A message is one line that says what was given, what is allowed, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_OUT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator", "can't allocate memory")


class VqclipError(Exception):
    """Root of all errors raised by vqclip; output folders, encoders and anything else (exit code 1)."""

    exit_code = 1


class OutputError(VqclipError):
    """A file that was to be written could not be: folder, disk or encoder (exit code 1)."""


class UsageError(VqclipError):
    """Anything the caller typed: unknown names, values out of range, unreadable inputs (exit code 2).

    `pointer` is empty, or two lines: the text that was given, and a caret under the place that is meant.
    """

    exit_code = 2

    def __init__(self, message: str = "", *, pointer: str = "") -> None:
        super().__init__(message)
        self.pointer = pointer


class PluginError(UsageError):
    """Something registered from outside that fails or returns what does not fit (exit code 2)."""


class WeightsError(VqclipError):
    """Weights that are absent, damaged or do not fit (exit code 3)."""

    exit_code = 3


class NumericError(VqclipError):
    """NaN or infinity that the run could not mend (exit code 4)."""

    exit_code = 4


class ResumeError(VqclipError):
    """A run that cannot be resumed as it was: damaged, changed, or still being drawn (exit code 5)."""

    exit_code = 5


class MemoryBudgetError(VqclipError):
    """A run that needs more memory than the machine has (exit code 6)."""

    exit_code = 6


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to `name`, or None if nothing is close."""
    names = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return names[matches[0]] if matches else None


def unknown_name(kind: str, given: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that no registry holds: it suggests the nearest and lists them all."""
    names = sorted(known)
    guess = nearest(given, names)
    hint = f"did you mean {guess!r}? " if guess else ""
    return UsageError(f"unknown {kind} {given!r}: {hint}known are {', '.join(names) or 'none'}")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: torch's own on a GPU, a plain one on a CPU."""
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or (isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY))


def one_line(error: BaseException | str) -> str:
    """Return the message of any exception, or a text, squeezed to one printable line."""
    text = " ".join("".join(c if c.isprintable() or c.isspace() else "" for c in str(error)).split())
    return text or type(error).__name__
