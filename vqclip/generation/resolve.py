"""From what was asked to what is done: every `auto` gets its value, by fixed rules, before the first draw."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from vqclip import seeding
from vqclip.config import Config
from vqclip.errors import MemoryBudgetError, UsageError, one_line
from vqclip.types import CLIPArchitecture, VQGANArchitecture
from vqclip.weights import memory

_NOISE = 0.5
_LR, _LR_PROPOSED, _STEPS_PROPOSED = 0.1, 0.01, 30
# the rate from a picture or sketch, and how strongly these hold a run to themselves as they are painted
_LR_SHOWN, _STEPS_SHOWN, _PAINT = 0.06, 30, 6.0
_STAGES, _STAGES_SHOWN = ("128:0.85", "full:0.15"), ("full:1",)
_VIEWS, _VIEWS_SMALL, _SMALL = 32, 16, 64


def resolve(
    config: Config,
    architecture: VQGANArchitecture,
    clips: Sequence[CLIPArchitecture],
    usual: Mapping[str, float] | None = None,
    weights: int = 0,
    sketched: bool = False,
) -> Config:
    """Return the config with what a rule decides settled: seed, device, precision, init, noise, rate, views, sampling.

    `usual` is how the prior is usually drawn from, None if there is none; `weights` what the networks weigh in bytes,
    `sketched` whether a sketch begins the run where nothing else was asked for.

    Raises UsageError for a device this machine lacks, and MemoryBudgetError if the estimate exceeds its memory.
    """
    resolved, has_prior = copy.deepcopy(config), usual is not None
    if resolved.seed == -1:
        resolved.seed = seeding.fresh()
    resolved.run.device = device(config.run.device)
    resolved.run.precision = precision(config.run.precision, resolved.run.device)
    resolved.run.compile = "off" if config.run.compile == "auto" else config.run.compile
    if resolved.init.kind == "auto":
        repainted = config.init.image and not (config.init.mask and has_prior)
        drawn = "sketch" if sketched else "prior" if has_prior else "random"
        resolved.init.kind = "image" if repainted else drawn
    _settle_start(resolved)
    if config.latent.noise is None:
        # noise keeps cells of a random grid from settling early; it would wipe out a picture
        resolved.latent.noise = _NOISE if resolved.init.kind == "random" else 0.0
    if config.optimizer.lr is None:
        resolved.optimizer.lr = _rate(resolved.init.kind, config.steps)
    if config.views.count is None:
        resolved.views.count = _views(resolved.init.kind, config, clips)
    for name, value in (usual or {}).items():
        if getattr(resolved.prior, name) is None:
            setattr(resolved.prior, name, value)
    total = total_memory(resolved.run.device)
    # deterministic pictures are drawn as if alone, also in chunks as large
    kept = config.init.keep if resolved.init.kind == "prior" else 1
    batch = 1 if config.run.deterministic else max(min(config.batch_size, config.count), kept)
    need = _Need(resolved, architecture, clips, weights, batch)
    if resolved.views.chunk == 0:
        resolved.views.chunk = min(memory.view_chunk(resolved.views.count, batch, clip, total) for clip in clips)
        while resolved.views.chunk > 1 and need.bytes() > total:
            resolved.views.chunk = (resolved.views.chunk + 1) // 2
    need.check(total)
    return resolved


def _settle_start(resolved: Config) -> None:
    """Settle what the kind of the first grid decides: strength, painting, stages."""
    kind, init = resolved.init.kind, resolved.init
    if init.strength is None:
        init.strength = 0.0
    if init.paint is None:
        init.paint = _PAINT if kind in ("sketch", "image") else 0.0
    if not resolved.stages:
        # a coarse grid loses the small shapes of a picture that is there already
        resolved.stages = list(_STAGES_SHOWN if kind in ("sketch", "image") else _STAGES)


def _rate(kind: str, steps: int) -> float:
    """Return the learning rate of a run of `steps` from a first grid of some kind.

    A grid that a prior proposed shows the prompt already. Adam moves a cell by up to the rate at every step, whether or
    not that still serves: 500 steps at the rate of 30 would take the picture apart.
    """
    if kind in ("image", "sketch"):
        return _LR_SHOWN * min(1.0, _STEPS_SHOWN / max(steps, 1))
    return _LR if kind != "prior" else _LR_PROPOSED * min(1.0, _STEPS_PROPOSED / max(steps, 1))


def _views(kind: str, config: Config, clips: Sequence[CLIPArchitecture]) -> int:
    """Return how many views a step has: fewer where CLIP sees little, and where many small steps share the way of few.

    On that way every view adds to the same mean gradient, whichever step it belongs to; a rate that was asked for may
    go any way.
    """
    usual = _VIEWS_SMALL if all(clip.image_size <= _SMALL for clip in clips) else _VIEWS
    shared = kind == "prior" and config.optimizer.lr is None and config.steps > 2 * _STEPS_PROPOSED
    return usual // 2 if shared else usual


def device(name: str) -> str:
    """Return the device to compute on; `auto` prefers CUDA, then Apple's MPS, then the CPU."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    try:
        kind = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}: give auto, cpu, cuda, cuda:N or mps") from None
    present = {"cpu": True, "cuda": cuda and (kind.index or 0) < torch.cuda.device_count(), "mps": mps}
    if not present.get(kind.type, False):
        raise UsageError(f"this machine has no device {name!r}: leave --device out, or give cpu")
    return name


