"""What may happen to a view besides being cut out: each augmentation is one record of the registry.

A geometric augmentation yields a homography (N, 3, 3) in view coordinates [-1, 1]; a color augmentation a matrix
(N, 3, 4) that maps rgb + 1 to rgb; a pixel augmentation changes the finished views. Each draws its own uniform
numbers, so that switching one on leaves the draws of the others alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vqclip.errors import PluginError

# luma weights of ITU-R BT.601
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augmentation:
    """`build(u, strength)` turns uniform numbers u (N, draws) in [0, 1) and a strength >= 0 into matrices.

    For kind "pixel", `build(views, u, strength, noise)` gets views (N, 3, S, S) and normal noise of the same shape.
    """

    kind: Literal["geometry", "color", "pixel"]
    draws: int
    build: Callable[..., Tensor]
    unit: str

    def __post_init__(self) -> None:
        """Raise PluginError for a kind that there is not, and for a number of draws that is none."""
        if self.kind not in ("geometry", "color", "pixel"):
            raise PluginError(f"an augmentation of the kind {self.kind!r}: give geometry, color or pixel")
        if not isinstance(self.draws, int) or self.draws < 0:
            raise PluginError(f"an augmentation with {self.draws!r} draws: give a whole number from 0")


def _homography(rows: list[list[Tensor | float]], n: int) -> Tensor:
    columns = [torch.stack([torch.as_tensor(v, dtype=torch.float32).expand(n) for v in row], -1) for row in rows]
    return torch.stack(columns, 1)


def _rotate(u: Tensor, strength: float) -> Tensor:
    angle = (2 * u[:, 0] - 1) * math.radians(strength)
    cos, sin = angle.cos(), angle.sin()
    return _homography([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]], len(u))


def _shear(u: Tensor, strength: float) -> Tensor:
    shift = torch.tan((2 * u - 1) * math.radians(strength))
    return _homography([[1.0, shift[:, 0], 0.0], [shift[:, 1], 1.0, 0.0], [0.0, 0.0, 1.0]], len(u))


def _perspective(u: Tensor, strength: float) -> Tensor:
    # the sum of both tilts stays below 1, or the horizon would cross the view
    tilt = (2 * u - 1) * min(strength, 0.9) / 2
    return _homography([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [tilt[:, 0], tilt[:, 1], 1.0]], len(u))


def _flip(u: Tensor, strength: float) -> Tensor:
    sign = torch.where(u[:, 0] < strength, -1.0, 1.0)
    return _homography([[sign, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], len(u))


def _color(linear: Tensor, offset: Tensor) -> Tensor:
    return torch.cat([linear, offset.view(-1, 1, 1).expand(-1, 3, 1)], 2)


def _gray_mix(keep: Tensor) -> Tensor:
    """Mix rgb with its luma: keep (N,) = 1 leaves the colors, 0 gives grey, above 1 saturates."""
    luma = torch.tensor(LUMA).expand(3, 3)
    return keep.view(-1, 1, 1) * torch.eye(3) + (1 - keep).view(-1, 1, 1) * luma


def _brightness(u: Tensor, strength: float) -> Tensor:
    return _color(torch.eye(3).expand(len(u), 3, 3), (2 * u[:, 0] - 1) * strength)


def _contrast(u: Tensor, strength: float) -> Tensor:
    gain = 1 + (2 * u[:, 0] - 1) * strength
    return _color(gain.view(-1, 1, 1) * torch.eye(3), 0.5 * (1 - gain))


def _saturation(u: Tensor, strength: float) -> Tensor:
    return _color(_gray_mix(1 + (2 * u[:, 0] - 1) * strength), torch.zeros(len(u)))


def _grayscale(u: Tensor, strength: float) -> Tensor:
    return _color(_gray_mix((u[:, 0] >= strength).float()), torch.zeros(len(u)))


def _hue(u: Tensor, strength: float) -> Tensor:
    """Rotate colors about the grey axis (Rodrigues' formula); strength in turns."""
    angle = (2 * u[:, 0] - 1) * strength * 2 * math.pi
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    cos, sin = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    return _color(cos * torch.eye(3) + sin * cross + (1 - cos) / 3, torch.zeros(len(u)))


def _noise(views: Tensor, u: Tensor, strength: float, noise: Tensor) -> Tensor:
    return views + (u[:, 0] * strength).view(-1, 1, 1, 1).to(views) * noise


def _erase(views: Tensor, u: Tensor, strength: float, noise: Tensor) -> Tensor:
    """Grey out one rectangle of a tenth to a third of the view, with probability `strength` (Zhong et al. 2017)."""
    side = views.shape[-1]
    height, width = (0.3 + 0.3 * u[:, i] for i in (1, 2))
    top, left = u[:, 3] * (1 - height), u[:, 4] * (1 - width)
    ruler = (torch.arange(side) + 0.5) / side
    rows = (ruler >= top[:, None]) & (ruler < (top + height)[:, None])
    columns = (ruler >= left[:, None]) & (ruler < (left + width)[:, None])
    hole = rows[:, None, :, None] & columns[:, None, None, :] & (u[:, 0] < strength).view(-1, 1, 1, 1)
    return torch.where(hole.to(views.device), torch.tensor(0.5, dtype=views.dtype, device=views.device), views)


ROTATE = Augmentation("geometry", 1, _rotate, "degrees")
SHEAR = Augmentation("geometry", 2, _shear, "degrees, each axis")
PERSPECTIVE = Augmentation("geometry", 2, _perspective, "tilt, 0..0.9")
FLIP = Augmentation("geometry", 1, _flip, "probability")
BRIGHTNESS = Augmentation("color", 1, _brightness, "added, 0..1")
CONTRAST = Augmentation("color", 1, _contrast, "relative, 0..1")
SATURATION = Augmentation("color", 1, _saturation, "relative, 0..1")
GRAYSCALE = Augmentation("color", 1, _grayscale, "probability")
HUE = Augmentation("color", 1, _hue, "turns, 0..0.5")
NOISE = Augmentation("pixel", 1, _noise, "standard deviation at most")
ERASE = Augmentation("pixel", 5, _erase, "probability")
