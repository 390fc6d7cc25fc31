"""What a reconstruction is compared by: pixels on several scales, a robust CLIP's features, a patch discriminator."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, l1_loss, leaky_relu, normalize

from vqclip.errors import UsageError
from vqclip.models.clip import CLIP


class Perceptual:
    """Distance of pictures (B, 3, H, W) in [-1, 1] in the features of a CLIP, seen at half their side.

    Each stage of the tower counts the squared distance of its features, of unit length at every place (Zhang et al.
    2018, "LPIPS", without learned weights); the embeddings count 1 minus their cosine.
    """

    def __init__(self, clip: CLIP) -> None:
        if not hasattr(clip.network.visual, "trunk"):
            raise UsageError("--clip: reconstructions are compared by the stages of a timm tower, this CLIP has none")
        self.clip = clip
        self.trunk = clip.network.visual.trunk
        self.project = clip.network.visual.head

    def __call__(self, y: Tensor, x: Tensor) -> Tensor:
        """Return the mean distance of reconstructions y from pictures x."""
        with torch.no_grad():
            wanted, target = self._features(x)
        found, embedding = self._features(y)
        loss = (1 - (embedding * target).sum(1)).mean()
        for a, b in zip(found, wanted, strict=True):
            loss = loss + (normalize(a, dim=1) - normalize(b, dim=1)).square().sum(1).mean()
        return loss

    def _features(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        views = (avg_pool2d(x.float(), 2) + 1) / 2
        with torch.autocast(x.device.type, torch.bfloat16):
            last, stages = self.trunk.forward_intermediates((views - self.clip.mean) / self.clip.std, norm=False)
            embedding = self.project(self.trunk.forward_head(last))
        return [stage.float() for stage in stages[1:]], normalize(embedding.float(), dim=1)


class PatchDiscriminator(nn.Module):
    """Says of every patch of 22 pixels of pictures (B, 3, H, W) whether it is rendered or reconstructed."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        sizes = (3, width, 2 * width, 4 * width)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in itertools.pairwise(sizes))
        self.norms = nn.ModuleList([nn.Identity(), *(nn.GroupNorm(8, c) for c in sizes[2:])])
        self.last = nn.Conv2d(sizes[-1], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit a patch, (B, 1, H / 8, W / 8), high for rendered ones."""
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = leaky_relu(norm(layer(x)), 0.2)
        return self.last(x).float()


def isotropy(z: Tensor) -> Tensor:
    """Distance of unit latents (n, C) from filling their sphere evenly: of the mean from 0, the covariance from I / C.

    Without it commitment and moving averages contract all codes into a narrow cone, where an optimizer of latents
    finds no room (the decorrelation is that of Bardes et al. 2022, "VICReg").
    """
    mean = z.mean(0)
    covariance = (z - mean).t() @ (z - mean) / len(z)
    even = torch.eye(z.shape[1], device=z.device) / z.shape[1]
    return mean.square().sum() + (covariance - even).square().sum()


def multiscale_l1(y: Tensor, x: Tensor) -> Tensor:
    """L1 distance of pictures plus that of three levels of their Laplacian pyramids (Bojanowski et al. 2018).

    The pyramid's top, the mean color of what one code covers, counts squared too, and its opponent colors most of all:
    an L1 distance alone is content with the median color, grey, for very long.
    """
    loss = l1_loss(y, x)
    difference = y - x
    for _ in range(3):
        smaller = avg_pool2d(difference, 2)
        detail = difference - interpolate(smaller, scale_factor=2, mode="nearest")
        loss = loss + 0.5 * detail.abs().mean()
        difference = smaller
    red, green, blue = difference.unbind(1)
    opponent = (red - blue).square().mean() + (2 * green - red - blue).square().mean()
    return loss + difference.abs().mean() + 4 * difference.square().mean() + 4 * opponent
