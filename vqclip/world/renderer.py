"""Paint scenes: ground, shadow, halo, subject, light, style."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from vqclip.errors import UsageError
from vqclip.world.backgrounds import ground, landscape
from vqclip.world.fields import blur, luma, resize_field, resize_picture
from vqclip.world.font import find_font, load_glyphs
from vqclip.world.model import World, load_world
from vqclip.world.scene import Scene
from vqclip.world.shapes import shape_mask
from vqclip.world.styles import STYLES, StyleContext

# streams of random numbers, one per stage: changing one attribute of a scene leaves the other stages alone
_GROUND, _OBJECT, _STYLE = 11, 22, 33
_SMALLEST = 16


def _pyramid(picture: Image.Image) -> list[Image.Image]:
    """A square picture at half-octave steps, largest first, with a transparent margin of 1/8 on every side."""
    side = math.ceil(max(picture.size) * 1.25)
    square = Image.new(picture.mode, (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    levels = [square]
    while levels[-1].width > 28:
        edge = round(side / 2 ** (len(levels) / 2))
        levels.append(square.resize((edge, edge), Image.Resampling.LANCZOS))
    return levels


class Renderer:
    """Renders the scenes of one world with one emoji font. Holds the glyphs; rendering itself keeps no state."""

    def __init__(self, font: Path | str | None = None, world: World | None = None) -> None:
        """Load the glyphs of `world` (default: the bundled one).

        Raises UsageError when the font is not found or lacks a glyph.
        """
        self.world = world if world is not None else load_world()
        self.font = find_font(font)
        glyphs = load_glyphs(self.font, {name: subject.emoji for name, subject in self.world.subjects.items()})
        # "RGBa" (premultiplied) so that scaling does not mix in the colour of transparent pixels
        self._glyphs = {name: _pyramid(glyph.convert("RGBa")) for name, glyph in glyphs.items()}
        self._masks = {name: _pyramid(shape_mask(name)) for name in self.world.shapes}

    def render(self, scene: Scene, size: int = 64) -> np.ndarray:
        """Paint `scene`: (size, size, 3) uint8. The same scene and size always give the same bytes.

        Raises UsageError for a name that is not of this world or a size below 16.
        """
        self._check(scene, size)
        picture = self._ground(scene, size)
        color, coverage = self._object(scene, size)
        picture = _compose(picture, color, coverage)
        picture = _light(picture, scene)
        if scene.style is not None:
            context = StyleContext(size, np.random.default_rng((scene.seed, _STYLE)), coverage)
            picture = STYLES[scene.style](np.clip(picture, 0.0, 1.0), context)
        return (np.clip(picture, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)

    def cut_out(self, scene: Scene, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The scene's subject or shape on nothing: premultiplied colour (size, size, 3) and coverage (size, size).

        Raises UsageError as `render` does.
        """
        self._check(scene, size)
        return self._object(scene, size)

    def _check(self, scene: Scene, size: int) -> None:
        world = self.world
        known = (
            ("subject", scene.subject, world.subjects),
            ("shape", scene.shape, world.shapes),
            ("color", scene.color, world.colors),
            ("setting", scene.setting, world.settings),
            ("background", scene.background, world.colors),
            ("style", scene.style, world.styles),
        )
        for kind, name, names in known:
            if name is not None and name not in names:
                raise UsageError(f"unknown {kind} {name!r}")
        if (scene.subject is None) == (scene.shape is None) or (scene.shape is not None and scene.color is None):
            raise UsageError("a scene needs a subject, or a shape and its color")
        if size < _SMALLEST:
            raise UsageError(f"a picture needs at least {_SMALLEST} pixels a side, not {size}")

    def _ground(self, scene: Scene, size: int) -> np.ndarray:
        rng = np.random.default_rng((scene.seed, _GROUND))
        if scene.setting is not None:
            return landscape(scene.setting, size, rng)
        return ground(None if scene.background is None else self.world.colors[scene.background], size, rng)

    def _object(self, scene: Scene, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Premultiplied colour (size, size, 3) and coverage (size, size) of the subject or shape, in place."""
        if scene.subject is not None:
            warped = np.asarray(_place(self._glyphs[scene.subject], scene, size), dtype=np.float32) / np.float32(255)
            return _rotate_hue(warped[..., :3], scene.hue), warped[..., 3]
        coverage = np.asarray(_place(self._masks[scene.shape], scene, size), dtype=np.float32) / np.float32(255)
        rng = np.random.default_rng((scene.seed, _OBJECT))
        color = np.array(self.world.colors[scene.color], dtype=np.float32) / 255
        color = np.clip(color + rng.normal(0.0, 0.02, 3), 0.0, 1.0).astype(np.float32)
        return coverage[..., None] * color, coverage


def _place(levels: list[Image.Image], scene: Scene, size: int) -> Image.Image:
    """Scale, turn and flip the fitting pyramid level onto an empty (size, size) picture."""
    wanted = scene.scale * size * 1.25
    level = next((one for one in reversed(levels) if one.width >= wanted), levels[0])
    ratio = level.width / wanted
    angle = math.radians(scene.angle)
    cos, sin = math.cos(angle) * ratio, math.sin(angle) * ratio
    mirror = -1.0 if scene.flip else 1.0
    cx, cy, half = scene.x * size, scene.y * size, level.width / 2
    # the inverse map: picture pixel -> glyph pixel
    a, b, d, e = mirror * cos, -mirror * sin, sin, cos
    matrix = (a, b, half - a * cx - b * cy, d, e, half - d * cx - e * cy)
    return level.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


def _rotate_hue(color: np.ndarray, degrees: float) -> np.ndarray:
    """Turn colours about the grey axis (linear, so it works on premultiplied colours too)."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    third, root = (1.0 - cos) / 3.0, sin / math.sqrt(3.0)
    matrix = np.full((3, 3), third) + cos * np.eye(3)
    matrix += root * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return color @ matrix.T.astype(np.float32)


def _compose(picture: np.ndarray, color: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """Lay the object over the ground with a soft shadow, and a halo where the two would be hard to tell apart."""
    alpha = coverage[..., None]
    near = blur(coverage, 0.03)
    shadow = np.roll(near, (picture.shape[0] // 40, picture.shape[0] // 60), axis=(0, 1))
    lit = picture * (1.0 - np.float32(0.22) * (shadow * (1.0 - coverage))[..., None])
    strength, tone = _halo(picture, color, coverage, near)
    if strength > 0.02:
        ring = np.clip(near * 2.2, 0.0, 1.0) * (1.0 - coverage) * np.float32(strength)
        lit = lit + (tone - lit) * ring[..., None]
    return lit * (1.0 - alpha) + color


def _halo(picture: np.ndarray, color: np.ndarray, coverage: np.ndarray, near: np.ndarray) -> tuple[float, np.float32]:
    """How strong a halo the object needs (0..1) and its tone, from the colours on both sides of its rim."""
    work = 32
    rim = resize_field(near * (1.0 - near) * 4.0, work, Image.Resampling.BOX)
    inside = resize_picture(color, work, Image.Resampling.BOX)
    cover = resize_field(coverage, work, Image.Resampling.BOX)
    outside = resize_picture(picture, work, Image.Resampling.BOX)
    weight = rim * (cover > 0.4)
    total = float(weight.sum()) + 1e-6
    apart = inside / np.maximum(cover, 0.4)[..., None] - outside
    # brightness tells forms apart better than colour does
    distance = np.abs(luma(apart)) + 0.25 * np.abs(apart).max(axis=-1)
    difference = float((distance * weight).sum()) / total
    behind = float((luma(outside) * weight).sum()) / total
    # against light grounds a dark line reads, against dark and middling ones a light one
    tone = np.float32(0.16 if behind > 0.6 else 0.97)
    return float(np.clip((0.36 - difference) / 0.26, 0.0, 0.7)), tone


def _light(picture: np.ndarray, scene: Scene) -> np.ndarray:
    """Brightness, contrast, warmth and saturation of the whole picture."""
    warm = np.array([1.0 + 0.07 * scene.warmth, 1.0, 1.0 - 0.09 * scene.warmth], dtype=np.float32)
    gain = warm * np.float32(scene.brightness * scene.contrast)
    offset = np.float32(0.5 * (1.0 - scene.contrast))
    lit = picture * gain + offset
    grey = luma(lit)[..., None]
    return grey + (lit - grey) * np.float32(scene.saturation)
