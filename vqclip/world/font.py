"""The colour emoji font: where it lies and the glyph pictures it holds."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vqclip.errors import UsageError

FONT_VARIABLE = "VQCLIP_FONT"
FONT_NAMES = ("NotoColorEmoji.ttf", "NotoColorEmoji-Regular.ttf")
# the only bitmap size ("strike") in Noto Color Emoji's CBDT table
STRIKE = 109
_CANVAS = 176  # pixels a side, with room around a glyph
# how many missing glyphs an error message lists
_NAMED = 12
_UNASSIGNED = "\U0010fffd"


def font_folders() -> list[Path]:
    """The usual font folders of this system, the user's own first."""
    home = Path.home()
    if sys.platform == "darwin":
        return [home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts")]
    data = os.environ.get("XDG_DATA_HOME")
    user = [Path(data) / "fonts"] if data else []
    shared = [Path("/usr/local/share/fonts"), Path("/usr/share/fonts")]
    return [*user, home / ".local/share/fonts", home / ".fonts", *shared]


def find_font(path: Path | str | None = None, folders: Iterable[Path] | None = None) -> Path:
    """Find Noto Color Emoji: `path` if given, else $VQCLIP_FONT, else the first hit in the font folders.

    Raises UsageError when it is not there.
    """
    asked = path or os.environ.get(FONT_VARIABLE)
    if asked:
        if Path(asked).is_file():
            return Path(asked)
        origin = "--font" if path else f"${FONT_VARIABLE}"
        raise UsageError(f"no font file at {asked} (given by {origin})")
    for folder in font_folders() if folders is None else folders:
        for name in FONT_NAMES:
            hit = next(iter(sorted(Path(folder).rglob(name))), None) if Path(folder).is_dir() else None
            if hit is not None:
                return hit
    raise UsageError(
        "the font Noto Color Emoji was not found: install the Debian package fonts-noto-color-emoji, "
        f"or name the file NotoColorEmoji.ttf with --font or ${FONT_VARIABLE}"
    )


def load_glyphs(path: Path, emoji: Mapping[str, str]) -> dict[str, Image.Image]:
    """Draw every emoji (name -> emoji) as an RGBA picture, cropped to its ink.

    Raises UsageError when the file is no bitmap colour font, or naming what it holds no glyph for.
    """
    try:
        # given a path it cannot read, PIL silently takes a system font of the same name; bytes leave it no choice
        font = ImageFont.truetype(BytesIO(Path(path).read_bytes()), STRIKE)
    except OSError as error:
        raise UsageError(f"{path} is no usable colour emoji font with {STRIKE} px bitmaps: {error}") from error
    blank = _glyph(font, _UNASSIGNED).tobytes()
    glyphs: dict[str, Image.Image] = {}
    missing: list[str] = []
    for name, text in emoji.items():
        picture = _glyph(font, text)
        box = picture.getbbox()
        if box is None or picture.tobytes() == blank:
            missing.append(name)
        else:
            glyphs[name] = picture.crop(box)
    if missing:
        rest = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise UsageError(f"{path} has no glyph for: {', '.join(missing[:_NAMED])}{rest}")
    return glyphs


def _glyph(font: ImageFont.FreeTypeFont, text: str) -> Image.Image:
    picture = Image.new("RGBA", (_CANVAS, _CANVAS))
    ImageDraw.Draw(picture).text((12, 12), text, font=font, embedded_color=True)
    return picture
