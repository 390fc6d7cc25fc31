"""Sketches as the first grid of a run: read from the prompts, laid out from drawings, painted in a style."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vqclip import images, prompts, seeding
from vqclip.config import Config, Resolved
from vqclip.drawables.init_image import InitImage
from vqclip.errors import UsageError, WeightsError
from vqclip.generation.init_image import read_own
from vqclip.precision import autocast
from vqclip.prompts import Prompt
from vqclip.sketch import asked
from vqclip.sketch.figures import Figures
from vqclip.sketch.layout import lay_out, within
from vqclip.sketch.memory import MemorySprites
from vqclip.sketch.own import OwnSprites, parse_like
from vqclip.types import Notice
from vqclip.words import Reading
from vqclip.world.composition import AllSprites, Composition, Painter
from vqclip.world.styles import ALL_STYLES, StyleContext

if TYPE_CHECKING:
    from vqclip.generation.models import Models

# sides of what is painted, in pixels: smaller and larger pictures are scaled
_LEAST, MOST_PAINTED = 16, 2048


@dataclass(frozen=True)
class Sketcher:
    """Draws the sketch of any seed of one run; the same seed gives the same sketch."""

    reading: Reading
    sprites: MemorySprites
    like_sprites: OwnSprites
    painter: Painter
    size: tuple[int, int]

    @classmethod
    def of(
        cls, config: Resolved, models: Models, outside: dict[str, dict[str, Any]], notices: list[Notice]
    ) -> Sketcher:
        """Return the sketcher of a resolved run; adds to `notices` what it cannot draw.

        Raises UsageError for files that are no pictures.
        """
        reading, like = asked.reading_of(config), parse_like(config.init.like)
        like_sprites = OwnSprites(
            {
                name: [read_own(path, f"init.like.{name}.{k}", outside) for k, path in enumerate(paths)]
                for name, paths in like.items()
            }
        )
        notices += [Notice(text) for text in reading.notices()]
        precision, vqgan = config.run.precision, models.vqgan  # networks that are loaded later are not this run's
        device = vqgan.device

        def decode(codes: Tensor) -> Tensor:
            with autocast(device.type, precision):
                return vqgan.decode(vqgan.codes(codes.to(device)))

        if models.memory is None:
            raise WeightsError("a sketch needs a memory: give --set models.memory=NAME or FILE before loading")
        sprites = MemorySprites(models.memory, decode)
        painter = Painter(AllSprites(like_sprites, sprites))
        return cls(reading, sprites, like_sprites, painter, (config.size[0], config.size[1]))

    def composition(self, seed: int) -> Composition:
        """Return the layout of a seed's sketch."""
        words = zlib.crc32(self.reading.text.encode("utf-8", "surrogatepass"))
        rng = np.random.default_rng([seeding.derive(seed, "sketch"), words])
        figures = Figures(self.sprites.subjects, self.like_sprites.names, self._extent, rng)
        laid_out = lay_out(self.reading, figures, rng, int(rng.integers(2**31)))
        return replace(within(laid_out, *self.size), style=self.reading.style)

    def picture(self, seed: int, plain: bool = False, scale: float = 1.0) -> Tensor:
        """Return the sketch of a seed, (1, 3, H, W) in [0, 1], of `scale` times the run's size.

        `plain` is without its style, whose strokes do not grow with the picture.
        """
        width, height = (round(length * scale) for length in self.size)
        composition = self.composition(seed)
        if plain:
            composition = replace(composition, style=None)
        side = max(width, height)
        painted = _tensor(self.painter.paint(composition, min(max(side, _LEAST), MOST_PAINTED)).picture)
        return images.crop_center(_enlarged(painted, side), width, height)

    def bleeding(self, seed: int, scale: int, margin: float) -> Tensor:
        """Return the sketch of a seed in its style, (1, 3, H, W), `scale` times the run's size, painted over its edges.

        The style goes on beyond each edge, by `margin` of the longer side, over what is mirrored there: where a style
        leaves a margin of paper, it is not seen.
        """
        width, height = (length * scale for length in self.size)
        composition, side = self.composition(seed), max(width, height)
        painted = self.painter.paint(replace(composition, style=None), min(max(side, _LEAST), MOST_PAINTED))
        if composition.style is None:
            return images.crop_center(_enlarged(_tensor(painted.picture), side), width, height)
        beyond = round(painted.picture.shape[0] * margin)
        around = ((beyond, beyond), (beyond, beyond))
        pixels = np.pad(painted.picture, (*around, (0, 0)), mode="symmetric").astype(np.float32) / 255
        covers = painted.coverage.max(0) if len(painted.coverage) else np.zeros(painted.picture.shape[:2], np.float32)
        covers = np.pad(covers, around, mode="symmetric")
        in_style = _painted(pixels, covers, composition.style, seeding.derive(seed, "bleeding"))
        inner = in_style[beyond:-beyond, beyond:-beyond] if beyond else in_style
        return images.crop_center(_enlarged(_tensor(inner), side), width, height)

    def guiding(self, prompt: Prompt, words: frozenset[str]) -> Prompt:
        """Return a prompt for a CLIP that knows only some words; one of negative weight stays as it is."""
        if prompt.weight <= 0:
            return prompt
        return dataclasses.replace(prompt, text=guiding_text(prompt.text, words, self.like_sprites.names))

    def _extent(self, name: str) -> tuple[float, float]:
        return self.like_sprites.extent(name) if name.startswith("own:") else self.sprites.extent(name)


