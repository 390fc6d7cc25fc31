"""The memory: drawings as codes of a VQGAN with their outlines, from which sketches are laid out.

Of each drawing only the codes that its outline touches are kept, as many bits each as their number needs. The outline
is a small picture of its alpha channel in sixteen levels, deflated.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vqclip.errors import WeightsError
from vqclip.types import MASKED

_LEVELS = 15
# numbers in a codebook; that of 16384 codes with 256 channels has an eighth of them
_LARGEST = 1 << 25


@dataclass(frozen=True)
class MemoryArchitecture:
    """Sizes of a memory.

    It holds `drawings` of `side` x `side` codes, numbers below `codes` of vectors of `channels`, with outlines of
    `outline` x `outline` pixels. `table` is the sha256 of which drawings these are, in order; see
    `vqclip.world.atlas.digest`.
    """

    codes: int
    channels: int
    drawings: int
    side: int = 24
    outline: int = 64
    table: str = ""

    def __post_init__(self) -> None:
        sizes = [value for name, value in asdict(self).items() if name != "table"]
        if not isinstance(self.table, str) or not all(type(n) is int and 0 < n <= 1 << 16 for n in sizes):
            raise ValueError("sizes must be whole numbers from 1 to 2**16")
        if self.outline % 2 or self.side > 256 or self.outline > 1024:
            raise ValueError("at most 256 codes to a side, and an even outline of at most 1024 pixels")
        if self.channels > 4096 or self.codes * self.channels > _LARGEST:
            raise ValueError(f"at most 4096 channels, and {_LARGEST} numbers in the codebook")

    @property
    def bits(self) -> int:
        """Bits that the number of a code takes."""
        return max((self.codes - 1).bit_length(), 1)

    def to_json(self) -> str:
        """Return the record as JSON, the form it has in a weight file's metadata."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> MemoryArchitecture:
        """Read the record back; raise WeightsError if it is damaged."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError, RecursionError) as error:
            raise WeightsError(f"damaged memory architecture in the weight file: {error}; fetch it again") from None


class Memory(nn.Module):
    """Drawings by number; nothing of it is trained.

    `packed` holds the codes of all drawings as bytes, `outlines` their deflated outlines; `code_ends` and
    `outline_ends` say where each drawing's part ends.
    """

    codebook: Tensor
    packed: Tensor
    outlines: Tensor
    code_ends: Tensor
    outline_ends: Tensor

    def __init__(self, architecture: MemoryArchitecture, packed: int = 0, outlines: int = 0) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.register_buffer("codebook", torch.zeros(a.codes, a.channels))
        for name, size in (("packed", packed), ("outlines", outlines)):
            self.register_buffer(name, torch.zeros(size, dtype=torch.uint8))
        for name in ("code_ends", "outline_ends"):
            self.register_buffer(name, torch.zeros(a.drawings, dtype=torch.int64))

    def __len__(self) -> int:
        return self.architecture.drawings

    def check_ends(self) -> None:
        """Raise WeightsError if the parts of the drawings do not follow each other to the end of the data."""
        for ends, data in ((self.code_ends, self.packed), (self.outline_ends, self.outlines)):
            falls = bool((ends[1:] < ends[:-1]).any())
            if falls or int(ends[0]) < 0 or int(ends[-1]) != len(data):
                raise WeightsError("the memory is damaged, its drawings overlap or end early: fetch or train it again")

    def outline(self, number: int) -> np.ndarray:
        """Return the outline (side, side) of a drawing, float32 in 0..1; WeightsError if it is damaged."""
        a = self.architecture
        start, stop = _span(self.outline_ends, number)
        deflated = self.outlines[start:stop].numpy().tobytes()
        size = a.outline * a.outline // 2
        unpacking = zlib.decompressobj()
        try:
            # no more than an outline takes, and one byte, is ever unpacked
            raw = unpacking.decompress(deflated, size)
            raw += unpacking.decompress(unpacking.unconsumed_tail, 1)
        except zlib.error:
            raw = b""
        if len(raw) != size:
            raise WeightsError(f"the memory is damaged at drawing {number}: fetch or train it again")
        pairs = np.frombuffer(raw, np.uint8)
        levels = np.stack([pairs >> 4, pairs & 15], 1).reshape(a.outline, a.outline)
        return levels.astype(np.float32) / _LEVELS

    def grid(self, number: int) -> np.ndarray:
        """Return the codes (side, side) int64 of a drawing, MASKED where none is kept; WeightsError if damaged."""
        a = self.architecture
        kept = touched(self.outline(number), a.side)
        start, stop = _span(self.code_ends, number)
        count = int(kept.sum())
        bits = np.unpackbits(self.packed[start:stop].numpy())
        if len(bits) < count * a.bits:
            raise WeightsError(f"the memory is damaged at drawing {number}: fetch or train it again")
        powers = 1 << np.arange(a.bits - 1, -1, -1)
        codes = bits[: count * a.bits].reshape(count, a.bits) @ powers
        if count and codes.max() >= a.codes:
            raise WeightsError(f"the memory is damaged at drawing {number}: fetch or train it again")
        grid = np.full((a.side, a.side), MASKED, np.int64)
        grid[kept] = codes
        return grid


def remember(
    architecture: MemoryArchitecture, codebook: Tensor, grids: Sequence[np.ndarray], outlines: Sequence[np.ndarray]
) -> Memory:
    """Return the memory of drawings: their codes (side, side) and outlines (side, side) in 0..1, in order."""
    packed, deflated = [], []
    for grid, outline in zip(grids, outlines, strict=True):
        levels = (np.clip(outline, 0, 1) * _LEVELS + 0.5).astype(np.uint8)
        numbers = grid[touched(levels.astype(np.float32) / _LEVELS, architecture.side)]
        bits = (numbers[:, None] >> np.arange(architecture.bits - 1, -1, -1)) & 1
        packed.append(np.packbits(bits.astype(np.uint8).ravel()))
        pairs = levels.reshape(-1, 2)
        deflated.append(np.frombuffer(zlib.compress((pairs[:, 0] << 4 | pairs[:, 1]).tobytes(), 9), np.uint8))
    memory = Memory(architecture, sum(map(len, packed)), sum(map(len, deflated)))
    memory.codebook.copy_(codebook)
    memory.packed.copy_(torch.from_numpy(np.concatenate(packed)))
    memory.outlines.copy_(torch.from_numpy(np.concatenate(deflated)))
    memory.code_ends.copy_(torch.tensor(np.cumsum([len(part) for part in packed])))
    memory.outline_ends.copy_(torch.tensor(np.cumsum([len(part) for part in deflated])))
    return memory


def touched(outline: np.ndarray, side: int) -> np.ndarray:
    """Return which cells (side, side) of a grid an outline touches, with a margin of about a third of a cell."""
    pixels = len(outline)
    margin = max(round(pixels / side / 3), 1)
    inked = np.pad(outline > 0, margin)
    reach = range(2 * margin + 1)
    grown = np.any([inked[i : i + pixels, j : j + pixels] for i in reach for j in reach], axis=0)
    rows, columns = np.nonzero(grown)
    cells = np.zeros((side, side), bool)
    # a pixel may lie in two cells: its first and its last corner say in which
    for down in (0.0, 0.999):
        for right in (0.0, 0.999):
            place = ((rows + down) * side / pixels).astype(int), ((columns + right) * side / pixels).astype(int)
            cells[place] = True
    return cells


def _span(ends: Tensor, number: int) -> tuple[int, int]:
    return (int(ends[number - 1]) if number else 0), int(ends[number])
