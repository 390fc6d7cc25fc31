"""Picture files, read safely: known formats, bounded sizes, damage told in one line."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vqclip.errors import UsageError, one_line
from vqclip.images.profiles import to_srgb

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
        least: Any = layer.convert("RGBA").getchannel("A").getextrema()[0] if layer.has_transparency_data else 255
        clear = least < 255
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
            except UnidentifiedImageError:
                raise UsageError(f"{path} is not a picture that vqclip reads: give a {_listed(formats)} file") from None
        with image:
            _check_pixels(path, image.size)
            yield image


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
    info: dict[str | tuple[int, int], Any] = {
        name: value for name, value in image.info.items() if name == "icc_profile"
    }
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


def _listed(formats: Sequence[str]) -> str:
    return f"{', '.join(formats[:-1])} or {formats[-1]}"
