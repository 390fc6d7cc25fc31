"""EXIF's UserComment: written as the standard has it, read in the forms that others write.

The value begins with eight bytes that name the character code (EXIF 2.32, 4.6.5, table 9). Behind `UNICODE` stands
UTF-16, whose byte order the standard leaves open; some programs put UTF-8 there, and some write no code at all.
"""

from __future__ import annotations

import contextlib
import re
import struct
import unicodedata
import warnings

from PIL import Image

from vqclip.images import DAMAGE

# in bytes; a JPEG segment holds 65 535, of which the rest of the block takes some
MAX_BYTES = 40_000
_MAX_READ = 2 * 2**20  # bytes of one entry
_EXIF_IFD, _EXIF_VERSION, _USER_COMMENT = 0x8769, 0x9000, 0x9286
# types of EXIF's fields
_LONG, _UNDEFINED = 4, 7
_UNICODE = b"UNICODE\0"
_CODES = {b"ASCII\0\0\0": "", _UNICODE: "utf-16", b"JIS\0\0\0\0\0": "iso2022_jp", b"\0" * 8: ""}
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_UNUSED = ("Cc", "Cn", "Co", "Cs")
# the replacement character, and ideographs that no modern language needs
_RARE = re.compile("[\ufffd\u3400-\u4dbf]")
_KANA = re.compile(r"[\u3000-\u30ff\uff00-\uffef\s]+")


def exif_block(text: str) -> bytes:
    """Return the EXIF block, with its `Exif` mark, whose UserComment is `text`, which has no lone surrogates.

    Pillow writes the field as BYTE; the standard has UNDEFINED, and readers built on piexif take nothing else.
    """
    value = _UNICODE + text.encode("utf-16-be")
    # Header, the first directory with one field that points to the second, which begins at 26 and has two.
    first = struct.pack(">HHHIII", 1, _EXIF_IFD, _LONG, 1, 26, 0)
    second = struct.pack(
        ">HHHI4sHHIII", 2, _EXIF_VERSION, _UNDEFINED, 4, b"0232", _USER_COMMENT, _UNDEFINED, len(value), 56, 0
    )
    return b"Exif\0\0" + b"MM\0*" + struct.pack(">I", 8) + first + second + value


def read_comment(image: Image.Image) -> str | None:
    """Return the UserComment of an open picture; None if there is none, or none that can be read as text."""
    value, little = None, False
    with contextlib.suppress(*DAMAGE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exif = image.getexif()
        little = exif.endian == "<"
        value = exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT)
    if isinstance(value, str):
        return value if len(value) <= _MAX_READ else None
    if not isinstance(value, bytes) or len(value) > _MAX_READ:
        return None
    return decode(value, little) or None


def decode(value: bytes, little: bool = False) -> str | None:
    """Return the text of a UserComment, of a file whose numbers are `little` endian or not; None if it is no text."""
    code = _CODES.get(value[:8])
    body = value if code is None else value[8:]
    if code == "iso2022_jp":
        with contextlib.suppress(UnicodeDecodeError):
            return body.decode("iso2022_jp").rstrip("\0 ")
    wide = _utf16(body, little)
    plain = _utf8(body)
    if code == "utf-16":
        # Two kana in a row could be read as letters, never the other way round.
        return wide if plain is None or (wide is not None and _KANA.fullmatch(wide)) else plain
    return plain if plain is not None else wide


def _utf8(body: bytes) -> str | None:
    """Return bytes as UTF-8 without marks and padding; None if they are none, or hold control characters."""
    with contextlib.suppress(UnicodeDecodeError):
        text = body.removeprefix(b"\xef\xbb\xbf").rstrip(b"\0 ").decode("utf-8")
        return None if _CONTROL.search(text) else text
    return None


def _utf16(body: bytes, little: bool) -> str | None:
    """Return bytes as UTF-16 of the byte order that makes the more likely text; None if neither makes any."""
    for mark, name in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if body.startswith(mark):
            return body[2:].decode(name, "replace").rstrip("\0 ")
    names = ("utf-16-le", "utf-16-be") if little else ("utf-16-be", "utf-16-le")
    texts = [body[: len(body) // 2 * 2].decode(name, "replace").rstrip("\0 ") for name in names]
    latin = [sum(c.isascii() for c in text) for text in texts]
    # the line of settings is in ASCII, whatever the prompt is in
    sure = [text for text, count, other in zip(texts, latin, latin[::-1], strict=True) if count > 4 * other + 8]
    best = sure[0] if sure else min(texts, key=_oddity)
    return None if _CONTROL.search(best) else best


def _oddity(text: str) -> tuple[float, int, int]:
    """Return how unlikely it is that people wrote a text; less is likelier.

    Counted are the share of characters that hardly anybody uses, the number of blocks of 256 that the text is from,
    and the number of scripts: with its bytes swapped, a text of few blocks is spread over many.
    """
    sample = text[:2000]
    odd = sum(unicodedata.category(c) in _UNUSED and c not in "\t\n\r" for c in sample)
    odd += len(_RARE.findall(sample))
    scripts = {unicodedata.name(c, "").partition(" ")[0] for c in sample if c.isalpha()}
    return odd / max(len(sample), 1), len({ord(c) >> 8 for c in sample}), len(scripts)
