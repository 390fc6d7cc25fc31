"""Values of a config become plain ones of their declared types: numpy's numbers, paths and texts, or an error.

A config may be filled from YAML, from keywords, or one attribute at a time, so what it holds is looked at here whenever
it is used, not only when it was made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import numbers
import os
import reprlib
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from vqclip import seeding
from vqclip.config.fields import Setting, Trait, is_group, setting_of
from vqclip.config.text import parse_size, split_texts, unknown_key
from vqclip.errors import UsageError

_T = TypeVar("_T")
# above everything that any setting allows, and within what a float, and a file's name, can hold
_LARGEST = 2**128
# levels of data whose types nobody declares
_DEEPEST = 4
_SWITCH = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def typed_layer(values: Mapping[str, Any], tree: type, above: str = "") -> dict[str, Any]:
    """Return nested data, of which `tree` knows every key, with values of the declared types.

    Raises UsageError for the first value that is of another kind.
    """
    hints, settings = typing.get_type_hints(tree), _settings(tree)
    return {
        name: typed_layer(value, hints[name], f"{above}{name}.")
        if is_group(hints[name])
        else typed(f"{above}{name}", value, hints[name], settings[name])
        for name, value in values.items()
    }


def typed_tree(group: _T, tree: type, above: str = "") -> _T:
    """Return a copy of a group of `tree`, whose fields may hold anything, with values of the declared types.

    Raises UsageError for the first value that is of another kind, and for an attribute that is no field.
    """
    hints, settings, values = typing.get_type_hints(type(group)), _settings(type(group)), vars(group)
    for name in values.keys() - hints.keys():
        unknown_key(f"{above}{name}", tree)
    plain: dict[str, Any] = {}
    for name, hint in hints.items():
        key, value = f"{above}{name}", values.get(name)
        if not is_group(hint):
            plain[name] = typed(key, value, hint, settings[name])
        elif isinstance(value, hint):
            plain[name] = typed_tree(value, tree, f"{key}.")
        else:
            raise UsageError(f"{key} is {shown(value)}, but it is a group: set config.{key}.NAME = VALUE")
    return type(group)(**plain)


def typed(key: str, value: Any, hint: Any, setting: Setting) -> Any:
    """Return the value of one field as its declared type; UsageError if it is of another kind."""
    value = _plain(value)
    _refuse_endless(key, value)
    if setting.read is not None:
        value = setting.read(value)
    origin, declared = typing.get_origin(hint), typing.get_args(hint)
    if origin in (list, tuple):
        whole = Trait.WHOLE in setting.traits
        return origin(_item(key, _plain(item), declared[0]) for item in _items(key, value, declared[0], whole))
    if origin is dict:
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            wanted = "numbers or options" if declared[1] is Any else "numbers"
            raise UsageError(f"{key} is {shown(value)}: give names with {wanted}, such as {{NAME: 0.5}}")
        read = _loose if declared[1] is Any else _single
        return {name: read(f"{key}.{name}", _plain(item), declared[1]) for name, item in value.items()}
    if type(None) in declared:
        if value is None:
            return None
        hint = next(kind for kind in declared if kind is not type(None))
    return _single(key, value, hint)


def is_plain(hint: Any) -> bool:
    """Whether a declared type is one that `typed` reads."""
    origin, declared = typing.get_origin(hint), typing.get_args(hint)
    if origin in (list, tuple):
        return declared[0] in _CONVERT
    if origin is dict:
        return declared[0] is str and (declared[1] is Any or declared[1] in _CONVERT)
    if type(None) in declared:
        return len(declared) == 2 and next(kind for kind in declared if kind is not type(None)) in _CONVERT
    return hint in _CONVERT


def shown(value: Any) -> str:
    """Return how a message shows a value that does not fit: short, and on one line."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int) and not abs(value) < _LARGEST:
        return "a number of many digits"
    if value is None or isinstance(value, (str, int, list, tuple, dict)):
        with contextlib.suppress(ValueError):  # a number in it has thousands of digits
            return reprlib.repr(value)
    return f"of the type {type(value).__name__}"


