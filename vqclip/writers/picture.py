"""Pictures written to PNG, JPEG and WebP files, whole or not at all."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from vqclip import atomic, images
from vqclip.errors import OutputError, one_line
from vqclip.types import Candidates
from vqclip.writers import metadata
from vqclip.writers.names import check_suffix

# pixels of a candidate on its sheet
_THUMBNAIL = 128
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def save_image(
    image: Image.Image,
    path: str | Path,
    record: Mapping[str, Any] | None,
    quality: int = 95,
    *,
    lossless: bool = False,
) -> Path:
    """Write `image` in the format that the ending of `path` names, replacing an earlier file atomically.

    `record` is the metadata (see `writers.metadata`); None leaves nothing at all, not even what `image` came with.
    `quality` (1 to 100) is that of JPEG and WebP; `lossless` WebP keeps every pixel. Raises UsageError for an unknown
    ending, OutputError if the file cannot be written.
    """
    path = Path(path)
    format = FORMATS[check_suffix(path, "image")]
    plain = image.convert("RGB")
    # Pillow would write the ICC profile and the comment of the file that an image was read from.
    plain.info.clear()
    options = {} if record is None else metadata.embed(record, format)
    if format != "PNG":
        options["quality"] = quality
    if format == "WEBP":
        options["lossless"] = lossless
    if format == "JPEG":
        options["subsampling"] = "4:4:4"
    # Encoded in memory first: Pillow hides the reason of a failed write ("encoder error -2").
    encoded = io.BytesIO()
    try:
        plain.save(encoded, format=format, **options)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {path} as {format}: {one_line(error)}; try .png") from error
    return atomic.write(path, lambda stream: stream.write(encoded.getbuffer()))


def candidates_sheet(candidates: Candidates, size: tuple[int, int]) -> Image.Image:
    """Return a sheet of what a prior proposed for a picture of `size` (width, height), best first, with the scores."""
    if candidates.pictures is None or candidates.scores is None:
        raise ValueError("these candidates have no pictures or scores to show: they were not kept")
    width, height = (max(round(side * _THUMBNAIL / max(size)), 1) for side in size)
    pictures = [images.cover(images.to_pil(picture), width, height) for picture in candidates.pictures]
    captions = [f"{place}: {score:.3f}" for place, score in enumerate(candidates.scores.tolist(), 1)]
    return images.contact_sheet(pictures, captions, math.ceil(math.sqrt(len(pictures))), _THUMBNAIL)