def styled(config: Config) -> str | None:
    """Return the style that a run's prompts name, if it is one that the world's painter knows and may paint."""
    return asked.reading_of(config).style if config.models.memory else None


def paint_init_image(init_image: InitImage, style: str, seed: int, most: int = MOST_PAINTED) -> Tensor:
    """Return an init image (1, 3, H, W) as the world's painter paints it in a style, of its size.

    Raises UsageError for one of more than `most` pixels a side.
    """
    if init_image.image is None:
        raise ValueError("there is no init image to paint")
    height, width = init_image.image.shape[-2:]
    if max(height, width) > most:
        raise UsageError(f"a style is painted on pictures of up to {most} pixels a side: give a smaller --size")
    side = max(height, width)
    # styles paint squares: the shorter side is mirrored at its edges
    above, before = (side - height) // 2, (side - width) // 2
    pixels = init_image.image[0].permute(1, 2, 0).cpu().numpy()
    around = ((above, side - height - above), (before, side - width - before), (0, 0))
    square = np.pad(pixels, around, mode="symmetric").astype(np.float32)
    picture = _painted(square, np.zeros((side, side), np.float32), style, seeding.derive(seed, "painted"))
    return _tensor(picture[above : above + height, before : before + width])


def _painted(square: np.ndarray, covers: np.ndarray, style: str, seed: int) -> np.ndarray:
    """Return a square picture (S, S, 3) in [0, 1] as the world's painter paints it in a style, as bytes.

    `covers` (S, S) says where things stand, whose shapes a style may follow.
    """
    context = StyleContext(square.shape[0], np.random.default_rng([seed]), covers)
    painted: np.ndarray = np.clip(ALL_STYLES[style](square, context), 0.0, 1.0)
    return np.floor(painted * 255 + 0.5).astype(np.uint8)


def _enlarged(square: Tensor, side: int) -> Tensor:
    """Return a square picture (1, 3, S, S) of another side."""
    if square.shape[-1] == side:
        return square
    return interpolate(square, (side, side), mode="bicubic", antialias=True).clamp(0, 1)


def _tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def guiding_text(text: str, words: frozenset[str], like: Iterable[str]) -> str:
    """Return a prompt's text for a CLIP that knows only some `words`: the same without what it does not know.

    An empty set means that it knows any. `like` are the names of `--like`.
    """
    if not words:
        return text
    reading = asked.read_once(text, tuple(like))

    def knows(phrase: str | None) -> bool:
        return phrase is None or not prompts.unknown_words([prompts.Prompt(phrase)], words)

    if not prompts.unknown_words([prompts.Prompt(text)], words):
        return text
    nouns = tuple(
        dataclasses.replace(noun, count=1, size=None)
        for noun in reading.nouns
        if noun.kind != "own" and knows(noun.subject)
    )
    kept = dataclasses.replace(
        reading,
        nouns=nouns[:1],
        relations=(),
        season=None,
        weather=None,
        time=None,
        framing=None,
        setting=reading.setting if knows(reading.setting) else None,
        style=reading.style if knows(reading.style) else None,
    )
    caption = kept.caption().strip(", ")
    return f"a picture, {caption}" if not nouns and caption else caption or "a picture"
