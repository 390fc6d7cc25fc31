"""Optimizers of torch by name, built from the config, and the moving average of what they move."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vqclip.config.resolved import ResolvedOptimizer
from vqclip.errors import PluginError
from vqclip.registry import OPTIMIZERS
from vqclip.registry.outside import is_outside, place_of, run_outside


def build(config: ResolvedOptimizer, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """Return the configured optimizer over some tensors; SGD and RMSprop take the first beta as momentum."""
    kind: Any = _uncompiled(OPTIMIZERS.load(config.name))
    accepted = inspect.signature(kind).parameters
    wanted = {
        "lr": config.lr,
        "betas": tuple(config.betas),
        "momentum": config.betas[0],
        "weight_decay": config.weight_decay,
    }
    settings = {name: value for name, value in wanted.items() if name in accepted}
    if is_outside(kind):
        made: Any = run_outside(f"the optimizer {config.name!r}", lambda: kind(list(parameters), **settings))
        if not isinstance(made, torch.optim.Optimizer):
            place, given = place_of(kind), type(made).__name__
            raise PluginError(f"the optimizer {config.name!r} ({place}) is of the type {given}: return one of torch's")
        fitting: torch.optim.Optimizer = made
        return fitting
    optimizer: torch.optim.Optimizer = kind(list(parameters), **settings)
    return optimizer


def _uncompiled(kind: Any) -> Any:
    """Return an optimizer of torch's without the wrappers that tell torch.compile to leave it alone; others stay.

    They import the compiler, which takes nearly as long as torch itself; nothing here compiles an optimizer.
    """
    if not kind.__module__.startswith("torch.optim."):
        return kind
    bookkeeping = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in bookkeeping}
    return type(kind.__name__, (kind,), {**methods, "step": torch.no_grad()(inspect.unwrap(kind.step))})


class Normalized(torch.optim.Optimizer):
    """Steps of one length: each picture goes along its gradient by `lr` in root mean square over its parameters.

    The step of the sampler for robust CLIPs (clip-robust-gen), where the gradient says the way and not how far.
    """

    def __init__(self, params: Sequence[Tensor], lr: float = 0.1) -> None:
        super().__init__(list(params), {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move all parameters (B, ...), those of a picture together; one whose gradient is 0 stays where it is."""
        del closure
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            gradients = torch.cat([parameter.grad.reshape(len(parameter), -1) for parameter in moved], 1)
            length = gradients.square().mean(1).sqrt().clamp(min=1e-30)
            for parameter in moved:
                scale = (group["lr"] / length).view(-1, *[1] * (parameter.dim() - 1))
                parameter.sub_(parameter.grad * scale)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def clip_norm(parameters: Sequence[Tensor], largest: float) -> None:
    """Scale the gradient of each picture down to a norm of at most `largest`, whatever its neighbours'.

    `parameters` are (B, ...) and have gradients; the norm of a picture is that over all of them.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.cat([gradient.flatten(1) for gradient in gradients], 1).norm(dim=1).clamp(min=1e-30)
    for gradient in gradients:
        gradient.mul_((largest / norm).clamp(max=1).view(-1, *[1] * (gradient.dim() - 1)))


class Average:
    """Exponential moving average of tensors without the bias of its start (Kingma and Ba 2015, section 3)."""

    def __init__(self, decay: float, like: Mapping[str, Tensor]) -> None:
        self.decay = decay
        self.totals = {name: torch.zeros_like(value) for name, value in like.items()}
        self.weight = 0.0

    def update(self, values: Mapping[str, Tensor]) -> None:
        """Take in the tensors after a step."""
        for name, total in self.totals.items():
            total.mul_(self.decay).add_(values[name].detach(), alpha=1 - self.decay)
        self.weight = self.decay * self.weight + (1 - self.decay)

    @property
    def values(self) -> dict[str, Tensor]:
        """The averages of all tensors taken in."""
        return {name: total / self.weight for name, total in self.totals.items()}
