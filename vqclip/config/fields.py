"""What each field of a config says of itself, and how to walk over all fields of a tree of dataclasses."""

from __future__ import annotations

import copy
import dataclasses
import enum
import functools
import typing
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

_T = TypeVar("_T")
_KEY = "vqclip"


class Trait(enum.Flag):
    """What the texts of a field, and its option, are.

    A `PATH` names a file or folder and is never empty, a `MODEL` names weights of the catalog or a file; in both `~` is
    the user's home. Commas belong to a `WHOLE` text, and separate others. A `REPEATED` option may be given several
    times; one that may be `EMPTY` means something by it. A `TRACK` is a value over the frames of a film.
    """

    NONE = 0
    PATH = enum.auto()
    MODEL = enum.auto()
    WHOLE = enum.auto()
    REPEATED = enum.auto()
    EMPTY = enum.auto()
    TRACK = enum.auto()


@dataclass(frozen=True)
class Setting:
    """The metadata of one field.

    `help` is one line for `--help`; `{choices}` in it stands for the names that are allowed. `bounds` are the lowest
    and the highest number allowed, of a list for each item. `choices` are the texts allowed, of a mapping its keys; a
    registry stays one, so that names registered later count too. `flags` are the options of the command line, none for
    a field that only `--set` and files reach. `read` takes other ways to write a value, and returns the usual one.
    """

    help: str = ""
    bounds: tuple[float, float] | None = None
    flags: tuple[str, ...] = ()
    choices: Collection[str] = ()
    traits: Trait = Trait.NONE
    read: Callable[[Any], Any] | None = None

    @property
    def line(self) -> str:
        """The help with the names that are allowed."""
        return self.help.replace("{choices}", ", ".join(self.choices))


@dataclass(frozen=True)
class Leaf:
    """One field of a tree: its dotted key, its declared type, its default and its metadata."""

    key: str
    kind: Any
    default: Any
    setting: Setting

    @property
    def scalar(self) -> Any:
        """The type of its value, of a list or tuple that of the items, without `None`."""
        arguments = [kind for kind in typing.get_args(self.kind) if kind not in (type(None), Ellipsis)]
        return arguments[-1] if arguments else self.kind

    @property
    def many(self) -> bool:
        """Whether its value is a list or a tuple."""
        return typing.get_origin(self.kind) in (list, tuple)


def setting(
    default: _T,
    help: str,
    bounds: tuple[float, float] | None = None,
    flags: str = "",
    choices: Collection[str] = (),
    traits: Trait = Trait.NONE,
    read: Callable[[Any], Any] | None = None,
) -> _T:
    """Return a field of a dataclass with its default, which is copied for each object, and its metadata.

    See `Setting`; `flags` are separated by blanks.
    """
    metadata = {_KEY: Setting(help, bounds, tuple(flags.split()), choices, traits, read)}
    if isinstance(default, (list, dict)):
        return typing.cast(_T, dataclasses.field(default_factory=lambda: copy.copy(default), metadata=metadata))
    return dataclasses.field(default=default, metadata=metadata)


def setting_of(field: dataclasses.Field[Any]) -> Setting:
    """Return the metadata of a field; that of nothing in particular if it has none."""
    return typing.cast(Setting, field.metadata.get(_KEY, Setting()))


def is_group(kind: Any) -> bool:
    """Whether a declared type is a group of fields."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def leaves(tree: type) -> tuple[Leaf, ...]:
    """Return all fields of a tree in their order, those of groups by dotted keys."""
    return _leaves(tree, "")


@functools.cache
def _leaves(tree: Any, above: str) -> tuple[Leaf, ...]:
    hints, result = typing.get_type_hints(tree), list[Leaf]()
    for field in dataclasses.fields(tree):
        key, kind = f"{above}{field.name}", hints[field.name]
        if is_group(kind):
            result += _leaves(kind, f"{key}.")
        else:
            made = field.default_factory
            default = field.default if made is dataclasses.MISSING else made()
            result.append(Leaf(key, kind, default, setting_of(field)))
    return tuple(result)


def leaf(key: str, tree: type) -> Leaf | None:
    """Return the field of a dotted key; None if the tree has no such field."""
    return next((each for each in leaves(tree) if each.key == key), None)


def get(config: object, key: str) -> Any:
    """Return the value of a dotted key."""
    return functools.reduce(getattr, key.split("."), config)


def put(config: object, key: str, value: Any) -> None:
    """Set the value of a dotted key."""
    *path, name = key.split(".")
    setattr(functools.reduce(getattr, path, config), name, value)
