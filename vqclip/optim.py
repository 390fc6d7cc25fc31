"""Optimizers of torch by name, built from the config."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from vqclip.config.schema import OptimizerConfig
from vqclip.registry import OPTIMIZERS


def build(config: OptimizerConfig, z: Tensor) -> torch.optim.Optimizer:
    """Return the configured optimizer over the latent grid; SGD and RMSprop take the first beta as momentum."""
    kind: Any = _uncompiled(OPTIMIZERS.load(config.name))
    accepted = inspect.signature(kind).parameters
    wanted = {
        "lr": config.lr,
        "betas": tuple(config.betas),
        "momentum": config.betas[0],
        "weight_decay": config.weight_decay,
    }
    optimizer: torch.optim.Optimizer = kind([z], **{name: value for name, value in wanted.items() if name in accepted})
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


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = lr
