"""Random compositions of the second world: what trainings see when no caption is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vqclip.world.composition import Composition, Thing
from vqclip.world.drawings import Drawing, weights
from vqclip.world.model import load_world

# how often a picture shows one, two, three things; how often a thing gets another color, the ground a setting or
# a color
_COUNTS = (0.62, 0.26, 0.12)
_RECOLORED, _IN_SETTING, _ON_COLOR = 0.25, 0.6, 0.25


def sample_composition(
    rng: np.random.Generator,
    drawings: Mapping[str, Sequence[Drawing]],
    *,
    settings: Sequence[str],
    styles: Sequence[str] = (),
    styled: float = 0.6,
) -> Composition:
    """Draw a random composition: subjects alike often, each source of drawings alike often.

    `drawings` are those of each subject, see `drawings_of`. `styled` is the probability of one of `styles`.
    """
    subjects = list(drawings)
    count = 1 + int(rng.choice(len(_COUNTS), p=_COUNTS))
    things = [_thing(rng, drawings[subjects[int(rng.integers(len(subjects)))]], k, count) for k in range(count)]
    chance = rng.random()
    setting = _pick(rng, settings) if chance < _IN_SETTING else None
    background = _pick(rng, list(load_world().colors)) if _IN_SETTING <= chance < _IN_SETTING + _ON_COLOR else None
    composition = Composition(
        things=tuple(things),
        setting=setting,
        background=background,
        brightness=float(rng.uniform(0.9, 1.1)),
        contrast=float(rng.uniform(0.9, 1.1)),
        warmth=float(rng.uniform(-0.5, 0.5)),
        saturation=float(rng.uniform(0.85, 1.15)),
        seed=int(rng.integers(2**31)),
    )
    return replace(composition, style=_pick(rng, styles)) if styles and rng.random() < styled else composition


def _thing(rng: np.random.Generator, drawings: Sequence[Drawing], place: int, count: int) -> Thing:
    chosen = drawings[int(rng.choice(len(drawings), p=weights(drawings)))]
    colored = rng.random() < _RECOLORED
    return Thing(
        drawing=chosen.id,
        x=float((place + 0.5) / count + rng.uniform(-0.08, 0.08)),
        y=float(0.55 + rng.uniform(-0.1, 0.1)),
        scale=float(rng.uniform(0.45, 0.95) / count**0.6),
        angle=float(rng.normal(0.0, 4.0)),
        flip=bool(rng.random() < 0.5),
        color=_pick(rng, list(load_world().colors)) if colored else None,
        hue=float(rng.normal(0.0, 5.0)),
    )


def _pick(rng: np.random.Generator, names: Sequence[str]) -> str:
    return names[int(rng.integers(len(names)))]
