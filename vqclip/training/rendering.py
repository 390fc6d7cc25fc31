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

_CHUNK = 64


class Source(Protocol):
    """What paints picture after picture; a worker process gets a copy of it."""

    def paint(self, index: int) -> np.ndarray:
        """Return picture `index`, uint8, always of the same shape; from its number alone."""


def render_once(file: Path, wanted: dict[str, Any], shape: tuple[int, ...], source: Source, workers: int) -> None:
    """Fill `file` with pictures of `shape` (count, ...) uint8, unless its record says that it holds what is wanted.

    The record, a JSON file beside it, is written last, so that a half-rendered file is begun again. Raises OutputError
    if the disk lacks the room.
    """
    if is_rendered(file, wanted):
        return
    _reserve(file, int(np.prod(shape)))
    jobs = [(source, file, shape, start) for start in range(0, shape[0], _CHUNK)]
    with multiprocessing.get_context("spawn").Pool(max(workers, 1)) as pool:
        done = pool.imap_unordered(_render_chunk, jobs)
        told = {"desc": f"rendering {file.name}", "unit": "picture", "unit_scale": _CHUNK}
        for _ in tqdm(done, total=len(jobs), **told, **bar_room()):
            pass
    atomic.write_text(file.with_suffix(".json"), json.dumps(wanted))


def is_rendered(file: Path, wanted: dict[str, Any]) -> bool:
    """Whether `file` holds what is wanted, whole."""
    record = file.with_suffix(".json")
    return record.exists() and file.exists() and json.loads(record.read_text("utf-8")) == wanted


def _reserve(file: Path, size: int) -> None:
    folder = file.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise atomic.output_error(folder, error) from error
    if free < size * 1.05:
        raise OutputError(
            f"the pictures to train on need {size / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free: give fewer "
            "--scenes or another --folder"
        )
    with file.open("wb") as stream:
        stream.truncate(size)


def _render_chunk(job: tuple[Source, Path, tuple[int, ...], int]) -> None:
    source, file, shape, start = job
    pixels = np.memmap(file, np.uint8, "r+", shape=shape)
    for index in range(start, min(start + _CHUNK, shape[0])):
        pixels[index] = source.paint(index)
    pixels.flush()
