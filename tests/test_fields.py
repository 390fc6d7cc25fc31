"""What a field of the config says of itself is what checks, files and the command line do with it."""

from __future__ import annotations

import os
import re
from typing import Any

import click
import pytest
import yaml
from support.command_line import CommandLine

from vqclip import config as configs
from vqclip.cli import animate
from vqclip.cli.options import offered
from vqclip.config import Config, check, from_dict
from vqclip.config.fields import Leaf, Trait, get, leaf, leaves, put
from vqclip.config.film import Film
from vqclip.config.text import nest
from vqclip.errors import UsageError
from vqclip.registry import LOSSES, OPTIMIZERS

FIELDS = leaves(Config)
_OF_NUMBERS = [field for field in FIELDS if field.setting.bounds and not field.many]
_OF_NAMES = [field for field in FIELDS if field.setting.choices]
_OF_FILES = [field for field in FIELDS if field.setting.traits & (Trait.PATH | Trait.MODEL)]


def key_of(value: Any) -> str:
    return value.key if isinstance(value, Leaf) else ""


def layer(key: str, value: Any) -> dict[str, Any]:
    return nest([(key, value)])


@pytest.mark.parametrize("field", FIELDS, ids=key_of)
def test_a_field_says_in_one_line_what_it_is_and_its_default_is_allowed(field: Leaf) -> None:
    line = field.setting.line
    assert line.endswith(".") and "\n" not in line and 5 < len(line) < 120
    assert field.default == get(Config(), field.key)
    check(Config())


@pytest.mark.parametrize("field", [field for field in leaves(Film) if field.key != "story"], ids=key_of)
def test_a_field_of_a_film_says_in_one_line_what_it_is_and_has_an_option(field: Leaf) -> None:
    line = field.setting.line
    assert line.endswith(".") and "\n" not in line and 5 < len(line) < 120
    assert field.setting.flags
    # an option of films is never one of pictures too
    assert not {*field.setting.flags} & {flag for other in animate.PICTURE for flag in other.setting.flags}


def test_the_help_of_films_names_tracks_and_means_frames() -> None:
    said = {name: option for option in animate.animate.params for name in option.opts}
    assert said["--zoom"].make_metavar(click.Context(animate.animate)) == "TRACK"
    assert said["--seconds"].make_metavar(click.Context(animate.animate)) == "FLOAT"
    assert "first frame" in said["--steps"].help  # type: ignore[attr-defined]
    assert animate.HELP.keys() <= {field.key for field in animate.PICTURE}


@pytest.mark.parametrize("field", _OF_NUMBERS, ids=key_of)
def test_a_number_beyond_its_bounds_is_refused_and_one_at_them_is_not(field: Leaf) -> None:
    low, high = field.setting.bounds
    for beyond in (low - 1, high + 1):
        with pytest.raises(UsageError, match=rf"^{field.key} is .*: give a number from ") as caught:
            from_dict(layer(field.key, beyond))
        assert [float(number) for number in re.findall(r"-?\d[\d.]*(?:e\+\d+)?", str(caught.value))][-2:] == [low, high]
        config = Config()
        put(config, field.key, beyond)
        with pytest.raises(UsageError, match=f"^{field.key} is "):
            configs.checked(config)
    assert get(from_dict(_allowed(field.key, low)), field.key) == low
    assert get(from_dict(_allowed(field.key, high)), field.key) == high


def _allowed(key: str, value: float) -> dict[str, Any]:
    """Return a layer with a value and what other fields must be beside it, so that they do not contradict it."""
    beside = {
        "init.keep": {"init": {"candidates": 1024}},
        "views.smallest": {"views": {"largest": 1}},
        "views.largest": {"views": {"smallest": 0.05}},
    }.get(key, {})
    group = key.partition(".")[0]
    given = layer(key, value)
    return given | ({group: beside[group] | given[group]} if beside else {})


@pytest.mark.parametrize("field", _OF_NAMES, ids=key_of)
def test_a_name_that_is_none_of_the_choices_is_refused_and_they_are_named(field: Leaf) -> None:
    mapping = isinstance(field.default, dict)
    with pytest.raises(UsageError, match=r"unknown .*'nothing'.*known are ") as caught:
        from_dict(layer(field.key, {"nothing": 1.0} if mapping else "nothing"))
    assert all(name in str(caught.value) for name in field.setting.choices)


def test_a_name_that_is_registered_later_is_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (OPTIMIZERS, LOSSES):
        monkeypatch.setattr(registry, "_records", dict(registry._records))
        registry.register("mine", "torch.optim:Adam")
    config = from_dict({"optimizer": {"name": "mine"}, "losses": {"mine": 0.5}})
    assert config.optimizer.name == "mine" and config.losses == {"mine": 0.5}
    assert "mine" in leaf("optimizer.name", Config).setting.line


@pytest.mark.parametrize("field", _OF_FILES, ids=key_of)
def test_the_home_is_found_in_names_of_files(field: Leaf) -> None:
    given, home = os.path.join("~", "a.png"), os.path.expanduser(os.path.join("~", "a.png"))
    found = get(from_dict(layer(field.key, [given] if field.many else given)), field.key)
    assert (list(found) if field.many else found) == ([home] if field.many else home)


@pytest.mark.parametrize("field", offered(), ids=key_of)
@pytest.mark.parametrize("place", ["first", "last"])
def test_an_option_sets_its_field_and_no_other(cli: CommandLine, field: Leaf, place: str) -> None:
    flag, switch = field.setting.flags[0 if place == "first" else -1], field.scalar is bool
    word = _word(field)
    ran = cli("generate", "a cat", *([flag] if switch else [flag, word]), "--print-config")
    assert ran.code == 0, ran.err
    set_by_option = from_dict(yaml.safe_load(ran.out))
    expected = configs.build(sets=[f"{field.key}={not field.default if switch else _as_set(field, word)}"])
    # one that begins with a picture says so
    expected.init.kind = "image" if field.key == "init.image" else expected.init.kind
    expected.prompts = ("a cat",)
    assert set_by_option == expected
    assert get(expected, field.key) != get(configs.build(), field.key)


def _word(field: Leaf) -> str:
    """Return a value to type that is not the default."""
    special = {"size": "64x48", "seed": "fox", "stages": "64:0.5,full:0.5", "run.device": "cpu"}
    # a number of a loaded preset may be anything: 3 is none of them
    numbers = {"init.strength": "0.25", "output.length": "3", "output.fps": "3"}
    if field.key in special | numbers:
        return (special | numbers)[field.key]
    if field.setting.choices:
        default = get(configs.build(), field.key)
        return next(name for name in reversed(list(field.setting.choices)) if name != default)
    return "3" if field.scalar in (int, float) else "other.png"


def _as_set(field: Leaf, word: str) -> str:
    return f"[{word}]" if field.many and "," not in word and field.key != "size" else word
