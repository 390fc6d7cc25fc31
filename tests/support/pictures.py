"""Pictures to begin with, and how two are compared."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def sha(image: Image.Image | Path | str) -> str:
    """Return a hash of a picture's size and pixels, whatever its metadata."""
    if not isinstance(image, Image.Image):
        with Image.open(image) as opened:
            image = opened.convert("RGB")
    return hashlib.sha256(f"{image.size}".encode() + image.convert("RGB").tobytes()).hexdigest()


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the norm of the difference relative to that of `b`."""
    return float((a - b).norm() / b.norm())


def photo(path: Path, size: tuple[int, int] = (64, 64)) -> Path:
    """Write a picture with a red disc on a gradient and return its path."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]] / max(size)
    disc = (x - 0.4) ** 2 + (y - 0.5) ** 2 < 0.08
    pixels = np.stack([np.where(disc, 0.9, x), np.where(disc, 0.1, y), np.where(disc, 0.1, 0.6)], -1)
    Image.fromarray((pixels * 255).astype(np.uint8)).save(path)
    return path
