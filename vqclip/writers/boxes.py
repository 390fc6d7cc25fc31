"""The comment of an MP4, read from its boxes (ISO/IEC 14496-12) without decoding anything.

ffmpeg writes it as iTunes does: `moov/udta/meta/ilst/©cmt/data`.
"""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import BinaryIO

_WAY = (b"moov", b"udta", b"meta", b"ilst", b"\xa9cmt", b"data")
_MAX_READ = 4 * 2**20  # bytes of a comment
_MAX_BOXES = 10_000  # that are passed on the way
_TEXT = 1  # the type of UTF-8 in a data box


def read_comment(path: str | Path) -> str | None:
    """Return the comment of an MP4; None of a file that has none, is damaged, no MP4, or cannot be opened."""
    with contextlib.suppress(OSError, ValueError, struct.error), Path(path).open("rb") as stream:
        size = stream.seek(0, 2)
        span = _find(stream, 0, size)
        if span is None or not 8 <= span[1] - span[0] <= _MAX_READ:
            return None
        stream.seek(span[0])
        data = stream.read(span[1] - span[0])
        if len(data) < 8 or struct.unpack(">I", data[:4])[0] != _TEXT:
            return None
        return data[8:].decode("utf-8", "replace")
    return None


def _find(stream: BinaryIO, start: int, end: int) -> tuple[int, int] | None:
    """Return where the content of the last box of the way begins and ends."""
    passed = 0
    for name in _WAY:
        span = None
        while start + 8 <= end and passed < _MAX_BOXES:
            passed += 1
            stream.seek(start)
            length, kind = struct.unpack(">I4s", stream.read(8))
            content = start + 8
            if length == 1:
                length, content = struct.unpack(">Q", stream.read(8))[0], start + 16
            stop = end if length == 0 else start + length
            if stop < content or stop > end:
                return None
            if kind == name:
                # only this one is a box with a version before its content
                span = (content + 4 * (name == b"meta"), stop)
                break
            start = stop
        if span is None:
            return None
        start, end = span
    return start, end