def total_memory(name: str) -> int:
    """Return the total memory in bytes of a device, never what happens to be free."""
    if name.startswith("cuda"):
        return torch.cuda.get_device_properties(name).total_memory
    return memory.machine_bytes()


def precision(asked: str, device_name: str) -> str:
    """Return the precision to compute in; `auto` prefers bf16 where the device has the instructions for it."""
    if asked == "fp16" and not device_name.startswith("cuda"):
        raise UsageError(f"precision fp16 needs a CUDA device, not {device_name}: give bf16, fp32 or auto")
    if asked != "auto":
        return asked
    if device_name.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    if device_name == "cpu" and torch.backends.mkldnn.is_available():
        # without the instructions bf16 is emulated, and slower than fp32
        return "bf16" if "avx512_bf16" in _cpu_flags() else "fp32"
    return "fp32"


def check_compiler() -> None:
    """Raise UsageError if torch.compile does not work on this machine; on a CPU it needs a C++ compiler."""
    try:
        torch.compile(lambda x: (x * 2).relu().sum())(torch.ones(8))
    except Exception as error:  # whatever the compiler stack raises, it means that steps cannot be compiled
        reason = one_line(error)[:120]
        raise UsageError(f"--compile on: torch.compile does not work here ({reason}): leave it out") from error


def _cpu_flags() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            return next((line for line in stream if line.startswith("flags")), "")
    except OSError:
        return ""


@dataclass(frozen=True)
class _Need:
    """What a run will need of memory, by its resolved config."""

    config: Config
    architecture: VQGANArchitecture
    clips: Sequence[CLIPArchitecture]
    weights: int
    batch: int

    def size(self) -> tuple[int, int]:
        """Return width and height of the picture that is decoded, in pixels."""
        factor = self.architecture.factor
        width, height = (math.ceil(side / factor) * factor for side in self.config.size)
        return width, height

    def bytes(self) -> int:
        """Return the estimate."""
        chunk, precision = min(self.config.views.chunk, self.config.views.count), self.config.run.precision
        return memory.run_bytes(self.architecture, self.size(), self.batch, chunk, self.clips, self.weights, precision)

    def check(self, total: int) -> None:
        """Raise MemoryBudgetError, with flags that would fit, if the estimate exceeds the memory there is."""
        if self.bytes() <= total:
            return
        precision, (width, height) = self.config.run.precision, self.size()
        flags = memory.advice(
            self.architecture, (width, height), self.batch, self.clips, self.weights, total, precision
        )
        many = f"{self.batch} pictures of " if self.batch > 1 else ""
        raise MemoryBudgetError(
            f"{many}{width}x{height} pixels need about {self.bytes() / 2**30:.1f} GB and {self.config.run.device} has "
            f"{total / 2**30:.1f} GB: {flags}"
        )
