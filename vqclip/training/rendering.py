"""Rendering many pictures onto the disk, once, by worker processes."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from vqclip import atomic
from vqclip.errors import OutputError
from vqclip.terminal import bar_room

_CHUNK = 64  # pictures that a process renders at a time
# after how many chunks it is noted that they are done
_NOTED = 4


class Source(Protocol):
    """What paints picture after picture; a worker process gets a copy of it."""

    def paint(self, index: int) -> np.ndarray:
        """Return picture `index`, uint8, always of the same shape; from its number alone."""


def render_once(file: Path, wanted: dict[str, Any], shape: tuple[int, ...], source: Source, workers: int) -> None:
    """Fill `file` with pictures of `shape` (count, ...) uint8, unless its record says that it holds what is wanted.

    Pictures that are there are kept: a rendering that was stopped goes on, and one of a smaller count is added to. The
    record, a JSON file beside it, says what they are; while they are rendered, another one says how many are done.
    Raises OutputError if the disk lacks the room.
    """
    if is_rendered(file, wanted) and file.stat().st_size >= np.prod(shape):
        return
    record, part = file.with_suffix(".json"), file.with_suffix(".part.json")
    first = _done(file, wanted, shape)
    _reserve(file, int(np.prod(shape)), keep=first > 0)
    atomic.write_text(part, json.dumps({"wanted": wanted, "done": first}))
    record.unlink(missing_ok=True)
    jobs = [(source, file, shape, start) for start in range(first, shape[0], _CHUNK)]
    with multiprocessing.get_context("spawn").Pool(max(workers, 1)) as pool:
        # in order, so that one number says what is done
        done = pool.imap(_render_chunk, jobs)
        bar = tqdm(done, total=len(jobs), desc=f"rendering {file.name}", unit="chunk", **bar_room())
        for number, _ in enumerate(bar, 1):
            if number % _NOTED == 0:
                finished = min(first + number * _CHUNK, shape[0])
                atomic.write_text(part, json.dumps({"wanted": wanted, "done": finished}))
    atomic.write_text(record, json.dumps(wanted))
    part.unlink()


def is_rendered(file: Path, wanted: dict[str, Any]) -> bool:
    """Whether `file` holds what is wanted, whole."""
    return file.exists() and _read(file.with_suffix(".json")) == json.loads(json.dumps(wanted))


def _done(file: Path, wanted: dict[str, Any], shape: tuple[int, ...]) -> int:
    """Return how many pictures of the same series, but for its length, the file holds."""
    whole, part = _read(file.with_suffix(".json")), _read(file.with_suffix(".part.json"))
    each = int(np.prod(shape[1:]))
    if not file.exists():
        return 0
    there, asked = file.stat().st_size // each, _endless(json.loads(json.dumps(wanted)))
    for held, count in ((whole, there), (part.get("wanted"), part.get("done"))):
        if isinstance(held, dict) and type(count) is int and _endless(held) == asked:
            return max(min(count, there, shape[0]), 0) // _CHUNK * _CHUNK
    return 0


def _endless(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return what is wanted without how many."""
    shape = wanted.get("shape")
    rest = {key: value for key, value in wanted.items() if key not in ("count", "shape")}
    return rest | {"shape": shape[1:] if isinstance(shape, list) else shape}


def _read(record: Path) -> dict[str, Any]:
    """Return a record; nothing for one that is not there, or damaged."""
    try:
        content = json.loads(record.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _reserve(file: Path, size: int, keep: bool) -> None:
    folder = file.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise atomic.output_error(folder, error) from error
    needed = size - (file.stat().st_size if keep else 0)
    if free < needed * 1.05:
        raise OutputError(
            f"the pictures to train on need {needed / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free: "
            "give fewer --scenes or another --folder"
        )
    with file.open("r+b" if keep else "wb") as stream:
        stream.truncate(max(size, file.stat().st_size))


def _render_chunk(job: tuple[Source, Path, tuple[int, ...], int]) -> None:
    source, file, shape, start = job
    pixels = np.memmap(file, np.uint8, "r+", shape=shape)
    for index in range(start, min(start + _CHUNK, shape[0])):
        pixels[index] = source.paint(index)
    pixels.flush()
