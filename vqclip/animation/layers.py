"""What a film shows beside what the prompts ask for: pictures that the camera looks at, one laid over the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vqclip.animation.camera import warp
from vqclip.animation.sampling import Border
from vqclip.animation.story import Scene
from vqclip.animation.timeline import Timeline, eased

# a sketch that is to be renewed begins to give way at this power of the zoom at which it is gone
_EARLY = 0.6
# width of the edge of what comes out of the middle, as a share of the picture's radius
_EDGE = 0.35
# enlargement beyond which a picture shows nothing
_NEAREST = 10_000.0


@dataclass(frozen=True)
class Layer:
    """A picture of a scene, painted from a seed; at the frame `base` the camera sees just all of it.

    It comes in from the frame `begin` on and is all that is seen from `end` on: everywhere alike, or, `from_middle`,
    out of the middle. `closes` is the film's first frame, to which a loop returns.
    """

    scene: int
    seed: int
    base: int
    begin: int
    end: int
    from_middle: bool = False
    closes: bool = False

    def share(self, number: int, ease: str) -> float:
        """Return how much of a frame is this layer, 0 to 1."""
        if number >= self.end:
            return 1.0
        return eased(ease, (number - self.begin) / (self.end - self.begin)) if number > self.begin else 0.0

    def cover(self, number: int, ease: str, size: tuple[int, int]) -> Tensor:
        """Return how much of each pixel of a frame (height, width) is this layer, (1, 1, H, W) or of one pixel."""
        share = self.share(number, ease)
        if not self.from_middle or share in (0.0, 1.0):
            return torch.full((1, 1, 1, 1), share)
        height, width = size
        across, down = (torch.linspace(-1, 1, length) for length in (width, height))
        radius = torch.sqrt(across[None, :].square() + down[:, None].square()) / math.sqrt(2)
        inside = ((share * (1 + _EDGE) - radius) / _EDGE).clamp(0, 1)
        return (inside * inside * (3 - 2 * inside))[None, None]


def plan_layers(scenes: Sequence[Scene], timeline: Timeline, seed: int, sketched: bool) -> list[Layer]:
    """Return the layers of a film in the order in which they come in.

    Where the camera comes so near that a sketch has nothing more to show, the next seed's comes out of its middle.
    """
    film, layers = timeline.film, list[Layer]()
    for place, scene in enumerate(scenes):
        own = seed if scene.seed is None else scene.seed
        base = scene.at + scene.fade // 2
        layers.append(Layer(place, own, base, scene.at, scene.stop))
        following = scenes[place + 1].at if place + 1 < len(scenes) else timeline.count
        renews = sketched and film.renew and scene.image is None
        while renews:
            again = _renewed(layers[-1], timeline, following)
            if again is None:
                break
            layers.append(again)
    if film.loop and timeline.count > 1:
        begin = max(layers[-1].end, _closing(scenes, timeline))
        layers.append(
            Layer(0, layers[0].seed, timeline.count, min(begin, timeline.count - 1), timeline.count, closes=True)
        )
    return layers


def _closing(scenes: Sequence[Scene], timeline: Timeline) -> int:
    """Return the frame at which a loop begins to return: over the last of several scenes, else over a third."""
    last = scenes[-1]
    return last.stop if len(scenes) > 1 else timeline.count - max(timeline.count // 3, 1)


def _renewed(layer: Layer, timeline: Timeline, before: int) -> Layer | None:
    """Return the layer that takes over when the camera has come near; None if that is not before some frame."""
    limit, begin = timeline.film.renew, None
    for number, move in timeline.ways(layer.base, before - 1):
        near = nearness(move)
        if begin is None and near > limit**_EARLY and number >= layer.end:
            begin = number
        if begin is not None and near >= limit and number > begin:
            return Layer(layer.scene, layer.seed + 1, number, begin, number, from_middle=True)
    return None


def nearness(move: Tensor) -> float:
    """Return by how much a homography enlarges, along a side: the root of its determinant where it is affine.

    It is infinite where a number is too large to be held.
    """
    square = float(move[2, 2].square())
    enlarged = abs(float(torch.linalg.det(move[:2, :2]))) / square if square else math.inf
    return math.sqrt(enlarged) if math.isfinite(enlarged) else math.inf


@dataclass(frozen=True)
class Canvas:
    """A picture (1, 3, H, W) in [0, 1] of `scale` times the film's size, at which the camera looks."""

    picture: Tensor
    scale: float = 1.0

    def seen(self, move: Tensor, size: tuple[int, int], border: Border) -> Tensor | None:
        """Return what a camera sees, (1, 3, height, width), whose homography from the film's pixels is `move`.

        None where it is so near that it sees a single pixel, or so far away that all is one.
        """
        if not 1 / _NEAREST < nearness(move) < _NEAREST:
            return None
        shrink = torch.diag(torch.tensor([1 / self.scale, 1 / self.scale, 1.0], dtype=torch.float64))
        return warp(self.picture, move @ shrink, size, border)[0]
