"""What is looked at before a weight file is read, so that no small file unfolds to gigabytes.

torch and safetensors store tensors as they are; only headers and pickles are unfolded, and those of real checkpoints
have a few hundred kilobytes. So compressed records, tensors that the file has no room for, and long headers are refused
before anything is read. Checkpoints that were packed with gzip are unpacked up to a multiple of their size.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import safetensors

from vqclip.errors import WeightsError, one_line

MAX_PICKLE = 4 << 20
MAX_HEADER = 8 << 20
# floats are packed to nine tenths; a few times more is room for the zeros of codes that were never used
_MOST_PACKED = 8
_PART = 1 << 20  # bytes that are unpacked at a time
_EMPTY = "nothing was read"


def check_zip(path: Path) -> None:
    """Raise WeightsError for a zip that is no checkpoint as torch writes it, or that could unfold without end."""
    try:
        with zipfile.ZipFile(path) as archive:
            records, begin = archive.infolist(), archive.start_dir
        size = path.stat().st_size
        _check_directory(path, begin, size)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        reason = f"a damaged zip: {one_line(error)[:80]}"
        raise WeightsError(
            f"{path} is no pickled checkpoint that can be read safely ({reason}); fetch it again"
        ) from None
    names = [record.filename.rpartition("/")[2] for record in records]
    if "constants.pkl" in names:
        raise WeightsError(f"{path} is a program (TorchScript), not weights: give its state_dict; {_EMPTY}")
    if "data.pkl" not in names:
        raise WeightsError(f"{path} is a zip, but no checkpoint of torch's: unpack it, and give the checkpoint in it")
    packed = next((record for record in records if record.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        name = packed.filename[:80]
        raise WeightsError(f"{path} holds compressed records ({name!r}), as torch writes none: {_EMPTY}")
    pickles = sum(record.file_size for record in records if record.filename.endswith(".pkl"))
    if pickles > MAX_PICKLE:
        raise WeightsError(
            f"{path} holds {_megabytes(pickles)} MB beside its tensors, {_allowed(MAX_PICKLE)}: {_EMPTY}"
        )
    if sum(record.file_size for record in records) > size:
        raise WeightsError(f"{path} promises more than its {_megabytes(size)} MB hold: {_EMPTY}")


def _check_directory(path: Path, begin: int, size: int) -> None:
    """Raise ValueError unless every reader of zips finds the directory where Python's does, at `begin`.

    Python looks for it right before its end; torch goes by the offset that is written there.
    """
    with path.open("rb") as stream:
        stream.seek(max(size - (1 << 16) - 22, 0))
        tail = stream.read()
        end = tail.rfind(b"PK\5\6")
        offset = struct.unpack_from("<I", tail, end + 16)[0]
        locator = tail[max(end - 20, 0) : end]
        if locator.startswith(b"PK\6\7"):
            stream.seek(struct.unpack_from("<Q", locator, 8)[0])
            record = stream.read(56)
            if not record.startswith(b"PK\6\6") or struct.unpack_from("<Q", record, 48)[0] != begin:
                raise ValueError("its directory is in two places")
        elif offset == 0xFFFFFFFF:
            raise ValueError("its directory is nowhere")
    if offset not in (begin, 0xFFFFFFFF):
        raise ValueError("its directory is in two places")


class Sparing:
    """A file for torch's unpickler, which may read so many bytes piece by piece as a pickle may have.

    Tensors are read into their memory by `readinto`, which is not counted: they take no more than the file has.
    """

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream, self._path, self._left = stream, path, MAX_PICKLE
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        """Return bytes; WeightsError beyond what a pickle may have."""
        return self._counted(self._stream.read(size if 0 <= size <= self._left else self._left + 1))

    def readline(self) -> bytes:
        """Return a line; WeightsError beyond what a pickle may have."""
        return self._counted(self._stream.readline(self._left + 1))

    def readinto(self, buffer: Any) -> int:
        """Fill the memory of a tensor."""
        return cast("io.BufferedReader", self._stream).readinto(buffer)

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise WeightsError(f"{self._path} holds a pickle beyond what a checkpoint has, {_allowed(MAX_PICKLE)}")
        return data


def check_header(path: Path) -> None:
    """Raise WeightsError for a safetensors file whose header is longer than any real one, before it is read."""
    try:
        with path.open("rb") as stream:
            begin = stream.read(9)
    except OSError as error:
        raise WeightsError(f"cannot read the weight file {path}: {error.strerror or one_line(error)}") from None
    length = int.from_bytes(begin[:8], "little")
    if begin[8:] == b"{" and MAX_HEADER < length <= path.stat().st_size:
        raise WeightsError(f"{path} has a header of {_megabytes(length)} MB, {_allowed(MAX_HEADER)}: {_EMPTY}")


@contextlib.contextmanager
def open_safetensors(path: Path) -> Iterator[Any]:
    """Open a safetensors file for torch; WeightsError for a header that is too long, SafetensorError for damage."""
    check_header(path)
    with safetensors.safe_open(path, framework="pt") as file:
        yield file


def is_gzip(path: Path) -> bool:
    """Whether a file's first bytes are gzip's; False for one that cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(3) == b"\x1f\x8b\x08"
    except OSError:
        return False


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yield the file, or if it is packed with gzip a temporary one with its contents; WeightsError if those are odd."""
    if not is_gzip(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="vqclip-") as folder:
        target = Path(folder) / path.name.removesuffix(".gz")
        _unpack(path, target)
        yield target


def _unpack(path: Path, target: Path) -> None:
    limit = _MOST_PACKED * path.stat().st_size + _PART
    free = shutil.disk_usage(target.parent).free
    written = 0
    try:
        with gzip.open(path) as source, target.open("wb") as stream:
            while part := source.read(_PART):
                written += len(part)
                if written > limit:
                    raise WeightsError(
                        f"{path} unfolds to over {_MOST_PACKED} times its size, as no weights do: not read"
                    )
                if written > free - _PART:
                    raise WeightsError(f"there is no room to unpack {path} in {target.parent}: unpack it yourself")
                stream.write(part)
    except (OSError, EOFError, zlib.error) as error:
        raise WeightsError(f"{path} cannot be unpacked ({one_line(error)[:80]}): fetch it again") from None


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f}"


def _allowed(count: int) -> str:
    return f"{count >> 20} MB are allowed"
