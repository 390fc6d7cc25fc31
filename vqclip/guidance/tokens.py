"""Which patches of each view a vision transformer sees, where it is to see some of them only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from vqclip import seeding
from vqclip.errors import UsageError
from vqclip.types import Perceptor


class PatchPerceptor(Perceptor, Protocol):
    """A CLIP that can be shown some of the `patches` of each view."""

    patches: int

    def encode_patches(self, views: Tensor, kept: Tensor) -> Tensor:
        """Views (N, 3, S, S) in [0, 1], and places (N, K) of the patches to see, to embeddings (N, D)."""


def check(perceptors: Sequence[Perceptor], names: Sequence[str], share: float) -> None:
    """Raise UsageError for a CLIP that has no patches to leave out."""
    for perceptor, name in zip(perceptors, names, strict=True) if share < 1 else ():
        if not getattr(perceptor, "patches", 0):
            raise UsageError(
                f"views.tokens is {share:g}: the CLIP {name!r} has no patch tokens that could be left out, as ViTs "
                "have; give 1, or another CLIP"
            )


def sample(views: int, patches: int, share: float, seed: int, step: int, place: int) -> Tensor:
    """Return the places (views, K), in their order, of a random share of the patches of each view, at least of one.

    They depend on seed, step and the CLIP's place among the CLIPs only.
    """
    kept = max(round(patches * share), 1)
    noise = torch.rand(views, patches, generator=seeding.generator(seed, f"tokens/{place}", step))
    return noise.argsort(1)[:, :kept].sort(1).values
