"""Reading what a run begins with from files: init image and mask, image prompts, the user's own things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from vqclip import images
from vqclip.config import Resolved
from vqclip.drawables.init_image import InitImage, padded
from vqclip.errors import UsageError
from vqclip.types import Notice
from vqclip.weights import files


def read_init_image(
    config: Resolved, factor: int, device: torch.device, outside: dict[str, dict[str, Any]], notices: list[Notice]
) -> InitImage:
    """Read what `init.image` and `init.mask` name, if they do, for a grid of `factor` pixels a cell.

    Names and hashes of the files are added to `outside`, what was resampled to `notices`. Raises UsageError for files
    that cannot be read, a mask without an image, and one that lets nothing change.
    """
    if config.init.image is None:
        if config.init.mask is not None:
            raise UsageError("a mask needs the picture it is laid on: give --init-image FILE")
        return InitImage()
    size = (config.size[0], config.size[1])
    given = read_outside(config.init.image, "init.image", outside)
    picture = images.cover(given, *size)
    image = padded(images.to_tensor(picture), factor).to(device)
    if config.init.mask is None:
        return InitImage(picture, image)
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
    return InitImage(picture, image, area, padded(images.to_tensor(area)[:, :1], factor).to(device))


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


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
