"""Losses of picture and grid; each returns one value per picture, (B,)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from vqclip.drawables.init_image import scaled
from vqclip.drawables.protocol import Drawable
from vqclip.guidance.losses.protocol import CODES, INIT_IMAGE, LATENTS, LossContext, LossInputs, needs

# how much the distance of latents counts beside that of pixels
_LATENT = 2.0


@dataclass(frozen=True)
class Weight:
    """The section of a loss that has no other settings."""

    weight: float = 1.0


def total_variation(inputs: LossInputs) -> Tensor:
    """Mean squared difference of neighbouring pixels: smooth pictures."""
    x = inputs.image
    across = (x[..., 1:] - x[..., :-1]).square().mean((1, 2, 3))
    return across + (x[..., 1:, :] - x[..., :-1, :]).square().mean((1, 2, 3))


@needs(LATENTS)
def latent_norm(inputs: LossInputs) -> Tensor:
    """Mean square of the grid (the z regularizer of Crowson et al. 2022)."""
    return inputs.parameters["z"].square().mean((1, 2, 3))


@needs(CODES)
def commitment(inputs: LossInputs) -> Tensor:
    """Mean squared distance of the grid from its codes (van den Oord et al. 2017)."""
    return (inputs.parameters["z"] - inputs.latent_codes.detach()).square().mean((1, 2, 3))


def saturation(inputs: LossInputs) -> Tensor:
    """Mean share by which pixels come closer than 2 % to black or white: keeps detail in the extremes."""
    x = inputs.image
    return (x - x.clamp(0.02, 0.98)).abs().mean((1, 2, 3))


class InitImageLoss:
    """Mean squared difference from the picture the run began with."""

    needs: ClassVar[frozenset[str]] = frozenset({INIT_IMAGE})
    Options = Weight

    def __init__(self, options: Weight, context: LossContext) -> None:
        del options
        self.image = context.init_image

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the mean squared difference of each picture, (b,)."""
        height, width = inputs.image.shape[-2:]
        return (inputs.image - self.image.at(height, width)).square().mean((1, 2, 3))


class BeginningLoss:
    """Mean absolute difference from the picture that the run goes on from, where that shows what was there before.

    The temporal loss of Ruder, Dosovitskiy and Brox (2016), by L1.
    """

    Options = Weight

    def __init__(self, options: Weight, context: LossContext) -> None:
        del options
        if context.beginning is None:
            raise ValueError("the run goes on from no picture")
        self.image, self.known = context.beginning.image, context.beginning.known

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the difference of each picture, (b,)."""
        height, width = inputs.image.shape[-2:]
        known = scaled(self.known, height, width, "bilinear")
        difference = (inputs.image - scaled(self.image, height, width, "bicubic")).abs() * known
        return difference.mean(1).sum((1, 2)) / known.sum().clamp(min=1.0)


class PaintedLoss:
    """L1 distance from the painted picture on four scales (Bojanowski et al. 2018), and of latents.

    The levels of a Laplacian pyramid make an edge count as much as a color. The latents lead there from far away, where
    pixels alone would be content with a blur.
    """

    Options = Weight

    def __init__(self, options: Weight, context: LossContext) -> None:
        del options
        if context.painted is None:
            raise ValueError("nothing was painted that pictures could be held to")
        self.painted = context.painted
        self.blank = context.blank if context.blank is not None and LATENTS in context.blank.offers else None
        self._codes: Tensor | None = None

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the distance of each picture, (b,)."""
        loss = self.pixels(inputs.image, inputs.part)
        if self.blank is None:
            return loss
        z = inputs.parameters["z"]
        return loss + _LATENT * (z - self._latents(self.blank, z)[inputs.part]).square().mean((1, 2, 3))

    def score(self, image: Tensor) -> Tensor:
        """Return the distance of pixels, (B,), of all pictures (B, 3, H, W): a part of the held-out score."""
        return self.pixels(image, slice(None))

    def pixels(self, image: Tensor, part: slice) -> Tensor:
        """Return the distance of pixels, (b,), of the pictures (b, 3, H, W) that `part` picks of a batch."""
        height, width = image.shape[-2:]
        difference = image - scaled(self.painted[part], height, width, "bicubic")
        loss = difference.abs().mean((1, 2, 3))
        for _ in range(3):
            if min(difference.shape[-2:]) < 2:
                break
            difference = difference[..., : difference.shape[-2] // 2 * 2, : difference.shape[-1] // 2 * 2]
            smaller = avg_pool2d(difference, 2)
            detail = difference - interpolate(smaller, scale_factor=2.0, mode="nearest")
            loss = loss + 0.5 * detail.abs().mean((1, 2, 3))
            difference = smaller
        return loss + difference.abs().mean((1, 2, 3))

    def _latents(self, blank: Drawable, z: Tensor) -> Tensor:
        """Return the codes (B, C, h, w) of the painted pictures on the grid of z."""
        if self._codes is None or self._codes.shape[-2:] != z.shape[-2:]:
            self._codes = blank.encode(self.painted, z.shape[-2], z.shape[-1]).parameters()["z"]
        return self._codes
