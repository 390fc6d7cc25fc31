"""From what was asked to what is done: every `auto` gets its value, by fixed rules, before the first draw."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from vqclip import seeding
from vqclip.config import Config, Resolved
from vqclip.errors import MemoryBudgetError, UsageError, one_line
from vqclip.generation.sketching import styled
from vqclip.registry import CANVASES
from vqclip.types import CLIPArchitecture, VQGANArchitecture
from vqclip.weights import memory

_NOISE = 0.5  # of the latents, of a run that begins at random
_LR, _LR_PROPOSED, _STEPS_PROPOSED = 0.1, 0.01, 30
# the rate from a picture or sketch, and how strongly these hold a run to themselves as they are painted
_SHOWN, _STEPS_SHOWN = {"lr": 0.06, "paint": 6.0}, 30
_PLAIN = 0.25
_STAGES, _STAGES_SHOWN = ("128:0.85", "full:0.15"), ("full:1",)
_VIEWS, _VIEWS_SMALL, _SMALL = 32, 16, 64  # views a step; fewer where no CLIP sees more pixels a side than the last
# how a prior would be drawn from where there is none
_WITHOUT_PRIOR = {"guidance": 3.0, "top_k": 0, "top_p": 1.0}


def resolve(
    config: Config,
    architecture: VQGANArchitecture,
    clips: Sequence[CLIPArchitecture],
    usual: Mapping[str, float] | None = None,
    weights: int = 0,
    sketched: bool = False,
    shown_on: str = "vqgan",
) -> Resolved:
    """Return the config with what a rule decides settled: seed, device, precision, init, noise, rate, views, sampling.

    `usual` is how the prior is usually drawn from, None if there is none; `weights` what the networks weigh in bytes,
    `sketched` whether a sketch begins the run where nothing else was asked for, `shown_on` the canvas of
    runs that begin with a picture or a sketch, where none was.

    Raises UsageError for a device this machine lacks, and MemoryBudgetError if the estimate exceeds its memory.
    """
    draft, has_prior = copy.deepcopy(config), usual is not None
    if draft.seed == -1:
        draft.seed = seeding.fresh()
    draft.run.device = device(config.run.device)
    draft.run.precision = precision(config.run.precision, draft.run.device)
    if draft.run.precision == "fp16" and not architecture.fp16:
        raise UsageError("this VQGAN's numbers are too large for fp16: give --precision bf16 or fp32")
    draft.run.compile = "off" if config.run.compile == "auto" else config.run.compile
    if draft.init.kind == "auto":
        repainted = config.init.image and not (config.init.mask and has_prior)
        drawn = "sketch" if sketched else "prior" if has_prior else "random"
        draft.init.kind = "image" if repainted else drawn
    if draft.canvas.name is None:
        draft.canvas.name = shown_on if draft.init.kind in ("sketch", "image") else "vqgan"
    if draft.canvas.name == "vqgan":
        draft.canvas.name = architecture.canvas
    # of canvases from outside that do not say otherwise, as of the VQGAN
    shown = {**_SHOWN, **getattr(CANVASES.load(draft.canvas.name), "shown", {})}
    # a picture that no style is painted on is held to itself, loosely enough that the prompt shows
    plain = draft.init.kind == "image" and not styled(config)
    _settle_start(draft, shown["paint"] * (_PLAIN if plain else 1))
    if config.optimizer.lr is None:
        draft.optimizer.lr = _rate(draft.init.kind, config.steps, shown["lr"])
    if config.views.count is None:
        draft.views.count = _views(draft.init.kind, config, clips)
    for name, value in (usual or _WITHOUT_PRIOR).items():
        if getattr(draft.prior, name) is None:
            setattr(draft.prior, name, value)
    total = total_memory(draft.run.device)
    # deterministic pictures are drawn as if alone, also in chunks as large
    kept = config.init.keep if draft.init.kind == "prior" else 1
    batch = 1 if config.run.deterministic else max(min(config.batch_size, config.count), kept)
    need = _Need.of(draft, architecture, clips, weights, batch)
    if draft.views.chunk == 0:
        draft.views.chunk = need.chunk(total)
    need.check(draft.views.chunk, total, draft.run.device)
    return Resolved.of(draft)


def _settle_start(draft: Config, paint: float) -> None:
    """Settle what the kind of the first grid decides: strength, painting, stages, noise."""
    kind, init = draft.init.kind, draft.init
    if init.strength is None:
        init.strength = 0.0
    if init.paint is None:
        init.paint = paint if kind in ("sketch", "image") else 0.0
    if not draft.stages:
        # a coarse grid loses the small shapes of a picture that is there already
        draft.stages = list(_STAGES_SHOWN if kind in ("sketch", "image") else _STAGES)
    if draft.latent.noise is None:
        # noise keeps cells of a random grid from settling early; it would wipe out a picture
        draft.latent.noise = _NOISE if kind == "random" else 0.0


def _rate(kind: str, steps: int, rate_shown: float) -> float:
    """Return the learning rate of a run of `steps` from a first grid of some kind.

    A grid that a prior proposed shows the prompt already. Adam moves a cell by up to the rate at every step, whether or
    not that still serves: 500 steps at the rate of 30 would take the picture apart.
    """
    if kind in ("image", "sketch"):
        return rate_shown * min(1.0, _STEPS_SHOWN / max(steps, 1))
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
    """What a run will need of memory: `size` (width, height) of the picture that is decoded, `views` a step."""

    architecture: VQGANArchitecture
    clips: Sequence[CLIPArchitecture]
    weights: int
    batch: int
    size: tuple[int, int]
    views: int
    precision: str

    @classmethod
    def of(
        cls,
        draft: Config,
        architecture: VQGANArchitecture,
        clips: Sequence[CLIPArchitecture],
        weights: int,
        batch: int,
    ) -> _Need:
        """Return the need of a run whose views and precision are settled."""
        factor = architecture.factor
        width, height = (math.ceil(side / factor) * factor for side in draft.size)
        views = draft.views.count or 1
        return cls(architecture, clips, weights, batch, (width, height), views, draft.run.precision)

    def bytes(self, chunk: int) -> int:
        """Return the estimate with so many views at a time."""
        return memory.run_bytes(
            self.architecture, self.size, self.batch, min(chunk, self.views), self.clips, self.weights, self.precision
        )

    def chunk(self, total: int) -> int:
        """Return how many views at a time fit into the memory there is; 1 if even one does not."""
        chunk = min(memory.view_chunk(self.views, self.batch, clip, total) for clip in self.clips)
        while chunk > 1 and self.bytes(chunk) > total:
            chunk = (chunk + 1) // 2
        return chunk

    def check(self, chunk: int, total: int, device_name: str) -> None:
        """Raise MemoryBudgetError, with flags that would fit, if the estimate exceeds the memory there is."""
        need, (width, height) = self.bytes(chunk), self.size
        if need <= total:
            return
        flags = memory.advice(self.architecture, self.size, self.batch, self.clips, self.weights, total, self.precision)
        many = f"{self.batch} pictures of " if self.batch > 1 else ""
        raise MemoryBudgetError(
            f"{many}{width}x{height} pixels need about {need / 2**30:.1f} GB and {device_name} has "
            f"{total / 2**30:.1f} GB: {flags}"
        )
