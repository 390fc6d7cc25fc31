"""A pyramid of pixels: the picture is a sum of layers of all resolutions, as in Direct Ascent Synthesis.

After Fort and Whitaker (2025). Coarse layers let a gradient move whole shapes, fine ones add edges. Nothing draws but
the guide: there are no patches of a VQGAN, and none of its knowledge of pictures either.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from vqclip import seeding
from vqclip.config.section import section
from vqclip.drawables.init_image import scaled
from vqclip.drawables.protocol import Medium, Moment
from vqclip.errors import UsageError

# how far from black and white an encoded picture begins: the sigmoid's slope is lost there
_EDGE = 0.02
# beyond this a sigmoid is flat
_LARGEST = 8.0
_MOST_LAYERS = 12  # of the pyramid


@dataclass(frozen=True)
class Options:
    """`coarsest` is the least side of the coarsest layer, 1 to 64 pixels; `spread`, 0 to 4, of its values."""

    coarsest: int = 4
    spread: float = 0.5


@dataclass
class Pixels:
    """B pictures as layers (B, 3, h, w), fine to coarse, each half as large; the sigmoid of their sum is the image."""

    offers: ClassVar[frozenset[str]] = frozenset()
    factor: ClassVar[int] = 1
    refusal: ClassVar[str] = ""
    codes: ClassVar[None] = None
    # the rate, and how strongly a run holds to what is painted, that leave faces whole and bring the style in 30 steps
    shown: ClassVar[Mapping[str, float]] = {"lr": 0.1, "paint": 12.0}

    medium: Medium
    options: Options
    layers: tuple[Tensor, ...] = ()

    @classmethod
    def blank(cls, medium: Medium) -> Pixels:
        """Return a pyramid of no pictures; UsageError for options that do not fit."""
        options = section("canvas.options", Options, dict(medium.options))
        if not 1 <= options.coarsest <= 64:
            raise UsageError(f"canvas.options.coarsest is {options.coarsest}: give a side from 1 to 64 pixels")
        if not 0 <= options.spread <= 4:
            raise UsageError(f"canvas.options.spread is {options.spread:g}: give a number from 0 to 4")
        return cls(medium, options)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.layers[0].shape[2], self.layers[0].shape[3]

    def parameters(self) -> dict[str, Tensor]:
        """Return the layers, fine to coarse, as "layer0", "layer1" and so on."""
        return {f"layer{number}": layer for number, layer in enumerate(self.layers)}

    def cells(self) -> dict[str, Tensor]:
        """Return which pixels (1, 1, h, w) of each layer a mask lets change; nothing without a mask."""
        by_name = {name: self.medium.init_image.cells(*layer.shape[2:]) for name, layer in self.parameters().items()}
        return {name: cells for name, cells in by_name.items() if cells is not None}

    def at(self, values: Mapping[str, Tensor]) -> Pixels:
        """Return pictures of other layers."""
        return dataclasses.replace(self, layers=tuple(values[f"layer{k}"] for k in range(len(values))))

    def render(self, moment: Moment | None = None) -> Tensor:
        """Return the images (B, 3, H, W) in [0, 1]; a step is drawn as what is shown."""
        del moment
        return self.medium.init_image.composite(self._sum().sigmoid())

    @torch.no_grad()
    def settle(self) -> None:
        """Keep the layers where the sigmoid has a slope."""
        for layer in self.layers:
            layer.clamp_(-_LARGEST, _LARGEST)

    def random(self, seeds: Sequence[int], height: int, width: int) -> Pixels:
        """Return gray pictures with soft clouds of color, one for each seed."""
        sides = self._sides(height, width)
        noise = [
            torch.randn(3, *sides[-1], generator=seeding.generator(seed, "initial pixels")) * self.options.spread
            for seed in seeds
        ]
        layers = [torch.zeros(len(seeds), 3, *side) for side in sides[:-1]]
        return self._of([*layers, torch.stack(noise)])

    def encode(self, image: Tensor, height: int, width: int) -> Pixels:
        """Return the layers of pictures (B, 3, H, W): each holds what the coarser ones do not show."""
        image = self.medium.init_image.composite(scaled(image, height, width, "bicubic"))
        values = [image.clamp(_EDGE, 1 - _EDGE).logit()]
        for side in self._sides(height, width)[1:]:
            values.append(adaptive_avg_pool2d(values[-1], side))
        bands = [fine - _enlarged(coarse, fine) for fine, coarse in itertools.pairwise(values)]
        return self._of([*bands, values[-1]])

    def from_codes(self, codes: Tensor, height: int, width: int, seeds: Sequence[int]) -> Pixels:
        """Return the pixels of a VQGAN's codes (B, h, w)."""
        del seeds
        return self.encode(self.medium.scaler.decode(codes), height, width)

    def resize(self, height: int, width: int, seeds: Sequence[int]) -> Pixels:
        """Return the same pictures with other sides."""
        del seeds
        return self.encode(self._sum().sigmoid().detach(), height, width)

    def mix(self, other: Pixels, share: float) -> Pixels:
        """Return (1 - share) of these layers and `share` of others."""
        pairs = zip(self.layers, other.layers, strict=True)
        return self._of([(1 - share) * one + share * another for one, another in pairs])

    def keep_outside(self) -> Pixels:
        """Return the layers with those of the init image where a mask lets nothing change."""
        cells = self.cells()
        if not cells:
            return self
        kept = self.encode(self.medium.init_image.at(*self.size), *self.size).parameters()
        return self.at({name: torch.where(cells[name], value, kept[name]) for name, value in self.parameters().items()})

    def pack(self) -> dict[str, Tensor]:
        """Return the layers by their names."""
        return self.parameters()

    def unpack(self, tensors: Mapping[str, Tensor]) -> Pixels:
        """Return packed layers; KeyError or ValueError if they are none."""
        finest = tensors["layer0"]
        if finest.dim() != 4:
            raise ValueError("layers are (B, 3, h, w)")
        sides = self._sides(finest.shape[2], finest.shape[3])
        layers = [tensors[f"layer{number}"] for number in range(len(sides))]
        if any(layer.shape != (len(finest), 3, *side) for layer, side in zip(layers, sides, strict=True)):
            raise ValueError("layers of another pyramid")
        return self._of(layers)

    def _of(self, layers: Sequence[Tensor]) -> Pixels:
        return dataclasses.replace(self, layers=tuple(layer.to(self.medium.device) for layer in layers))

    def _sum(self) -> Tensor:
        """Return the layers added up, coarse to fine, (B, 3, H, W)."""
        total = self.layers[-1]
        for layer in reversed(self.layers[:-1]):
            total = _enlarged(total, layer) + layer
        return total

    def _sides(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return height and width of each layer, fine to coarse."""
        sides = [(height, width)]
        while min(sides[-1]) // 2 >= self.options.coarsest and len(sides) < _MOST_LAYERS:
            sides.append(((sides[-1][0] + 1) // 2, (sides[-1][1] + 1) // 2))
        return sides


def _enlarged(layer: Tensor, like: Tensor) -> Tensor:
    return interpolate(layer, like.shape[2:], mode="bilinear", align_corners=False)
