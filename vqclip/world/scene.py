"""A scene: everything that has to be known to paint one picture, and how scenes are drawn at random."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqclip.world.model import World

# the least part of the picture's side that the subject of a framed scene takes, almost
_FRAMED = 0.66
_PATTERNS = ("stripes", "checkerboard", "polka dots")


@dataclass(frozen=True)
class Scene:
    """One picture, painted the same way every time.

    Exactly one of `subject` and `shape` is set (a shape has a `color`); at most one of `setting` and `background`.
    `x`, `y` are the centre (0..1, right and down), `scale` the longest side as a fraction of the picture's side,
    `angle` degrees counter-clockwise. `brightness`, `contrast`, `saturation` are factors around 1, `warmth` is in
    -1..1, `hue` rotates the subject's colours (degrees). `seed` feeds textures, landscapes and strokes.
    """

    subject: str | None = None
    shape: str | None = None
    color: str | None = None
    setting: str | None = None
    background: str | None = None
    style: str | None = None
    x: float = 0.5
    y: float = 0.5
    scale: float = 0.75
    angle: float = 0.0
    flip: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    warmth: float = 0.0
    saturation: float = 1.0
    hue: float = 0.0
    seed: int = 0


def replace(scene: Scene, **changes: Any) -> Scene:
    """A copy of `scene` with some attributes changed; all that does not depend on them is painted alike."""
    return dataclasses.replace(scene, **changes)


@dataclass(frozen=True)
class SceneShares:
    """How probable each part of a random scene is, in 0..1.

    `styled`: a style. `shapes`: a coloured shape instead of a subject. `settings`: a setting. `backgrounds`: a coloured
    background; what is left of 1 has a plain one.
    """

    styled: float = 0.6
    shapes: float = 0.2
    settings: float = 0.45
    backgrounds: float = 0.35


def sample_scene(
    world: World,
    rng: np.random.Generator,
    shares: SceneShares | None = None,
    *,
    subjects: Sequence[str] | None = None,
    styles: Sequence[str] | None = None,
    framed: bool = False,
) -> Scene:
    """Draw a random scene.

    `subjects` and `styles` narrow the choice to those names. `framed` scenes
    show it as somebody who asks for it expects to see it: large, in the middle, nearly upright, never mirrored; all
    else is that of the scene drawn without it.
    """
    shares = shares or SceneShares()
    subject, shape, color = _content(world, rng, shares.shapes, subjects or tuple(world.subjects))
    setting, background = _surroundings(world, rng, shares.settings, shares.backgrounds, color)
    style = _pick(rng, styles or tuple(world.styles)) if rng.random() < shares.styled else None
    mirrorable = subject is None or world.subjects[subject].mirrorable
    scale = _scale(rng, shape, smallest=0.32 if style is None else 0.48)
    if framed:
        scale = max(scale, _FRAMED + (1.0 - _FRAMED) * 0.5 * scale)
    room = max(0.04, (0.3 if framed else 0.55) * (1.0 - scale))
    return Scene(
        subject=subject,
        shape=shape,
        color=color,
        setting=setting,
        background=background,
        style=style,
        x=float(0.5 + rng.uniform(-room, room) * 0.5),
        y=float(0.51 + rng.uniform(-room, room) * 0.45),
        scale=scale,
        angle=_angle(rng) * (0.5 if framed else 1.0),
        flip=bool(mirrorable and rng.random() < 0.5) and not framed,
        brightness=float(rng.uniform(0.88, 1.1)),
        contrast=float(rng.uniform(0.88, 1.12)),
        warmth=float(rng.uniform(-0.6, 0.6)),
        saturation=float(rng.uniform(0.85, 1.15)),
        hue=float(rng.normal(0.0, 5.0)),
        seed=int(rng.integers(2**31)),
    )


def _pick(rng: np.random.Generator, names: Sequence[str]) -> str:
    return names[int(rng.integers(len(names)))]


def _content(
    world: World, rng: np.random.Generator, shapes: float, subjects: Sequence[str]
) -> tuple[str | None, str | None, str | None]:
    if rng.random() < shapes:
        return None, _pick(rng, world.shapes), _pick(rng, tuple(world.colors))
    return _pick(rng, subjects), None, None


def _surroundings(
    world: World, rng: np.random.Generator, settings: float, backgrounds: float, color: str | None
) -> tuple[str | None, str | None]:
    chance = rng.random()
    if chance < settings:
        return _pick(rng, world.settings), None
    # a white shape on a plain, nearly white ground could not be seen
    if chance < settings + backgrounds or color == "white":
        return None, _pick(rng, [name for name in world.colors if name != color])
    return None, None


def _scale(rng: np.random.Generator, shape: str | None, smallest: float) -> float:
    if shape in _PATTERNS:
        return float(rng.uniform(0.8, 1.25))
    # strokes and tiles would swallow a small subject, so only unstyled scenes show any
    if rng.random() < 0.12:
        return float(rng.uniform(smallest, max(0.5, smallest + 0.1)))
    return float(rng.uniform(0.5, 0.95))


def _angle(rng: np.random.Generator) -> float:
    spread = 25.0 if rng.random() < 0.08 else 7.0
    return float(np.clip(rng.normal(0.0, spread), -45.0, 45.0))
