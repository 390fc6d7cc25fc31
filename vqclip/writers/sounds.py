"""The sound of a file: decoded to samples, or laid under a film."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from vqclip.errors import OutputError, UsageError
from vqclip.writers import ffmpeg

LONGEST = 3600.0
FADE = 0.05  # seconds over which a sound that is cut goes silent
_BLOCK = 1 << 18  # bytes
_KINDS = "give WAV, FLAC, MP3, M4A, OGG, Opus, or a video with sound"


def check_sound(path: str | Path) -> Path:
    """Return the path of a file whose sound can be decoded; raise UsageError for any other."""
    file = ffmpeg.check_media(path)
    for _ in decode_sound(file, 8000, 0.5):
        break
    return file


def decode_sound(path: str | Path, rate: int, seconds: float = LONGEST) -> Iterator[np.ndarray]:
    """Yield the sound of a file as blocks of float32 samples (n,) in [-1, 1], its channels mixed, `rate` a second.

    It ends after `seconds`. Only one block is in memory at a time. Raises UsageError, in one line, for a file that is
    missing, has no sound or none that can be decoded; what breaks in the middle ends there.
    """
    # in whole numbers: what ffmpeg mixes as floats becomes louder than its channels
    file = ffmpeg.check_media(path)
    graph = f"aresample={rate}:async=1:first_pts=0,aformat=sample_fmts=s16:channel_layouts=mono"
    output = ("-map", "0:a:0", "-t", f"{seconds:.3f}", "-af", graph, "-f", "s16le", "-")
    decoder = ffmpeg.Decoder([*ffmpeg.reading(file, "info"), *output])
    some = False
    try:
        while data := decoder.read(_BLOCK):
            samples = np.frombuffer(data[: len(data) // 2 * 2], "<i2")
            some = some or len(samples) > 0
            yield samples.astype(np.float32) / 32768
    finally:
        _, report = decoder.close()
    if not some:
        raise ffmpeg.stuck(file) if decoder.stuck else _no_sound(file, report)


def _no_sound(path: Path, report: str) -> UsageError:
    if re.search(r"Stream #0:\d+.*: Video: ", report) and not re.search(r"Stream #0:\d+.*: Audio: ", report):
        return UsageError(f"{path} has no sound: {_KINDS}")
    if "Audio: " in report:
        return UsageError(f"{path} holds no sound that can be decoded: it is empty or damaged")
    return UsageError(f"{path} holds no sound that can be read: {_KINDS}")


def add_sound(film: Path, sound: str | Path, result: Path, seconds: Fraction) -> Path:
    """Write `result`, an MP4 with the pictures of the MP4 `film` as they are and the sound of another file, as AAC.

    The sound lasts `seconds` like the film: a longer one is faded out within 50 ms and cut, a shorter one ends in
    silence. The same files give the same bytes. Raises UsageError for a file without sound, OutputError if ffmpeg
    fails.
    """
    file = ffmpeg.check_media(sound)
    length, faded = float(seconds), max(0.0, float(seconds) - FADE)
    filters = ["aresample=48000:async=1:first_pts=0", "aformat=sample_fmts=s16:channel_layouts=stereo|mono"]
    filters += [f"apad=whole_dur={length:.6f}", f"atrim=end={length:.6f}"]
    filters += [f"afade=t=out:st={faded:.6f}:d={min(FADE, length):.6f}"]
    exact = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-threads", "1")
    audio = ("-c:a", "aac", "-b:a", "192k", "-af", ",".join(filters))
    command = [*ffmpeg.reading(file, "error"), "-i", f"file:{film.absolute()}", "-y", "-map", "1:v:0", "-map", "0:a:0"]
    command += ["-c:v", "copy", *audio, *exact, "-map_metadata", "1", "-map_chapters", "-1"]
    command += ["-movflags", "+faststart", "-f", "mp4", f"file:{result.absolute()}"]
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, timeout=ffmpeg.SECONDS_TO_CLOSE, **ffmpeg.apart()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OutputError(f"cannot add the sound of {file}: ffmpeg failed ({error})") from None
    if done.returncode:
        result.unlink(missing_ok=True)
        reason = ffmpeg.last_line(done.stderr)
        raise OutputError(f"cannot add the sound of {file}: ffmpeg failed ({reason}); the film without it is {film}")
    return result
