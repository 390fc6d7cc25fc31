"""The state of a run between two steps: everything that a later step depends on."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from vqclip import latents, optim
from vqclip.config import Config
from vqclip.types import PackedState

# names of the first moment in torch's optimizers
_MOMENTA = ("exp_avg", "momentum_buffer")
_OF_BEST = ("score", "z", "image")
_OPTIMIZER = "optimizer."


@dataclass
class Best:
    """The best iterate of the current stage: scores (B,) and latents (B, C, h, w)."""

    score: Tensor
    z: Tensor
    image: Tensor
    step: int

    def update(self, score: Tensor, z: Tensor, image: Tensor, step: int) -> None:
        """Keep, picture by picture, what scores lower."""
        better = score < self.score
        if bool(better.any()):
            chosen = better.view(-1, 1, 1, 1)
            self.score = torch.where(better, score, self.score)
            self.z = torch.where(chosen, z, self.z)
            self.image = torch.where(chosen, image, self.image)
            self.step = step


@dataclass
class State:
    """Latents (B, C, h, w), their optimizer and moving average, the best iterate, and the next step's number.

    `slowed` is the factor that numeric trouble left of the learning rate.
    """

    z: Tensor
    optimizer: torch.optim.Optimizer
    average: latents.Average | None
    step: int = 0
    stage: int = 0
    best: Best | None = None
    losses: dict[str, Tensor] = field(default_factory=dict)
    slowed: float = 1.0

    @classmethod
    def start(cls, z: Tensor, config: Config) -> State:
        """Return the state before the first step of a run, or of a stage, that begins from `z`."""
        # sums over a grid that was loaded again round as before: its memory is laid out the same
        z = z.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        average = latents.Average(config.latent.ema, z) if config.latent.ema else None
        return cls(z, optim.build(config.optimizer, z), average)

    def restart(self, z: Tensor, config: Config) -> None:
        """Go on from other latents, of another grid perhaps: moments, average and best iterate begin anew."""
        fresh = State.start(z, config)
        self.z, self.optimizer, self.average, self.best = fresh.z, fresh.optimizer, fresh.average, None

    def put(self, part: slice, where: Tensor, values: Tensor) -> None:
        """Replace the latents of some pictures where a mask (b, 1, h, w) says so.

        The momentum there is forgotten and the average moves there. Second moments stay: without them the next steps
        would be many times too large.
        """
        momenta = self.optimizer.state.get(self.z, {})
        grids = [self.z, *(momenta[name] for name in _MOMENTA if momenta.get(name) is not None)]
        for grid in grids:
            new = values if grid is self.z else torch.zeros_like(values)
            grid.data[part] = torch.where(where, new, grid.data[part])
        if self.average is not None:
            total = self.average.total
            total[part] = torch.where(where, values * self.average.weight, total[part])

    def pack(self) -> PackedState:
        """Return copies of everything that later steps depend on."""
        tensors = {"z": self.z}
        numbers = {"step": self.step, "stage": self.stage, "slowed": self.slowed}
        for name, value in self.optimizer.state.get(self.z, {}).items():
            (tensors if isinstance(value, Tensor) else numbers)[f"optimizer.{name}"] = value
        if self.average is not None:
            tensors["average"] = self.average.total
            numbers["average"] = self.average.weight
        if self.best is not None:
            tensors |= {f"best.{name}": getattr(self.best, name) for name in _OF_BEST}
            numbers["best"] = self.best.step
        return PackedState(self.step, {name: value.detach().clone() for name, value in tensors.items()}, numbers)

    @classmethod
    def unpack(cls, packed: PackedState, config: Config, device: torch.device) -> State:
        """Return the state that was packed; KeyError, TypeError, ValueError or RuntimeError if it is none."""
        numbers = packed.numbers
        # torch's optimizers keep their counts of steps, which have no dimension, on the CPU
        tensors = {n: v.clone() if v.dim() == 0 else v.to(device, copy=True) for n, v in packed.tensors.items()}
        state = cls.start(tensors["z"], config)
        state.step, state.stage, state.slowed = packed.step, int(numbers["stage"]), float(numbers["slowed"])
        every = {**tensors, **numbers}
        moments = {n.removeprefix(_OPTIMIZER): value for n, value in every.items() if n.startswith(_OPTIMIZER)}
        if moments:
            state.optimizer.state[state.z] = moments
        if state.average is not None:
            state.average.total.copy_(tensors["average"])
            state.average.weight = float(numbers["average"])
        if "best" in numbers:
            state.best = Best(*(tensors[f"best.{name}"] for name in _OF_BEST), int(numbers["best"]))
        return state

    @property
    def output(self) -> Tensor:
        """The latents that are shown and scored: the moving average if there is one."""
        if self.average is None or not self.average.weight:
            return self.z.detach()
        return self.average.value
