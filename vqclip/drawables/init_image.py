"""The picture that a run begins with, and the mask of what may change of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, interpolate, pad


@dataclass(frozen=True)
class InitImage:
    """An init image and maybe a mask, white where the picture may change, gray where old and new are blended.

    `picture` (RGB) and `area` (L) have the run's size in pixels; `image` (1, 3, H, W) and `mask` (1, 1, H, W) in
    [0, 1] are the same with their edges repeated up to the sides of the grid. Without a picture the object is empty
    and changes nothing.
    """

    picture: Image.Image | None = None
    image: Tensor | None = None
    area: Image.Image | None = None
    mask: Tensor | None = None

    def __bool__(self) -> bool:
        return self.image is not None

    def at(self, height: int, width: int) -> Tensor:
        """Return the init image (1, 3, height, width); ValueError if there is none."""
        if self.image is None:
            raise ValueError("there is no init image")
        return scaled(self.image, height, width, "bicubic")

    def composite(self, image: Tensor) -> Tensor:
        """Return pictures (B, 3, H, W) with everything outside the mask as it is in the init image."""
        if self.mask is None:
            return image
        height, width = image.shape[-2:]
        return torch.lerp(self.at(height, width), image, scaled(self.mask, height, width, "bilinear"))

    def cells(self, height: int, width: int) -> Tensor | None:
        """Return which cells (1, 1, height, width) of a grid the mask touches; None without a mask."""
        return None if self.mask is None else adaptive_max_pool2d(self.mask, (height, width)) > 0

    def finish(self, picture: Image.Image) -> Image.Image:
        """Return a composite of the run's size whose pixels outside the mask are exactly those of the init image."""
        if self.area is None or self.picture is None:
            return picture
        return Image.composite(picture, self.picture, self.area.point(lambda level: 255 if level else 0))


@dataclass(frozen=True)
class Beginning:
    """A picture that a run goes on from, as a film's frame goes on from the one before.

    `image` (1, 3, H, W) in [0, 1] has the run's size, or that of its grid; `known` (1, 1, H, W) in [0, 1] says where
    it shows what was there before, and `hold` how strongly the run is held to it there. `painted`, of the same shape,
    is what the run is led to beside the prompt, by the weight `init.paint`; None for nothing.
    """

    image: Tensor
    known: Tensor
    hold: float = 0.0
    painted: Tensor | None = None


def padded(image: Tensor, factor: int) -> Tensor:
    """Return an image with its edges repeated until `factor` divides its sides, so that the middle stays in place."""
    height, width = image.shape[-2:]
    more_height, more_width = -height % factor, -width % factor
    sides = (more_width // 2, more_width - more_width // 2, more_height // 2, more_height - more_height // 2)
    return pad(image, sides, mode="replicate")


def scaled(image: Tensor, height: int, width: int, mode: str) -> Tensor:
    """Return images (B, C, H, W) in [0, 1] at another side, antialiased; the same object if they have it already."""
    if image.shape[-2:] == (height, width):
        return image
    return interpolate(image, (height, width), mode=mode, antialias=True).clamp(0, 1)
