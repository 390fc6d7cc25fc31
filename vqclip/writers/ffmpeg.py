"""ffmpeg: where it is, how it is started, one that encodes a segment and one that reads a stranger's file.

Only here imageio-ffmpeg is imported.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from vqclip.errors import OutputError, UsageError, one_line
from vqclip.writers.metadata import clean

SECONDS_TO_CLOSE = 600
QUIET = ("-hide_banner", "-loglevel", "error", "-y")
# Containers that hold pictures or sound themselves. Playlists, lists of files, scripts and devices are none of them.
_CONTAINERS = (
    "mov", "matroska", "webm", "avi", "gif", "apng", "webp_anim", "webp_pipe", "mpegts", "mpeg", "mpegvideo", "flv",
    "ogg", "asf", "mxf", "nut", "ivf", "obu", "dv", "rm", "h264", "hevc", "m4v", "yuv4mpegpipe",
    "wav", "w64", "mp3", "flac", "aac", "aiff", "au", "caf", "ac3", "eac3", "amr", "ape", "wv", "tta",
)  # fmt: skip
# seconds in which a reading ffmpeg must give something
SECONDS_TO_READ = 120


class Encoder:
    """One running ffmpeg that takes raw frames on its standard input and writes one segment."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.frames = 0
        self.torn = False  # an exception, such as KeyboardInterrupt, came in the middle of a frame
        # A file instead of a pipe: nobody has to drain it while the run computes.
        self._errors: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the encoder
        try:
            self._process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._errors, **apart()
            )
            self._frames = cast("IO[bytes]", self._process.stdin)  # a pipe, as it was asked for
        except OSError:
            self._errors.close()
            raise

    def write(self, data: bytes) -> None:
        """Pass on one frame. Raises OSError if the encoder has ended."""
        self.torn = True
        self._frames.write(data)
        self._frames.flush()
        self.torn = False
        self.frames += 1

    def close(self) -> None:
        """End the stream and wait for the file to be complete. Raises OSError if the encoder failed."""
        self._frames.close()
        try:
            status = self._process.wait(SECONDS_TO_CLOSE)
        except subprocess.TimeoutExpired as error:
            raise OSError("it does not end") from error
        if status:
            raise OSError(f"exit status {status}")
        self._errors.close()

    def kill(self) -> str:
        """End the encoder at once and return its last words, "" if it said nothing. May be called again."""
        if self._errors.closed:
            return ""
        # One that fails by itself gets the time to say why.
        with contextlib.suppress(OSError):
            self._frames.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self._process.kill()
        self._process.wait()
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 4000))
        words = last_line(self._errors.read())
        self._errors.close()
        return words


class Decoder:
    """One running ffmpeg whose standard output is read; it is ended when it gives nothing for two minutes."""

    def __init__(self, command: Sequence[str], seconds: float = SECONDS_TO_READ) -> None:
        self.stuck = False
        self._seconds = seconds
        self._errors: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the decoder
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors, **apart()
            )
        except OSError as error:
            self._errors.close()
            raise no_encoder(one_line(error)) from error
        self._output = cast("IO[bytes]", self._process.stdout)

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end."""
        watch = threading.Timer(self._seconds, self._give_up)
        watch.daemon = True
        watch.start()
        try:
            return self._output.read(size)
        finally:
            watch.cancel()

    def close(self) -> tuple[int, str]:
        """End the program, if it still runs, and return its exit status and what it printed; once only."""
        self._output.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._process.kill()
        status = self._process.wait()
        self._errors.seek(0)
        report = self._errors.read(1 << 20).decode("utf-8", "replace")
        self._errors.close()
        return status, report

    def _give_up(self) -> None:
        self.stuck = True
        self._process.kill()


def check_media(path: str | Path) -> Path:
    """Return the path of a video or sound file that can be opened; raise UsageError for one that cannot."""
    path = Path(path)
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder: give a video or sound file")
        if not path.is_file():
            raise UsageError(f"there is no file {one_line(str(path))}: give a video or sound file")
        if not first_bytes(path, 1):
            raise UsageError(f"{path} is empty: give a video or sound file")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {one_line(str(path))}: {one_line(error)}") from None
    return path


def first_bytes(path: Path, count: int) -> bytes:
    """Return the first bytes of a file; raise OSError if it cannot be read."""
    with path.open("rb") as stream:
        return stream.read(count)


def stuck(path: Path) -> UsageError:
    """Return the error for a file over which ffmpeg was ended because it gave nothing."""
    return UsageError(f"{path} could not be read: ffmpeg gave nothing within {SECONDS_TO_READ} seconds")


def reading(path: Path, level: str = "warning") -> list[str]:
    """Return the beginning of a command that reads a stranger's file: that file, and no other, whatever it names."""
    safe = ["-protocol_whitelist", "file", "-format_whitelist", ",".join(_CONTAINERS)]
    name = f"file:{os.path.abspath(path)}"
    return [find_program(), "-hide_banner", "-nostdin", "-nostats", "-loglevel", f"level+{level}", *safe, "-i", name]


def find_program() -> str:
    """Return the absolute path of ffmpeg; raise OutputError if there is none."""
    try:
        import imageio_ffmpeg

        name: str = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise no_encoder(one_line(error)) from error
    program = shutil.which(name)
    if program is None:
        raise no_encoder(f"{name} is no program")
    return os.path.abspath(program)


def no_encoder(reason: str) -> OutputError:
    """Return the error that says why no video can be encoded, and what to do."""
    return OutputError(
        f"no video encoder: {reason}; `pip install --force-reinstall imageio-ffmpeg`, or install ffmpeg with libx264 "
        "and name it in IMAGEIO_FFMPEG_EXE, or draw without --video"
    )


def apart() -> dict[str, Any]:
    """Return the arguments of Popen that keep Ctrl-C, which the terminal sends to the whole group, from ffmpeg."""
    if os.name == "nt":
        return {"creationflags": 0x00000200}  # CREATE_NEW_PROCESS_GROUP, a name that only Windows has
    return {"start_new_session": True}


def last_line(output: bytes) -> str:
    """Return the last line that a program printed, cut to a bearable length."""
    lines = clean(output.decode("utf-8", "replace")).split("\n")
    return next((line.strip()[-300:] for line in reversed(lines) if line.strip()), "")
