"""Continuous latents: a cell is drawn as it is, as of Stable Diffusion's autoencoders, and of any VQGAN on request."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vqclip.config.section import section
from vqclip.drawables.grid import Grid
from vqclip.drawables.init_image import scaled
from vqclip.drawables.protocol import Medium, Moment
from vqclip.drawables.spaces import Normal, space_of
from vqclip.errors import UsageError


@dataclass(frozen=True)
class Options:
    """`bound`, 0.1 to 100, is the largest value of a latent; `pull`, 0 to 1, holds their mean square near 1.

    Both are of latents without codes; codes bound theirs.
    """

    bound: float = 4.0
    pull: float = 0.2


@dataclass
class ContinuousGrid(Grid):
    """B grids of latents z (B, C, h, w) that are decoded as they are."""

    @classmethod
    def blank(cls, medium: Medium) -> ContinuousGrid:
        """Return a grid of no pictures; UsageError for options that do not fit."""
        options = section("canvas.options", Options, dict(medium.options))
        if not 0.1 <= options.bound <= 100:
            raise UsageError(f"canvas.options.bound is {options.bound:g}: give a number from 0.1 to 100")
        if not 0 <= options.pull <= 1:
            raise UsageError(f"canvas.options.pull is {options.pull:g}: give a number from 0 to 1")
        space = space_of(medium.vqgan)
        if isinstance(space, Normal):
            space = dataclasses.replace(space, bound=options.bound, pull=options.pull)
        elif medium.options:
            raise UsageError("canvas.options bound latents without codes, and the codes of this VQGAN do: leave it out")
        return cls(medium, space, torch.zeros(0, space.channels, 0, 0, device=medium.device))

    def render(self, moment: Moment | None = None) -> Tensor:
        """Return the images (B, 3, H, W) of the latents; in an optimization step those of noisy ones."""
        return self.decode(self.space.within(self.z if moment is None else self.noisy(moment)))

    @torch.no_grad()
    def encode(self, image: Tensor, height: int, width: int) -> ContinuousGrid:
        """Return the latents of pictures (B, 3, H, W); one by one, so that a picture is the same beside others."""
        return self.at({"z": torch.cat([self._encoded(one[None], height, width) for one in image])})

    def from_codes(self, codes: Tensor, height: int, width: int, seeds: Sequence[int]) -> ContinuousGrid:
        """Return the latents of a VQGAN's codes (B, h, w), drawn finer or encoded again if that is not the grid."""
        return self.at({"z": self.medium.scaler.to_grid(codes, height, width, seeds)})

    def resize(self, height: int, width: int, seeds: Sequence[int]) -> ContinuousGrid:
        """Return the same pictures on another grid."""
        del seeds
        with torch.no_grad():
            return self.encode(self.decode(self.z), height, width)

    def keep_outside(self) -> ContinuousGrid:
        """Return the latents with the init image's in cells that a mask does not touch."""
        cells = self.cells()
        if not cells:
            return self
        height, width = self.size
        image = self.medium.init_image.at(height * self.factor, width * self.factor)
        return self.at({"z": torch.where(cells["z"], self.z, self._encoded(image, height, width))})

    def _encoded(self, image: Tensor, height: int, width: int) -> Tensor:
        vqgan, init_image = self.medium.vqgan, self.medium.init_image
        resized = scaled(image, height * vqgan.factor, width * vqgan.factor, "bicubic")
        z = vqgan.encode(init_image.composite(resized))
        # where there are codes, the decoder knows nothing between them: a run begins at codes, and leaves them
        return vqgan.quantize(z)[0] if len(vqgan.codebook) else z
