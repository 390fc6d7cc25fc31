"""What an eye forgives in a picture: slight blur, grain, compression, another exposure.

The judge learns from pictures so changed too (after Hendrycks and Dietterich 2019, "common corruptions"). Without them
it took a woodcut for one only if the finest differences between its pixels were those of a render.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter


def degrade(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a picture, uint8 (H, W, 3), changed at random, but never so much that an eye would name it otherwise."""
    side = picture.shape[0]
    image = Image.fromarray(picture)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        if rng.random() < 0.3:
            image = enhance(image).enhance(rng.uniform(0.8, 1.2))
    if rng.random() < 0.3:
        smaller = round(side / rng.uniform(1.2, 2.2))
        image = image.resize((smaller, smaller), Image.Resampling.BOX).resize(
            (side, side), Image.Resampling.BILINEAR if rng.random() < 0.5 else Image.Resampling.BICUBIC
        )
    elif rng.random() < 0.7:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    if rng.random() < 0.4:
        noisy = np.asarray(image, np.float32) + rng.normal(0, rng.uniform(1, 12), picture.shape)
        image = Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))
    if rng.random() < 0.4:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(25, 90)))
        image = Image.open(buffer)
    return np.asarray(image.convert("RGB"))
