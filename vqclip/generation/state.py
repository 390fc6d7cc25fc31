"""The state of a run between two steps: everything that a later step depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from vqclip import optim
from vqclip.config import Resolved
from vqclip.drawables import Drawable
from vqclip.errors import PluginError
from vqclip.types import PackedState

# names of the first moment in torch's optimizers
_MOMENTA = ("exp_avg", "momentum_buffer")
_AVERAGE, _BEST, _OPTIMIZER, _CHUNK, _SLOWED = "average.", "best.", "optimizer.", "chunk.", "slowed."
_MOST_VIEWS = 100_000
_V = TypeVar("_V")
# the optimizers of version 0.1, whose states tell a place in this list
_BY_PLACE = ("adam", "adamw", "nadam", "radam", "adamax", "adagrad", "rmsprop", "sgd")


@dataclass
class Best:
    """The best iterate of the current stage: scores (B,), pictures (B, 3, H, W), and what they are rendered from."""

    score: Tensor
    values: dict[str, Tensor]
    image: Tensor
    step: int

    def better(self, other: Best) -> Best:
        """Return, picture by picture, the one that scores lower; this one where both are equal."""
        better = other.score < self.score
        if not bool(better.any()):
            return self

        def chosen(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(better.view(-1, *[1] * (new.dim() - 1)), new, old)

        values = {name: chosen(value, self.values[name]) for name, value in other.values.items()}
        return Best(chosen(other.score, self.score), values, chosen(other.image, self.image), other.step)


@dataclass
class State:
    """What is drawn, its optimizer and moving average, the best iterate, and the next step's number.

    `slowed` is the factor that numeric trouble left of the learning rate, `slowings` from which step on it was which,
    `chunks` how many views go through CLIP at a time from which step on, where memory ran out.
    """

    drawable: Drawable
    optimizer: torch.optim.Optimizer
    average: optim.Average | None
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
    slowings: dict[int, float] = field(default_factory=dict)

    @classmethod
    def start(cls, drawable: Drawable, config: Resolved) -> State:
        """Return the state before the first step of a run, or of a stage, that begins with some pictures."""
        # sums over a grid that was loaded again round as before: its memory is laid out the same
        leaves = {
            name: value.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
            for name, value in drawable.parameters().items()
        }
        average = optim.Average(config.latent.ema, leaves) if config.latent.ema else None
        optimizer = optim.build(config.optimizer, list(leaves.values()))
        return cls(drawable.at(leaves), optimizer, average, kind=config.optimizer.name)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """What the optimizer moves, by name, each (B, ...)."""
        return self.drawable.parameters()

    def restart(self, drawable: Drawable, config: Resolved) -> None:
        """Go on from other pictures, of another grid perhaps: moments, average and best iterate begin anew."""
        fresh = State.start(drawable, config)
        self.drawable, self.optimizer, self.average = fresh.drawable, fresh.optimizer, fresh.average
        self.best = self.shown = None

    def put(self, name: str, part: slice, where: Tensor, values: Tensor) -> None:
        """Replace a parameter of some pictures where a mask, which broadcasts to it, says so.

        The momentum there is forgotten and the average moves there. Second moments stay: without them the next steps
        would be many times too large.
        """
        parameter = self.parameters[name]
        moments = self.optimizer.state.get(parameter, {})
        for grid in (parameter, *(moments[key] for key in _MOMENTA if moments.get(key) is not None)):
            new = values if grid is parameter else torch.zeros_like(values)
            grid.data[part] = torch.where(where, new, grid.data[part])
        if self.average is not None:
            total = self.average.totals[name]
            total[part] = torch.where(where, values * self.average.weight, total[part])

    def pack(self) -> PackedState:
        """Return copies of everything that later steps depend on."""
        tensors = self.drawable.pack()
        numbers: dict[str, float] = {"step": self.step, "stage": self.stage, "slowed": self.slowed}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                self._check_kept(key, value)
                (tensors if isinstance(value, Tensor) else numbers)[f"{_OPTIMIZER}{name}.{key}"] = value
        numbers |= {f"{_CHUNK}{step}": views for step, views in self.chunks.items()}
        numbers |= {f"{_SLOWED}{step}": factor for step, factor in self.slowings.items()}
        if self.average is not None:
            tensors |= {f"{_AVERAGE}{name}": value for name, value in self.average.totals.items()}
            numbers["average"] = self.average.weight
        if self.best is not None:
            tensors |= {f"{_BEST}{name}": value for name, value in self.best.values.items()}
            tensors |= {f"{_BEST}score": self.best.score, f"{_BEST}image": self.best.image}
            numbers["best"] = self.best.step
        copies = {name: value.detach().clone() for name, value in tensors.items()}
        return PackedState(self.step, copies, numbers, self.kind)

    def _check_kept(self, key: str, value: Any) -> None:
        """Raise PluginError for what an optimizer keeps and no savepoint can."""
        if not (value is None or isinstance(value, (Tensor, int, float))):
            kind = type(value).__name__
            raise PluginError(f"the optimizer {self.kind!r} keeps {key!r} of the type {kind}: keep tensors and numbers")

    @classmethod
    def unpack(cls, packed: PackedState, config: Resolved, blank: Drawable, device: torch.device) -> State:
        """Return the state that was packed; KeyError, TypeError, ValueError or RuntimeError if it is none."""
        numbers = _of_named_parameters(packed.numbers)
        # torch's optimizers keep their counts of steps, which have no dimension, on the CPU
        tensors = _of_named_parameters(
            {n: v.clone() if v.dim() == 0 else v.to(device, copy=True) for n, v in packed.tensors.items()}
        )
        state = cls.start(blank.unpack(tensors), config)
        state.step, state.stage, state.slowed = packed.step, int(numbers["stage"]), float(numbers["slowed"])
        # another optimizer, which a resumed run may be forced to take, begins its own
        if _optimizer_of(packed, config) == config.optimizer.name:
            state._take_moments({**tensors, **numbers})
        chunks = {int(n.removeprefix(_CHUNK)): views for n, views in numbers.items() if n.startswith(_CHUNK)}
        if not all(1 <= views <= _MOST_VIEWS for views in chunks.values()):
            raise ValueError("views at a time that no run has")
        state.chunks = {step: int(views) for step, views in chunks.items()}
        state.slowings = {int(n.removeprefix(_SLOWED)): f for n, f in numbers.items() if n.startswith(_SLOWED)}
        if not all(0 < factor <= 1 for factor in state.slowings.values()):
            raise ValueError("a factor of the learning rate that no run has")
        if state.average is not None and "average" in numbers:
            for name, total in state.average.totals.items():
                total.copy_(tensors[_AVERAGE + name])
            state.average.weight = float(numbers["average"])
        if "best" in numbers:
            values = {name: tensors[_BEST + name] for name in state.parameters}
            state.best = Best(tensors[_BEST + "score"], values, tensors[_BEST + "image"], int(numbers["best"]))
        if not state.is_whole():
            raise ValueError("tensors of other shapes than the pictures'")
        return state

    def _take_moments(self, values: Mapping[str, Tensor | float]) -> None:
        for name, parameter in self.parameters.items():
            prefix = f"{_OPTIMIZER}{name}."
            moments = {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
            if moments:
                self.optimizer.state[parameter] = moments

    def is_whole(self) -> bool:
        """Whether all parts have the shapes that go with the parameters."""
        fits = self.stage >= 0
        for name, parameter in self.parameters.items():
            shape = parameter.shape
            moments = [v for v in self.optimizer.state.get(parameter, {}).values() if isinstance(v, Tensor)]
            fits = fits and all(value.dim() == 0 or value.shape == shape for value in moments)
            if self.average is not None:
                fits = fits and self.average.totals[name].shape == shape
            if self.best is not None:
                fits = fits and self.best.values[name].shape == shape and self.best.score.shape == shape[:1]
                image = self.best.image.shape
                fits = fits and len(image) == 4 and image[:2] == (shape[0], 3)
        return fits

    @property
    def output(self) -> Drawable:
        """What is shown and scored: the moving average if there is one."""
        if self.average is None or not self.average.weight:
            return self.drawable.at({name: value.detach() for name, value in self.parameters.items()})
        return self.drawable.at(self.average.values)


def _of_named_parameters(values: Mapping[str, _V]) -> dict[str, _V]:
    """Return parts of a state by today's names: version 0.1 had a single parameter, "z", and did not name it."""
    return {_named(name, isinstance(value, Tensor)): value for name, value in values.items()}


def _named(name: str, is_tensor: bool) -> str:
    if name == "average" and is_tensor:
        return f"{_AVERAGE}z"
    key = name.removeprefix(_OPTIMIZER)
    return f"{_OPTIMIZER}z.{key}" if key != name and "." not in key else name


def _optimizer_of(packed: PackedState, config: Resolved) -> str:
    """Return the name of a packed state's optimizer; ValueError for a place that version 0.1 did not have."""
    if packed.optimizer or "kind" not in packed.numbers:
        return packed.optimizer or config.optimizer.name
    place = int(packed.numbers["kind"])
    if not 0 <= place < len(_BY_PLACE):
        raise ValueError(f"the optimizer of place {place}: there were {len(_BY_PLACE)}")
    return _BY_PLACE[place]