def _single(key: str, value: Any, kind: type) -> Any:
    """Return one value as its declared kind."""
    _refuse_endless(key, value)
    converted = _CONVERT[kind](value)
    if converted is None:
        raise UsageError(f"{key} is {shown(value)}: give {_WANTED[kind]}")
    if kind in (int, float) and not abs(converted) < _LARGEST:
        raise UsageError(f"{key} is {shown(converted)}: give a finite number of a sensible size")
    return converted


def _loose(key: str, value: Any, kind: Any, depth: int = 0) -> Any:
    """Return plain data whose types nobody has declared yet: numbers, texts, switches, lists and mappings of them."""
    if isinstance(value, Mapping) and depth < _DEEPEST and all(isinstance(name, str) for name in value):
        return {name: _loose(f"{key}.{name}", _plain(item), kind, depth + 1) for name, item in value.items()}
    if isinstance(value, (list, tuple)) and depth < _DEEPEST:
        return [_loose(key, _plain(item), kind, depth + 1) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _single(key, value, type(value))
    if isinstance(value, (bool, str)):
        return value
    raise UsageError(f"{key} is {shown(value)}: give a number, a text, a switch, or a mapping of them")


def _refuse_endless(key: str, value: Any) -> None:
    """Raise UsageError for a whole number so long that Python itself refuses to write it."""
    if isinstance(value, int) and not abs(value) < _LARGEST:
        raise UsageError(f"{key} is {shown(value)}: give a number of a sensible size")


def _item(key: str, value: Any, kind: type) -> Any:
    """Return one item of a list as its declared kind."""
    # of texts that YAML took for numbers, such as the stage 64:0.35, what was written is lost
    if kind is str and not isinstance(value, str):
        raise UsageError(f"{key} holds {shown(value)}, which is no text: put each in quotes")
    return _single(key, value, kind)


def _plain(value: Any) -> Any:
    """Return a number, an array or a path of others as Python's own."""
    if value is None or isinstance(value, (bool, int, float, str, list, tuple, dict)):
        return value
    if isinstance(value, os.PathLike):
        path = os.fspath(value)
        return path if isinstance(path, str) else os.fsdecode(path)
    # what comes as numpy's has imported it; the command line need not
    import numpy as np

    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value


def _items(key: str, value: Any, kind: type, whole: bool) -> list[Any] | tuple[Any, ...]:
    if isinstance(value, (list, tuple)):
        return value
    if kind is str and isinstance(value, str):
        return (value,) if whole else split_texts(value)
    wanted = {int: "whole numbers", float: "numbers", str: "texts, in quotes where YAML reads something else"}[kind]
    raise UsageError(f"{key} is {shown(value)}: give a list of {wanted}")


def _to_int(value: Any) -> int | None:
    """Return a whole number, also one written as a text or as a float; None for anything else."""
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    if isinstance(value, numbers.Integral):
        return None if isinstance(value, bool) else int(value)
    if not isinstance(value, numbers.Real) or not math.isfinite(value):
        return None
    whole: Any = math.trunc(value)
    return whole if value == whole else None


def _to_float(value: Any) -> float | None:
    """Return a number, also one written as a text, as YAML reads 1e-3; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (str, numbers.Real)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except ValueError:
        return None


def _to_bool(value: Any) -> bool | None:
    return _SWITCH.get(str(value).lower()) if isinstance(value, (bool, int, str)) else None


def _to_text(value: Any) -> str | None:
    """Return a text; a number is one too, such as the name of a folder that YAML takes for a number."""
    return None if isinstance(value, bool) or not isinstance(value, (str, int, float)) else str(value)


def read_size(value: Any) -> Any:
    """Return the two sides of a size that is one number or a text, `N` or `WxH`."""
    if isinstance(value, float) and _to_int(value) is not None:
        value = _to_int(value)
    return parse_size(str(value)) if isinstance(value, (str, int)) and not isinstance(value, bool) else value


def read_seed(value: Any) -> Any:
    """Return the number of a word; no seed at all asks for a new one, as -1 does."""
    return -1 if value is None else seeding.from_text(value) if isinstance(value, str) else value


def _settings(tree: type) -> dict[str, Setting]:
    return {field.name: setting_of(field) for field in dataclasses.fields(tree)}


_CONVERT: dict[type, Callable[[Any], Any]] = {int: _to_int, float: _to_float, bool: _to_bool, str: _to_text}
_WANTED: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
}
