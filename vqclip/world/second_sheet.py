"""The contact sheet of the second world: every setting in every season, weather and time of day, and all styles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vqclip.world.atmosphere import SEASONS, TIMES, WEATHERS, before, behind
from vqclip.world.backgrounds import ALL_SETTINGS, paint, standing
from vqclip.world.fields import blur, to_image
from vqclip.world.renderer import Renderer
from vqclip.world.scene import Scene
from vqclip.world.styles import ALL_STYLES, StyleContext

_GAP = 3
_LABEL = 13
_SIDE = 92
_Air = tuple[str | None, str | None, str | None]
AIRS: tuple[_Air, ...] = (
    (None, None, None),
    *((season, None, None) for season in SEASONS),
    *((None, weather, None) for weather in WEATHERS),
    *((None, None, time) for time in TIMES),
)


def scene_picture(
    renderer: Renderer, subject: str, setting: str, air: _Air, size: int, seed: int = 3, scale: float = 0.44
) -> tuple[np.ndarray, np.ndarray]:
    """A subject standing in a setting: the picture (size, size, 3) and the subject's coverage (size, size)."""
    place = paint(setting, size, np.random.default_rng((seed, 1)))
    picture = behind(place.picture, np.random.default_rng((seed, 2)), *air, setting=setting, sky=place.sky)
    far, near = standing(setting)
    feet = 0.4 * far + 0.6 * near
    color, coverage = renderer.cut_out(Scene(subject=subject, x=0.5, y=feet - 0.5 * scale, scale=scale), size)
    shadow = np.roll(blur(coverage, 0.02), size // 50, axis=0) * (1.0 - coverage)
    picture = picture * (1.0 - np.float32(0.25) * shadow[..., None]) * (1.0 - coverage[..., None]) + color
    return before(picture, coverage, np.random.default_rng((seed, 3)), *air, setting=setting), coverage


def air_rows(renderer: Renderer, size: int, seed: int = 3) -> list[list[np.ndarray]]:
    """One row for every setting: as it is, then in every season, weather and time of day."""
    return [[scene_picture(renderer, "dog", setting, air, size, seed)[0] for air in AIRS] for setting in ALL_SETTINGS]


def style_row(renderer: Renderer, size: int, subject: str = "cat", setting: str = "in a meadow") -> list[np.ndarray]:
    """One scene in all fifteen styles."""
    picture, coverage = scene_picture(renderer, subject, setting, AIRS[0], size, scale=0.72)
    context = [StyleContext(size, np.random.default_rng((3, 4)), coverage) for _ in ALL_STYLES]
    return [style(picture, about) for style, about in zip(ALL_STYLES.values(), context, strict=True)]


def second_sheet(renderer: Renderer, size: int = 72) -> Image.Image:
    """The whole sheet: settings by season, weather and time, then the styles in rows of the same width."""
    rows = air_rows(renderer, size)
    heads = [next((name for name in air if name), "(none)") for air in AIRS]
    styles, names = style_row(renderer, size), list(ALL_STYLES)
    across = len(AIRS)
    blocks = [styles[start : start + across] for start in range(0, len(styles), across)]
    pitch = size + _GAP
    height = _LABEL + len(rows) * pitch + len(blocks) * (pitch + _LABEL) + _GAP
    page = Image.new("RGB", (_SIDE + across * pitch + _GAP, height), (255, 255, 255))
    pen = ImageDraw.Draw(page)
    _labels(pen, heads, 0, size)
    for i, row in enumerate(rows):
        top = _LABEL + i * pitch
        pen.text((4, top + size // 2), list(ALL_SETTINGS)[i], fill=(40, 40, 40), font=_font(), anchor="lm")
        _pictures(page, row, top, pitch)
    for k, block in enumerate(blocks):
        top = _LABEL + len(rows) * pitch + k * (pitch + _LABEL)
        _labels(pen, names[k * across : (k + 1) * across], top, size)
        _pictures(page, block, top + _LABEL, pitch)
    return page


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(10)


def _labels(pen: ImageDraw.ImageDraw, texts: Sequence[str], top: int, size: int) -> None:
    for j, text in enumerate(texts):
        pen.text((_SIDE + j * (size + _GAP) + size // 2, top + 1), text, fill=(40, 40, 40), font=_font(), anchor="ma")


def _pictures(page: Image.Image, row: Sequence[np.ndarray], top: int, pitch: int) -> None:
    for j, picture in enumerate(row):
        page.paste(to_image(picture), (_SIDE + j * pitch, top))
