"""Registries as they were before a test added to them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from vqclip.registry import (
    AUGMENTATIONS,
    CANVASES,
    INTERVENTIONS,
    LOSSES,
    OPTIMIZERS,
    SCHEDULES,
    SINKS,
    Registry,
    plugins,
)

_TABLES = (AUGMENTATIONS, CANVASES, INTERVENTIONS, LOSSES, OPTIMIZERS, SCHEDULES, SINKS)


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Take out, at the end, what was registered within, and forget the plugins that were loaded."""
    before: list[tuple[Registry, set[str]]] = [(table, set(table)) for table in _TABLES]
    yield
    for table, names in before:
        for name in set(table) - names:
            table.remove(name)
    plugins._LOADED.clear()
