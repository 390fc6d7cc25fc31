"""The ways of painting: `STYLES[name](picture, context) -> picture` and, with two more, `ALL_STYLES`.

A style takes and gives a (size, size, 3) float32 picture in 0..1 (its result may overshoot a little and is clipped by
the renderer) and works on any picture, not only on rendered scenes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vqclip.world.styles.context import StyleContext
from vqclip.world.styles.drawing import charcoal, neon, pencil_sketch, woodcut
from vqclip.world.styles.faceted import line_art, low_poly
from vqclip.world.styles.graphic import cartoon, pixel_art, pop_art
from vqclip.world.styles.painterly import oil_painting, van_gogh, watercolor
from vqclip.world.styles.tiles import mosaic, pointillism, stained_glass

STYLES: dict[str, Callable[[np.ndarray, StyleContext], np.ndarray]] = {
    "Van Gogh": van_gogh,
    "oil painting": oil_painting,
    "watercolor": watercolor,
    "pencil sketch": pencil_sketch,
    "charcoal": charcoal,
    "pixel art": pixel_art,
    "stained glass": stained_glass,
    "mosaic": mosaic,
    "pointillism": pointillism,
    "pop art": pop_art,
    "woodcut": woodcut,
    "neon": neon,
    "cartoon": cartoon,
}

# of the second world (world2.yaml); the bundled models of the first one do not know them
MORE_STYLES: dict[str, Callable[[np.ndarray, StyleContext], np.ndarray]] = {
    "line art": line_art,
    "low poly": low_poly,
}
ALL_STYLES: dict[str, Callable[[np.ndarray, StyleContext], np.ndarray]] = {**STYLES, **MORE_STYLES}

__all__ = ["ALL_STYLES", "MORE_STYLES", "STYLES", "StyleContext"]
