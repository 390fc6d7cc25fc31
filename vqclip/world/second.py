"""What the second world adds to the first, as data: `world2.yaml`, checked and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from vqclip.errors import VqclipError
from vqclip.world.model import Style, load_world

SECOND_FILE = Path(__file__).with_name("world2.yaml")


@dataclass(frozen=True)
class Setting:
    """A place: its name, which is also how captions put it, and other words for it."""

    name: str
    synonyms: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The name and all its synonyms."""
        return (self.name, *self.synonyms)


@dataclass(frozen=True)
class Condition:
    """A season, a weather or a time of day.

    `phrases` follow what a picture shows ("in winter"), `words` go before it ("wintry").
    """

    name: str
    phrases: tuple[str, ...]
    words: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class Second:
    """The second world's additions; mappings keep the order of `world2.yaml`."""

    settings: Mapping[str, Setting]
    styles: Mapping[str, Style]
    seasons: Mapping[str, Condition]
    weathers: Mapping[str, Condition]
    times: Mapping[str, Condition]

    @property
    def all_settings(self) -> tuple[str, ...]:
        """The names of the first world's settings and of those that are new."""
        return (*load_world().settings, *self.settings)

    @property
    def all_styles(self) -> Mapping[str, Style]:
        """The first world's styles and those that are new."""
        return MappingProxyType({**load_world().styles, **self.styles})


@lru_cache(maxsize=8)
def load_second(path: Path | None = None) -> Second:
    """Read what the second world adds (default: the bundled file).

    Raises VqclipError when the file cannot be read or lacks a section.
    """
    source = Path(path) if path is not None else SECOND_FILE
    try:
        return _build(yaml.safe_load(source.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise VqclipError(f"cannot read the second world's description {source}: {error!r}") from error


def _build(data: dict[str, Any]) -> Second:
    settings = {name: Setting(name, tuple(words)) for name, words in data["settings"].items()}
    phrases = data["style_phrases"]
    styles = {name: Style(name, tuple(phrases[name]), text) for name, text in data["styles"].items()}
    return Second(
        settings=MappingProxyType(settings),
        styles=MappingProxyType(styles),
        seasons=_conditions(data["seasons"]),
        weathers=_conditions(data["weathers"]),
        times=_conditions(data["times"]),
    )


def _conditions(data: dict[str, dict[str, Any]]) -> Mapping[str, Condition]:
    return MappingProxyType(
        {
            name: Condition(name, tuple(entry["phrases"]), tuple(entry["words"]), str(entry["description"]))
            for name, entry in data.items()
        }
    )
