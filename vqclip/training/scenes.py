"""Rendered scenes on disk: what the bundled models are trained on, made once by worker processes."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vqclip import atomic
from vqclip.errors import OutputError, UsageError, unknown_name
from vqclip.terminal import bar_room
from vqclip.world import Renderer, Scene, load_world, sample_scene

_CHUNK = 64
# what stands for scenes without a style, and for every name; the most that a name may count
PLAIN, _ALL, _MOST = "none", "all", 100
# which scenes `framed` means: renders and codes of others are not taken for them
FRAMING = 2


@dataclass(frozen=True)
class SceneSet:
    """`count` scenes of `seed`, rendered at `side` pixels into `folder`; scene i depends on (seed, i) alone.

    `framed` ones show their subjects large and in the middle. Of `styles` and `subjects`, each is as frequent as it
    is named, the style "none" being no style; without any all are alike, and 60 % of the scenes have a style.
    """

    folder: Path
    seed: int
    count: int
    side: int
    framed: bool = False
    styles: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the set's files are called after."""
        chosen = "|".join(self.styles) + ("||" + "|".join(self.subjects) if self.subjects else "")
        suffix = f"-{hashlib.sha256(chosen.encode()).hexdigest()[:8]}" if chosen else ""
        return f"{self.seed}-{self.side}{f'-framed{FRAMING}' if self.framed else ''}{suffix}"

    @property
    def file(self) -> Path:
        """Raw pixels, uint8 (count, side, side, 3)."""
        return self.folder / f"scenes-{self.name}.raw"

    @cached_property
    def images(self) -> np.ndarray:
        """All pictures, uint8 (count, side, side, 3), mapped from the disk."""
        return np.memmap(self.file, np.uint8, "r", shape=(self.count, self.side, self.side, 3))

    @cached_property
    def scenes(self) -> list[Scene]:
        """All scenes, in the order of the pictures."""
        return [self.scene(index) for index in range(self.count)]

    def scene(self, index: int) -> Scene:
        """Return scene `index` of the endless series that the set begins."""
        rng = np.random.default_rng([self.seed, index])
        chosen: dict[str, Any] = {"subjects": self.subjects, "framed": self.framed}
        if self.styles:
            named = [style for style in self.styles if style != PLAIN]
            chosen |= {"styles": named, "styled": len(named) / len(self.styles)}
        return sample_scene(load_world(), rng, **chosen)

    def render(self, font: Path | None = None, workers: int = 1) -> SceneSet:
        """Render what is not on the disk yet and return the set.

        Raises UsageError without the font, and OutputError if the disk lacks the room.
        """
        record = self.folder / f"scenes-{self.name}.json"
        wanted = asdict(self) | {"folder": None, "styles": list(self.styles), "subjects": list(self.subjects)}
        if record.exists() and self.file.exists() and json.loads(record.read_text("utf-8")) == wanted:
            return self
        Renderer(font)  # a missing font is said before any worker starts
        self._reserve()
        jobs = [(self, start, font) for start in range(0, self.count, _CHUNK)]
        context = multiprocessing.get_context("spawn")
        with context.Pool(max(workers, 1)) as pool:
            done = pool.imap_unordered(_render_chunk, jobs)
            for _ in tqdm(
                done,
                total=len(jobs),
                desc=f"rendering {self.side} px",
                unit_scale=_CHUNK,
                unit="scene",
                **bar_room(),
            ):
                pass
        atomic.write_text(record, json.dumps(wanted))
        return self

    def _reserve(self) -> None:
        size = self.count * self.side**2 * 3
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise atomic.output_error(self.folder, error) from error
        if free < size * 1.05:
            raise OutputError(
                f"rendering {self.count} scenes needs {size / 1e9:.1f} GB in {self.folder}, {free / 1e9:.1f} GB are "
                "free: give fewer --scenes or another --folder"
            )
        with self.file.open("wb") as stream:
            stream.truncate(size)


def parse_shares(option: str, text: str, names: Iterable[str], besides: str = "") -> tuple[str, ...]:
    """Read `NAME[:COUNT],...`, such as "all,cat:3": each name as often as it counts; UsageError if wrong.

    "all" is each of `names` once; `besides` is known too.
    """
    every = list(names)
    known = [_ALL, *filter(None, [besides]), *every]
    found: list[str] = []
    for part in text.split(",") if text else ():
        name, _, count = part.strip().partition(":")
        if name not in known:
            raise unknown_name(f"name in {option}", name, known)
        if count and not (count.isascii() and count.isdigit() and 1 <= int(count) <= _MOST):
            raise UsageError(f"{option} {part.strip()}: give a whole number from 1 to {_MOST} after the colon")
        found += (every if name == _ALL else [name]) * int(count or 1)
    return tuple(found)


_RENDERERS: dict[Path | None, Renderer] = {}


def _render_chunk(job: tuple[SceneSet, int, Path | None]) -> None:
    scenes, start, font = job
    renderer = _RENDERERS.setdefault(font, Renderer(font)) if font not in _RENDERERS else _RENDERERS[font]
    pixels = np.memmap(scenes.file, np.uint8, "r+", shape=(scenes.count, scenes.side, scenes.side, 3))
    for index in range(start, min(start + _CHUNK, scenes.count)):
        pixels[index] = renderer.render(scenes.scene(index), scenes.side)
    pixels.flush()
