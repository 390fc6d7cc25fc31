"""Captions for scenes, in the words of `world.yaml`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vqclip.world.model import World
from vqclip.world.scene import Scene


def caption(scene: Scene, world: World, rng: np.random.Generator) -> str:
    """One of many natural wordings of `scene`: synonyms, articles, the style before or after, upper or lower case."""
    noun = _noun(scene, world, rng)
    content, bare = _content(scene, world, noun)
    text = _template(scene, world, rng).format(x=content, bare=bare, s=scene.style)
    chance = rng.random()
    if chance < 0.45:
        return text.lower()
    return text[0].upper() + text[1:] if chance < 0.65 else text


def detail_of(text: str) -> str:
    """What is said of a view that shows a part of a picture only."""
    return f"a detail of {text}"


def captions(scene: Scene, world: World) -> str:
    """The canonical wording of `scene`, always the same: "a cat in the snow in Van Gogh style"."""
    content, bare = _content(scene, world, _noun(scene, world, None))
    if scene.style is None:
        return content
    return world.phrasing.canonical.format(x=content, bare=bare, s=scene.style)


def _noun(scene: Scene, world: World, rng: np.random.Generator | None) -> str:
    if scene.subject is None:
        return f"{scene.color} {scene.shape}"
    subject = world.subjects[scene.subject]
    # the first name is the one people type, so it stays the most frequent
    if rng is None or not subject.synonyms or rng.random() < 0.55:
        return subject.name
    return _pick(rng, subject.synonyms)


def _content(scene: Scene, world: World, noun: str) -> tuple[str, str]:
    """The content with and without its article."""
    where = ""
    if scene.setting is not None:
        where = f" {scene.setting}"
    elif scene.background is not None:
        where = f" on {_article(scene.background)} {scene.background} background"
    key = noun if scene.shape is None else scene.shape
    article = world.phrasing.articles.get(key, _article(noun))
    return f"{article} {noun}{where}".strip(), f"{noun}{where}"


def _template(scene: Scene, world: World, rng: np.random.Generator) -> str:
    if scene.style is None:
        return _pick(rng, world.phrasing.plain)
    plain = rng.random() < 0.6
    return _pick(rng, world.styles[scene.style].phrases if plain else world.phrasing.styled)


def _article(noun: str) -> str:
    # "unicorn", "umbrella", "ufo": the article follows the sound, which for these words is not the letter
    if noun.startswith(("uni", "ufo")):
        return "a"
    return "an" if noun[0] in "aeiou" else "a"


def _pick(rng: np.random.Generator, names: Sequence[str]) -> str:
    return names[int(rng.integers(len(names)))]
