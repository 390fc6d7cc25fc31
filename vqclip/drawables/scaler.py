"""Moving pictures to another grid of codes: a finer stage, or the size of a run that a prior does not draw at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vqclip import seeding
from vqclip.drawables.init_image import InitImage
from vqclip.precision import autocast
from vqclip.types import MASKED, ImageTokenizer

# by how much a picture is enlarged without another doubling
_MUCH = 1.4


class Doubler(Protocol):
    """What doubles the sides of a grid of codes, such as `vqclip.priors.conditioning.ConditionedUpsampler`."""

    def double(self, codes: Tensor, known: Tensor | None, seeds: Sequence[int]) -> Tensor:
        """Return codes (n, 2h, 2w) of codes (n, h, w); what `known` (1, 2h, 2w) holds, MASKED elsewhere, stays."""


def lacks_much(size: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether a grid of (height, width) codes is so much smaller than a wanted one that an upsampler doubles it."""
    return max(want / have for have, want in zip(size, wanted, strict=True)) > _MUCH


@dataclass(frozen=True)
class Scaler:
    """Moves pictures to other grids; what a mask keeps stays that of the init image.

    An upsampler doubles the grid while much is lacking. Otherwise, and for what is lacking or too much then, the
    picture is scaled and encoded again: a code stands for a patch of fixed size in pixels, so an enlarged grid of codes
    would show enlarged patches.
    """

    vqgan: ImageTokenizer
    init_image: InitImage
    precision: str
    upsampler: Doubler | None = None

    @torch.no_grad()
    def to_grid(self, codes: Tensor, height: int, width: int, seeds: Sequence[int]) -> Tensor:
        """Return the latents (n, C, height, width), at codes of the VQGAN, of codes (n, h, w) of another grid."""
        while self.upsampler is not None and lacks_much(codes.shape[1:], (height, width)):
            codes = self._doubled(self.upsampler, codes, seeds)
        if codes.shape[1:] == (height, width):
            return self.vqgan.codes(codes)
        return self.encode(self.decode(codes), height, width)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the pictures (n, 3, H, W) of codes (n, h, w), outside a mask those of the init image."""
        with autocast(codes.device.type, self.precision):
            return self.init_image.composite(self.vqgan.decode(self.vqgan.codes(codes)))

    def encode(self, image: Tensor, height: int, width: int) -> Tensor:
        """Return the latents (n, C, height, width), at codes, of pictures (n, 3, H, W) scaled to that grid."""
        factor = self.vqgan.factor
        side = (height * factor, width * factor)
        resized = interpolate(image, side, mode="bicubic", antialias=True).clamp(0, 1)
        return self.vqgan.quantize(self.vqgan.encode(self.init_image.composite(resized)))[0]

    def known(self, height: int, width: int) -> Tensor | None:
        """Return the codes (1, height, width) of the init image where a mask keeps them, MASKED elsewhere."""
        cells = self.init_image.cells(height, width)
        if cells is None:
            return None
        image = self.init_image.at(height * self.vqgan.factor, width * self.vqgan.factor)
        return self.vqgan.quantize(self.vqgan.encode(image))[1].masked_fill(cells[0], MASKED)

    def _doubled(self, upsampler: Doubler, codes: Tensor, seeds: Sequence[int]) -> Tensor:
        height, width = (2 * side for side in codes.shape[1:])
        derived = [seeding.derive(seed, "upsampling", height) for seed in seeds]
        with autocast(codes.device.type, self.precision):
            return upsampler.double(codes, self.known(height, width), derived)
