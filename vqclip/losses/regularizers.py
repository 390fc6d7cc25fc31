"""Regularizers of picture and grid; each returns one value per picture, (B,)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LossInputs:
    """What a regularizer may look at: image (B, 3, H, W) in [0, 1], grid z and its codes z_q (B, C, h, w).

    `init_image` (1, 3, H, W) is the picture the run began with, at the same side, if there was one.
    """

    image: Tensor
    z: Tensor
    z_q: Tensor
    init_image: Tensor | None = None


def total_variation(inputs: LossInputs) -> Tensor:
    """Mean squared difference of neighbouring pixels: smooth pictures."""
    x = inputs.image
    across = (x[..., 1:] - x[..., :-1]).square().mean((1, 2, 3))
    return across + (x[..., 1:, :] - x[..., :-1, :]).square().mean((1, 2, 3))


def latent_norm(inputs: LossInputs) -> Tensor:
    """Mean square of the grid (the z regularizer of Crowson et al. 2022)."""
    return inputs.z.square().mean((1, 2, 3))


def commitment(inputs: LossInputs) -> Tensor:
    """Mean squared distance of the grid from its codes (van den Oord et al. 2017)."""
    return (inputs.z - inputs.z_q.detach()).square().mean((1, 2, 3))


def saturation(inputs: LossInputs) -> Tensor:
    """Mean share by which pixels come closer than 2 % to black or white: keeps detail in the extremes."""
    x = inputs.image
    return (x - x.clamp(0.02, 0.98)).abs().mean((1, 2, 3))


def init_image(inputs: LossInputs) -> Tensor:
    """Mean squared difference from the picture the run began with; 0 without one."""
    if inputs.init_image is None:
        return inputs.image.new_zeros(len(inputs.image))
    return (inputs.image - inputs.init_image).square().mean((1, 2, 3))
