"""The latents of a VQGAN: each cell is drawn as its nearest code (Crowson et al. 2022, VQGAN-CLIP)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vqclip.drawables import latents
from vqclip.drawables.grid import Grid
from vqclip.drawables.protocol import Medium, Moment
from vqclip.drawables.spaces import space_of
from vqclip.errors import UsageError


@dataclass
class LatentGrid(Grid):
    """B grids of latents z (B, C, h, w); what a picture shows is the code nearest to each."""

    offers: ClassVar[frozenset[str]] = frozenset({"latents", "codes"})

    @classmethod
    def blank(cls, medium: Medium) -> LatentGrid:
        """Return a grid of no pictures; UsageError for options, of which it has none, and for continuous latents."""
        if medium.options:
            raise UsageError(f"canvas.options holds {', '.join(map(repr, medium.options))}: a canvas of codes has none")
        if not len(medium.vqgan.codebook):
            raise UsageError("the canvas 'vqgan' draws codes, and this VQGAN has none: give --canvas latents")
        space = space_of(medium.vqgan)
        return cls(medium, space, medium.vqgan.codebook.new_zeros(0, space.channels, 0, 0))

    def indices(self) -> Tensor:
        """Return the places (B, h, w) of the nearest codes in the codebook."""
        return self.medium.vqgan.quantize(self.z)[1]

    def render(self, moment: Moment | None = None) -> Tensor:
        """Return the images (B, 3, H, W) of the nearest codes; in an optimization step those of noisy latents."""
        if moment is None:
            self.codes, _ = self.medium.vqgan.quantize(self.z)
            return self.decode(self.codes)
        self.codes, _ = self.medium.vqgan.quantize(self.noisy(moment))
        return self.decode(latents.straight_through(self.z, self.codes))

    def encode(self, image: Tensor, height: int, width: int) -> LatentGrid:
        """Return the codes of pictures (B, 3, H, W); one by one, so that a picture is the same beside others."""
        return self.at({"z": torch.cat([self.medium.scaler.encode(one[None], height, width) for one in image])})

    def from_codes(self, codes: Tensor, height: int, width: int, seeds: Sequence[int]) -> LatentGrid:
        """Return codes (B, h, w), drawn finer or encoded again if that is not the grid."""
        return self.at({"z": self.medium.scaler.to_grid(codes, height, width, seeds)})

    def resize(self, height: int, width: int, seeds: Sequence[int]) -> LatentGrid:
        """Return the same pictures on another grid."""
        return self.from_codes(self.indices(), height, width, seeds)

    def keep_outside(self) -> LatentGrid:
        """Return the latents with the init image's codes in cells that a mask does not touch."""
        cells = self.cells()
        if not cells:
            return self
        height, width = self.size
        image = self.medium.init_image.at(height * self.factor, width * self.factor)
        kept = self.medium.vqgan.quantize(self.medium.vqgan.encode(image))[0]
        return self.at({"z": torch.where(cells["z"], self.z, kept)})
