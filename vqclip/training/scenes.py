"""Rendered scenes on disk: what the bundled models are trained on, made once by worker processes."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vqclip import atomic
from vqclip.errors import OutputError, UsageError
from vqclip.world import Renderer, Scene, load_world, sample_scene

_CHUNK = 64
# what stands for scenes without a style, and the most that a style may count
_PLAIN, _MOST = "none", 100


@dataclass(frozen=True)
class SceneSet:
    """`count` scenes of `seed`, rendered at `side` pixels into `folder`; scene i depends on (seed, i) alone.

    `framed` ones show their subjects large and in the middle. Of `styles`, each is as frequent as it is named, "none"
    being no style; without any, all styles are, in 60 % of the scenes.
    """

    folder: Path
    seed: int
    count: int
    side: int
    framed: bool = False
    styles: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the set's files are called after."""
        styles = f"-{hashlib.sha256('|'.join(self.styles).encode()).hexdigest()[:8]}" if self.styles else ""
        return f"{self.seed}-{self.side}{'-framed' if self.framed else ''}{styles}"

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
        if not self.styles:
            return sample_scene(load_world(), rng, framed=self.framed)
        named = [style for style in self.styles if style != _PLAIN]
        return sample_scene(load_world(), rng, styled=len(named) / len(self.styles), styles=named, framed=self.framed)

    def render(self, font: Path | None = None, workers: int = 1) -> SceneSet:
        """Render what is not on the disk yet and return the set.

        Raises UsageError without the font, and OutputError if the disk lacks the room.
        """
        record = self.folder / f"scenes-{self.name}.json"
        wanted = asdict(self) | {"folder": None, "styles": list(self.styles)}
        if record.exists() and self.file.exists() and json.loads(record.read_text("utf-8")) == wanted:
            return self
        Renderer(font)  # a missing font is said before any worker starts
        self._reserve()
        jobs = [(self, start, font) for start in range(0, self.count, _CHUNK)]
        context = multiprocessing.get_context("spawn")
        with context.Pool(max(workers, 1)) as pool:
            done = pool.imap_unordered(_render_chunk, jobs)
            for _ in tqdm(done, total=len(jobs), desc=f"rendering {self.side} px", unit_scale=_CHUNK, unit="scene"):
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


def parse_styles(text: str) -> tuple[str, ...]:
    """Read `NAME[:COUNT],...`, such as "none:6,woodcut:3": each style as often as it counts; UsageError if wrong."""
    known = [_PLAIN, *load_world().styles]
    found: list[str] = []
    for part in text.split(","):
        name, _, count = part.strip().partition(":")
        if name not in known:
            raise UsageError(f"--styles: no style {name!r}; known are {', '.join(known)}")
        if count and not (count.isascii() and count.isdigit() and 1 <= int(count) <= _MOST):
            raise UsageError(f"--styles {part.strip()}: give a whole number from 1 to {_MOST} after the colon")
        found += [name] * int(count or 1)
    return tuple(found)


_RENDERERS: dict[Path | None, Renderer] = {}


def _render_chunk(job: tuple[SceneSet, int, Path | None]) -> None:
    scenes, start, font = job
    renderer = _RENDERERS.setdefault(font, Renderer(font)) if font not in _RENDERERS else _RENDERERS[font]
    pixels = np.memmap(scenes.file, np.uint8, "r+", shape=(scenes.count, scenes.side, scenes.side, 3))
    for index in range(start, min(start + _CHUNK, scenes.count)):
        pixels[index] = renderer.render(scenes.scene(index), scenes.side)
    pixels.flush()
