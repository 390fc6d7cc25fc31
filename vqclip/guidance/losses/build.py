"""From the config's sections to losses: registered records, built from options of their own types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vqclip.config.section import section
from vqclip.errors import PluginError, UsageError
from vqclip.guidance.losses.protocol import INIT_IMAGE, PICTURE, VIEWS, LossContext
from vqclip.guidance.losses.regularizers import Weight
from vqclip.registry import LOSSES
from vqclip.registry.outside import is_outside, place_of, run_outside


@dataclass(frozen=True)
class Term:
    """A loss with its name and weight; `of_views` says what it looks at."""

    name: str
    weight: float
    loss: Any
    of_views: bool

    def __call__(self, inputs: Any, count: int, roots: Sequence[Tensor]) -> Tensor:
        """Return the weighted loss of `count` pictures or views, (count,).

        `roots` are what the gradient is to reach. Raises PluginError for a loss from outside that fails, or returns
        something else than one finite number each, with a finite gradient.
        """
        if not is_outside(self.loss):
            known: Tensor = self.loss(inputs)
            return self.weight * known
        what = f"the loss {self.name!r}"
        value: Any = run_outside(what, self.loss, inputs)
        wrong = _wrong_value(value, count) or _wrong_gradient(value, roots)
        if wrong:
            raise PluginError(f"{what} ({place_of(self.loss)}) {wrong}")
        tensor: Tensor = value
        return self.weight * tensor


def build_terms(sections: Mapping[str, Any], context: LossContext) -> list[Term]:
    """Return the losses of `sections`, each a weight or a mapping of the loss's own options, in that order.

    Losses of weight 0 are left out. Raises UsageError for unknown names, options that do not fit, and losses that need
    what a run does not have.
    """
    terms = []
    for name, given in sections.items():
        record = LOSSES.load(name)
        options = section(f"losses.{name}", getattr(record, "Options", Weight), given, "weight")
        weight = float(getattr(options, "weight", 1.0))
        if not weight:
            continue
        wanted = _needs_of(name, record)
        _check_needs(name, wanted, context)
        terms.append(Term(name, weight, _built(name, record, options, context), VIEWS in wanted))
    return terms


def check_terms(sections: Mapping[str, Any], context: LossContext) -> None:
    """Raise UsageError for sections from which no losses can be built, before anything is drawn."""
    for name, given in sections.items():
        record = LOSSES.load(name)
        options = section(f"losses.{name}", getattr(record, "Options", Weight), given, "weight")
        if getattr(options, "weight", 1.0):
            _check_needs(name, _needs_of(name, record), context)


def _built(name: str, record: Any, options: Any, context: LossContext) -> Any:
    """Return the loss of a record: a function as it is, of a class an object."""
    if not isinstance(record, type):
        return record
    kind: Any = record
    if not is_outside(record):
        return kind(options, context)
    return run_outside(f"the loss {name!r}", kind, options, context)


def _needs_of(name: str, record: Any) -> frozenset[str]:
    """Return what a loss says that it needs."""
    wanted: Any = getattr(record, "needs", frozenset())
    if not isinstance(wanted, (set, frozenset, tuple, list)):
        raise PluginError(f"the loss {name!r} ({place_of(record)}) needs {wanted!r:.40}: mark it with @needs(NAME)")
    return frozenset(wanted)


def _check_needs(name: str, wanted: frozenset[str], context: LossContext) -> None:
    has = {PICTURE, VIEWS, *(() if context.blank is None else context.blank.offers)}
    has |= {INIT_IMAGE} if context.init_image else set()
    missing = wanted - has
    if missing == {INIT_IMAGE}:
        raise UsageError("a weight of the init image needs one: give --init-image FILE")
    if missing:
        canvas = context.config.canvas.name
        lacks = ", ".join(sorted(missing))
        raise UsageError(f"losses.{name} needs {lacks}, which the canvas {canvas!r} does not have: leave it out")


def _wrong_value(value: Any, count: int) -> str:
    """Say what is wrong with what a loss from outside returned; nothing if it is right."""
    if not isinstance(value, Tensor):
        return f"returned {type(value).__name__}: return a tensor ({count},), one number for each"
    if value.shape != (count,):
        return f"returned the shape {tuple(value.shape)}: return ({count},), one number for each"
    return "" if bool(value.isfinite().all()) else "returned a number that is not finite"


def _wrong_gradient(value: Tensor, roots: Sequence[Tensor]) -> str:
    """Say what is wrong with the gradient of a loss from outside; nothing if it is right, or none is asked for."""
    if not torch.is_grad_enabled():
        return ""
    wanted = [root for root in roots if root.requires_grad]
    if not value.requires_grad:
        return "has no gradient: compute it from its inputs by operations of torch"
    gradients = torch.autograd.grad(value.sum(), wanted, retain_graph=True, allow_unused=True)
    reached = [gradient for gradient in gradients if gradient is not None]
    if not reached:
        return "has no gradient at the picture: compute it from its inputs by operations of torch"
    return "" if all(bool(gradient.isfinite().all()) for gradient in reached) else "has a gradient that is not finite"
