"""What a config may hold: each field's own range and names, and what its fields must be together."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

from vqclip.config.fields import Leaf, Trait, get, leaf, leaves
from vqclip.config.resolved import Resolved
from vqclip.config.schema import PROMPT_FIELDS, Config
from vqclip.config.text import refuse_interpolation
from vqclip.config.values import shown, typed_tree
from vqclip.errors import UsageError, unknown_name
from vqclip.registry import Registry

# losses whose weight is a setting of another group
_WEIGHED_BY = {"painted": "init.paint", "contrast": "contrast.weight", "beginning": "the --hold of a film"}


def checked(config: Config) -> Config:
    """Return a copy of a config, whose fields may have been set to anything, with plain values that are in range.

    Numbers of numpy and paths become Python's own, a single prompt a tuple of one; of a resolved one it is a config of
    the same values. Whatever draws, loads or writes a config begins with this. Raises UsageError for the first value
    that is wrong.
    """
    if not isinstance(config, Config):
        raise UsageError(f"the config is {shown(config)}: give one that vqclip.make_config('a cat') made")
    plain = typed_tree(config.config() if isinstance(config, Resolved) else config, Config)
    refuse_interpolation({name: value for name, value in plain.to_dict().items() if name not in PROMPT_FIELDS})
    check(plain)
    return plain


def check(config: Config) -> None:
    """Raise UsageError for the first value, of those of a config with the declared types, that is not in its range."""
    check_fields(config, Config)
    _check_counts(config)
    _check_lists(config)
    _check_together(config)


def check_fields(values: object, tree: type) -> None:
    """Raise UsageError for the first value of a tree of fields that is not in the field's own range."""
    for work in (_check_range, _check_names, _check_path):
        for field in leaves(tree):
            work(field, get(values, field.key))


def _check_range(field: Leaf, value: Any) -> None:
    bounds = field.setting.bounds
    if bounds is None or not isinstance(value, (int, float)):
        return
    low, high = bounds
    if not low <= value <= high:
        raise UsageError(f"{field.key} is {_short(value)}: give a number from {_short(low)} to {_short(high)}")


def _short(number: float) -> str:
    """Return a whole number with all of its digits, another one with as many as matter."""
    return str(number) if isinstance(number, int) else f"{number:g}"


def _check_names(field: Leaf, value: Any) -> None:
    choices = field.setting.choices
    if not choices or value is None:
        return
    if not isinstance(value, Mapping):
        if value not in choices:
            raise unknown_name(field.key, str(value), choices)
        return
    for name in value:
        if isinstance(choices, Registry):
            choices.check(name)
        elif name not in choices:
            raise unknown_name(field.key, name, choices)


def _check_path(field: Leaf, value: Any) -> None:
    if Trait.PATH not in field.setting.traits:
        return
    if field.many and not all(value):
        raise UsageError(f"{field.key} holds an empty name: give FILE or FILE:weight, or leave it out")
    if value == "":
        raise UsageError(f"{field.key} is empty: name a file or folder, or leave it out")


def _check_counts(config: Config) -> None:
    """Raise UsageError for numbers of pictures that contradict each other, or pass the seed that asks for a new one."""
    if config.seed < -1 < config.seed + config.count:
        raise UsageError(
            f"seed is {config.seed} and count {config.count}: seeds counted up pass -1, which asks for a new one; "
            "give a seed from 0"
        )
    together = config.init.keep if config.init.keep > 1 else min(config.count, config.batch_size)
    if config.only is not None and not (0 <= config.only < together and config.count <= config.batch_size):
        raise UsageError(f"only is {config.only}: give the place, from 0, of one of count pictures drawn in one batch")
    if config.init.keep > config.init.candidates:
        raise UsageError(f"init.keep is {config.init.keep}: give at most init.candidates, {config.init.candidates}")
    if config.init.keep > 1 and config.count > 1:
        raise UsageError(f"init.keep is {config.init.keep} and count {config.count}: give one of them above 1")


def _check_lists(config: Config) -> None:
    """Raise UsageError for lists of another length, or with items out of range."""
    if not config.models.clip:
        raise UsageError("models.clip is empty: give at least one CLIP, such as tiny")
    low, high = _bounds("size")
    if len(config.size) != 2 or any(not low <= side <= high for side in config.size):
        given = "x".join(str(side) for side in config.size)
        raise UsageError(f"size is {given}: give a width and a height of {low} to {high} pixels")
    low, high = _bounds("views.overview")
    if len(config.views.overview) != 2 or any(not low <= share <= high for share in config.views.overview):
        raise UsageError(
            f"views.overview is {config.views.overview}: give two shares from {low} to {high}, first and last"
        )
    if len(config.optimizer.betas) != 2 or any(not 0 <= beta < 1 for beta in config.optimizer.betas):
        raise UsageError(f"optimizer.betas is {config.optimizer.betas}: give two numbers from 0 to below 1")


def _check_together(config: Config) -> None:
    """Raise UsageError for fields of which one rules another out, and for texts that lack their placeholder."""
    for name, setting in _WEIGHED_BY.items():
        if name in config.losses:
            raise UsageError(f"losses.{name} is {shown(config.losses[name])}: set {setting}, which is its weight")
    if config.views.smallest > config.views.largest:
        raise UsageError(f"views.smallest is {config.views.smallest:g}: give at most views.largest")
    template = config.views.detail_prompt
    if template and "{}" not in template:
        raise UsageError(f"views.detail_prompt is {template!r}: write {{}} where the prompt is to stand")


def _bounds(key: str) -> tuple[float, float]:
    field = leaf(key, Config)
    return typing.cast("tuple[float, float]", field.setting.bounds) if field else (0, 0)
