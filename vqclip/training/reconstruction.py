"""What a reconstruction is compared by: pixels on several scales, a robust CLIP's features, a patch discriminator."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, l1_loss, leaky_relu, normalize

from vqclip.errors import UsageError
from vqclip.models.clip import CLIP
from vqclip.training.precision import autocast


class Perceptual:
    """Distance of pictures (B, 3, H, W) in [-1, 1] in a CLIP's features, of wholes at half their side and of parts.

    A part, half the side, is seen pixel by pixel, so that strokes count too. Each stage of the tower counts the squared
    distance of its features, of unit length at every place (Zhang et al. 2018, "LPIPS", without learned weights); the
    embeddings count 1 minus their cosine.
    """

    def __init__(self, clip: CLIP) -> None:
        if not hasattr(clip.network.visual, "trunk"):
            raise UsageError("--clip: reconstructions are compared by the stages of an image tower, this CLIP has none")
        self.clip = clip
        self.trunk = clip.network.visual.trunk
        self.project = clip.network.visual.head

    def __call__(self, y: Tensor, x: Tensor, corner: tuple[int, int]) -> Tensor:
        """Return the mean distance of reconstructions y from pictures x; the parts' top left pixel is `corner`."""
        with torch.no_grad():
            wanted, target = self._features(_views(x, corner))
        features, embedding = self._features(_views(y, corner))
        loss = (1 - (embedding * target).sum(1)).mean()
        for a, b in zip(features, wanted, strict=True):
            loss = loss + (normalize(a, dim=1) - normalize(b, dim=1)).square().sum(1).mean()
        return loss

    def _features(self, views: Tensor) -> tuple[list[Tensor], Tensor]:
        with autocast(views.device):
            last, stages = self.trunk.forward_intermediates((views - self.clip.mean) / self.clip.std, norm=False)
            embedding = self.project(self.trunk.forward_head(last))
        return [stage.float() for stage in stages[1:]], normalize(embedding.float(), dim=1)


def _views(x: Tensor, corner: tuple[int, int]) -> Tensor:
    """Return pictures in [-1, 1] at half their side, then parts as large from `corner` on, all in [0, 1]."""
    top, left = corner
    whole = avg_pool2d(x.float(), 2)
    part = x[:, :, top : top + whole.shape[2], left : left + whole.shape[3]]
    return (torch.cat([whole, part]) + 1) / 2


class PatchDiscriminator(nn.Module):
    """Says of every patch of 22 pixels of pictures (B, 3, H, W) whether it is rendered, in a style, or reconstructed.

    The style, a number below `styles`, enters as a projection (Miyato and Koyama 2018): smooth patches are real in a
    watercolor and give a reconstructed charcoal away.
    """

    def __init__(self, styles: int, width: int = 32) -> None:
        super().__init__()
        sizes = (3, width, 2 * width, 4 * width)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in itertools.pairwise(sizes))
        self.norms = nn.ModuleList([nn.Identity(), *(nn.GroupNorm(8, c) for c in sizes[2:])])
        self.last = nn.Conv2d(sizes[-1], 1, 1)
        self.styles = nn.Embedding(styles, sizes[-1])
        nn.init.zeros_(self.styles.weight)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return one logit a patch, (B, 1, H / 8, W / 8), high for rendered ones; `style` is (B,)."""
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = leaky_relu(norm(layer(x)), 0.2)
        out: Tensor = self.last(x).float() + (x * self.styles(style)[:, :, None, None]).sum(1, keepdim=True).float()
        return out


def isotropy(z: Tensor) -> Tensor:
    """Distance of unit latents (n, C) from filling their sphere evenly: of the mean from 0, the covariance from I / C.

    Without it commitment and moving averages contract all codes into a narrow cone, where an optimizer of latents
    finds no room (the decorrelation is that of Bardes et al. 2022, "VICReg").
    """
    mean = z.mean(0)
    covariance = (z - mean).t() @ (z - mean) / len(z)
    even = torch.eye(z.shape[1], device=z.device) / z.shape[1]
    return mean.square().sum() + (covariance - even).square().sum()


def texture_distance(y: Tensor, x: Tensor) -> Tensor:
    """Difference of how strongly pictures (B, 3, H, W) vary around each place, at three scales of detail.

    The root mean square of each level of a Laplacian pyramid over 8x8 pixels of that level. Where a stroke lies cannot
    be kept in few codes, and an L1 distance then prefers none at all: this one asks for as much of it as there was.
    """
    loss = x.new_zeros(())
    for _ in range(3):
        levels = []
        for picture in (y, x):
            smaller = avg_pool2d(picture, 2)
            detail = picture - interpolate(smaller, scale_factor=2, mode="nearest")
            levels.append((smaller, (avg_pool2d(detail.square(), 8) + 1e-5).sqrt()))
        (y, actual), (x, wanted) = levels
        loss = loss + l1_loss(actual, wanted)
    return loss


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
