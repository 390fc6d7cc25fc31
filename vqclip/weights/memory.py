"""How much memory a run needs, estimated from sizes alone, and how much the machine has. Torch-free."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from vqclip.types import VQGANArchitecture

_FLOAT = 4
# Tensors that autograd keeps per residual block and channel, and per CLIP view pixel: fitted to measured peaks
# (benchmarks/memory.py); the estimate is meant to be right within a factor of 1.5 and rather high.
_PER_BLOCK = 7.5
_PER_VIEW_PIXEL = 200.0
_BASE = 900 * 2**20


def decoder_bytes(architecture: VQGANArchitecture, width: int, height: int) -> int:
    """Return the bytes that decoding one picture of width x height pixels keeps for the gradient."""
    blocks = architecture.num_res_blocks + 2
    total = 0.0
    for level, mult in enumerate(architecture.ch_mult):
        pixels = (width >> level) * (height >> level)
        total += pixels * architecture.ch * mult * blocks * _PER_BLOCK
    tokens = (width // architecture.factor) * (height // architecture.factor)
    attentions = 1 + len(architecture.attn_levels) * (architecture.num_res_blocks + 1)
    # taming's attention writes the whole matrix of tokens by tokens, twice
    return int((total + 2 * tokens**2 * attentions) * _FLOAT)


def view_bytes(view_side: int) -> int:
    """Return the bytes that one view keeps for the gradient in a CLIP that reads view_side x view_side pixels."""
    return int(view_side**2 * _PER_VIEW_PIXEL * _FLOAT)


def run_bytes(
    architecture: VQGANArchitecture, size: tuple[int, int], batch: int, chunk: int, view_sides: Sequence[int]
) -> int:
    """Return the estimated peak memory of a run in bytes: libraries, decoder, one chunk of views, pictures."""
    views = chunk * batch * max((view_bytes(side) for side in view_sides), default=0)
    pictures = 16 * size[0] * size[1] * 3 * _FLOAT * batch
    return _BASE + batch * decoder_bytes(architecture, *size) + views + pictures


def view_chunk(count: int, batch: int, view_side: int, total: int) -> int:
    """Return how many views to embed at a time: as many as fit a quarter of the *total* memory, by halving."""
    chunk = count
    while chunk > 1 and chunk * batch * view_bytes(view_side) > total / 4:
        chunk = (chunk + 1) // 2
    return chunk


def machine_bytes() -> int:
    """Return the memory this process may use: the machine's, or less where a control group limits it."""
    limits = [_physical_bytes()]
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(name).read_text()))
        except (OSError, ValueError):
            continue
    return min(limits)


def _physical_bytes() -> int:
    if sys.platform == "win32":
        return _windows_bytes()
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _windows_bytes() -> int:
    """Ask kernel32 (GetPhysicallyInstalledSystemMemory, in kilobytes)."""
    import ctypes

    kilobytes = ctypes.c_ulonglong()
    ctypes.windll.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(kilobytes))
    return kilobytes.value * 1024
