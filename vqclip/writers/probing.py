"""What a video file holds: size, rate, colors, length. imageio-ffmpeg brings no ffprobe, so ffmpeg itself is asked.

The header is what ffmpeg prints of its input; the packets are listed by its `framecrc` format, without decoding them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vqclip.errors import UsageError
from vqclip.images import MAX_PIXELS
from vqclip.writers import ffmpeg

KINDS = "give MP4, MOV, MKV, WebM, AVI, MPEG, OGG, GIF or animated WebP"
_SECONDS_TO_COUNT = 300
_RATES = tuple(Fraction(n) for n in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 100, 120))
_RATES += tuple(Fraction(n, 1001) for n in (24000, 30000, 60000, 120000))
_SLOWEST, _FASTEST, _USUAL = Fraction(1, 100), Fraction(240), Fraction(25)
_SHAPE = re.compile(r"^YUV4MPEG2 W(\d+) H(\d+) F(\d+):(\d+)(?:.*? A(\d+):(\d+))?")
_STREAM = re.compile(r"^\[info\]\s+Stream #0:\d+.*?: (Video|Audio): (.*)$")
_FORMAT = re.compile(r", (\w+)(?:\(([^)]*)\))?, \d+x\d+")
_TURN = re.compile(r"display ?matrix: rotation of (-?[\d.]+) degrees", re.IGNORECASE)
_DURATION = re.compile(r"^\[info\]\s+Duration: (\d+):(\d+):([\d.]+),", re.MULTILINE)
_NO_TIME = -(1 << 62)
_STILL = ("(attached pic)", "(timed thumbnails)", "(still image)")


@dataclass(frozen=True)
class Header:
    """What a file says of its first video stream, and whether it has sound.

    `stored` is its (width, height) before it is turned by `turn` degrees (0, 90, 180, 270, counter-clockwise); `aspect`
    a pixel's width by its height; `rate` the frame rate that ffmpeg guesses; `colors` matrix, primaries and transfer,
    "" if unknown; `seconds` its length, 0 if unknown.
    """

    stored: tuple[int, int]
    turn: int
    aspect: Fraction
    rate: Fraction
    pixel_format: str
    colors: tuple[str, str, str]
    has_sound: bool
    seconds: float

    @property
    def size(self) -> tuple[int, int]:
        """Upright width and height in square pixels."""
        width, height = max(1, round(self.stored[0] * self.aspect)), self.stored[1]
        return (height, width) if self.turn in (90, 270) else (width, height)

    @property
    def has_alpha(self) -> bool:
        """Whether pixels may be transparent."""
        return bool(re.match(r"yuva|rgba|bgra|argb|abgr|gbrap|ya\d|pal8", self.pixel_format))


@dataclass(frozen=True)
class Timing:
    """How many frames a stream has, the seconds at its end, its `rate` if frames are made to follow evenly.

    `counted`: whether packets were counted, or all is estimated from the header; `variable`: whether frames last
    differently long.
    """

    stored: int
    end: float
    rate: Fraction
    counted: bool
    variable: bool


def read_header(path: Path) -> Header:
    """Return what a file says of its video; decodes one frame. Raises UsageError for a file without video or frames."""
    command = ffmpeg.reading(path, "info")
    place = command.index("-i")
    command[place:place] = ["-max_pixels", str(MAX_PIXELS), "-noautorotate"]
    command += ["-map", "0:V:0", "-frames:v", "1", "-threads", "1", "-pix_fmt", "gray", "-f", "yuv4mpegpipe", "-"]
    decoder = ffmpeg.Decoder(command)
    head = decoder.read(200)
    decoder.read(MAX_PIXELS)
    status, report = decoder.close()
    shape = _SHAPE.match(head.split(b"\n")[0].decode("ascii", "replace"))
    streams = _streams(report)
    if shape is None or int(shape[2]) < 1:
        if decoder.stuck:
            raise ffmpeg.stuck(path)
        raise _no_video(path, report, [kind for kind, _ in streams], status)
    text = next((text for kind, text in streams if kind == "Video" and not any(s in text for s in _STILL)), "")
    kind = _FORMAT.search(text)
    turn = _TURN.search(text)
    aspect = Fraction(int(shape[5]), int(shape[6])) if shape[5] and int(shape[5]) and int(shape[6]) else Fraction(1)
    return Header(
        stored=(int(shape[1]), int(shape[2])),
        turn=round(float(turn[1]) / 90) % 4 * 90 if turn else 0,
        aspect=aspect if Fraction(1, 4) <= aspect <= 4 else Fraction(1),
        rate=Fraction(int(shape[3]), max(int(shape[4]), 1)),
        pixel_format=kind[1] if kind else "",
        colors=_colors(kind[2] or "" if kind else ""),
        has_sound=any(kind == "Audio" for kind, _ in streams),
        seconds=_seconds(report),
    )


def _streams(report: str) -> list[tuple[str, str]]:
    """Return kind and description, with its side data, of each stream of the input."""
    streams: list[tuple[str, str]] = []
    for line in report.splitlines():
        if line.startswith(("[info] Output #", "[info] Stream mapping")):
            break
        if match := _STREAM.match(line):
            streams.append((match[1], match[2]))
        elif streams and _TURN.search(line):
            streams[-1] = (streams[-1][0], f"{streams[-1][1]}\n{line}")
    return streams


def _colors(inside: str) -> tuple[str, str, str]:
    """Return matrix, primaries and transfer out of what stands in brackets behind a pixel format."""
    for part in (part.strip() for part in inside.split(",")):
        if part.count("/") == 2:
            names = ["" if name in ("unknown", "reserved") else name for name in part.split("/")]
            return names[0], names[1], names[2]
        if re.match(r"(bt|smpte|gbr|fcc|film)", part):
            return part, part, part
    return "", "", ""


def _seconds(report: str) -> float:
    match = _DURATION.search(report)
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else 0.0


def _no_video(path: Path, report: str, kinds: list[str], status: int) -> UsageError:
    """Return the error for a file whose first frame could not be read."""
    if ffmpeg.first_bytes(path, 12)[8:] == b"WEBP":
        return UsageError(f"{path} is a WebP that this ffmpeg cannot read: convert it to GIF or MP4 first")
    if "max pixel count" in report or "Picture size" in report:
        return UsageError(f"{path} has more than {MAX_PIXELS // 10**6} megapixels a frame: scale it down first")
    if "Video" in kinds and "matches no streams" not in report:
        return UsageError(f"{path} holds no frame that can be read: the video is empty or damaged")
    if "Audio" in kinds:
        return UsageError(f"{path} holds sound but no video: {KINDS}")
    if status < 0:
        return UsageError(f"{path} cannot be read: ffmpeg was ended by signal {-status}; convert it to MP4 first")
    return UsageError(f"{path} holds no video that can be read: {KINDS}")


def read_timing(path: Path, header: Header, seconds: float = _SECONDS_TO_COUNT) -> Timing:
    """Return how many frames there are and how long they last, by a list of the packets, else by the header."""
    guess = header.rate if _SLOWEST <= header.rate <= _FASTEST else _USUAL
    listed = _list_packets(path, seconds)
    if listed is None:
        return Timing(max(1, round(header.seconds * guess)), header.seconds, guess, False, False)
    count, first, last, end = listed
    span, end = last - first, max(end, last)
    if count < 2 or span <= 0:
        return Timing(count, float(max(end, 1 / guess)), guess, True, False)
    end = end if end > last else last + span / (count - 1)
    if abs(count - 1 - span * guess) <= Fraction(1, 2):
        return Timing(count, float(end), guess, True, False)
    mean = min(max((count - 1) / span, _SLOWEST), _FASTEST)
    rate = guess if abs(guess / mean - 1) < Fraction(1, 10) else _usual_rate(mean)
    return Timing(count, float(end), rate, True, True)


def _usual_rate(mean: Fraction) -> Fraction:
    nearest = min(_RATES, key=lambda rate: abs(rate - mean))
    return nearest if abs(nearest / mean - 1) < Fraction(3, 100) else mean.limit_denominator(100)


def _list_packets(path: Path, seconds: float) -> tuple[int, Fraction, Fraction, Fraction] | None:
    """Return number of packets, first and last time and the end of the last in seconds; None if they cannot be had."""
    command = [*ffmpeg.reading(path), "-map", "0:V:0", "-c", "copy", "-f", "framecrc", "-"]
    decoder = ffmpeg.Decoder(command, seconds)
    packets, rest = _Packets(), b""
    try:
        while block := decoder.read(1 << 16):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                packets.add(line)
    except (IndexError, ValueError, ZeroDivisionError):
        return None
    finally:
        decoder.close()
    return None if decoder.stuck else packets.summary()


class _Packets:
    """Sums over the lines of a list of packets, whose length does not matter."""

    def __init__(self) -> None:
        self.tick, self.count = Fraction(0), 0
        self.first = self.last = self.end = 0
        self.untimed = False

    def add(self, line: bytes) -> None:
        """Take in a line. Raises ValueError or IndexError for one that is none of the format."""
        if line.startswith(b"#tb 0:"):
            above, _, below = line[6:].strip().partition(b"/")
            self.tick = Fraction(int(above), int(below))
        elif not line.startswith(b"#"):
            fields = line.split(b",")
            time, length = int(fields[2]), max(int(fields[3]), 0)
            if time < _NO_TIME:  # of a bare stream only the order is known
                time, self.untimed = int(fields[1]), True
            self.first = min(self.first, time) if self.count else time
            self.last = max(self.last, time) if self.count else time
            self.end = max(self.end, time + length) if self.count else time + length
            self.count += 1

    def summary(self) -> tuple[int, Fraction, Fraction, Fraction] | None:
        """Return what `_list_packets` does."""
        if not self.count or not self.tick:
            return None
        shift = self.first if self.untimed else 0
        first, last, end = ((time - shift) * self.tick for time in (self.first, self.last, self.end))
        return self.count, first, last, end
