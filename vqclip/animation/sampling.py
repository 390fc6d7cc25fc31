"""Pictures read between their pixels, so that reading them again and again does not blur them.

A picture is interpolated by a windowed sinc onto a finer lattice, and there by a cubic spline (Unser 1999): close to
an all-pass filter, unlike the usual bicubic kernel, and exact at the pixels. A cubic B-spline at any point is four
bilinear lookups in its coefficients (Sigg and Hadwiger 2005), which kornia does. What such a filter rings at hard edges
is cut: no value leaves the range of the pixels near it, so that nothing grows from frame to frame.
"""

from __future__ import annotations

import functools
from typing import Literal

import torch
import torch.nn.functional as F

from vqclip.errors import UsageError

Border = Literal["mirror", "wrap", "black", "smear"]
BORDERS: tuple[Border, ...] = ("mirror", "wrap", "black", "smear")

# pixels beyond an edge that interpolation looks at; influences fall below 1e-12 within them
_PAD = 24
# half the width of the windowed sinc, in pixels, and the shape of its Kaiser window
_TAPS, _BETA = 8, 6.0
# how many pixels away those are whose range a value keeps
_NEAR = 2


class Sampler:
    """A picture (B, C, H, W) ready to be read at any points; `supersample` is the density of its lattice, 1 to 4."""

    def __init__(self, image: torch.Tensor, border: str = "mirror", supersample: int = 2) -> None:
        if border not in BORDERS:
            raise UsageError(f"unknown border {border!r}: known are {', '.join(BORDERS)}")
        self._border, self._density = border, supersample
        self.height, self.width = image.shape[-2:]
        padded = _extended(_extended(image.double(), border, -1), border, -2)
        rows, columns = (_coefficients(n + 2 * _PAD, supersample).to(image.device) for n in (self.height, self.width))
        self._coefficients = rows @ padded @ columns.mT
        margin = _PAD - _NEAR
        near = padded[..., margin : padded.shape[-2] - margin, margin : padded.shape[-1] - margin]
        self._least, self._most = -_largest(-near), _largest(near)

    def known(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Whether points, pixel centers at whole numbers, lie in the picture."""
        return (x >= -0.5) & (x <= self.width - 0.5) & (y >= -0.5) & (y <= self.height - 0.5)

    def read(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return what is seen at points (B or 1, h, w), float64, pixel centers at whole numbers: (B, C, h, w)."""
        inside_x, inside_y = _folded(x, self.width, self._border), _folded(y, self.height, self._border)
        seen = self._spline((inside_x + _PAD) * self._density, (inside_y + _PAD) * self._density)
        column = inside_x.round().clamp(0, self.width - 1).long()
        row = inside_y.round().clamp(0, self.height - 1).long()
        seen = seen.clamp(_picked(self._least, row, column), _picked(self._most, row, column))
        return torch.where(self.known(x, y)[:, None], seen, 0.0) if self._border == "black" else seen

    def _spline(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        from kornia.geometry.transform import remap

        total = torch.zeros((), dtype=torch.float64, device=x.device)
        for at_y, weight_y in _pairs(y):
            for at_x, weight_x in _pairs(x):
                seen = remap(self._coefficients, at_x, at_y, mode="bilinear", padding_mode="border", align_corners=True)
                total = total + seen * (weight_x * weight_y)[:, None]
        return total


def _pairs(at: torch.Tensor) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """Return two points and weights along an axis: a bilinear lookup at each gives the four taps of a B-spline."""
    base = at.floor()
    t = at - base
    rest, square = 1 - t, t * t
    first, last = rest * rest * rest / 6, square * t / 6
    left = first + 2 / 3 - square + 3 * last
    right = 1 - left
    return (base - first / left, left), (base + 1 + last / right, right)


def _largest(image: torch.Tensor) -> torch.Tensor:
    """Return the largest value near each pixel but those at the margin, `_NEAR` wide."""
    side = 2 * _NEAR + 1
    return F.max_pool2d(F.max_pool2d(image, (side, 1), stride=1), (1, side), stride=1)


def _picked(image: torch.Tensor, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
    """Return pixels of (B, C, H, W) at whole places (B or 1, h, w): (B, C, h, w)."""
    at = (row * image.shape[-1] + column).flatten(1)[:, None].expand(len(image), image.shape[1], -1)
    return image.flatten(2).gather(2, at).reshape(len(image), image.shape[1], *row.shape[-2:])


def _folded(at: torch.Tensor, length: int, border: str) -> torch.Tensor:
    """Return the place in the picture, -0.5 to length - 0.5, that is seen at a place outside it."""
    if border == "mirror":
        turned = torch.remainder(at + 0.5, 2.0 * length)
        return torch.minimum(turned, 2.0 * length - turned) - 0.5
    if border == "wrap":
        return torch.remainder(at + 0.5, float(length)) - 0.5
    return at.clamp(0, length - 1) if border == "smear" else at.clamp(-0.5, length - 0.5)


def _extended(image: torch.Tensor, border: str, axis: int) -> torch.Tensor:
    """Return a picture with what lies beyond both edges of an axis."""
    length = image.shape[axis]
    at = torch.arange(-_PAD, length + _PAD, device=image.device)
    kind = border if border in ("mirror", "wrap") else "smear"
    return image.index_select(axis, _folded(at.double(), length, kind).round().long())


@functools.lru_cache(maxsize=8)
def _coefficients(length: int, density: int) -> torch.Tensor:
    """Return the matrix (density * length, length), float64, from samples to coefficients of B-splines."""
    upsampled = _windowed_sinc(length, density)
    taps = torch.eye(len(upsampled), dtype=torch.float64)
    beside = taps.roll(1, 0) + taps.roll(-1, 0)
    solved: torch.Tensor = torch.linalg.solve(taps * (2 / 3) + beside / 6, upsampled)
    return solved


def _windowed_sinc(length: int, density: int) -> torch.Tensor:
    at = torch.arange(density * length, dtype=torch.float64)[:, None] / density
    distance = (at - torch.arange(length, dtype=torch.float64)).abs()
    inside = (1 - (distance / _TAPS) ** 2).clamp(min=0)
    window = torch.special.i0(_BETA * inside.sqrt()) / torch.special.i0(torch.tensor(_BETA, dtype=torch.float64))
    weights = torch.where(distance < _TAPS, torch.sinc(distance) * window, 0.0)
    return weights / weights.sum(1, keepdim=True)
