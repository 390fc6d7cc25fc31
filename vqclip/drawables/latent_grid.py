"""The latents of a VQGAN: each cell is drawn as its nearest code (Crowson et al. 2022, VQGAN-CLIP)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from vqclip.drawables import latents
from vqclip.drawables.protocol import Medium, Moment
from vqclip.errors import UsageError
from vqclip.precision import autocast


@dataclass
class LatentGrid:
    """B grids of latents z (B, C, h, w); what a picture shows is the code nearest to each."""

    offers: ClassVar[frozenset[str]] = frozenset({"latents"})

    medium: Medium
    low: Tensor
    high: Tensor
    z: Tensor
    codes: Tensor | None = None

    @classmethod
    def blank(cls, medium: Medium) -> LatentGrid:
        """Return a grid of no pictures; UsageError for options, of which it has none."""
        if medium.options:
            raise UsageError(f"canvas.options holds {', '.join(map(repr, medium.options))}: a canvas of codes has none")
        low, high = latents.bounds(medium.vqgan.codebook)
        return cls(medium, low, high, medium.vqgan.codebook.new_zeros(0, low.shape[1], 0, 0))

    @property
    def factor(self) -> int:
        """Pixels a cell along a side."""
        return self.medium.vqgan.factor

    @property
    def refusal(self) -> str:
        """Why no picture can be encoded; empty if pictures can."""
        return self.medium.vqgan.refusal

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in cells."""
        return self.z.shape[2], self.z.shape[3]

    def parameters(self) -> dict[str, Tensor]:
        """Return the latents as "z"."""
        return {"z": self.z}

    def cells(self) -> dict[str, Tensor]:
        """Return which cells (1, 1, h, w) a mask lets change; nothing without a mask."""
        cells = self.medium.init_image.cells(*self.size)
        return {} if cells is None else {"z": cells}

    def at(self, values: Mapping[str, Tensor]) -> LatentGrid:
        """Return grids of other latents."""
        return dataclasses.replace(self, z=values["z"], codes=None)

    def indices(self) -> Tensor:
        """Return the places (B, h, w) of the nearest codes in the codebook."""
        return self.medium.vqgan.quantize(self.z)[1]

    def render(self, moment: Moment | None = None) -> Tensor:
        """Return the images (B, 3, H, W) of the nearest codes; in an optimization step those of noisy latents."""
        if moment is None:
            self.codes, _ = self.medium.vqgan.quantize(self.z)
            return self.decode(self.codes)
        self.codes, _ = self.medium.vqgan.quantize(self._noisy(moment))
        return self.decode(latents.straight_through(self.z, self.codes))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the images (b, 3, H, W) of codes (b, C, h, w), outside a mask those of the init image."""
        with autocast(codes.device.type, self.medium.config.run.precision):
            return self.medium.init_image.composite(self.medium.vqgan.decode(codes))

    @torch.no_grad()
    def settle(self) -> None:
        """Clamp the latents to the codebook's bounds, if the config says so."""
        if self.medium.config.latent.clamp:
            self.z.copy_(self.z.clamp(self.low, self.high))

    def random(self, seeds: Sequence[int], height: int, width: int) -> LatentGrid:
        """Return grids of codes drawn uniformly, one for each seed."""
        return self.at({"z": latents.random_grid(self.medium.vqgan.live_codebook, tuple(seeds), height, width)})

    def encode(self, image: Tensor, height: int, width: int) -> LatentGrid:
        """Return the codes of pictures (B, 3, H, W); one by one, so that a picture is the same beside others."""
        return self.at({"z": torch.cat([self.medium.scaler.encode(one[None], height, width) for one in image])})

    def from_codes(self, codes: Tensor, height: int, width: int, seeds: Sequence[int]) -> LatentGrid:
        """Return codes (B, h, w), drawn finer or encoded again if that is not the grid."""
        return self.at({"z": self.medium.scaler.to_grid(codes, height, width, seeds)})

    def resize(self, height: int, width: int, seeds: Sequence[int]) -> LatentGrid:
        """Return the same pictures on another grid."""
        return self.from_codes(self.indices(), height, width, seeds)

    def mix(self, other: LatentGrid, share: float) -> LatentGrid:
        """Return (1 - share) of these latents and `share` of others."""
        return self.at({"z": latents.blend(self.z, other.z, share)})

    def keep_outside(self) -> LatentGrid:
        """Return the latents with the init image's codes in cells that a mask does not touch."""
        cells = self.cells()
        if not cells:
            return self
        height, width = self.size
        image = self.medium.init_image.at(height * self.factor, width * self.factor)
        kept = self.medium.vqgan.quantize(self.medium.vqgan.encode(image))[0]
        return self.at({"z": torch.where(cells["z"], self.z, kept)})

    def pack(self) -> dict[str, Tensor]:
        """Return the latents as "z"."""
        return {"z": self.z}

    def unpack(self, tensors: Mapping[str, Any]) -> LatentGrid:
        """Return packed latents; KeyError or ValueError if they are none."""
        z = tensors["z"]
        if z.dim() != 4 or z.shape[1] != self.low.shape[1]:
            raise ValueError("latents of another VQGAN")
        return self.at({"z": z})

    def _noisy(self, moment: Moment) -> Tensor:
        """Return latents with noise that fades to nothing at two thirds of the run, so that no cell settles early."""
        strength = self.medium.config.latent.noise * max(1 - 1.5 * moment.progress, 0.0)
        if not strength:
            return self.z
        noise = strength * latents.noise(self.z.shape, moment.seeds, moment.step).to(self.z)
        cells = self.cells()
        return self.z + noise * cells["z"] if cells else self.z + noise
