"""Text becomes typed values: YAML files, `key=value` and sizes, checked against a tree of dataclasses."""

from __future__ import annotations

import reprlib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from vqclip.config.fields import Leaf, Setting, is_group, leaves
from vqclip.errors import UsageError, nearest, one_line

MAX_FILE = 256 * 1024


def parse_set(text: str, tree: type) -> tuple[str, Any]:
    """Split `key=value` at the first equals sign and convert the value to the type the tree declares."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UsageError(f"--set {text!r}: give key=value, such as views.count=16")
    return key, _convert(_field_of(key, tree), value.strip())


def parse_size(text: str) -> list[int]:
    """Read `N` or `WxH` as [width, height] in pixels; the range is checked with the config."""
    parts = text.lower().replace("×", "x").split("x")
    try:
        sides = [int(part) for part in parts]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2):
        raise UsageError(f"size {text!r}: give pixels as N or WIDTHxHEIGHT, such as 256 or 384x256")
    return sides * 2 if len(sides) == 1 else sides


def split_texts(text: str) -> list[str]:
    """Read texts between commas, in brackets and quotes or not: YAML would read the stage 64:0.35 in base 60."""
    return [item.strip(" '\"") for item in text.strip("[] ").split(",") if item.strip()]


def read_text(file: Path, kind: str) -> str:
    """Read a text file of at most 256 KB, of a kind that errors name; UsageError, in one line, for anything else."""
    try:
        with file.open("rb") as stream:
            return decode(stream.read(MAX_FILE + 1), f"{kind} {file}")
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise UsageError(f"cannot read the {kind} {file}: {one_line(error)}") from None


def decode(data: bytes, source: str) -> str:
    """Return the text of bytes in UTF-8, without the mark that some editors put before it.

    Raises UsageError, which names the `source`, for other encodings and for more than 256 KB.
    """
    if len(data) > MAX_FILE:
        raise UsageError(f"{source} is over {MAX_FILE // 1024} KB: that is no list of prompts and no config")
    if b"\0" in data:  # no other text has them
        raise UsageError(f"{source} looks like UTF-16, not UTF-8: save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"byte {data[error.start]:#04x} in line {data[: error.start].count(10) + 1}"
        raise UsageError(f"{source} is not in UTF-8 ({where}): save it as UTF-8") from None


def read_file(file: Path) -> dict[str, Any]:
    """Read a YAML file of at most 256 KB as a mapping; UsageError, in one line, for anything else."""
    text = read_text(file, "config file")
    try:
        values = _load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"config file {file} is no valid YAML: {one_line(error)[:200]}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"config file {file} holds no keys: write lines such as 'steps: 300'")
    return values


def nest(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Turn dotted keys into nested mappings."""
    nested: dict[str, Any] = {}
    for key, value in items:
        *path, last = key.split(".")
        level = nested
        for part in path:
            level = level.setdefault(part, {})
        level[last] = value
    return nested


def check_keys(values: Mapping[str, Any], tree: type) -> None:
    """Raise UsageError for the first key of nested data that the tree lacks, naming the nearest one."""
    _check_keys(values, tree, tree, "")


def _check_keys(values: Mapping[str, Any], kind: type, tree: type, prefix: str) -> None:
    hints = typing.get_type_hints(kind)
    for key, value in values.items():
        if key not in hints:
            unknown_key(f"{prefix}{key}", tree)
        if is_group(hints[key]):
            if not isinstance(value, Mapping):
                raise UsageError(f"config: {prefix}{key} is a group: write {prefix}{key}.NAME=VALUE")
            _check_keys(value, hints[key], tree, f"{prefix}{key}.")


def _short(value: Any) -> str:
    """Return data as Python writes it, on one line and cut."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python refuses to write whole numbers of over 4300 digits
        return "a number of thousands of digits"


def unknown_key(key: str, tree: type) -> typing.NoReturn:
    """Raise UsageError for a key that the tree lacks, naming the nearest one."""
    known = [each.key for each in leaves(tree)]
    # the last part alone is what users remember: "cuts" or "lr" find their full names too
    guess = nearest(key, known) or next((k for k in known if k.split(".")[-1] == key.split(".")[-1]), None)
    hint = f"did you mean {guess!r}? " if guess else ""
    raise UsageError(f"unknown config key {key!r}: {hint}'vqclip generate --print-config' shows them all")


def _load(text: str) -> Any:
    """Read YAML without aliases: with them a list may hold itself, and a few lines unfold to gigabytes."""
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
        raise yaml.YAMLError("it uses aliases (*name), which are refused: write the values themselves")
    return yaml.safe_load(text)


def refuse_interpolation(values: Any) -> None:
    """`${...}` would read the environment into the config and from there into the picture's metadata."""
    if isinstance(values, Mapping):
        values = [*values.keys(), *values.values()]
    if isinstance(values, (list, tuple)):
        for value in values:
            refuse_interpolation(value)
    elif isinstance(values, str) and ("${" in values or values == "???"):
        raise UsageError(
            f"config: the value {values!r} holds '${{' or '???', which are refused: write the value itself"
        )


def _field_of(key: str, tree: type) -> Leaf:
    """Return the field of a dotted key, of a key in a mapping that of its value; UsageError if there is none."""
    for each in leaves(tree):
        if each.key == key:
            return each
        if key.startswith(f"{each.key}.") and typing.get_origin(each.kind) is dict:
            kind = typing.get_args(each.kind)[1]
            # only data whose types nobody has declared goes deeper
            if kind is Any or key.rpartition(".")[0] == each.key:
                return Leaf(key, kind, None, Setting())
    if any(each.key.startswith(f"{key}.") for each in leaves(tree)):
        raise UsageError(f"config: {key} is a group: write {key}.NAME=VALUE")
    unknown_key(key, tree)


def _convert(field: Leaf, text: str) -> Any:
    """Return a text as a value of a field."""
    kind = field.kind
    many = typing.get_origin(kind) in (list, dict, tuple)
    if field.setting.read is not None and not many:  # of a seed: a number or any word
        return text
    options = () if many else typing.get_args(kind)
    if type(None) in options:
        if text.lower() in ("", "none", "null"):
            return None
        kind = field.scalar
    try:
        if kind is bool:
            return {"true": True, "false": False, "on": True, "off": False}[text.lower()]
        if kind in (int, float):
            return kind(text)
        if kind == list[str]:
            return split_texts(text)
        if many or kind is Any:
            return _load(text)
    except (KeyError, ValueError, yaml.YAMLError):
        name = getattr(kind, "__name__", str(kind))
        raise UsageError(f"{field.key}={text!r} is no {name}: give a value of that kind") from None
    return text
