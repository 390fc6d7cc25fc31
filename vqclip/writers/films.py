"""Films: frames and a sound in, one MP4, GIF or animated WebP out."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vqclip import atomic
from vqclip.writers.boxes import read_comment
from vqclip.writers.names import check_suffix
from vqclip.writers.sounds import add_sound, check_sound
from vqclip.writers.video import Codec, VideoWriter

__all__ = ["film_remarks", "read_comment", "write_film"]


def write_film(
    frames: Iterable[np.ndarray],
    path: str | Path,
    size: tuple[int, int],
    fps: float,
    *,
    folder: str | Path,
    comment: str | None = None,
    sound: str | Path | None = None,
    codec: Codec | None = None,
) -> Path:
    """Write `frames`, bytes (H, W, 3) of `size` (width, height), as a film of `fps` frames a second; return its path.

    The ending of `path` says what it becomes: .mp4, .gif or .webp. Frames are encoded as they come, into segments in
    `folder`, which the caller removes. `comment` becomes an MP4's comment. `sound`, a file, is laid under an MP4: cut
    with a fade of 50 ms where it is longer than the film, followed by silence where it is shorter; GIF and WebP have
    none (`film_remarks` says so). The film appears whole or not at all, and equal frames give equal bytes.

    Raises UsageError for another ending or a file without sound, before the first frame is asked for; OutputError for
    no frames, a full disk or an encoder that fails; ValueError for frames of another size.
    """
    path, folder = Path(path), Path(folder)
    sounding = sound if sound is not None and check_suffix(path, "video") == ".mp4" else None
    if sounding is not None:
        check_sound(sounding)
    target = path if sounding is None else folder / "silent.mp4"
    writer = VideoWriter(target, folder, size, fps, comment=comment, codec=codec)
    try:
        for frame in frames:
            writer.write(frame)
        writer.finish()
    finally:
        writer.abort()
    if sounding is None:
        return path
    sounded = folder / "sounded.mp4"
    try:
        add_sound(target, sounding, sounded, writer.frames / writer.fps)
        with sounded.open("rb") as source:
            atomic.write(path, lambda stream: shutil.copyfileobj(source, stream))
    except OSError as error:
        raise atomic.output_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            sounded.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        target.unlink()
    return path


def film_remarks(path: str | Path, size: tuple[int, int], sound: str | Path | None = None) -> list[str]:
    """Return what somebody should know of a film of this name and size, before it is drawn."""
    name, suffix = Path(path).name, check_suffix(path, "video")
    remarks = []
    if sound is not None and suffix != ".mp4":
        remarks.append(f"{name} will be silent: {suffix[1:].upper()} has no sound; name the film .mp4 to hear it")
    if suffix == ".mp4" and any(side % 2 for side in size):
        width, height = (side + side % 2 for side in size)
        remarks.append(f"{name} has {width}x{height} pixels, as MP4 takes even sides only: its edge is shown twice")
    return remarks
