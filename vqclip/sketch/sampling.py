"""Random readings of the second world, and the many ways in which people word one: what trainings learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TypedDict

import numpy as np

from vqclip.sketch.things import load_things
from vqclip.sketch.wording import Speaker
from vqclip.words import lexicon as lexicons
from vqclip.words import read
from vqclip.words.inflection import is_plural, pluralize
from vqclip.words.lexicon import PLACES
from vqclip.words.reading import (
    FRAMINGS,
    MOST,
    SEASONS,
    SETTINGS,
    SIZES,
    STYLES,
    TIMES,
    WEATHERS,
    Noun,
    Reading,
    Relation,
)
from vqclip.world import load_world

# how many nouns a reading has, and how many of a lone one and of each of two
_NOUNS = (0.66, 0.3, 0.04)
_COUNTS, _COUNTS_OF_TWO = (0.66, 0.13, 0.1, 0.06, 0.05), (0.88, 0.08, 0.04, 0.0, 0.0)
_SHAPE, _COLORED, _SIZED, _RELATED, _FRAMED = 0.03, 0.22, 0.12, 0.7, 0.1
# a setting, a colored background; else neither
_SETTING, _BACKGROUND = 0.6, 0.25
_SEASON, _WEATHER, _TIME = 0.12, 0.1, 0.1
# settings that are a weather or a time already
_WITH_WEATHER_OR_TIME = (
    "in the rain",
    "in the snow",
    "at night",
    "at sunset",
    "in the night sky",
    "in space",
    "under water",
)
_INSIDE = ("in a room", "in a kitchen")
# weathers and times that are no setting of their own where no place is named
_MERE_WEATHERS, _MERE_TIMES = ("foggy", "cloudy", "stormy"), ("dawn",)
_PAIRS = ("on", "under", "above", "next to", "behind", "in front of", "left of", "right of")


class _Place(TypedDict, total=False):
    """Where and when a reading is, by the names of its fields."""

    setting: str
    background: str
    season: str
    weather: str
    time: str


def sample_reading(
    rng: np.random.Generator, subjects: Sequence[str], styled: float = 0.6, most: int = 3, framed: float = _FRAMED
) -> Reading:
    """Return a random reading about `subjects`, each alike often; `text` is its caption, which reads back to it.

    Most show one thing, some up to five of it, two things in a relation or none, or three; at most `most` nouns.
    `styled` and `framed` are the probabilities of a style and of a framing, such as "portrait of". Subjects that
    are read as places, such as "beach", are left out.
    """
    named = _named(tuple(subjects))
    while True:
        reading = _sample_reading(rng, named, styled, most, framed)
        # few captions, such as "a water drop in the snow", hold an idiom
        if meaning(read(reading.text)) == meaning(reading):
            return reading


def _sample_reading(
    rng: np.random.Generator, subjects: tuple[str, ...], styled: float, most: int, framed: float
) -> Reading:
    framing = _pick(rng, FRAMINGS) if rng.random() < framed else None
    count = 1 if framing else 1 + int(rng.choice(len(_NOUNS), p=_NOUNS))
    nouns = _nouns(rng, subjects, min(count, most), framing)
    relations, nouns = _relations(rng, nouns, frozenset(subjects))
    reading = Reading("", nouns, relations, framing=framing, **_place(rng, framing))
    if rng.random() < styled:
        reading = replace(reading, style=_pick(rng, STYLES))
    return replace(reading, text=reading.caption())


def meaning(reading: Reading) -> Reading:
    """Return a reading without how it was worded, so that two that mean the same are equal."""
    nouns = tuple(replace(noun, text="") for noun in reading.nouns)
    return replace(reading, text="", nouns=nouns, replaced=(), unknown=())


def say(reading: Reading, rng: np.random.Generator, nearer: float = 0.0) -> str:
    """Return one of many wordings of a reading, as people type them.

    Nouns may have any word that means the same; with the probability `nearer` one that is drawn as its nearest
    neighbour, such as "poodle" for a dog, which `read` tells of.
    """
    return Speaker(reading, rng, nearer).text()


@lru_cache(maxsize=8)
def _named(subjects: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in subjects if name not in PLACES)


def _nouns(rng: np.random.Generator, subjects: tuple[str, ...], count: int, framing: str | None) -> tuple[Noun, ...]:
    chosen: list[str] = []
    while len(chosen) < count:
        subject = _pick(rng, subjects)
        many = framing in ("field", "pattern")
        if subject not in chosen and not (many and pluralize(subject) in subjects):
            chosen.append(subject)
    nouns = []
    for subject in chosen:
        odds = _COUNTS if count == 1 else _COUNTS_OF_TWO
        number = 1 + int(rng.choice(MOST, p=odds))
        if framing:
            number = MOST if framing in ("field", "pattern") else 1
        elif is_plural(subject) or pluralize(subject) in subjects:
            number = 1  # "three houses" could be three of the drawing "houses"
        nouns.append(_noun(rng, subject, number))
    return tuple(nouns)


def _noun(rng: np.random.Generator, subject: str, count: int) -> Noun:
    colors = list(load_world().colors)
    shaped = rng.random() < _SHAPE
    color = _pick(rng, colors) if shaped or rng.random() < _COLORED else None
    size = _pick(rng, SIZES) if rng.random() < _SIZED else None
    if shaped:
        shape = _pick(rng, [name for name in _shapes() if not _fused(str(color), name)])
        size = None if size and (_fused(size, shape) or lexicons.load().find(f"{size} {color}")) else size
        return Noun(shape, "shape", shape, 1 if is_plural(shape) else count, color, size)
    # "a red fish" and "a small child" are names of their own
    color, size = (word if word and not _fused(word, subject) else None for word in (color, size))
    if color and size and lexicons.load().find(f"{size} {color}"):  # a butterfly
        size = None
    return Noun(subject, "subject", subject, count, color, size)


def _fused(word: str, subject: str) -> bool:
    """Whether a word and the first words of a subject mean something together, or the subject is a color's name too."""
    lexicon, parts = lexicons.load(), subject.split(" ")
    entry = lexicon.find(subject)
    if entry is not None and entry.alternative is not None and entry.alternative.kind == "color":
        return True
    together = [
        joint.join([word, *parts[:last], one])
        for last, part in enumerate(parts)
        for one in (part, pluralize(part))
        for joint in (" ", "")
    ]
    return any(lexicon.find(words) is not None for words in together)


