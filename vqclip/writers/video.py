"""The progress video, encoded by ffmpeg while the run goes on.

Frames are piped to an ffmpeg of our own: imageio's writers hide a failed write. They become short, self-contained
H.264 segments in the run's folder, so that a crash costs a few frames at most and a resumed run can go on after the
last whole segment; `finish` joins them without encoding again (MP4) or turns them into a GIF or animated WebP.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from vqclip import atomic
from vqclip.errors import OutputError, one_line
from vqclip.writers import ffmpeg
from vqclip.writers.frames import highest_fps
from vqclip.writers.metadata import clean
from vqclip.writers.names import check_suffix

MAX_COMMENT = 200_000  # characters
# a command line is limited on all systems, to 32 767 characters on Windows
LONGEST_ARGUMENT = 8000
COMMENT = "comment.txt"
LIST = "segments.txt"
# no dates and version numbers in the file: equal frames give equal bytes
BITEXACT = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1")
# without the matrix swscale converts by BT.601, and tags given as options of the encoder lose against the frames' own
TO_BT709 = (
    "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,format=yuv420p,"
    "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
)


@dataclass(frozen=True)
class Codec:
    """How segments are encoded: x264's quality (`crf`: 0 lossless to 51), effort (`preset`) and threads.

    One thread gives the same bytes on every machine and leaves the cores to the run.
    """

    crf: int = 18
    preset: str = "medium"
    threads: int = 1


def check_encoder(path: str | Path = "video.mp4") -> str:
    """Return the ffmpeg to use after encoding one frame with it for a video named `path`.

    Call it before step 0. The program is the one in `IMAGEIO_FFMPEG_EXE`, else that of imageio-ffmpeg, else the
    system's. Raises UsageError for an unknown ending and OutputError, which says what to install, for a missing or
    unfit ffmpeg.
    """
    encoders = ("libx264", "libwebp_anim") if check_suffix(path, "video") == ".webp" else ("libx264",)
    program = ffmpeg.find_program()
    for encoder in encoders:
        raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x64", "-i", "pipe:0")
        command = [program, *ffmpeg.QUIET, *raw, "-c:v", encoder, "-pix_fmt", "yuv420p", "-f", "null", "-"]
        try:
            done = subprocess.run(command, input=bytes(64 * 64 * 3), capture_output=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ffmpeg.no_encoder(f"{program} does not run ({one_line(error)})") from error
        if done.returncode:
            raise ffmpeg.no_encoder(f"{program} cannot encode with {encoder} ({ffmpeg.last_line(done.stderr)})")
    return program


class VideoWriter:
    """Frames of one size in, one video file out; segments in between.

    `path` ends in .mp4, .gif or .webp; `folder` is the run's folder, the segments lie in `folder/segments`; `size` is
    (width, height) in pixels, odd sides too; `comment` becomes the comment of an MP4. Segments from `start_segment`
    on are removed, those before it are kept and counted: a resumed run passes the number that `cut` returned when its
    state was saved. The video is written by `finish`, also after Ctrl-C; `abort` gives up the segment in progress.
    """

    def __init__(
        self,
        path: str | Path,
        folder: str | Path,
        size: tuple[int, int],
        fps: float,
        *,
        comment: str | None = None,
        codec: Codec | None = None,
        segment_frames: int = 250,
        start_segment: int = 0,
    ) -> None:
        self.path = Path(path)
        self.suffix = check_suffix(path, "video")
        self.segments = Path(folder).resolve() / "segments"
        self.size = size
        self.crop = f"crop={size[0]}:{size[1]}:0:0:exact=1"  # takes the padding of odd sides off again
        self.fps = Fraction(min(fps, highest_fps(self.suffix))).limit_denominator(1001)
        self.comment = comment
        self.codec = codec or Codec()
        self.segment_frames = segment_frames
        self.program = ffmpeg.find_program()
        self._encoder: ffmpeg.Encoder | None = None
        self._open_folder(start_segment)

    def write(self, frame: np.ndarray) -> None:
        """Add one frame, bytes (H, W, 3) of the writer's size; ValueError for others.

        Raises OutputError if the encoder failed: whole segments stay, the caller may go on without video and `finish`.
        """
        width, height = self.size
        if frame.dtype != np.uint8 or frame.shape != (height, width, 3):
            raise ValueError(f"a frame is uint8 {(height, width, 3)}, not {frame.dtype} {frame.shape}")
        # yuv420p has even sides only; an edge repeated once is less visible than a black line
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        try:
            if self._encoder is None:
                self._encoder = ffmpeg.Encoder(self._command(), self.segments)
            self._encoder.write(frame.tobytes())
        except OSError as error:
            raise self._failure(self.abort() or one_line(error)) from error
        if self._encoder.frames >= self.segment_frames:
            self.cut()

    def cut(self) -> int:
        """Close the segment in progress, if any, and return the number of the next one. Raises OutputError."""
        if self._encoder is None:
            return self.segment
        if self._encoder.torn and not self._encoder.frames:
            self.abort()
            return self.segment
        try:
            self._encoder.close()
            count = self._count(self._part().name)
            if count != self._encoder.frames and not self._encoder.torn:
                raise OSError(f"{count} of {self._encoder.frames} frames arrived")
            atomic.replace(self._part(), self.segments / f"{self.segment:04d}.mp4")
        except OSError as error:
            raise self._failure(self.abort() or one_line(error)) from error
        self._encoder = None
        self.frames += count
        self.segment += 1
        self._write_list()
        return self.segment

    def finish(self) -> Path:
        """Join the segments, put the video at `path` atomically and return it; the segments stay in the folder.

        Raises OutputError, which says where the frames are, if there are none, the encoder fails or the disk is full.
        """
        self.cut()
        return self.join()

    def join(self) -> Path:
        """Do what `finish` does, but with whole segments alone: the one in progress goes on."""
        if not self.frames:
            raise OutputError(f"no video {self.path}: not one frame was drawn")
        joined = self.segments / f"joined{self.suffix}"
        try:
            {".mp4": self._join, ".gif": self._to_gif, ".webp": self._to_webp}[self.suffix](joined.name)
            with joined.open("rb") as source:
                return atomic.write(self.path, lambda stream: shutil.copyfileobj(source, stream))
        except OSError as error:
            raise self._failure(one_line(error)) from error
        finally:
            joined.unlink(missing_ok=True)

    def close(self) -> None:
        """End the encoder, every whole frame kept as a segment, and write no video. May be called again."""
        self.cut()

    def abort(self) -> str:
        """End the encoder at once; the segment in progress is lost, whole ones stay. May be called again.

        Returns what ffmpeg said last, "" if nothing.
        """
        encoder, self._encoder = self._encoder, None
        words = "" if encoder is None else encoder.kill()
        with contextlib.suppress(OSError):
            self._part().unlink(missing_ok=True)
        return words

    def _open_folder(self, start_segment: int) -> None:
        """Make the folder, count the segments to keep and remove the others."""
        try:
            self.segments.mkdir(parents=True, exist_ok=True)
            files = sorted(self.segments.glob("[0-9]*.mp4"))
            kept = [file for file in files if file.name in {f"{n:04d}.mp4" for n in range(start_segment)}]
            for file in set(files) - set(kept):
                file.unlink()
            self.frames = sum(self._count(file.name) for file in kept)
        except OSError as error:
            raise atomic.output_error(self.segments, error) from error
        if len(kept) < start_segment:
            raise OutputError(f"{self.segments} holds {len(kept)} of {start_segment} segments: start the video anew")
        self.segment = start_segment
        self._write_list()

    def _part(self) -> Path:
        return self.segments / f"{self.segment:04d}.part.mp4"

    def _command(self) -> list[str]:
        """Return the command that encodes raw frames into one segment."""
        width, height = (side + side % 2 for side in self.size)
        raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-framerate", str(self.fps))
        # No B-frames: then frames are stored in the order they are shown, and segments join without gaps in time.
        codec = ("-preset", self.codec.preset, "-crf", str(self.codec.crf), "-threads", str(self.codec.threads))
        output = ("-c:v", "libx264", *codec, "-bf", "0", *BITEXACT, "-f", "mp4", self._part().name)
        return [self.program, *ffmpeg.QUIET, *raw, "-i", "pipe:0", "-vf", TO_BT709, *output]

    def _write_list(self) -> None:
        """Write the list that ffmpeg's concat demuxer reads; names in it are relative to it."""
        names = "".join(f"file '{number:04d}.mp4'\n" for number in range(self.segment))
        atomic.write_text(self.segments / LIST, f"ffconcat version 1.0\n{names}")

    def _join(self, name: str) -> None:
        text = clean(self.comment or "")[:MAX_COMMENT]
        source: tuple[str, ...] = ()
        comment = ("-metadata", f"comment={text}")
        if len(text) > LONGEST_ARGUMENT:
            # the reader takes a backslash at the end for one before a newline
            escaped = re.sub(r"([=;#\\\n])", r"\\\1", text.rstrip("\\"))
            atomic.write_text(self.segments / COMMENT, f";FFMETADATA1\ncomment={escaped}\n")
            source, comment = ("-f", "ffmetadata", "-i", COMMENT), ("-map_metadata", "1")
        self._from_segments(*source, "-map", "0:v", "-c", "copy", *BITEXACT, *comment, "-movflags", "+faststart", name)
        self._check_count(name)

    def _to_gif(self, name: str) -> None:
        """Write a GIF in two passes: the palette first, since in one pass ffmpeg keeps all frames in memory.

        What counts for it is the color that a pixel has before it changes; so a frame follows in which all change.
        """
        palette = "palette.png"
        colors = f"{self.crop},tpad=stop=1:stop_mode=add:color=black,palettegen=stats_mode=diff"
        self._from_segments("-vf", colors, "-frames:v", "1", "-update", "1", palette)
        graph = f"[0:v]{self.crop}[v];[v][1:v]paletteuse=dither=sierra2_4a:diff_mode=rectangle"
        self._from_segments("-i", palette, "-filter_complex", graph, *BITEXACT, "-loop", "0", name)
        (self.segments / palette).unlink(missing_ok=True)
        self._check_count(name)

    def _to_webp(self, name: str) -> None:
        """Write an animated WebP; libwebp shows equal frames as one longer frame, so they are not counted."""
        quality = ("-c:v", "libwebp_anim", "-quality", "85", "-compression_level", "4")
        self._from_segments("-vf", f"{self.crop},format=bgra", *quality, *BITEXACT, "-loop", "0", name)

    def _from_segments(self, *arguments: str) -> None:
        """Run ffmpeg on all segments in a row."""
        self._run("-f", "concat", "-i", LIST, *arguments)

    def _check_count(self, name: str) -> None:
        if (count := self._count(name)) != self.frames:
            raise OSError(f"{count} of {self.frames} frames arrived")

    def _count(self, name: str) -> int:
        """Return the number of frames in a file of the segments' folder by reading it to its end."""
        # a line for each: what it reports as progress leaves frames out in ffmpeg 7.0, if they are copied
        packets = self._run("-i", name, "-map", "0:v", "-c", "copy", "-f", "framecrc", "-")
        return len(re.findall(r"^0,", packets, re.MULTILINE))

    def _run(self, *arguments: str) -> str:
        """Run ffmpeg in the segments' folder, where short names need no quoting; return what it prints, or OSError."""
        command = [self.program, *ffmpeg.QUIET, "-nostdin", *arguments]
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            command, cwd=self.segments, capture_output=True, check=False, **ffmpeg.apart()
        )
        if done.returncode:
            raise OSError(ffmpeg.last_line(done.stderr) or f"exit status {done.returncode}")
        return done.stdout.decode("utf-8", "replace")

    def _failure(self, reason: str) -> OutputError:
        return OutputError(f"cannot write video {self.path}: ffmpeg failed ({reason}); {self._advice()}")

    def _advice(self) -> str:
        if not self.segment:
            return "no frames could be kept"
        join = f"`ffmpeg -f concat -i {LIST} -c copy video.mp4`"
        return f"{self.frames} frames are kept in {self.segments}, where {join} joins them"
