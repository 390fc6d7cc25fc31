"""What is said of captioned compositions: true captions, which of them hold for which picture, foils and labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from vqclip.sketch.sampling import say
from vqclip.training.contrast import UNSAID
from vqclip.words.inflection import is_plural, pluralize
from vqclip.words.reading import MOST, SEASONS, SETTINGS, STYLES, TIMES, WEATHERS, Noun, Reading
from vqclip.world import detail_of, load_world

_MOST_NOUNS = 3  # of a caption that the labels hold
# how often a caption leaves out a thing
_STYLE_LEFT, _PLACE_LEFT, _WHEN_LEFT, _COLOR_LEFT, _NOUNS_LEFT = 0.12, 0.15, 0.25, 0.1, 0.08
_NEARER = 0.12  # how often a caption names a near neighbour, such as "poodle" for a dog
# how often a foil is wrong in each thing, where it can be
_WRONG = {"style": 0.34, "subject": 0.2, "place": 0.2, "count": 0.1, "color": 0.1, "relation": 0.12, "when": 0.06}
_OPPOSITE = {"left of": "right of", "right of": "left of", "on": "under", "under": "on", "above": "under",
             "behind": "in front of", "in front of": "behind"}  # fmt: skip
_BOTH_WAYS = ("next to",)
Name = TypeVar("Name")
_SWAPPED = {"right of": "left of", "behind": "in front of", "under": "above"}


def facts(reading: Reading) -> frozenset[str]:
    """Return what a reading says, each thing as a text, so that a caption holds where all it says is a fact."""
    said = {f"{name}: {value}" for name in ("setting", "background", "season", "weather", "time", "style", "framing")
             if (value := getattr(reading, name))}  # fmt: skip
    for noun in reading.nouns:
        said.add(f"{noun.count} {noun.subject}")
        said |= {f"{noun.subject} is {value}" for value in (noun.color, noun.size) if value}
    for relation in reading.relations:
        first, second = reading.nouns[relation.first].subject, reading.nouns[relation.second].subject
        kind = relation.kind
        if kind in _BOTH_WAYS:
            first, second = sorted((first, second))
        elif kind in _SWAPPED:
            first, second, kind = second, first, _SWAPPED[kind]
        said.add(f"{first} {kind} {second}")
    return frozenset(said)


def shown(reading: Reading) -> frozenset[str]:
    """Return the facts of a picture: what its reading says, and that things side by side are next to one another."""
    names = [noun.subject for noun in reading.nouns]
    if len(names) == 2 and all(r.kind in ("left of", "right of") for r in reading.relations):
        first, second = sorted(names)
        return facts(reading) | {f"{first} next to {second}"}
    return facts(reading)


def shortened(reading: Reading, rng: np.random.Generator) -> Reading:
    """Return a reading that leaves out some of what is true."""
    gone: dict[str, Any] = {}
    if rng.random() < _STYLE_LEFT:
        gone["style"] = None
    if rng.random() < _PLACE_LEFT:
        gone |= dict.fromkeys(("setting", "background"))
    gone |= {name: None for name in ("season", "weather", "time") if rng.random() < _WHEN_LEFT}
    nouns = reading.nouns
    if len(nouns) > 1 and rng.random() < _NOUNS_LEFT:
        kept = int(rng.integers(len(nouns)))
        nouns, gone["relations"] = nouns[kept : kept + 1], ()
    nouns = tuple(replace(n, color=None) if n.kind == "subject" and rng.random() < _COLOR_LEFT else n for n in nouns)
    return replace(reading, nouns=nouns, **gone)


def foil(said: Reading, true: Reading, rng: np.random.Generator, subjects: Sequence[str], detail: bool) -> Reading:
    """Return what is said with one thing that is not true: subject, count, color, relation, place, time or style.

    A `detail` need not show every thing, so that its foil differs in place, time or style.
    """
    kinds = [kind for kind in _WRONG if _changeable(kind, said, detail)]
    shares = np.array([_WRONG[kind] for kind in kinds])
    kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
    if kind == "style":
        return replace(said, style=_other(rng, STYLES, true.style))
    if kind == "place":
        name = "background" if said.background else "setting"
        values: Sequence[str] = list(load_world().colors) if name == "background" else SETTINGS
        return _with(said, name, _other(rng, values, getattr(true, name)))
    if kind == "when":
        name = next(name for name in ("season", "weather", "time") if getattr(said, name))
        values = {"season": SEASONS, "weather": WEATHERS, "time": TIMES}[name]
        return _with(said, name, _other(rng, values, getattr(true, name)))
    if kind == "relation":
        relation = said.relations[0]
        return replace(said, relations=(replace(relation, kind=_OPPOSITE[relation.kind]), *said.relations[1:]))
    place = _chosen_noun(kind, said, rng)
    changed = _changed(kind, said.nouns[place], true, rng, subjects)
    return replace(said, nouns=(*said.nouns[:place], changed, *said.nouns[place + 1 :]))


def _changeable(kind: str, said: Reading, detail: bool) -> bool:
    if detail:
        return kind in ("style", "place")
    if kind == "relation":
        return bool(said.relations) and said.relations[0].kind in _OPPOSITE
    if kind == "count":
        return said.framing is None and any(_countable(noun) for noun in said.nouns)
    if kind == "color":
        return any(noun.color for noun in said.nouns)
    if kind == "when":
        return any((said.season, said.weather, said.time))
    return True


def _countable(noun: Noun) -> bool:
    return not is_plural(noun.subject) and pluralize(noun.subject) != noun.subject


def _chosen_noun(kind: str, said: Reading, rng: np.random.Generator) -> int:
    fits: Callable[[Noun], bool] = {
        "count": _countable,
        "color": lambda noun: noun.color is not None,
        "subject": lambda noun: True,
    }[kind]
    fitting = [place for place, noun in enumerate(said.nouns) if fits(noun)]
    return fitting[int(rng.integers(len(fitting)))]


def _changed(kind: str, noun: Noun, true: Reading, rng: np.random.Generator, subjects: Sequence[str]) -> Noun:
    if kind == "count":
        return replace(noun, count=_other(rng, range(1, MOST + 1), noun.count))
    if kind == "color":
        return replace(noun, color=_other(rng, list(load_world().colors), noun.color))
    shown_too = {other.subject for other in true.nouns}
    subject = noun.subject
    while subject in shown_too:
        subject = subjects[int(rng.integers(len(subjects)))]
    count = 1 if is_plural(subject) else noun.count
    return replace(noun, subject=subject, kind="subject", text=subject, count=count)


def _with(reading: Reading, name: str, value: str) -> Reading:
    changes: dict[str, Any] = {name: value}
    return replace(reading, **changes)


def _other(rng: np.random.Generator, names: Sequence[Name], current: object) -> Name:
    others = [name for name in names if name != current]
    return others[int(rng.integers(len(others)))]


class Sayer:
    """Captions, foils and labels of the pictures with these readings; numbers are places among them.

    `groups` (n, 2) holds the numbers of each picture's first subject and of its style, `sizes` how many values each
    head has. `columns` says which of the labels each head learns: a picture may show several subjects and colors.
    """

    columns: ClassVar[dict[str, slice]] = {
        "subject": slice(0, 3),
        "color": slice(3, 6),
        "count": slice(6, 7),
        "style": slice(7, 8),
        "setting": slice(8, 9),
        "background": slice(9, 10),
        "season": slice(10, 11),
        "weather": slice(11, 12),
        "time": slice(12, 13),
    }

    def __init__(self, readings: Sequence[Reading], subjects: Sequence[str]) -> None:
        self.readings, self.subjects = readings, tuple(subjects)
        self.facts = [shown(reading) for reading in readings]
        colors = list(load_world().colors)
        values = {"subject": self.subjects, "color": colors, "count": range(1, MOST + 1), "style": STYLES,
                  "setting": SETTINGS, "background": colors, "season": SEASONS, "weather": WEATHERS,
                  "time": TIMES}  # fmt: skip
        self._index = {key: {value: k for k, value in enumerate(names)} for key, names in values.items()}
        nothing = ("style", "setting", "background", "season", "weather", "time")
        self.sizes = {key: len(names) + (key in nothing) for key, names in values.items()}
        self.labels = np.array([self._labels(reading) for reading in readings])
        self.groups = self.labels[:, [0, self.columns["style"].start]]

    def _labels(self, reading: Reading) -> list[int]:
        index, nouns = self._index, reading.nouns[:_MOST_NOUNS]
        pad = [UNSAID] * (_MOST_NOUNS - len(nouns))
        subjects = [index["subject"].get(noun.subject, UNSAID) for noun in nouns]
        colors = [index["color"].get(noun.color, UNSAID) for noun in nouns]
        counted = len(nouns) == 1 and reading.framing is None and not is_plural(nouns[0].subject)
        row = [*subjects, *pad, *colors, *pad, nouns[0].count - 1 if counted else UNSAID]
        # none of a kind has the last number
        rest = ("style", "setting", "background", "season", "weather", "time")
        return row + [index[key].get(getattr(reading, key), len(index[key])) for key in rest]

    def batch(
        self, chosen: Sequence[int], detail: Sequence[bool], rng: np.random.Generator
    ) -> tuple[list[str], Tensor, Tensor]:
        """Return n captions and after them n foils, `wrong` (n, n) and labels (n, 13) of chosen pictures.

        `wrong` is True where caption j does not hold for picture i. Of a `detail`, what it shows is left open, and it
        is never compared with a whole picture.
        """
        said = [shortened(self.readings[i], rng) for i in chosen]
        foils = [
            foil(one, self.readings[i], rng, self.subjects, part)
            for one, i, part in zip(said, chosen, detail, strict=True)
        ]
        texts = [say(reading, rng, _NEARER) for reading in (*said, *foils)]
        texts = [detail_of(text) if part else text for text, part in zip(texts, [*detail, *detail], strict=True)]
        claims, true = [facts(reading) for reading in said], [self.facts[i] for i in chosen]
        parts = torch.tensor(detail)
        wrong = torch.tensor([[not caption <= picture for caption in claims] for picture in true])
        labels = torch.from_numpy(self.labels[np.asarray(chosen)])
        labels[parts, : self.columns["count"].stop] = UNSAID
        return texts, wrong | (parts[:, None] != parts), labels
