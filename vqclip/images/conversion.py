"""From pictures to tensors and back, and to other sizes.

Inside vqclip an image is a float tensor (B, 3, H, W) in [0, 1] of sRGB colors. Only `vqclip.images`, the writers and
the world know PIL and bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    import torch


def to_tensor(image: Image.Image) -> torch.Tensor:
    """Return an image as a float32 tensor (1, 3, H, W) in [0, 1]."""
    import torch

    pixels = torch.from_numpy(np.array(image.convert("RGB")))
    return pixels.permute(2, 0, 1).unsqueeze(0).float().div_(255)


def to_uint8(tensor: torch.Tensor) -> np.ndarray:
    """Return a batch (B, 3, H, W) in [0, 1] as bytes (B, H, W, 3): clamped, rounded half up, NaN as 0."""
    if tensor.dim() != 4 or tensor.shape[1] != 3:
        raise ValueError(f"an image batch has the shape (B, 3, H, W), not {tuple(tensor.shape)}")
    levels = tensor.detach().cpu().float().nan_to_num(nan=0.0).clamp(0, 1).mul(255).add(0.5).floor()
    return np.ascontiguousarray(levels.byte().permute(0, 2, 3, 1).numpy())


def to_pil(tensor: torch.Tensor) -> Image.Image:
    """Return one image (3, H, W) or (1, 3, H, W) in [0, 1] as PIL RGB."""
    batch = tensor.unsqueeze(0) if tensor.dim() == 3 else tensor
    if batch.shape[0] != 1:
        raise ValueError(f"one image has the shape (3, H, W) or (1, 3, H, W), not {tuple(tensor.shape)}")
    return Image.fromarray(to_uint8(batch)[0])


def cover(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return `image` resized (Lanczos) to cover width x height pixels, the overhang cut off evenly on both sides."""
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def crop_center(tensor: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Return the middle width x height pixels of a tensor (..., H, W); of an odd rest, the larger part goes right."""
    full_height, full_width = tensor.shape[-2:]
    if width > full_width or height > full_height:
        raise ValueError(f"cannot crop {width}x{height} out of {full_width}x{full_height} pixels")
    top, left = (full_height - height) // 2, (full_width - width) // 2
    return tensor[..., top : top + height, left : left + width]


def frames(tensor: torch.Tensor, width: int, height: int) -> list[Image.Image]:
    """Return images (B, 3, H, W) in [0, 1] as pictures of width x height pixels: enlarged to cover that, then cropped.

    Pictures already large enough are only cropped, so no pixel of them changes.
    """
    pictures = [Image.fromarray(array) for array in to_uint8(tensor)]
    if tensor.shape[-1] >= width and tensor.shape[-2] >= height:
        left, top = (tensor.shape[-1] - width) // 2, (tensor.shape[-2] - height) // 2
        return [picture.crop((left, top, left + width, top + height)) for picture in pictures]
    return [cover(picture, width, height) for picture in pictures]
