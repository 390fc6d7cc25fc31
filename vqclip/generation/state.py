"""The state of a run between two steps: everything that a later step depends on."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from vqclip import optim
from vqclip.config import Config
from vqclip.drawables import latents
from vqclip.types import PackedState

# names of the first moment in torch's optimizers
_MOMENTA = ("exp_avg", "momentum_buffer")
_OF_BEST = ("score", "z", "image")
_OPTIMIZER, _CHUNK = "optimizer.", "chunk."
_MOST_VIEWS = 100_000
# the optimizers of version 0.1, whose states tell a place in this list
_BY_PLACE = ("adam", "adamw", "nadam", "radam", "adamax", "adagrad", "rmsprop", "sgd")


@dataclass
class Best:
    """The best iterate of the current stage: scores (B,) and latents (B, C, h, w)."""

    score: Tensor
    z: Tensor
    image: Tensor
    step: int

    def better(self, other: Best) -> Best:
        """Return, picture by picture, the one that scores lower; this one where both are equal."""
        better = other.score < self.score
        if not bool(better.any()):
            return self
        chosen = better.view(-1, 1, 1, 1)
        return Best(
            torch.where(better, other.score, self.score),
            torch.where(chosen, other.z, self.z),
            torch.where(chosen, other.image, self.image),
            other.step,
        )


@dataclass
class State:
    """Latents (B, C, h, w), their optimizer and moving average, the best iterate, and the next step's number.

    `slowed` is the factor that numeric trouble left of the learning rate, `chunks` how many views go through CLIP at a
    time from which step on, where memory ran out.
    """

    z: Tensor
    optimizer: torch.optim.Optimizer
    average: latents.Average | None
    step: int = 0
    stage: int = 0
    best: Best | None = None
    losses: dict[str, Tensor] = field(default_factory=dict)
    slowed: float = 1.0
    # the optimizer's name
    kind: str = ""
    # the best with the score of an end that is no step of the schedule: shown, but not what later steps depend on
    shown: Best | None = None
    chunks: dict[int, int] = field(default_factory=dict)

    @classmethod
    def start(cls, z: Tensor, config: Config) -> State:
        """Return the state before the first step of a run, or of a stage, that begins from `z`."""
        # sums over a grid that was loaded again round as before: its memory is laid out the same
        z = z.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        average = latents.Average(config.latent.ema, z) if config.latent.ema else None
        return cls(z, optim.build(config.optimizer, z), average, kind=config.optimizer.name)

    def restart(self, z: Tensor, config: Config) -> None:
        """Go on from other latents, of another grid perhaps: moments, average and best iterate begin anew."""
        fresh = State.start(z, config)
        self.z, self.optimizer, self.average = fresh.z, fresh.optimizer, fresh.average
        self.best = self.shown = None

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
        numbers |= {f"{_CHUNK}{step}": views for step, views in self.chunks.items()}
        if self.average is not None:
            tensors["average"] = self.average.total
            numbers["average"] = self.average.weight
        if self.best is not None:
            tensors |= {f"best.{name}": getattr(self.best, name) for name in _OF_BEST}
            numbers["best"] = self.best.step
        copies = {name: value.detach().clone() for name, value in tensors.items()}
        return PackedState(self.step, copies, numbers, self.kind)

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
        # another optimizer, which a resumed run may be forced to take, begins its own
        if moments and _name_of(packed, config) == config.optimizer.name:
            state.optimizer.state[state.z] = moments
        chunks = {int(n.removeprefix(_CHUNK)): views for n, views in numbers.items() if n.startswith(_CHUNK)}
        if not all(1 <= views <= _MOST_VIEWS for views in chunks.values()):
            raise ValueError("views at a time that no run has")
        state.chunks = {step: int(views) for step, views in chunks.items()}
        if state.average is not None and "average" in tensors:
            state.average.total.copy_(tensors["average"])
            state.average.weight = float(numbers["average"])
        if "best" in numbers:
            state.best = Best(*(tensors[f"best.{name}"] for name in _OF_BEST), int(numbers["best"]))
        if not state.is_whole():
            raise ValueError("tensors of other shapes than the latents'")
        return state

    def is_whole(self) -> bool:
        """Whether all parts have the shapes that go with the latents."""
        shape, count = self.z.shape, len(self.z)
        moments = [value for value in self.optimizer.state.get(self.z, {}).values() if isinstance(value, Tensor)]
        fits = len(shape) == 4 and self.stage >= 0
        fits = fits and all(value.dim() == 0 or value.shape == shape for value in moments)
        if self.average is not None:
            fits = fits and self.average.total.shape == shape
        if self.best is not None:
            image = self.best.image.shape
            fits = fits and self.best.z.shape == shape and self.best.score.shape == (count,)
            fits = fits and len(image) == 4 and image[:2] == (count, 3)
        return fits

    @property
    def output(self) -> Tensor:
        """The latents that are shown and scored: the moving average if there is one."""
        if self.average is None or not self.average.weight:
            return self.z.detach()
        return self.average.value


def _name_of(packed: PackedState, config: Config) -> str:
    """Return the name of a packed state's optimizer; ValueError for a place that version 0.1 did not have."""
    if packed.optimizer or "kind" not in packed.numbers:
        return packed.optimizer or config.optimizer.name
    place = int(packed.numbers["kind"])
    if not 0 <= place < len(_BY_PLACE):
        raise ValueError(f"the optimizer of place {place}: there were {len(_BY_PLACE)}")
    return _BY_PLACE[place]
