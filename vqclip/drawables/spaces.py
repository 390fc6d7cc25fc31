"""The spaces that latents are kept in: what brings them back after a step, and what a grid of nothing holds.

A network names its space (`ImageTokenizer.space`); each is a class here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vqclip import seeding
from vqclip.drawables import latents
from vqclip.types import ImageTokenizer


class Space(Protocol):
    """What latents z (B, C, h, w) may be."""

    @property
    def channels(self) -> int:
        """Channels C of a latent."""

    @property
    def spread(self) -> float:
        """What a channel of noise of strength 1 deviates by."""

    def settled(self, z: Tensor) -> Tensor:
        """Return latents brought back into the space after a step."""

    def within(self, z: Tensor) -> Tensor:
        """Return noisy or averaged latents as a decoder that draws them as they are expects them."""

    def mixed(self, z: Tensor, other: Tensor, share: float) -> Tensor:
        """Return (1 - share) of latents and `share` of others."""

    def random(self, seeds: Sequence[int], height: int, width: int) -> Tensor:
        """Return a grid (B, C, height, width) of nothing for each seed."""


@dataclass(frozen=True)
class Box:
    """Between the least and the greatest value of each channel over the codes (Crowson et al. 2022)."""

    codes: Tensor
    low: Tensor
    high: Tensor
    channels: int
    spread: float = 1.0

    @classmethod
    def of(cls, vqgan: ImageTokenizer) -> Box:
        """Return the box around the codes of a VQGAN."""
        low, high = latents.bounds(vqgan.codebook)
        return cls(vqgan.live_codebook, low, high, low.shape[1])

    def settled(self, z: Tensor) -> Tensor:
        """Return latents clamped to the box."""
        return z.clamp(self.low, self.high)

    def within(self, z: Tensor) -> Tensor:
        """Return latents as they are: between codes there is no edge."""
        return z

    def mixed(self, z: Tensor, other: Tensor, share: float) -> Tensor:
        """Return the straight line between both: a box holds it."""
        return latents.blend(z, other, share)

    def random(self, seeds: Sequence[int], height: int, width: int) -> Tensor:
        """Return codes drawn uniformly."""
        return latents.random_grid(self.codes, tuple(seeds), height, width)


@dataclass(frozen=True)
class Sphere:
    """Of length 1, where codes are compared by angle (Yu et al. 2022, ViT-VQGAN)."""

    codes: Tensor
    channels: int

    @classmethod
    def of(cls, vqgan: ImageTokenizer) -> Sphere:
        """Return the sphere that the codes of a VQGAN lie on."""
        return cls(vqgan.live_codebook, vqgan.codebook.shape[1])

    @property
    def spread(self) -> float:
        """What a channel of a unit vector deviates by."""
        return float(self.channels**-0.5)

    def settled(self, z: Tensor) -> Tensor:
        """Return latents of length 1."""
        return normalize(z, dim=1)

    def within(self, z: Tensor) -> Tensor:
        """Return latents of length 1, which averages and noise change."""
        return self.settled(z)

    def mixed(self, z: Tensor, other: Tensor, share: float) -> Tensor:
        """Return what lies between both, of length 1."""
        return self.settled(latents.blend(z, other, share))

    def random(self, seeds: Sequence[int], height: int, width: int) -> Tensor:
        """Return codes drawn uniformly."""
        return latents.random_grid(self.codes, tuple(seeds), height, width)


@dataclass(frozen=True)
class Normal:
    """About as standard normal numbers are: bounded, and over a picture of mean square 1 at most.

    Continuous latents of autoencoders are of unit variance where pictures look like pictures. A gradient that makes
    them ever larger leaves that: `pull` is the share of what the mean square's root exceeds 1 by that a step takes away
    (0: never), `bound` the largest value.
    """

    channels: int
    device: torch.device
    bound: float = 4.0
    pull: float = 0.2
    spread: float = 1.0

    @classmethod
    def of(cls, vqgan: ImageTokenizer) -> Normal:
        """Return the space of an autoencoder's latents."""
        return cls(vqgan.channels, vqgan.device)

    def settled(self, z: Tensor) -> Tensor:
        """Return latents within the bound, those of a picture scaled towards mean square 1 if they exceed it."""
        bounded = z.clamp(-self.bound, self.bound)
        size = bounded.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1)
        return bounded * (1 + self.pull * (1 / size - 1))

    def within(self, z: Tensor) -> Tensor:
        """Return latents as they are: noise is of their kind."""
        return z

    def mixed(self, z: Tensor, other: Tensor, share: float) -> Tensor:
        """Return the straight line between both."""
        return latents.blend(z, other, share)

    def random(self, seeds: Sequence[int], height: int, width: int) -> Tensor:
        """Return standard normal noise."""
        shape = (self.channels, height, width)
        noise = [torch.randn(shape, generator=seeding.generator(seed, "initial grid")) for seed in seeds]
        return torch.stack(noise).to(self.device)


SPACES: dict[str, Callable[[ImageTokenizer], Space]] = {"box": Box.of, "sphere": Sphere.of, "normal": Normal.of}


def space_of(vqgan: ImageTokenizer) -> Space:
    """Return the space of a network's latents."""
    return SPACES[vqgan.space](vqgan)
