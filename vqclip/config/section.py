"""Sections that registered things bring: a dataclass of options, filled from a config's plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from vqclip.config.text import check_keys
from vqclip.config.values import shown, typed_layer
from vqclip.errors import UsageError

_T = TypeVar("_T")


def section(key: str, options: type[_T], given: Any, main: str | None = None) -> _T:
    """Return the options, a dataclass, that a config gives under a key: as a mapping, or as the value of `main` alone.

    `True` means the defaults. Raises UsageError for keys that the options lack, and values of another type.
    """
    if given is True:
        given = {}
    if not isinstance(given, Mapping):
        if main is None or main not in {field.name for field in dataclasses.fields(options)}:  # type: ignore[arg-type]
            raise UsageError(f"{key} is {shown(given)}: give a mapping of its options, or true")
        given = {main: given}
    check_keys(given, options)
    return options(**typed_layer(given, options, f"{key}."))
