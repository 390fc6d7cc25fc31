"""The atlas: all drawings of the second world as pixels in one file, mapped from the disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from vqclip import atomic
from vqclip.errors import VqclipError
from vqclip.world.drawings import Drawing


@dataclass(frozen=True)
class Atlas:
    """Drawings of `side` pixels in `folder`, premultiplied RGBA, each in the middle of its square."""

    folder: Path
    side: int

    @property
    def _record(self) -> Path:
        return self.folder / "atlas.json"

    @property
    def _file(self) -> Path:
        return self.folder / "atlas.raw"

    def holds(self, drawings: Iterable[Drawing]) -> bool:
        """Whether it was packed whole, of exactly these drawings at this side."""
        try:
            record = json.loads(self._record.read_text("utf-8"))
        except (OSError, ValueError):
            return False
        if not isinstance(record, dict) or not isinstance(record.get("ids"), list):
            return False
        fits = record.get("table") == digest(drawings) and record.get("side") == self.side
        return fits and self._is_whole(len(record["ids"]))

    def _is_whole(self, count: int) -> bool:
        """Whether the file has the pixels of so many drawings."""
        return self._file.is_file() and self._file.stat().st_size == count * self.side * self.side * 4

    @cached_property
    def rows(self) -> dict[str, int]:
        """The place of each drawing's id. Raises VqclipError if there is no atlas."""
        try:
            record = json.loads(self._record.read_text("utf-8"))
            return {name: row for row, name in enumerate(record["ids"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise VqclipError(f"there is no atlas of drawings in {self.folder}: run 'vqclip train drawings'") from error

    @cached_property
    def pixels(self) -> np.ndarray:
        """All drawings, uint8 (count, side, side, 4), mapped from the disk. Raises VqclipError if some are missing."""
        if not self._is_whole(len(self.rows)):
            raise VqclipError(f"{self._file} is not whole: run 'vqclip train drawings' again")
        return np.memmap(self._file, np.uint8, "r", shape=(len(self.rows), self.side, self.side, 4))

    def drawing(self, name: str) -> np.ndarray:
        """Return the pixels (side, side, 4) uint8 of a drawing by its id, colors premultiplied by alpha."""
        out: np.ndarray = self.pixels[self.rows[name]]
        return out

    @contextlib.contextmanager
    def writing(self, drawings: Sequence[Drawing], ids: Sequence[str]) -> Iterator[np.ndarray]:
        """Yield the pixels (count, side, side, 4) to fill; the atlas counts as whole when the block ends well."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._record.unlink(missing_ok=True)
        pixels = np.memmap(self._file, np.uint8, "w+", shape=(len(ids), self.side, self.side, 4))
        yield pixels
        pixels.flush()
        atomic.write_text(
            self._record, json.dumps({"side": self.side, "table": digest(drawings), "ids": list(ids)}, indent=0)
        )


def digest(drawings: Iterable[Drawing]) -> str:
    """Return the sha256 of which drawings there are, whatever is said of them."""
    text = "\n".join(dict.fromkeys(drawing.id for drawing in drawings))
    return hashlib.sha256(text.encode()).hexdigest()
