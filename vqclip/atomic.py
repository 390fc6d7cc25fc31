"""Files appear whole or not at all: the one helper through which every output file is written."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from vqclip.errors import OutputError, one_line


def write(path: Path, writer: Callable[[BinaryIO], object]) -> Path:
    """Write a file through `writer(stream)` so that `path` never holds half of it.

    The bytes go to a temporary file in the same folder, are flushed to the disk and then renamed over `path`;
    an earlier file stays whole if anything fails. Raises OutputError for every failure of the file system.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".tmp")
    except OSError as error:
        raise output_error(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            writer(stream)
        replace(temporary, path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return path


def write_text(path: Path, text: str) -> Path:
    """Write `text` as UTF-8, atomically."""
    return write(path, lambda stream: stream.write(text.encode("utf-8")))


def replace(temporary: Path, path: Path) -> None:
    """Flush a finished temporary file to the disk and rename it over `path`, with a new file's permissions."""
    with open(temporary, "r+b") as stream:
        os.fsync(stream.fileno())
    os.chmod(temporary, 0o666 & ~_umask())
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, where the platform knows how (Windows does not)."""
    with contextlib.suppress(OSError, AttributeError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def output_error(path: Path, error: OSError) -> OutputError:
    """Return the one-line error for a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return OutputError(f"cannot write {path}: the disk is full; free some space or write elsewhere with --output")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(f"cannot write {path}: no permission; choose another folder with --output")
    return OutputError(f"cannot write {path}: {one_line(error)}")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
