"""Frames between two drawn ones, so that a film drawn at 5 frames a second plays at 30."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vqclip.animation.flow import Flow, consistent
from vqclip.guidance.resampling import displaced

# a neighbour as it looks at a share of the way to the other one
Warped = Callable[[float], Tensor]
# of colors, added where a pixel is to be seen in one image only: what is seen in both goes first
_HIDDEN = 1.0
# rounds in which motion spreads by a pixel into places where nothing arrives; the rest does not move
_ROUNDS = 32


def between(
    one: Tensor,
    two: Tensor,
    count: int,
    *,
    forward: Warped | None = None,
    backward: Warped | None = None,
    flow: Flow | None = None,
) -> list[Tensor]:
    """Return `count` frames, evenly spread, between two drawn ones (1, 3, H, W) in [0, 1].

    Where the camera is known, `forward(share)` gives `one` as it looks `share` (0 to 1) of the way on, and
    `backward(share)` gives `two` as it looked then; they are cross-faded. With `flow`, `optical_flow` or a `RaftSmall`,
    what moves is followed, and each pixel comes from the neighbours in which it is to be seen; with a camera too, flow
    follows what the camera leaves of the motion halfway. Without any of them the frames are cross-faded as they are.
    """
    if one.shape != two.shape or one.dim() != 4 or one.shape[:2] != (1, 3) or count < 0:
        shapes = f"{tuple(one.shape)} and {tuple(two.shape)}"
        raise ValueError(f"0 or more frames are between two images (1, 3, H, W), not {count} between {shapes}")
    shares = [(index + 1) / (count + 1) for index in range(count)]
    first, second = forward or (lambda share: one), backward or (lambda share: two)
    if flow is None:
        return [first(share) + share * (second(share) - first(share)) for share in shares]
    motion = Motion.between(first(0.5), second(0.5), flow) if shares else None
    return [motion.frame(first(share), second(share), share) for share in shares if motion]


@dataclass(frozen=True)
class _Pixels:
    """The N pixels of an image: the way of each to the other one (2, N), its change on it, whether it is seen there."""

    motion: np.ndarray
    change: np.ndarray
    seen: np.ndarray

    @classmethod
    def of(cls, image: Tensor, other: Tensor, ahead: Tensor, back: Tensor) -> _Pixels:
        there, _ = displaced(other, ahead)
        change = (image - there).abs().mean(1)
        parts = (ahead[0].flatten(1), change.flatten(), consistent(ahead, back).flatten())
        motion, size, seen = (part.cpu().numpy() for part in parts)
        return cls(motion, size, seen)


@dataclass(frozen=True)
class Motion:
    """Where the pixels of two images go, and which are to be seen in one of them only (after Baker et al. 2011)."""

    size: tuple[int, int]
    one: _Pixels
    two: _Pixels

    @classmethod
    def between(cls, one: Tensor, two: Tensor, flow: Flow) -> Motion:
        """Return the motion of two images (1, 3, H, W); takes twice the time of `flow`."""
        first, second = (image.detach().cpu().float() for image in (one, two))
        to_one, to_two = flow(one, two).cpu().float(), flow(two, one).cpu().float()
        height, width = one.shape[-2:]
        return cls(
            (height, width), _Pixels.of(first, second, to_two, to_one), _Pixels.of(second, first, to_one, to_two)
        )

    def frame(self, one: Tensor, two: Tensor, share: float) -> Tensor:
        """Return the image `share` of the way from `one` to `two`."""
        motion, weight = (part.to(one.device) for part in self.arrived(share))
        first, first_inside = displaced(one.float(), -share * motion)
        second, second_inside = displaced(two.float(), (1 - share) * motion)
        # what is beyond the edge of one of them is taken from the other
        weight = torch.where(first_inside & ~second_inside, 0.0, weight)
        weight = torch.where(second_inside & ~first_inside, 1.0, weight)
        return (first + weight * (second - first)).to(one.dtype)

    def arrived(self, share: float) -> tuple[Tensor, Tensor]:
        """Return the motion (1, 2, H, W) of what is at each pixel at `share`, and the part of `two`, (1, 1, H, W).

        Pixels of both images are sent on their way, to the four pixels around where they come to lie. Where several
        arrive that one stays which looks the same at both ends. Where none arrives the motion is that of what is near.
        """
        from_one = self._sent(self.one, share, 1.0, 0.0, share)
        from_two = self._sent(self.two, 1 - share, -1.0, 1.0, share)
        place, cost, motion, weight = (np.concatenate(parts, -1) for parts in zip(from_one, from_two, strict=True))
        order = np.argsort(-cost, kind="stable")
        height, width = self.size
        laid = np.full((4, height * width), np.nan, np.float32)
        # of several values for one place the last stays
        winner = np.full(height * width, -1)
        winner[place[order]] = order
        reached = winner >= 0
        laid[:2, reached], laid[2, reached], laid[3] = motion[:, winner[reached]], weight[winner[reached]], reached
        return _filled(torch.from_numpy(laid).view(1, 4, height, width), share)

    def _sent(
        self, pixels: _Pixels, way: float, sign: float, alone: float, share: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return where pixels are after a part of their way: places, costs, motions from one to two, parts of two."""
        height, width = self.size
        rows, columns = np.divmod(np.arange(height * width), width)
        x, y = columns + way * pixels.motion[0], rows + way * pixels.motion[1]
        weight = np.where(pixels.seen, share, alone).astype(np.float32)
        places, costs, chosen = [], [], []
        for column in (np.floor(x), np.floor(x) + 1):
            for row in (np.floor(y), np.floor(y) + 1):
                away = np.hypot(x - column, y - row)
                inside = (away < 1) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
                (kept,) = np.nonzero(inside)
                places.append((row[kept] * width + column[kept]).astype(np.int64))
                costs.append(pixels.change[kept] + _HIDDEN * ~pixels.seen[kept] + 0.1 * away[kept])
                chosen.append(kept)
        kept = np.concatenate(chosen)
        return np.concatenate(places), np.concatenate(costs), sign * pixels.motion[:, kept], weight[kept]


def _filled(laid: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return motion and part of `two` out of (1, 4, H, W) whose last channel says where they are known."""
    known = laid[:, 3:]
    values = torch.where(known > 0, laid[:, :3], 0.0)
    for _ in range(_ROUNDS):
        if bool((known > 0).all()):
            break
        near = F.avg_pool2d(torch.cat([values * known, known], 1), 3, stride=1, padding=1)
        spread = near[:, :3] / near[:, 3:].clamp(min=1e-6)
        values = torch.where(known > 0, values, spread)
        known = torch.maximum(known, (near[:, 3:] > 0).float())
    values = torch.where(known > 0, values, torch.tensor([0.0, 0.0, share]).view(1, 3, 1, 1))
    return values[:, :2], values[:, 2:]
