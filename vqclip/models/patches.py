"""Patch tokens of a vision transformer, of which it is to see some: the others cost nothing, there and back.

Li et al. 2023, "Scaling language-image pre-training via masking" (FLIP), trains so; here it is done where a frozen
tower guides. The place where such towers drop patches in training, after positions were added, takes those to keep.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# where they drop patches; to import those packages takes longer than to look at the name
_SLOTS = {
    ("open_clip.transformer", "VisionTransformer"): "patch_dropout",
    ("timm.models.vision_transformer", "VisionTransformer"): "patch_drop",
}


class KeptPatches(nn.Module):
    """Keeps some of the tokens (N, prefix + P, W) behind the `prefix` of class and register tokens; all by default."""

    def __init__(self, prefix: int) -> None:
        super().__init__()
        self.prefix = prefix
        # places (N, K) of the patches to keep, while a batch goes through
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens (N, prefix + K, W)."""
        if self.kept is None:
            return x
        patches = x[:, self.prefix :]
        return torch.cat([x[:, : self.prefix], patches.gather(1, self.kept[..., None].expand(-1, -1, x.shape[-1]))], 1)


def count(tower: nn.Module) -> int:
    """Return how many patch tokens an image tower has; 0 for one without, or one that takes no part of them."""
    found = _found(tower)
    return 0 if found is None else found[2]


def keeper(tower: nn.Module) -> KeptPatches:
    """Return what keeps patches in an image tower, put there if it was not; ValueError for one without patch tokens."""
    found = _found(tower)
    if found is None:
        raise ValueError(f"a tower of the kind {type(tower).__name__} has no patch tokens")
    network, slot, _ = found
    held = getattr(network, slot)
    if not isinstance(held, KeptPatches):
        prefix = getattr(network, "num_prefix_tokens", 1)
        held = KeptPatches(prefix)
        setattr(network, slot, held)
    return held


def _found(tower: nn.Module) -> tuple[nn.Module, str, int] | None:
    """Return the transformer in a tower, the name of the place where it drops patches, and how many it has."""
    for network in (tower, getattr(tower, "trunk", None)):
        slot = _SLOTS.get((type(network).__module__, type(network).__name__))
        if isinstance(network, nn.Module) and slot is not None and hasattr(network, slot):
            embedding, grid = getattr(network, "patch_embed", None), getattr(network, "grid_size", (0, 0))
            patches = int(grid[0] * grid[1]) if embedding is None else int(getattr(embedding, "num_patches", 0))
            return (network, slot, patches) if patches else None
    return None
