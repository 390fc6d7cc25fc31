"""Videos as frames: read from any container and codec that ffmpeg knows, one frame at a time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from vqclip.errors import UsageError
from vqclip.images import MAX_PIXELS
from vqclip.writers import ffmpeg
from vqclip.writers.probing import Header, Timing, read_header, read_timing

_FLAGS = "lanczos+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
# counter-clockwise degrees that a file's frames are turned by, and the filters that do it
_TURNS = {0: (), 90: ("transpose=cclock",), 180: ("hflip", "vflip"), 270: ("transpose=clock",)}
_HDR = ("smpte2084", "arib-std-b67")
_WIDE = ("bt2020", "smpte431", "smpte432")
# what the matrices of headers are called as an option; old programs do not follow the tags by themselves
_MATRICES = {"bt709": "bt709", "smpte170m": "bt601", "bt470bg": "bt601", "bt2020nc": "bt2020", "smpte240m": "smpte240m"}
# players take untagged video of this height and more for BT.709
_HD = 720
_CHANGED = "Changing video frame properties"
_DAMAGED = re.compile(r"\[(error|fatal)\]|Packet corrupt|corrupt (input|decoded)", re.IGNORECASE)


@dataclass
class VideoSource:
    """A video file that was looked at and can be read, as often as wanted.

    `size` is (width, height) as it is seen: turned by the file's rotation flag, in square pixels. `fps` is its rate;
    frames that last differently long are made to follow evenly at it. `stored` is the number of frames in the file:
    counted in its packets, or estimated from its length if `counted` is False. `notices` says, in sentences for a
    person, what is unusual about the file; what shows only while it is read is added then.
    """

    path: Path
    size: tuple[int, int]
    fps: Fraction
    stored: int
    counted: bool
    seconds: float
    has_sound: bool
    header: Header = field(repr=False)
    notices: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, path: str | Path) -> VideoSource:
        """Look at a video file: one frame is decoded, and the packets are counted.

        Raises UsageError for a file that is missing, holds no video or no frame, or frames of over 64 megapixels.
        """
        file = ffmpeg.check_media(path)
        header = read_header(file)
        if header.size[0] * header.size[1] > MAX_PIXELS:
            raise UsageError(f"{file} has more than {MAX_PIXELS // 10**6} megapixels a frame: scale it down first")
        timing = read_timing(file, header)
        source = cls(
            file, header.size, timing.rate, timing.stored, timing.counted, timing.end, header.has_sound, header
        )
        source.notices += _notices(file, header, timing)
        return source

    def count(self, fps: Fraction | float | None = None) -> int:
        """Return how many frames `frames(0, fps)` yields; of a damaged file it yields fewer."""
        return max(1, math.floor(self.seconds * float(fps or self.fps) + 0.5))

    def frames(
        self, start: int = 0, fps: Fraction | float | None = None, size: tuple[int, int] | None = None
    ) -> Iterator[np.ndarray]:
        """Yield frames as bytes (H, W, 3) of sRGB colors, the first being number `start` of those from the beginning.

        `fps` is the constant rate, the file's if None: frames are repeated or left out to meet it. They are scaled to
        cover `size` (width, height) and cut to it around the center. Transparency is laid on white. One frame is in
        memory at a time. Raises UsageError if not one frame can be read; a file that breaks in the middle ends there,
        and `notices` says so.
        """
        if start < 0 or (fps is not None and not 0 < float(fps) <= 1000):
            raise ValueError(
                f"frames begin at 0 and follow at more than 0 and at most 1000 a second, not {start}, {fps}"
            )
        width, height = size or self.size
        rate = Fraction(fps or self.fps).limit_denominator(100_000)
        channels = 4 if self.header.has_alpha else 3
        decoder = ffmpeg.Decoder(self._command(start, rate, (width, height), channels))
        count, ended = 0, False
        try:
            while len(data := decoder.read(width * height * channels)) == width * height * channels:
                count += 1
                yield _on_white(np.frombuffer(data, np.uint8).reshape(height, width, channels))
            ended = True
        finally:
            _, report = decoder.close()
            if ended and (count or not start):
                self._note(start + count, rate, report, decoder.stuck)
        if not start + count:
            raise self._unreadable(report)

    def _unreadable(self, report: str) -> UsageError:
        if "No such filter" in report:
            return UsageError(
                f"{self.path} has colors that this ffmpeg cannot convert (it lacks zscale): convert it to BT.709, or "
                "name another ffmpeg in IMAGEIO_FFMPEG_EXE"
            )
        if "Unrecognized option" in report:
            return UsageError("this ffmpeg is too old to read videos: name one of 5.1 or newer in IMAGEIO_FFMPEG_EXE")
        return UsageError(f"{self.path} holds no frame that can be read: the video is empty or damaged")

    def _command(self, start: int, rate: Fraction, size: tuple[int, int], channels: int) -> list[str]:
        """Return the command that prints raw frames.

        The graph is never built anew, so a frame of another size does not begin the count again; the first filter
        that looks at pixels brings each to one size. Rotation is done behind it for the same reason.
        """
        command = ffmpeg.reading(self.path)
        place = command.index("-i")
        options = ("-reinit_filter", "0", "-noautorotate", "-threads", "1", "-max_pixels", str(MAX_PIXELS))
        command[place:place] = options
        chosen = (f"trim=start_frame={start}",) if start else ()
        pixels = "rgba" if channels == 4 else "rgb24"
        filters = [f"fps=fps={rate.numerator}/{rate.denominator}:start_time=0", *chosen, *self._scaling(size, pixels)]
        output = ("-filter_threads", "1", "-map", "0:V:0", "-vf", ",".join(filters), "-fps_mode", "passthrough")
        return [*command, *output, "-f", "rawvideo", "-"]

    def _scaling(self, size: tuple[int, int], pixels: str) -> list[str]:
        """Return the filters from stored frames to upright `pixels` of `size` in the colors of a screen."""
        upright = self.size
        factor = max(Fraction(size[0], upright[0]), Fraction(size[1], upright[1]))
        wide, high = (max(side, math.ceil(full * factor)) for side, full in zip(size, upright, strict=True))
        turned = self.header.turn in (90, 270)
        matrix, primaries, transfer = self.header.colors
        known = _MATRICES.get(matrix, "bt709" if not matrix and max(self.header.stored) >= _HD else "auto")
        scaled = f"{high if turned else wide}:{wide if turned else high}"
        filters = [f"scale={scaled}:flags={_FLAGS}:in_color_matrix={known}", "setsar=1"]
        if transfer in _HDR:
            # to linear light, its colors to BT.709's, its highlights down to what a screen shows
            filters += ["zscale=t=linear:npl=100", "format=gbrpf32le", "zscale=p=bt709", "tonemap=hable:desat=0"]
            filters += ["zscale=t=bt709:m=bt709:r=tv", "format=yuv444p", f"scale=flags={_FLAGS}"]
        elif primaries in _WIDE:
            filters += ["zscale=p=bt709:t=bt709:m=bt709:r=tv", "format=yuv444p", f"scale=flags={_FLAGS}"]
        # cut last: a picture with half as many colors as pixels can be cut at even places only
        return [*filters, f"format={pixels}", *_TURNS[self.header.turn], f"crop={size[0]}:{size[1]}"]

    def _note(self, count: int, rate: Fraction, report: str, stuck: bool) -> None:
        """Add what reading to the end has shown."""
        notices = []
        if _CHANGED in report:
            notices.append(f"{self.path.name} changes its size in the middle: all frames are scaled to the first one's")
        wanted = max(self.count(rate), math.floor(self.header.seconds * float(rate)))
        if stuck:
            notices.append(f"{self.path.name}: ffmpeg gave nothing more after {count} frames; those are used")
        elif count < wanted - 1:
            notices.append(f"{self.path.name} is damaged: {count} of about {wanted} frames could be read and are used")
        elif _DAMAGED.search(report):
            notices.append(f"{self.path.name} is damaged in places: some of its {count} frames may look broken")
        self.notices += [notice for notice in notices if notice not in self.notices]


def _notices(path: Path, header: Header, timing: Timing) -> list[str]:
    notices = []
    if timing.variable:
        notices.append(f"{path.name} has a variable frame rate: it is read at {float(timing.rate):g} frames a second")
    if not timing.counted:
        notices.append(f"{path.name}: its frames could not be counted, about {timing.stored} are expected")
    if header.colors[2] in _HDR:
        notices.append(f"{path.name} is HDR: its colors are mapped to those of a usual screen")
    return notices


def _on_white(frame: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) of a frame of three or four channels; the array is the caller's."""
    if frame.shape[2] == 3:
        return np.array(frame)
    alpha = frame[..., 3:].astype(np.uint16)
    laid = (frame[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return np.asarray(laid, np.uint8)
