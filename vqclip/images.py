"""Pictures on their way in and out of tensors: reading files safely, PIL to float and back, contact sheets.

Inside vqclip an image is a float tensor (B, 3, H, W) in [0, 1] of sRGB colors. Only this module and the writers
know PIL and uint8.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from vqclip.color_profiles import to_srgb
from vqclip.errors import UsageError, one_line

if TYPE_CHECKING:
    import torch

# Pillow opens more than forty formats, among them ones that start Ghostscript or had memory errors in their decoders.
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
MAX_PIXELS = 64_000_000
MAX_BYTES = 512 * 2**20
_PNG = b"\x89PNG\r\n\x1a\n"
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
# what one text of a PNG may unfold to in Pillow, what all may here, and after how many chunks nobody looks
_LONGEST_TEXT, _TEXTS, _MOST_CHUNKS = 2**20, 32 * 2**20, 100_000
# What Pillow's decoders are known to raise on damaged bytes.
DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, OverflowError, MemoryError, RuntimeError,
    struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


def read_image(path: str | Path) -> Image.Image:
    """Read a picture file as sRGB, upright (EXIF rotation applied) and with transparency laid on white.

    Reads the first frame of PNG, JPEG, WebP, AVIF, GIF, BMP and TIFF of up to 64 megapixels, any mode of 16 bits or
    less a channel, and converts colors by the ICC profile in it; a URL is never opened. Raises UsageError for
    everything else.
    """
    with open_image(path) as image, _damage_as_usage_error(path):
        image.load()
        rgb = _laid_on(to_srgb(_eight_bits(_upright(image))), "white").convert("RGB")
        rgb.info.clear()
        return rgb


def read_mask(path: str | Path) -> tuple[Image.Image, bool]:
    """Read a picture file as levels of gray (L), upright, and whether any of it is transparent, which counts as black.

    A profile is left out: levels of a mask are shares, not colors. Raises UsageError as `read_image` does.
    """
    with open_image(path) as image, _damage_as_usage_error(path):
        image.load()
        layer = _eight_bits(_upright(image))
        clear = layer.has_transparency_data and layer.convert("RGBA").getchannel("A").getextrema()[0] < 255
        levels = _laid_on(layer, "black").convert("L")
        levels.info.clear()
        return levels, clear


def read_cut_out(path: str | Path) -> Image.Image:
    """Read a picture file as RGBA, upright; what it shows through stays transparent. Otherwise as `read_image`."""
    with open_image(path) as image, _damage_as_usage_error(path):
        image.load()
        cut_out = to_srgb(_eight_bits(_upright(image))).convert("RGBA")
        cut_out.info.clear()
        return cut_out


@contextlib.contextmanager
def open_image(path: str | Path, formats: Sequence[str] = FORMATS) -> Iterator[Image.Image]:
    """Open a picture file without decoding its pixels: format, file size and pixel count are checked first.

    Raises UsageError for a file that is missing, too large, damaged or not a picture of `formats`.
    """
    with _open_file(Path(path)) as stream:
        with _damage_as_usage_error(path):
            try:
                image = Image.open(_without_long_texts(stream, path), formats=list(formats))
            except Image.UnidentifiedImageError:
                raise UsageError(f"{path} is not a picture that vqclip reads: give a {_listed(formats)} file") from None
        with image:
            _check_pixels(path, image.size)
            yield image


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


def _open_file(file: Path) -> BinaryIO:
    """Open an ordinary file of a sensible size; raise UsageError for anything else."""
    try:
        if not file.exists():
            raise UsageError(f"picture {file} does not exist: give the path of a file on this machine (no URL)")
        if not file.is_file():
            raise UsageError(f"{file} is a folder or a device, not a picture: give a {_listed(FORMATS)} file")
        size = file.stat().st_size
        if size == 0:
            raise UsageError(f"{file} is empty (0 bytes): give a {_listed(FORMATS)} file")
        if size > MAX_BYTES:
            raise UsageError(
                f"{file} has {size // 2**20} MiB, {MAX_BYTES // 2**20} are allowed: give a smaller picture"
            )
        return file.open("rb")
    except (OSError, ValueError) as error:  # no permission; a name that is too long or holds a NUL
        raise UsageError(f"cannot read picture {str(file)!r}: {one_line(error)}") from error


def _without_long_texts(stream: BinaryIO, path: str | Path) -> BinaryIO:
    """Return a stream of the same picture; of a PNG without texts that unfold to more than Pillow takes.

    Pillow calls such a file damaged, though its pixels, and what else it says, are fine. Raises UsageError for a color
    profile as long, without which colors would be others.
    """
    spans, room, place = [], _TEXTS, len(_PNG)
    if stream.read(len(_PNG)) == _PNG:
        for _ in range(_MOST_CHUNKS):
            length, kind = struct.unpack(">I4s", stream.read(8).rjust(8, b"\0"))
            if kind in _TEXT_CHUNKS:
                size = _unfolded(kind, stream.read(min(length, _LONGEST_TEXT + 1))) if room >= 0 else _TEXTS
                room -= size
                if size > _LONGEST_TEXT and kind == b"iCCP":
                    raise UsageError(f"{path} has a color profile of over 1 MB: convert it to sRGB first")
                if size > _LONGEST_TEXT or room < 0:
                    spans.append((place, place + 12 + length))
            elif not kind.isalpha():
                break
            place += 12 + length
            stream.seek(place)
    stream.seek(0)
    if not spans:
        return stream
    data = stream.read()
    starts, ends = [0, *(end for _, end in spans)], [*(start for start, _ in spans), len(data)]
    return io.BytesIO(b"".join(data[start:end] for start, end in zip(starts, ends, strict=True)))


def _unfolded(kind: bytes, data: bytes) -> int:
    """Return how long the text of a PNG's chunk is, or that it is longer than one may be."""
    _, _, rest = data.partition(b"\0")
    if kind == b"tEXt" or (kind == b"iTXt" and rest[:1] == b"\0"):
        return len(data)
    # after the name stand the method, of an iTXt also a flag, the language and the name in that
    packed = rest[2:].split(b"\0", 2)[-1] if kind == b"iTXt" else rest[1:]
    try:
        return len(zlib.decompressobj().decompress(packed, _LONGEST_TEXT + 1))
    except zlib.error:
        return len(data)


