"""Lazy registries: torch-free records `name -> "module:attribute"`, resolved at first use."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from vqclip.errors import unknown_name


class Registry(Mapping[str, Any]):
    """A table of named variants of one kind.

    `registry["adam"]` is the record `"module:attribute"`, or an object that was registered itself;
    `registry.load("adam")` imports it. Listing and suggesting names therefore imports nothing.
    """

    def __init__(self, kind: str, records: Mapping[str, str]) -> None:
        self.kind = kind
        self._records: dict[str, Any] = dict(records)

    def __getitem__(self, name: str) -> Any:
        self.check(name)
        return self._records[name]

    def __contains__(self, name: object) -> bool:
        return name in self._records

    def get(self, name: str, default: Any = None) -> Any:
        """Return the record of a name, or the default if there is none."""
        return self._records.get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def check(self, name: str) -> str:
        """Return `name` if it is registered; raise UsageError with the nearest name otherwise."""
        if name not in self._records:
            raise unknown_name(self.kind, name, self._records)
        return name

    def register(self, name: str, record: Any) -> None:
        """Add a variant, as a record "module:attribute" or as itself; a name that is taken raises ValueError."""
        if name in self._records:
            raise ValueError(f"{self.kind} {name!r} is registered already")
        self._records[name] = record

    def remove(self, name: str) -> None:
        """Take a variant out; a name that is not registered raises UsageError."""
        del self._records[self.check(name)]

    def load(self, name: str) -> Any:
        """Import and return the object behind `name`."""
        record = self[name]
        if not isinstance(record, str):
            return record
        module, _, attribute = record.partition(":")
        return getattr(importlib.import_module(module), attribute)
