"""How much memory a run needs, estimated from sizes alone, and how much the machine has. Torch-free."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqclip.types import CLIPArchitecture, VQGANArchitecture

_FLOAT_BYTES = 4  # of fp32
# Fitted to measured peaks (benchmarks/memory.py). Floats that autograd keeps: of a decoder's residual block per pixel
# and channel; of a view per input pixel in the bundled tower and in OpenAI's ResNets of width 64; of a transformer's
# layer per token and channel.
_PER_BLOCK = 4.3
_PER_VIEW_PIXEL = 150.0
_PER_RESNET_PIXEL = 560.0
_PER_TOKEN = 20.0
# by how many blocks a level, in what it keeps, each family's decoder exceeds what its architecture says
_MORE_BLOCKS = {"taming": 2, "maskgit": 1, "magvit2": 2, "tiny": 0}
# what is left of both where autocast computes in bf16 or fp16: norms of a view stay in fp32
_HALF_DECODER, _HALF_VIEWS = 0.5, 0.7
# what the libraries take, without the weights
_BASE = 830 * 2**20


def decoder_bytes(architecture: VQGANArchitecture, width: int, height: int) -> int:
    """Return the bytes that decoding one picture of width x height pixels keeps for the gradient."""
    blocks = architecture.num_res_blocks + _MORE_BLOCKS[architecture.family]
    total = 0.0
    for level, mult in enumerate(architecture.ch_mult):
        pixels = (width >> level) * (height >> level)
        total += pixels * architecture.ch * mult * blocks * _PER_BLOCK
    tokens = (width // architecture.factor) * (height // architecture.factor)
    attentions = architecture.mid_attention + len(architecture.attn_levels) * (architecture.num_res_blocks + 1)
    # taming's attention writes the whole matrix of tokens by tokens, twice
    kept = total + 2 * tokens**2 * attentions
    # before that, every cell is compared with every code
    compared = tokens * architecture.n_embed if architecture.quantizer not in ("bits", "none") else 0
    return int(max(kept, compared) * _FLOAT_BYTES)


def view_bytes(clip: CLIPArchitecture) -> int:
    """Return the bytes that one view keeps for the gradient in the image tower of a CLIP."""
    vision = clip.model["vision_cfg"]
    side = vision.get("image_size", 224)
    height, width = (side, side) if isinstance(side, int) else side
    layers = vision.get("layers", 12)
    if vision.get("timm_model_name"):
        return int(height * width * _PER_VIEW_PIXEL * _FLOAT_BYTES)
    if not isinstance(layers, int):
        return int(height * width * _PER_RESNET_PIXEL * vision.get("width", 64) / 64 * _FLOAT_BYTES)
    patch = vision.get("patch_size", 16)
    tokens = (height // patch) * (width // patch) + 1
    return int(layers * tokens * vision.get("width", 768) * _PER_TOKEN * _FLOAT_BYTES)


def run_bytes(
    architecture: VQGANArchitecture,
    size: tuple[int, int],
    batch: int,
    chunk: int,
    clips: Sequence[CLIPArchitecture],
    weights: int = 0,
    precision: str = "fp32",
) -> int:
    """Return the estimated peak memory of a run in bytes: libraries, weights, decoder, one chunk of views, pictures."""
    views = chunk * batch * max((view_bytes(clip) for clip in clips), default=0)
    pictures = 16 * size[0] * size[1] * 3 * _FLOAT_BYTES * batch
    of_decoder, of_views = (1.0, 1.0) if precision == "fp32" else (_HALF_DECODER, _HALF_VIEWS)
    decoder = batch * decoder_bytes(architecture, *size)
    return int(_BASE + weights + of_decoder * decoder + of_views * views + pictures)


def view_chunk(count: int, batch: int, clip: CLIPArchitecture, total: int) -> int:
    """Return how many views to embed at a time: as many as fit a quarter of the *total* memory, by halving."""
    chunk = count
    while chunk > 1 and chunk * batch * view_bytes(clip) > total / 4:
        chunk = (chunk + 1) // 2
    return chunk


def advice(
    architecture: VQGANArchitecture,
    size: tuple[int, int],
    batch: int,
    clips: Sequence[CLIPArchitecture],
    weights: int,
    total: int,
    precision: str = "fp32",
) -> str:
    """Return the flags that would fit a run into a memory, those that change least first; what to do if none do."""

    def fits(size: tuple[int, int], batch: int) -> bool:
        return run_bytes(architecture, size, batch, 1, clips, weights, precision) <= total

    if fits(size, batch):
        return "--set views.chunk=1 would fit"
    alone = "--batch-size 1 " if batch > 1 else ""
    width, height = size
    if alone and fits(size, 1):
        return f"{alone}--set views.chunk=1 would fit"
    while max(width, height) >= 2 * architecture.factor:
        width, height = (max(side * 3 // 4 // architecture.factor, 1) * architecture.factor for side in (width, height))
        if fits((width, height), 1):
            return f"{alone}--set views.chunk=1 --size {width}x{height} would fit"
    return "smaller models are needed: --preset tiny"


def machine_bytes(root: Path = Path("/")) -> int:
    """Return the memory this process may use: the machine's, or less where a limit is set for it.

    Control groups set limits, and shells (`ulimit -v` and `-d`).
    """
    return min([_physical_bytes(), *_group_limits(root), *_shell_limits(root)])


def _shell_limits(root: Path) -> list[int]:
    """Return what the limits of this process leave for data.

    Of addresses libraries take far more than they fill; how many, in quarters of a GB, is told by the process itself.
    """
    try:
        import resource
    except ImportError:  # Windows
        return []
    limits = {name: resource.getrlimit(getattr(resource, name))[0] for name in ("RLIMIT_AS", "RLIMIT_DATA")}
    try:
        mapped, filled = (int(pages) for pages in (root / "proc/self/statm").read_text().split()[:2])
    except (OSError, ValueError):
        mapped = filled = 0
    quarter = 2**28
    unfilled = -(-(mapped - filled) * resource.getpagesize() // quarter) * quarter
    taken = {"RLIMIT_AS": unfilled, "RLIMIT_DATA": 0}
    return [max(limit - taken[name], 0) for name, limit in limits.items() if limit != resource.RLIM_INFINITY]


def _group_limits(root: Path) -> list[int]:
    """Return the limits of all control groups that hold this process, of both versions of the kernel's interface."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    groups = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    groups_of = {kinds: path.strip("/") for _, kinds, path in groups}
    places = [
        (root / "sys/fs/cgroup", groups_of.get("", ""), "memory.max"),
        (root / "sys/fs/cgroup/memory", groups_of.get("memory", ""), "memory.limit_in_bytes"),
    ]
    limits = []
    for top, path, name in places:
        # a group counts with those around it; inside a container its own path may not be visible
        for folder in (top / path, *(top / path).parents):
            with contextlib.suppress(OSError, ValueError):
                limits.append(int((folder / name).read_text()))
            if folder == top:
                break
    return limits


def _physical_bytes() -> int:
    if sys.platform == "win32":
        return _windows_bytes()
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _windows_bytes() -> int:
    """Ask kernel32 (GetPhysicallyInstalledSystemMemory, in kilobytes)."""
    import ctypes

    kilobytes = ctypes.c_ulonglong()
    windows: Any = ctypes  # only there it has this attribute
    windows.windll.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(kilobytes))
    return kilobytes.value * 1024