@lru_cache(maxsize=1)
def _shapes() -> tuple[str, ...]:
    """The shapes that are no subjects too."""
    lexicon = lexicons.load()
    return tuple(shape for shape in lexicon.shapes if shape not in lexicon.subjects)


def _relations(
    rng: np.random.Generator, nouns: tuple[Noun, ...], subjects: frozenset[str]
) -> tuple[tuple[Relation, ...], tuple[Noun, ...]]:
    """Return the relations of nouns, and the nouns, the second of which may become a container or what is worn."""
    if len(nouns) != 2 or rng.random() >= _RELATED:
        return (), nouns
    chance = rng.random()
    sets = lexicons.load().sets
    if chance < 0.8:
        return (Relation(_pick(rng, _PAIRS), 0, 1),), nouns
    holders = "containers" if chance < 0.9 else "worn"
    held = sets["containers"] if holders == "containers" else load_things().lists["worn"]
    fitting = sorted(name for name in held if name in subjects and name != nouns[0].subject and not is_plural(name))
    if not fitting:
        return (Relation("next to", 0, 1),), nouns
    second = _pick(rng, fitting)
    kind = "in" if holders == "containers" else "with"
    return (Relation(kind, 0, 1),), (nouns[0], replace(nouns[1], subject=second, kind="subject", text=second, count=1))


def _place(rng: np.random.Generator, framing: str | None) -> _Place:
    """Return setting or background, season, weather and time that go together, by their names in a reading."""
    place: _Place = {}
    chance = rng.random()
    if chance < _SETTING and framing not in ("pattern", "logo"):
        place["setting"] = _pick(rng, SETTINGS)
    elif chance < _SETTING + _BACKGROUND:
        place["background"] = _pick(rng, list(load_world().colors))
    setting = place.get("setting")
    if framing in ("pattern", "logo") or setting in _INSIDE:
        return place
    if rng.random() < _SEASON and setting != "in space" and setting != "under water":
        place["season"] = _pick(rng, SEASONS)
    if setting in _WITH_WEATHER_OR_TIME:
        return place
    if rng.random() < _WEATHER:
        place["weather"] = _pick(rng, WEATHERS if setting else _MERE_WEATHERS)
    elif rng.random() < _TIME:
        place["time"] = _pick(rng, TIMES if setting else _MERE_TIMES)
    return place


def _pick(rng: np.random.Generator, names: Sequence[str]) -> str:
    return names[int(rng.integers(len(names)))]
