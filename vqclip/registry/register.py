"""Adding a variant without a fork: `vqclip.register.loss("mine")(MyLoss)`, also as a decorator.

What is registered lasts as long as the process; registering a name of your own again replaces it, as a notebook's cell
that runs twice does. A run uses what its config names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from vqclip.errors import UsageError
from vqclip.registry.lazy import Registry
from vqclip.registry.outside import remember_file
from vqclip.registry.tables import AUGMENTATIONS, CANVASES, INTERVENTIONS, LOSSES, OPTIMIZERS, SCHEDULES, SINKS

_T = TypeVar("_T")
# what was registered since the process began, as (kind, name); plugins are told of by it
_REGISTERED: list[tuple[str, str]] = []


def loss(name: str) -> Callable[[_T], _T]:
    """Register a loss: a function of `LossInputs`, or a class made of its options and a `LossContext`.

    A run uses it by `losses: {NAME: weight}`. See `vqclip.guidance.losses.protocol`.
    """
    return _adder(LOSSES, name)


def augmentation(name: str) -> Callable[[_T], _T]:
    """Register an `Augmentation` of `vqclip.guidance.augmentations`; a run uses it by `views.augmentations`."""
    return _adder(AUGMENTATIONS, name)


def drawable(name: str) -> Callable[[_T], _T]:
    """Register a class of `vqclip.drawables.Drawable`; a run uses it by `canvas: {name: NAME}` or `--canvas NAME`."""
    return _adder(CANVASES, name)


def intervention(name: str) -> Callable[[_T], _T]:
    """Register a class made of its options and a run, called before every step; a run uses it by `interventions`."""
    return _adder(INTERVENTIONS, name)


def optimizer(name: str) -> Callable[[_T], _T]:
    """Register a `torch.optim.Optimizer`; a run uses it by `optimizer.name`."""
    return _adder(OPTIMIZERS, name)


def schedule(name: str) -> Callable[[_T], _T]:
    """Register a function of the progress in [0, 1] that returns a factor; a run uses it by `optimizer.schedule`."""
    return _adder(SCHEDULES, name)


def sink(name: str) -> Callable[[_T], _T]:
    """Register a class of `vqclip.session.sinks.Sink`; each batch of a session has one, if it is `wanted`."""
    return _adder(SINKS, name)


def registered() -> list[tuple[str, str]]:
    """Return what was registered from outside since the process began, as (kind, name), in that order."""
    return list(_REGISTERED)


def _adder(registry: Registry, name: str) -> Callable[[_T], _T]:
    if not isinstance(name, str) or not name or not name.replace("_", "").replace("-", "").isalnum():
        raise UsageError(f"the {registry.kind} {name!r}: give a name of letters, digits, - and _")

    def add(variant: _T) -> _T:
        if not callable(variant) and registry is not AUGMENTATIONS:
            kind = type(variant).__name__
            raise UsageError(f"the {registry.kind} {name!r} is of the type {kind}: give a function or a class")
        _replace(registry, name, variant)
        _REGISTERED.append((registry.kind, name))
        remember_file(getattr(variant, "build", variant) if registry is AUGMENTATIONS else variant)
        return variant

    return add


def _replace(registry: Registry, name: str, variant: Any) -> None:
    """Put a variant into a registry; UsageError for a name of vqclip's own."""
    if name in registry:
        if (registry.kind, name) not in _REGISTERED:
            raise UsageError(f"the {registry.kind} {name!r} is vqclip's own: give yours another name")
        registry.remove(name)
    registry.register(name, variant)
