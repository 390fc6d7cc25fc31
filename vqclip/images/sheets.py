"""Contact sheets: many pictures on one, each above its caption."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

_THUMBNAIL = 192


def contact_sheet(images: Sequence[Image.Image], captions: Sequence[str], columns: int, cell: int) -> Image.Image:
    """Return `images` on one white sheet, `columns` in a row, each in a square of `cell` pixels above its caption.

    Captions that are too wide are cut; characters that Pillow's own font lacks become "?". Give as many captions as
    images, or none.
    """
    if not images or columns < 1 or cell < 1:
        raise ValueError("a contact sheet needs at least one image, one column and one pixel a cell")
    labels = list(captions) or [""] * len(images)
    font, gap, line = ImageFont.load_default(), 4, 16 if captions else 0
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (cell + gap) + gap, rows * (cell + line + gap) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        left, top = gap + index % columns * (cell + gap), gap + index // columns * (cell + line + gap)
        thumbnail = ImageOps.contain(image.convert("RGB"), (cell, cell), Image.Resampling.LANCZOS)
        sheet.paste(thumbnail, (left + (cell - thumbnail.width) // 2, top + (cell - thumbnail.height) // 2))
        draw.text((left, top + cell + 2), _fitted(label, font, cell), fill="black", font=font)
    return sheet


def storyboard(frames: Sequence[Image.Image], labels: Sequence[str], columns: int | None = None) -> Image.Image:
    """Return a sheet of thumbnails of a film's frames, row by row, each above its label, such as its time.

    Thumbnails are at most 192 pixels a side. Without `columns` the sheet is about half as wide again as it is high.
    Raises ValueError if there are no frames, or not as many labels as frames.
    """
    if not frames or len(labels) != len(frames):
        raise ValueError(f"a storyboard needs frames and as many labels, not {len(frames)} and {len(labels)}")
    cell = min(_THUMBNAIL, max(max(frame.size) for frame in frames))
    wanted = columns or round(math.sqrt(1.5 * len(frames)))
    return contact_sheet(frames, labels, min(max(wanted, 1), len(frames)), cell)


def _fitted(label: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    """Return `label` on one line, cut with dots to `width` pixels."""
    text = " ".join(label.split()).encode("latin-1", "replace").decode("latin-1")[:width]
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
