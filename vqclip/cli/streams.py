"""The standard streams: results on stdout, everything else on stderr, whatever becomes of either."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import BinaryIO

import click

from vqclip.errors import OutputError, one_line

_STANDARD = 2


def prepare() -> None:
    """Let stdout and stderr take any character, and stand for nothing where the caller closed them.

    A closed descriptor would be given to the next file that is opened, which then got what is meant for the stream.
    """
    with contextlib.suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD:
            os.set_inheritable(descriptor, True)
        os.close(descriptor)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - it lasts as long as the program
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def finish() -> None:
    """Give up what a stream that takes nothing more still holds: Python would complain of it at the very end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(result: str | Path, end: bool = True) -> None:
    """Print a result to stdout; a path as the bytes that it has on the disk. Raises OutputError.

    BrokenPipeError is left to the caller: nobody reads any more, which is no mistake.
    """
    # Windows has names of characters, not of bytes
    told = os.fsencode(result) if isinstance(result, Path) and os.name != "nt" else str(result)
    try:
        click.echo(told, nl=end)
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write to stdout: {one_line(error)}") from error


def tell(text: str) -> None:
    """Print a line to stderr if it takes any."""
    with contextlib.suppress(OSError, ValueError):
        click.echo(text, err=True)


def stdin() -> BinaryIO | None:
    """Return standard input as bytes; None if the caller closed it."""
    return None if sys.stdin is None else sys.stdin.buffer
