"""Reading an image at places between its pixels, with a gradient of the same bits every time if that is asked for."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def sample(image: Tensor, grid: Tensor) -> Tensor:
    """Return an image (B, C, H, W) at places (B, h, w, 2), x and y in [-1, 1] from edge to edge, mirrored beyond them.

    Bilinear, as `grid_sample` without aligned corners. On CUDA the way back of `grid_sample` adds in whatever order its
    threads come; where torch is told to use deterministic algorithms it is spelled out by sums that have an order.
    """
    if image.device.type == "cuda" and torch.are_deterministic_algorithms_enabled():
        return ordered(image, grid)
    return nn.functional.grid_sample(image, grid, "bilinear", "reflection", False)


def ordered(image: Tensor, grid: Tensor) -> Tensor:
    """Return what `sample` returns, as a weighted sum of the four pixels around each place."""
    (count, channels, height, width), (rows, columns) = image.shape, grid.shape[1:3]
    x, y = (_mirrored(grid[..., axis], size) for axis, size in enumerate((width, height)))
    left, top = x.floor(), y.floor()
    flat = image.flatten(2)
    total = flat.new_zeros(count, channels, rows * columns)
    for column, share_x in ((left, left + 1 - x), (left + 1, x - left)):
        for row, share_y in ((top, top + 1 - y), (top + 1, y - top)):
            # what lies beyond the last pixel has no share of the sum
            place = row.clamp(max=height - 1).long() * width + column.clamp(max=width - 1).long()
            colors = flat.gather(2, place.flatten(1)[:, None].expand(-1, channels, -1))
            total = total + colors * (share_x * share_y).flatten(1)[:, None]
    return total.view(count, channels, rows, columns)


def _mirrored(places: Tensor, size: int) -> Tensor:
    """Return places in [-1, 1] as pixels 0..size - 1; what lies beyond the edges is mirrored there, then clamped."""
    pixels = (places + 1) * size  # twice the distance from the edge of the first pixel
    folded = (pixels % (4 * size) - 2 * size).abs()
    return ((2 * size - folded - 1) / 2).clamp(0, size - 1)


def displaced(image: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
    """Return image(p + field(p)) for an image (B, C, H, W), and where that lies in the image, (B, 1, H, W) bool.

    `field` (B or 1, 2, H, W) is in pixels, x before y. Bilinear; beyond the edges the edge itself is seen.
    """
    height, width = image.shape[-2:]
    x = field[:, 0] + torch.arange(width, device=field.device, dtype=field.dtype)
    y = field[:, 1] + torch.arange(height, device=field.device, dtype=field.dtype)[:, None]
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1).expand(len(image), -1, -1, -1)
    seen = nn.functional.grid_sample(image, grid.to(image), "bilinear", "border", False)
    return seen, inside[:, None].expand(len(image), -1, -1, -1)
