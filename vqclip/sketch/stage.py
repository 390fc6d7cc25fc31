"""Where a sketch takes place: the setting that was asked for, or one that goes with what is shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vqclip.sketch.things import load_things
from vqclip.words.reading import Reading
from vqclip.world import load_world

_OUTDOORS = ("in a meadow", "in a garden", "by a lake", "at sunset", "in the mountains", "in a forest")
# where things of each list are at home; the first list that has the first thing decides
_HOMES = (
    ("celestial", ("in the night sky", "in space", "at night")),
    ("swimming", ("under water", "by the sea", "on the beach")),
    ("sailing", ("by the sea", "by a lake", "at sunset")),
    ("food", ("in a kitchen",)),
    ("rolling", ("in the street", "in the city", "in the mountains", "at sunset")),
    ("aloft", ("in a meadow", "at sunset", "in the mountains", "by the sea")),
    ("indoor", ("in a room",)),
)
# how often a picture whose ground nobody asked for shows a setting, or a colored ground; else a plain one
_SETTING, _COLORED = 0.75, 0.1
# grounds that go with anything; black, gray and brown make a picture dull
_DULL = ("black", "gray", "brown")
_PLAIN_FRAMINGS = ("pattern", "logo", "portrait", "close-up")


@dataclass(frozen=True)
class Stage:
    """A setting or a colored ground, or neither, and what season, weather and time it is."""

    setting: str | None = None
    background: str | None = None
    season: str | None = None
    weather: str | None = None
    time: str | None = None


def choose_stage(reading: Reading, rng: np.random.Generator) -> Stage:
    """Return the stage that a reading asks for; what it leaves open is chosen, fitting what is shown."""
    setting, weather, time, season = reading.setting, reading.weather, reading.time, reading.season
    if setting is None and reading.background is None:
        if time in ("night", "sunset") and weather is None and season is None:
            setting, time = {"night": "at night", "sunset": "at sunset"}[time], None
        elif weather == "rainy":
            setting, weather = "in the rain", None
        elif weather == "snowy":
            setting = "in the snow"
        elif season or weather or time:
            setting = str(rng.choice(_OUTDOORS[:3]))
        elif reading.framing == "field":
            setting = "in a meadow"
        elif reading.framing == "landscape":
            setting = str(rng.choice(("in the mountains", "by a lake", "in a meadow", "at sunset")))
        else:
            return _open(reading, rng)
    return Stage(setting, None if setting else reading.background, season, weather, time)


def _open(reading: Reading, rng: np.random.Generator) -> Stage:
    chance = rng.random()
    if reading.nouns and chance < _SETTING and reading.framing not in _PLAIN_FRAMINGS:
        return Stage(setting=str(rng.choice(_home(reading))))
    if chance < _SETTING + _COLORED or reading.framing in ("pattern", "logo"):
        worn = {noun.color for noun in reading.nouns}
        colors = [color for color in load_world().colors if color not in worn and color not in _DULL]
        return Stage(background=str(rng.choice(colors)))
    return Stage()


def _home(reading: Reading) -> tuple[str, ...]:
    things, first = load_things(), reading.nouns[0]
    if first.kind == "shape":
        return ("at sunset", "in the night sky", "by the sea")
    for kind, settings in _HOMES:
        if things.has(kind, first.subject):
            return settings
    return _OUTDOORS
