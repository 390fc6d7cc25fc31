"""The picture world as data: what `world.yaml` says, checked and frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from vqclip.errors import VqclipError

WORLD_FILE = Path(__file__).with_name("world.yaml")
_WORD = re.compile(r"[a-z]+")
_FIXED_WORDS = ("a", "an", "the", "on", "background", "detail", "of")


@dataclass(frozen=True)
class Subject:
    """A thing a picture can show: its name, the emoji that depicts it, other names, and whether it may be mirrored."""

    name: str
    emoji: str
    synonyms: tuple[str, ...] = ()
    mirrorable: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The name and all its synonyms."""
        return (self.name, *self.synonyms)


@dataclass(frozen=True)
class Style:
    """A way of painting: its name, caption templates with `{x}`/`{bare}`, and what it looks like."""

    name: str
    phrases: tuple[str, ...]
    description: str = ""


@dataclass(frozen=True)
class Phrasing:
    """Caption templates shared by all styles, and the articles that are not "a"/"an"."""

    plain: tuple[str, ...]
    styled: tuple[str, ...]
    canonical: str
    articles: Mapping[str, str]


@dataclass(frozen=True)
class World:
    """Everything a picture can hold. Mappings keep the order of `world.yaml`."""

    subjects: Mapping[str, Subject]
    shapes: tuple[str, ...]
    colors: Mapping[str, tuple[int, int, int]]
    settings: tuple[str, ...]
    styles: Mapping[str, Style]
    phrasing: Phrasing
    words: tuple[str, ...]


def caption_words(text: str) -> list[str]:
    """Lower-case words of a text, split at everything that is not a letter ("Jack-o-lantern" is three words)."""
    return _WORD.findall(text.lower())


@lru_cache(maxsize=8)
def load_world(path: Path | None = None) -> World:
    """Read a world description (default: the bundled one).

    Raises VqclipError when the file cannot be read or lacks a section.
    """
    source = Path(path) if path is not None else WORLD_FILE
    try:
        data = yaml.safe_load(source.read_text(encoding="utf-8"))
        return _build(data)
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise VqclipError(f"cannot read the world description {source}: {error!r}") from error


def _build(data: dict[str, Any]) -> World:
    fixed = set(data["never_mirrored"])
    subjects = {
        name: Subject(name, entry[0], tuple(entry[1:]), name not in fixed) for name, entry in data["subjects"].items()
    }
    styles = {
        name: Style(name, tuple(data["style_phrases"][name]), description)
        for name, description in data["styles"].items()
    }
    words = data["phrasing"]
    phrasing = Phrasing(
        tuple(words["plain"]), tuple(words["styled"]), words["canonical"], MappingProxyType(data["articles"])
    )
    colors = {name: (int(r), int(g), int(b)) for name, (r, g, b) in data["colors"].items()}
    world = World(
        subjects=MappingProxyType(subjects),
        shapes=tuple(data["shapes"]),
        colors=MappingProxyType(colors),
        settings=tuple(data["settings"]),
        styles=MappingProxyType(styles),
        phrasing=phrasing,
        words=(),
    )
    return World(**{**vars(world), "words": _vocabulary(world)})


def _vocabulary(world: World) -> tuple[str, ...]:
    """Every lower-case word that any caption of this world can hold, sorted."""
    texts: list[str] = [*_FIXED_WORDS, *world.shapes, *world.colors, *world.settings, *world.styles]
    for subject in world.subjects.values():
        texts.extend(subject.names)
    for style in world.styles.values():
        texts.extend(style.phrases)
    phrasing = world.phrasing
    texts.extend([*phrasing.plain, *phrasing.styled, phrasing.canonical])
    slots = re.compile(r"\{\w+\}")
    return tuple(sorted({word for text in texts for word in caption_words(slots.sub(" ", text))}))
