"""What is behind the things of a picture: coloured or plain grounds and twenty settings.

A setting draws itself on a `Canvas` in unit coordinates, with random numbers that do not depend on the size.
`SETTINGS` are the ten of the first world (`world.yaml`); `ALL_SETTINGS` has also the ten of the second (`world2.yaml`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vqclip.world.backgrounds import country, land, rooms, skies, town, water
from vqclip.world.backgrounds.canvas import Canvas
from vqclip.world.backgrounds.places import floats, indoors, open_air, standing
from vqclip.world.fields import grid, shifted_noise

SETTINGS: dict[str, Callable[[Canvas], None]] = {
    "in a meadow": land.meadow,
    "in the desert": land.desert,
    "in the snow": land.snow,
    "by the sea": water.sea,
    "under water": water.under_water,
    "in the night sky": skies.night_sky,
    "in a forest": land.forest,
    "in the mountains": land.mountains,
    "in the city": town.city,
    "at sunset": skies.sunset,
}
ALL_SETTINGS: dict[str, Callable[[Canvas], None]] = {
    **SETTINGS,
    "on the beach": water.beach,
    "in the rain": skies.rain,
    "at night": skies.night,
    "in a room": rooms.room,
    "in a kitchen": rooms.kitchen,
    "in the street": town.street,
    "in space": skies.space,
    "in a garden": country.garden,
    "on a farm": country.farm,
    "by a lake": water.lake,
}


@dataclass(frozen=True)
class Landscape:
    """A painted setting: `picture` (size, size, 3), and how much of each pixel is `sky` (size, size), both in 0..1."""

    picture: np.ndarray
    sky: np.ndarray


def paint(name: str, size: int, rng: np.random.Generator) -> Landscape:
    """Paint one of `ALL_SETTINGS` and tell where its sky is (indoors: what the window shows of it)."""
    canvas = Canvas(size, rng)
    ALL_SETTINGS[name](canvas)
    return Landscape(canvas.finish(), canvas.sky())


def landscape(name: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """Paint one of `ALL_SETTINGS`: (size, size, 3) float32 in 0..1."""
    canvas = Canvas(size, rng)
    ALL_SETTINGS[name](canvas)
    return canvas.finish()


def ground(color: Sequence[int] | None, size: int, rng: np.random.Generator) -> np.ndarray:
    """A ground of one colour (0..255), slightly varied, with a soft gradient; None: nearly white or a soft tint."""
    if color is not None:
        base = np.array(color, dtype=np.float32) / 255 + rng.normal(0.0, 0.025, 3).astype(np.float32)
    elif rng.random() < 0.6:
        base = np.float32(rng.uniform(0.91, 1.0)) + rng.normal(0.0, 0.012, 3).astype(np.float32)
    else:
        base = np.float32(rng.uniform(0.45, 0.85)) + rng.normal(0.0, 0.1, 3).astype(np.float32)
    direction, depth = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.0, 0.16)
    vignette, mottle = rng.uniform(0.0, 0.14) * (rng.random() < 0.5), rng.uniform(0.0, 0.02)
    y, x = grid(size)
    shade = (np.cos(direction) * (x - 0.5) + np.sin(direction) * (y - 0.5)) * np.float32(depth)
    shade = shade - ((x - 0.5) ** 2 + (y - 0.5) ** 2) * np.float32(2.0 * vignette)
    shade = shade + shifted_noise(size, 6, rng) * np.float32(mottle)
    out: np.ndarray = np.clip(base + shade[..., None].astype(np.float32), 0.0, 1.0)
    return out


__all__ = [
    "ALL_SETTINGS",
    "SETTINGS",
    "Landscape",
    "floats",
    "ground",
    "indoors",
    "landscape",
    "open_air",
    "paint",
    "standing",
]
