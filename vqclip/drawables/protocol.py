"""What a run asks of the thing that it optimizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor

from vqclip.config import Resolved
from vqclip.drawables.init_image import InitImage
from vqclip.drawables.scaler import Scaler
from vqclip.errors import PluginError
from vqclip.registry import CANVASES
from vqclip.registry.outside import is_outside, place_of, run_outside
from vqclip.types import ImageTokenizer

_D = TypeVar("_D", bound="Drawable")


@dataclass(frozen=True)
class Moment:
    """A step as randomness and schedules see it: the seed of each picture, the step from 0, the progress in [0, 1]."""

    seeds: tuple[int, ...]
    step: int
    progress: float

    def part(self, which: slice) -> Moment:
        """Return the same step of some of the pictures."""
        return Moment(self.seeds[which], self.step, self.progress)


@dataclass(frozen=True)
class Medium:
    """What drawables of one run share: its resolved config, the VQGAN, the init image, and the scaler between grids.

    `options` is the section `canvas.options` of the config. While the init image is not read yet, both are without one.
    """

    config: Resolved
    vqgan: ImageTokenizer
    device: torch.device
    options: Mapping[str, Any]
    scaler: Scaler
    init_image: InitImage = field(default_factory=InitImage)


class Drawable(Protocol):
    """B pictures on a grid of cells, as tensors that the optimizer moves and that render to images.

    A drawable of no pictures, which `blank` makes, makes the others: from nothing (`random`), from pictures (`encode`),
    from a VQGAN's codes (`from_codes`), from a packed state (`unpack`).
    """

    offers: ClassVar[frozenset[str]]
    """What losses may need and only some drawables have: "latents" for parameters "z", "codes" for their `codes`."""

    @classmethod
    def blank(cls, medium: Medium) -> Drawable:
        """Return a drawable of no pictures; UsageError for options that do not fit."""

    @property
    def factor(self) -> int:
        """Pixels a cell along a side."""

    @property
    def refusal(self) -> str:
        """Why no picture can be encoded; empty if pictures can."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in cells."""

    @property
    def codes(self) -> Tensor | None:
        """The VQGAN's codes (B, C, h, w) that the latest `render` decoded; None of drawables without codes."""

    def parameters(self) -> dict[str, Tensor]:
        """Return the tensors that are optimized, each (B, ...), by name."""

    def cells(self) -> dict[str, Tensor]:
        """Return, by parameter, what a mask lets change: booleans that broadcast to it; empty without a mask."""

    def at(self: _D, values: Mapping[str, Tensor]) -> _D:
        """Return the same kind of pictures with other values of all parameters."""

    def render(self, moment: Moment | None = None) -> Tensor:
        """Return the images (B, 3, H, W) in [0, 1]; outside a mask they are the init image.

        With a `moment` they are those of an optimization step, through which gradients pass and which may be noisy.
        """

    def settle(self) -> None:
        """Bring the parameters back into their range, in place, after an optimization step."""

    def random(self: _D, seeds: Sequence[int], height: int, width: int) -> _D:
        """Return a picture of nothing for each seed, on a grid of height x width cells."""

    def encode(self: _D, image: Tensor, height: int, width: int) -> _D:
        """Return pictures (B, 3, H, W), each encoded alone, on a grid of height x width cells."""

    def from_codes(self: _D, codes: Tensor, height: int, width: int, seeds: Sequence[int]) -> _D:
        """Return the pictures of the VQGAN's codes (B, h, w) on a grid of height x width cells."""

    def resize(self: _D, height: int, width: int, seeds: Sequence[int]) -> _D:
        """Return the same pictures on another grid."""

    def mix(self: _D, other: _D, share: float) -> _D:
        """Return (1 - share) of these pictures and `share` of others on the same grid."""

    def keep_outside(self: _D) -> _D:
        """Return the pictures with the init image's parameters where a mask lets nothing change."""

    def pack(self) -> dict[str, Tensor]:
        """Return all tensors that a saved state needs of the pictures, by name."""

    def unpack(self: _D, tensors: Mapping[str, Tensor]) -> _D:
        """Return the pictures that were packed; KeyError or ValueError if they are none."""


# what a class of `Drawable` must have, as `vars(Drawable)` says it
_MEMBERS = (
    "offers", "factor", "refusal", "size", "codes", "parameters", "cells", "at", "render", "settle", "random", "encode",
    "from_codes", "resize", "mix", "keep_outside", "pack", "unpack",
)  # fmt: skip


def new_blank(name: str, medium: Medium) -> Drawable:
    """Return a drawable of no pictures of a registered kind; PluginError for one from outside that is no `Drawable`.

    Raises UsageError for options that do not fit.
    """
    kind: Any = CANVASES.load(name)
    if not is_outside(kind):
        known: Drawable = kind.blank(medium)
        return known
    what = f"the canvas {name!r} ({place_of(kind)})"
    if not hasattr(kind, "blank"):
        raise PluginError(f"{what} lacks blank: give what vqclip.drawables.Drawable describes")
    blank: Any = kind.blank(medium)
    missing = [member for member in _MEMBERS if not hasattr(blank, member)]
    if missing:
        raise PluginError(f"{what} lacks {', '.join(missing)}: give what vqclip.drawables.Drawable describes")
    if not isinstance(blank.factor, int) or blank.factor < 1:
        raise PluginError(f"{what} has the factor {blank.factor!r:.40}: give the pixels a cell, a whole number from 1")
    if not isinstance(blank.offers, (set, frozenset)):
        raise PluginError(f"{what} offers {blank.offers!r:.40}: give a frozenset of names, which may be empty")
    if not blank.parameters():
        raise PluginError(f"{what} has no parameters: return at least one tensor by its name")
    drawable: Drawable = blank
    return drawable


def part_of(drawable: _D, which: slice) -> _D:
    """Return some pictures of a drawable; gradients reach the whole."""
    return drawable.at({name: value[which] for name, value in drawable.parameters().items()})


def rendered(drawable: Drawable, moment: Moment | None = None) -> Tensor:
    """Return the images (B, 3, H, W) of a drawable; PluginError for one from outside that fails or does not fit."""
    if not is_outside(drawable):
        return drawable.render(moment)
    what, count = "the canvas", len(next(iter(drawable.parameters().values())))
    image = run_outside(what, drawable.render, moment)
    sides = [cells * drawable.factor for cells in drawable.size]
    wrong = _wrong_image(image, (count, 3, *sides), moment is not None)
    if wrong:
        raise PluginError(f"{what} ({place_of(drawable)}) {wrong}")
    return image


def _wrong_image(image: Any, shape: tuple[int, ...], with_gradient: bool) -> str:
    """Say what is wrong with images that a drawable from outside rendered; nothing if they are right."""
    if not isinstance(image, Tensor) or tuple(image.shape) != shape:
        given = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        return f"rendered {given}: return images {shape} in [0, 1]"
    if not bool(image.isfinite().all()):
        return "rendered a number that is not finite"
    return "rendered images without a gradient" if with_gradient and not image.requires_grad else ""


def joined(parts: Sequence[_D]) -> _D:
    """Return the pictures of several drawables of one kind and grid as one."""
    values = [each.parameters() for each in parts]
    return parts[0].at({name: torch.cat([value[name] for value in values]) for name in values[0]})
