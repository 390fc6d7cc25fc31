"""A small depth network with random weights."""

from __future__ import annotations

import torch

from vqclip.models.depth import DepthArchitecture, DepthNetwork

SMALL = DepthArchitecture(64, 1, 4, (1, 2, 3, 4), 5, 14, (8, 12, 16, 24), 16, 8)


def network(seed: int = 0, architecture: DepthArchitecture = SMALL) -> DepthNetwork:
    """Return a network whose depth is something at every point."""
    generator = torch.Generator().manual_seed(seed)
    made = DepthNetwork(architecture).eval().requires_grad_(False)
    for parameter in made.parameters():
        spread = parameter.shape[1:].numel() ** -0.5 if parameter.ndim > 1 else 0.5
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    made.head.conv3.weight.abs_()  # or random depth may be 0 all over
    return made