def _check_pixels(path: str | Path, size: tuple[int, int]) -> None:
    """Raise UsageError for a header that promises more pixels than a picture may have (decompression bombs)."""
    width, height = size
    if width * height > MAX_PIXELS:
        raise UsageError(
            f"{path} has {width}x{height} pixels, {MAX_PIXELS // 10**6} megapixels are allowed: scale it down first"
        )


@contextlib.contextmanager
def _damage_as_usage_error(path: str | Path) -> Iterator[None]:
    """Turn what Pillow raises on damaged bytes, its warning of decompression bombs included, into UsageError."""
    try:
        with warnings.catch_warnings():
            # Foreign EXIF makes Pillow warn about things that no reader of the picture can mend.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UsageError(
            f"{path} has too many pixels, {MAX_PIXELS // 10**6} megapixels are allowed: scale it down first"
        ) from error
    except DAMAGE as error:
        raise UsageError(
            f"cannot read picture {path} ({one_line(error)}): it is damaged or of an unusual kind; save it again as PNG"
        ) from error


def _upright(image: Image.Image) -> Image.Image:
    """Return `image` turned as its EXIF orientation says; damaged EXIF turns nothing."""
    with contextlib.suppress(*DAMAGE):
        return ImageOps.exif_transpose(image)
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return `image` with 8 bits a channel, no palette, and a transparent color as alpha; its profile stays."""
    info = {name: value for name, value in image.info.items() if name == "icc_profile"}
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips everything above 255.
        values = np.asarray(image).astype(np.uint32)
        plain = Image.fromarray(((values + 128) // 257).astype(np.uint8))
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            plain.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    elif image.mode in ("I", "F"):
        raise ValueError(f"32 bits a channel, mode {image.mode}")
    elif image.has_transparency_data:
        plain = image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
    else:
        plain = image.convert("L" if image.mode == "1" else image.mode if image.mode in ("L", "CMYK") else "RGB")
    plain.info = info
    return plain


def _laid_on(image: Image.Image, ground: str) -> Image.Image:
    """Return `image` without transparency, laid on a color."""
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, ground), layer).convert("RGB")


def _fitted(label: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    """Return `label` on one line, cut with dots to `width` pixels."""
    text = " ".join(label.split()).encode("latin-1", "replace").decode("latin-1")[:width]
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _listed(formats: Sequence[str]) -> str:
    return f"{', '.join(formats[:-1])} or {formats[-1]}"
