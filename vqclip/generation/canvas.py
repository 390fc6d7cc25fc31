"""The picture that a run begins with, and the mask of what may change of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, interpolate, pad

from vqclip import images
from vqclip.config import Config
from vqclip.errors import UsageError
from vqclip.types import Notice
from vqclip.weights import files


@dataclass(frozen=True)
class Canvas:
    """An init image and maybe a mask, white where the picture may change, gray where old and new are blended.

    `picture` (RGB) and `area` (L) have the run's size in pixels; `image` (1, 3, H, W) and `mask` (1, 1, H, W) in
    [0, 1] are the same with their edges repeated up to the sides of the latent grid.
    """

    picture: Image.Image
    image: Tensor
    area: Image.Image | None = None
    mask: Tensor | None = None

    def at(self, height: int, width: int) -> Tensor:
        """Return the init image (1, 3, height, width)."""
        return scaled(self.image, height, width, "bicubic")

    def composite(self, image: Tensor) -> Tensor:
        """Return pictures (B, 3, H, W) with everything outside the mask as it is in the init image."""
        if self.mask is None:
            return image
        side = image.shape[-2:]
        return torch.lerp(self.at(*side), image, scaled(self.mask, *side, "bilinear"))

    def cells(self, height: int, width: int) -> Tensor | None:
        """Return which cells (1, 1, height, width) of a grid the mask touches; None without a mask."""
        return None if self.mask is None else adaptive_max_pool2d(self.mask, (height, width)) > 0

    def finish(self, picture: Image.Image) -> Image.Image:
        """Return a composite of the run's size whose pixels outside the mask are exactly those of the init image."""
        if self.area is None:
            return picture
        return Image.composite(picture, self.picture, self.area.point(lambda level: 255 if level else 0))


def read_canvas(
    config: Config, factor: int, device: torch.device, outside: dict[str, dict[str, Any]], notices: list[Notice]
) -> Canvas | None:
    """Read what `init.image` and `init.mask` name, for a grid of `factor` pixels a cell; None if they name nothing.

    Names and hashes of the files are added to `outside`, what was resampled to `notices`. Raises UsageError for files
    that cannot be read, a mask without an image, and one that lets nothing change.
    """
    if config.init.image is None:
        if config.init.mask is not None:
            raise UsageError("a mask needs the picture it is laid on: give --init-image FILE")
        return None
    size = (config.size[0], config.size[1])
    given = read_outside(config.init.image, "init.image", outside)
    picture = images.cover(given, *size)
    image = padded(images.to_tensor(picture), factor).to(device)
    if config.init.mask is None:
        return Canvas(picture, image)
    if given.size != size:
        notices.append(Notice(f"the init image was resampled from {_by(given.size)} to {_by(size)} pixels"))
    mask, clear = images.read_mask(config.init.mask)
    _note_outside(config.init.mask, "init.mask", outside)
    if clear:
        notices.append(Notice("where the mask is transparent it counts as black: the picture stays as it is there"))
    if mask.size != given.size:
        sizes = f"the mask has {_by(mask.size)} pixels, the init image {_by(given.size)}"
        notices.append(Notice(f"{sizes}: it was resized to cover the picture"))
    area = images.cover(mask, *size)
    darkest, brightest = area.getextrema()
    if not brightest:
        raise UsageError(f"the mask {config.init.mask} is black, nothing may change: paint white what is to be drawn")
    if darkest:
        notices.append(Notice("the mask covers the whole picture: no pixel is sure to stay as it is"))
    return Canvas(picture, image, area, padded(images.to_tensor(area)[:, :1], factor).to(device))


def read_outside(path: str, key: str, outside: dict[str, dict[str, Any]]) -> Image.Image:
    """Read a picture from outside and note its base name and sha256 under the config's key."""
    picture = images.read_image(path)
    _note_outside(path, key, outside)
    return picture


def read_own(path: str, key: str, outside: dict[str, dict[str, Any]]) -> Image.Image:
    """Read a picture from outside with its transparency and note its base name and sha256 under a key."""
    picture = images.read_cut_out(path)
    _note_outside(path, key, outside)
    return picture


def _note_outside(path: str, key: str, outside: dict[str, dict[str, Any]]) -> None:
    outside[key] = {"name": Path(path).name, "sha256": files.sha256(Path(path))}


def padded(image: Tensor, factor: int) -> Tensor:
    """Return an image with its edges repeated until `factor` divides its sides, so that the middle stays in place."""
    height, width = image.shape[-2:]
    more_height, more_width = -height % factor, -width % factor
    sides = (more_width // 2, more_width - more_width // 2, more_height // 2, more_height - more_height // 2)
    return pad(image, sides, mode="replicate")


def scaled(image: Tensor, height: int, width: int, mode: str) -> Tensor:
    if image.shape[-2:] == (height, width):
        return image
    return interpolate(image, (height, width), mode=mode, antialias=True).clamp(0, 1)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
