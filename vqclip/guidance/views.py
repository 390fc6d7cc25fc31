"""Augmented views of an image for CLIP: crop, affine, perspective and flip in one warp, then color and noise.

The random crops follow Crowson et al. 2022 (VQGAN-CLIP); the schedule from whole-image views to details is Disco
Diffusion's. All homographies of a picture are applied by a single `grid_sample` per pyramid level on the single
image, so neither the image nor its gradient is ever repeated per view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from vqclip import seeding
from vqclip.errors import PluginError
from vqclip.guidance import resampling
from vqclip.guidance.augmentations import Augmentation
from vqclip.registry import AUGMENTATIONS
from vqclip.registry.outside import is_outside, place_of, run_outside

# names, strengths and uniform draws (N, draws) of pixel augmentations
Pixelwise = tuple[tuple[str, float, Tensor], ...]


@dataclass(frozen=True)
class ViewPlan:
    """How views are drawn at one step.

    `count` views a picture; the first `overview * count` show the whole short side, the others a square of
    `smallest`..`largest` times the short side. A crop may reach over the edge by `overshoot` times its own side
    (mirrored there), so that edges are seen as often as the centre. `strengths` maps augmentations to strengths.
    """

    count: int
    overview: float = 0.25
    smallest: float = 0.4
    largest: float = 0.9
    overshoot: float = 0.1
    strengths: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Views:
    """Drawn parameters of the N views of one picture, on the CPU.

    `homography` (N, 3, 3) takes view coordinates [-1, 1] to offsets in short sides from the image's centre; `side`
    (N,) is the crop's side relative to the image's short side; `color` (N, 3, 4); `pixel` holds the uniform draws of
    each pixel augmentation with its strength; `noise` (N, 3, S, S) is None where no pixel augmentation may use it;
    `kept` (N, K) are the places of the patches that CLIP sees, None for all of them.
    """

    homography: Tensor
    side: Tensor
    color: Tensor
    pixel: Pixelwise = ()
    noise: Tensor | None = None
    kept: Tensor | None = None

    def __len__(self) -> int:
        return len(self.side)

    def part(self, start: int, stop: int) -> Views:
        """Return the views start..stop, so that a chunk computed alone equals its part of the whole."""
        return self.select(slice(start, stop))

    def select(self, chosen: slice | Tensor) -> Views:
        """Return the chosen views, in the order given."""
        pixel = tuple((name, strength, u[chosen]) for name, strength, u in self.pixel)
        noise = None if self.noise is None else self.noise[chosen]
        kept = None if self.kept is None else self.kept[chosen]
        return Views(self.homography[chosen], self.side[chosen], self.color[chosen], pixel, noise, kept)


def sample_views(plan: ViewPlan, seed: int, step: int, aspect: tuple[float, float], view_side: int) -> Views:
    """Draw the views of one picture at one step from generators of (seed, purpose, step) alone.

    `aspect` is (width, height) in short sides, so (1, 1) for a square; `view_side` is S in pixels.
    """
    n = plan.count
    u = torch.rand(n, 3, generator=seeding.generator(seed, "views", step))
    overview = round(plan.overview * n)
    # stratified sizes: one view per equal slice of the range, in random order of position
    ranks = (torch.arange(n) - overview).clamp(min=0) / max(n - overview, 1)
    sizes = plan.smallest + (ranks + u[:, 0] / max(n - overview, 1)) * (plan.largest - plan.smallest)
    whole = torch.arange(n) < overview
    side = torch.where(whole, 0.95 + 0.1 * u[:, 0], sizes)
    reach = (torch.tensor(aspect) / 2 - side[:, None] * (0.5 - plan.overshoot)).clamp(min=0.05)
    center = (2 * u[:, 1:] - 1) * reach
    place = torch.zeros(n, 3, 3)
    place[:, 0, 0] = place[:, 1, 1] = side / 2
    place[:, :2, 2] = center
    place[:, 2, 2] = 1
    geometry, color, pixel = _augment(plan.strengths or {}, n, seed, step)
    noise = None
    if any(name == "noise" or is_outside(AUGMENTATIONS.load(name).build) for name, _, _ in pixel):
        noise = torch.randn(n, 3, view_side, view_side, generator=seeding.generator(seed, "view noise", step))
    return Views(place @ geometry, side, color, pixel, noise)


def _augment(strengths: Mapping[str, float], n: int, seed: int, step: int) -> tuple[Tensor, Tensor, Pixelwise]:
    for name in strengths:
        AUGMENTATIONS.check(name)
    geometry = torch.eye(3).expand(n, 3, 3)
    color = torch.eye(4).expand(n, 4, 4)
    pixel = []
    for name in AUGMENTATIONS:
        strength = strengths.get(name, 0.0)
        if strength <= 0:
            continue
        augmentation = AUGMENTATIONS.load(name)
        if not isinstance(augmentation, Augmentation):
            given = type(augmentation).__name__
            raise PluginError(f"the augmentation {name!r} is of the type {given}: register an Augmentation")
        u = torch.rand(n, augmentation.draws, generator=seeding.generator(seed, f"views/{name}", step))
        if augmentation.kind == "geometry":
            geometry = geometry @ _built(name, augmentation, (n, 3, 3), u, strength)
        elif augmentation.kind == "color":
            last = torch.tensor([[[0.0, 0.0, 0.0, 1.0]]]).expand(n, 1, 4)
            color = torch.cat([_built(name, augmentation, (n, 3, 4), u, strength), last], 1) @ color
        else:
            pixel.append((name, strength, u))
    return geometry, color[:, :3], tuple(pixel)


def aspect_of(image: Tensor) -> tuple[float, float]:
    """Return width and height of an image (B, 3, H, W) in short sides."""
    height, width = image.shape[-2:]
    short = min(height, width)
    return width / short, height / short


def whole() -> Views:
    """Return the one view that shows the whole short side with no augmentation."""
    place = torch.diag(torch.tensor([0.5, 0.5, 1.0]))[None]
    return Views(place, torch.ones(1), torch.eye(3, 4)[None])


def cut_views(image: Tensor, views: list[Views], view_side: int) -> Tensor:
    """Cut the views of B pictures out of image (B, 3, H, W); return (B * N, 3, S, S), picture by picture."""
    levels = max(int(_levels(v.side, min(image.shape[-2:]), view_side).max()) for v in views)
    pyramid = [image]
    for _ in range(levels):
        pyramid.append(nn.functional.avg_pool2d(pyramid[-1], 2, ceil_mode=True))
    cut = [_render_one([level[b : b + 1] for level in pyramid], v, view_side) for b, v in enumerate(views)]
    return torch.cat(cut)


def cut_each(images: Tensor, views: Views, view_side: int) -> Tensor:
    """Cut view i out of image i of (N, 3, H, W); return (N, 3, S, S)."""
    short = min(images.shape[-2:])
    levels = _levels(views.side, short, view_side)
    grid = _grid(views.homography, view_side).view(-1, view_side, view_side, 2)
    grid = grid * torch.tensor([2 * short / images.shape[-1], 2 * short / images.shape[-2]])
    cuts = images.new_empty(len(images), 3, view_side, view_side)
    pooled = images
    for level in range(int(levels.max()) + 1):
        if level:
            pooled = nn.functional.avg_pool2d(pooled, 2, ceil_mode=True)
        chosen = (levels == level).nonzero().flatten()
        where = _onto_level(grid[chosen], images, pooled, level).to(images)
        chosen = chosen.to(images.device)
        cuts[chosen] = resampling.sample(pooled[chosen], where)
    return _finish(cuts, views)


def _levels(side: Tensor, short_side: int, view_side: int) -> Tensor:
    """Pyramid level at which a view is neither aliased nor blurred: log2 of source pixels per view pixel, rounded."""
    coarsest = max(short_side.bit_length() - 3, 0)
    return torch.log2(side * short_side / view_side).round().clamp(0, coarsest).long()


def _render_one(pyramid: list[Tensor], views: Views, view_side: int) -> Tensor:
    image = pyramid[0]
    short = min(image.shape[-2:])
    levels = _levels(views.side, short, view_side)
    grid = _grid(views.homography, view_side)
    # from short sides to grid_sample's [-1, 1] of each axis
    grid = grid * torch.tensor([2 * short / image.shape[-1], 2 * short / image.shape[-2]])
    out: list[Tensor] = []
    order: list[int] = []
    for level in levels.unique().tolist():
        chosen = (levels == level).nonzero().flatten()
        order += chosen.tolist()
        rows = _onto_level(grid[chosen], image, pyramid[level], level)
        rows = rows.reshape(1, -1, view_side, 2).to(image.device)
        cut = resampling.sample(pyramid[level], rows.to(image.dtype))
        out.append(cut.view(3, len(chosen), view_side, view_side).transpose(0, 1))
    cuts = torch.cat(out)
    if order != sorted(order):
        cuts = cuts[torch.tensor(order, device=cuts.device).argsort()]
    return _finish(cuts, views)


def _onto_level(grid: Tensor, image: Tensor, pooled: Tensor, level: int) -> Tensor:
    """Move a grid from the image onto a pyramid level, whose last cell may reach over the edge of the image."""
    covered: Tensor = torch.tensor([pooled.shape[-1] / image.shape[-1], pooled.shape[-2] / image.shape[-2]]) * 2**level
    return grid / covered + (1 / covered - 1)


def _grid(homography: Tensor, view_side: int) -> Tensor:
    points = _points(view_side)
    mapped = points @ homography.transpose(1, 2)
    return mapped[..., :2] / mapped[..., 2:]


@lru_cache(maxsize=8)
def _points(view_side: int) -> Tensor:
    """Homogeneous pixel centres of a view, (S * S, 3)."""
    ruler = (torch.arange(view_side) + 0.5) * 2 / view_side - 1
    y, x = torch.meshgrid(ruler, ruler, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], -1).reshape(-1, 3)


def _finish(cuts: Tensor, views: Views) -> Tensor:
    color = views.color.to(cuts)
    n, _, s, _ = cuts.shape
    cuts = torch.baddbmm(color[:, :, 3:], color[:, :, :3], cuts.reshape(n, 3, -1)).view(n, 3, s, s)
    noise = torch.zeros(()) if views.noise is None else views.noise
    for name, strength, u in views.pixel:
        cuts = _built(name, AUGMENTATIONS.load(name), tuple(cuts.shape), cuts, u, strength, noise.to(cuts))
    return cuts


def _built(name: str, augmentation: Augmentation, shape: tuple[int, ...], *arguments: Any) -> Tensor:
    """Return what an augmentation builds; PluginError for one from outside that fails or does not fit."""
    if not is_outside(augmentation.build):
        known: Tensor = augmentation.build(*arguments)
        return known
    what = f"the augmentation {name!r}"
    built: Any = run_outside(what, augmentation.build, *arguments)
    tensor = built if isinstance(built, Tensor) else None
    if tensor is None or tensor.shape != shape:
        given = type(built).__name__ if tensor is None else tuple(tensor.shape)
        raise PluginError(f"{what} ({place_of(augmentation.build)}) returned {given}: return a tensor {shape}")
    if not bool(tensor.isfinite().all()):
        raise PluginError(f"{what} ({place_of(augmentation.build)}) returned a number that is not finite")
    cut = any(isinstance(each, Tensor) and each.requires_grad for each in arguments) and not tensor.requires_grad
    if cut and torch.is_grad_enabled():
        raise PluginError(f"{what} ({place_of(augmentation.build)}) returned views without a gradient")
    return tensor
