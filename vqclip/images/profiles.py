"""Colors of a picture file by its ICC profile: everything inside vqclip, and everything it writes, is sRGB."""

from __future__ import annotations

import functools
import io
from typing import cast

import numpy as np
from PIL import Image, ImageCms

# mode of a picture's color channels by the profile's color space
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
# those of printing presses have up to some megabytes
LARGEST = 16 * 2**20
# what lcms and Pillow raise for a profile that is damaged or serves no conversion
_UNFIT = (ImageCms.PyCMSError, OSError, ValueError, TypeError, OverflowError)
# a profile that moves no color by more than so many levels is sRGB, whatever its name
_TOLERANCE = 2


def to_srgb(image: Image.Image) -> Image.Image:
    """Return a picture (L, LA, RGB, RGBA or CMYK, 8 bits) in sRGB by the ICC profile that it carries; alpha stays.

    Colors are kept where sRGB has them (relative colorimetric, with black point compensation). Without a profile, with
    one that is damaged or of another color space, and with one that is sRGB already, the picture is as it was.
    """
    data = image.info.get("icc_profile")
    if not isinstance(data, bytes) or not 0 < len(data) <= LARGEST:
        return image
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    color = image if alpha is None else image.convert(image.mode[:-1])
    try:
        transform = _transform(data, color.mode)
        if transform is None:
            return image
        converted = cast("Image.Image", ImageCms.applyTransform(color, transform))  # none only of one in place
    except _UNFIT:
        return image
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


@functools.lru_cache(maxsize=8)
def _transform(data: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the conversion from a profile to sRGB; None if it does not fit the mode, or changes nothing."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    if _MODES.get(profile.profile.xcolor_space.strip()) != mode:
        return None
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", intent, flags)
    if mode == "CMYK":
        return transform
    probe = _probe(mode)
    moved = np.asarray(ImageCms.applyTransform(probe, transform), int) - np.asarray(probe.convert("RGB"), int)
    return transform if np.abs(moved).max() > _TOLERANCE else None


def _probe(mode: str) -> Image.Image:
    """Return a picture of colors from all over a mode's range."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), -1).reshape(27, 27, 3))
