"""Paint scenes: ground, shadow, halo, subject, light, style."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np

from vqclip.errors import UsageError
from vqclip.world.backgrounds import ground, landscape
from vqclip.world.compositing import compose, light, place, pyramid, rotate_hue
from vqclip.world.font import find_font, load_glyphs
from vqclip.world.model import World, load_world
from vqclip.world.scene import Scene
from vqclip.world.shapes import shape_mask
from vqclip.world.styles import STYLES, StyleContext

# streams of random numbers, one per stage: changing one attribute of a scene leaves the other stages alone
_GROUND, _OBJECT, _STYLE = 11, 22, 33
_SMALLEST = 16  # pixels a side


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
        self._glyphs = {name: pyramid(glyph.convert("RGBa")) for name, glyph in glyphs.items()}
        self._masks = {name: pyramid(shape_mask(name)) for name in self.world.shapes}

    def render(self, scene: Scene, size: int = 64) -> np.ndarray:
        """Paint `scene`: (size, size, 3) uint8. The same scene and size always give the same bytes.

        Raises UsageError for a name that is not of this world or a size below 16.
        """
        self._check(scene, size)
        picture = self._ground(scene, size)
        color, coverage = self._object(scene, size)
        picture = compose(picture, color, coverage)
        picture = light(picture, scene)
        if scene.style is not None:
            context = StyleContext(size, np.random.default_rng((scene.seed, _STYLE)), coverage)
            picture = STYLES[scene.style](np.clip(picture, 0.0, 1.0), context)
        out: np.ndarray = (np.clip(picture, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
        return out

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
            warped = np.asarray(place(self._glyphs[scene.subject], scene, size), dtype=np.float32) / np.float32(255)
            return rotate_hue(warped[..., :3], scene.hue), warped[..., 3]
        shape, name = cast("str", scene.shape), cast("str", scene.color)  # as `_check` made sure
        coverage = np.asarray(place(self._masks[shape], scene, size), dtype=np.float32) / np.float32(255)
        rng = np.random.default_rng((scene.seed, _OBJECT))
        color = np.array(self.world.colors[name], dtype=np.float32) / 255
        color = np.clip(color + rng.normal(0.0, 0.02, 3), 0.0, 1.0).astype(np.float32)
        return coverage[..., None] * color, coverage
