"""Sections that registered things bring: a dataclass of options, filled from a config's plain data."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from vqclip.config.fields import is_group
from vqclip.config.text import check_keys
from vqclip.config.values import is_plain, shown, typed_layer
from vqclip.errors import PluginError, UsageError, nearest
from vqclip.registry.outside import place_of

_T = TypeVar("_T")


def section(key: str, options: type[_T], given: Any, main: str | None = None) -> _T:
    """Return the options, a dataclass, that a config gives under a key: as a mapping, or as the value of `main` alone.

    `True` means the defaults. Raises UsageError for keys that the options lack, those that they have no default for,
    and values of another type; PluginError for options that are no dataclass of plain types.
    """
    fields = _fields(key, options)
    if given is True:
        given = {}
    if not isinstance(given, Mapping):
        if main is None or main not in fields:
            raise UsageError(f"{key} is {shown(given)}: give a mapping of its options, or true")
        given = {main: given}
    for name in given:
        if name not in fields:
            guess = nearest(str(name), fields)
            hint = f"did you mean {guess!r}? " if guess else ""
            raise UsageError(f"unknown option {key}.{name}: {hint}known are {', '.join(fields) or 'none'}")
    check_keys(given, options)  # of groups within
    required = [name for name, needed in fields.items() if needed and name not in given]
    if required:
        raise UsageError(f"{key} lacks {', '.join(required)}: give a mapping of its options")
    return options(**typed_layer(given, options, f"{key}."))


def _fields(key: str, options: Any) -> dict[str, bool]:
    """Return the names of options, and whether each must be given."""
    if not (isinstance(options, type) and dataclasses.is_dataclass(options)):
        raise PluginError(f"the options of {key} ({place_of(options)}) are no dataclass: mark them with @dataclass")
    try:
        hints = typing.get_type_hints(options)
    except NameError as error:
        raise PluginError(f"the options of {key} ({place_of(options)}): {error}") from error
    fields = [field for field in dataclasses.fields(options) if field.init]
    for field in fields:
        if not (is_plain(hints[field.name]) or is_group(hints[field.name])):
            raise PluginError(
                f"the option {key}.{field.name} ({place_of(options)}) is of a type that no config holds: give int, "
                "float, bool, str, a list or a mapping of them, or one of them or None"
            )
    empty = dataclasses.MISSING
    return {field.name: field.default is empty and field.default_factory is empty for field in fields}
