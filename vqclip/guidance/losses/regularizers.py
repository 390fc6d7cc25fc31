"""Regularizers of picture and grid; each returns one value per picture, (B,)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

# how much the distance of latents counts beside that of pixels
_LATENT = 2.0


@dataclass(frozen=True)
class LossInputs:
    """What a regularizer may look at: image (B, 3, H, W) in [0, 1], grid z and its codes z_q (B, C, h, w).

    `init_image` (1, 3, H, W) is the picture the run began with, `painted` (B, 3, H, W) the sketch or the init image as
    the world's painter paints it in the prompt's style, both at the same side, if there are any; `painted_z`
    (B, C, h, w) are its codes.
    """

    image: Tensor
    z: Tensor
    z_q: Tensor
    init_image: Tensor | None = None
    painted: Tensor | None = None
    painted_z: Tensor | None = None


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


def painted(inputs: LossInputs) -> Tensor:
    """L1 distance from the painted picture on four scales (Bojanowski et al. 2018), and of latents; 0 without one.

    The levels of a Laplacian pyramid make an edge count as much as a color. The latents lead there from far away, where
    pixels alone would be content with a blur.
    """
    if inputs.painted is None:
        return inputs.image.new_zeros(len(inputs.image))
    difference = inputs.image - inputs.painted
    loss = difference.abs().mean((1, 2, 3))
    for _ in range(3):
        if min(difference.shape[-2:]) < 2:
            break
        difference = difference[..., : difference.shape[-2] // 2 * 2, : difference.shape[-1] // 2 * 2]
        smaller = avg_pool2d(difference, 2)
        detail = difference - interpolate(smaller, scale_factor=2.0, mode="nearest")
        loss = loss + 0.5 * detail.abs().mean((1, 2, 3))
        difference = smaller
    loss = loss + difference.abs().mean((1, 2, 3))
    if inputs.painted_z is None:
        return loss
    return loss + _LATENT * (inputs.z - inputs.painted_z).square().mean((1, 2, 3))
