"""What all grids of latents share, whether or not cells are drawn as codes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from vqclip.drawables import latents
from vqclip.drawables.protocol import Medium, Moment
from vqclip.drawables.spaces import Space
from vqclip.precision import autocast

_G = TypeVar("_G", bound="Grid")


@dataclass
class Grid:
    """B grids of latents z (B, C, h, w), kept in the space that the network names."""

    offers: ClassVar[frozenset[str]] = frozenset({"latents"})

    medium: Medium
    space: Space
    z: Tensor
    codes: Tensor | None = None

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

    def at(self: _G, values: Mapping[str, Tensor]) -> _G:
        """Return grids of other latents."""
        return dataclasses.replace(self, z=values["z"], codes=None)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the images (b, 3, H, W) of codes (b, C, h, w), outside a mask those of the init image."""
        with autocast(codes.device.type, self.medium.config.run.precision):
            return self.medium.init_image.composite(self.medium.vqgan.decode(codes))

    @torch.no_grad()
    def settle(self) -> None:
        """Bring the latents back into their space, if the config says so; what a mask keeps stays."""
        if not self.medium.config.latent.clamp:
            return
        settled, cells = self.space.settled(self.z), self.cells()
        self.z.copy_(torch.where(cells["z"], settled, self.z) if cells else settled)

    def random(self: _G, seeds: Sequence[int], height: int, width: int) -> _G:
        """Return grids of nothing, one for each seed."""
        return self.at({"z": self.space.random(seeds, height, width)})

    def mix(self: _G, other: _G, share: float) -> _G:
        """Return (1 - share) of these latents and `share` of others."""
        return self.at({"z": self.space.mixed(self.z, other.z, share)})

    def pack(self) -> dict[str, Tensor]:
        """Return the latents as "z"."""
        return {"z": self.z}

    def unpack(self: _G, tensors: Mapping[str, Any]) -> _G:
        """Return packed latents; KeyError or ValueError if they are none."""
        z = tensors["z"]
        if z.dim() != 4 or z.shape[1] != self.space.channels:
            raise ValueError("latents of another VQGAN")
        return self.at({"z": z})

    def noisy(self, moment: Moment) -> Tensor:
        """Return latents with noise that fades to nothing at two thirds of the run, so that no cell settles early."""
        strength = self.medium.config.latent.noise * self.space.spread * max(1 - 1.5 * moment.progress, 0.0)
        if not strength:
            return self.z
        noise = strength * latents.noise(self.z.shape, moment.seeds, moment.step).to(self.z)
        cells = self.cells()
        return self.z + noise * cells["z"] if cells else self.z + noise
