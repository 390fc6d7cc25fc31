"""What a layout knows of things, from things.yaml: their size, where they belong, how they go together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

_FILE = Path(__file__).with_name("things.yaml")
_LARGE, _SMALL = 1.6, 0.62  # scales beside a thing of usual size


@dataclass(frozen=True)
class Things:
    """Lists of subjects by what is known of them; see things.yaml."""

    lists: Mapping[str, frozenset[str]]
    faces: Mapping[str, str]

    def has(self, kind: str, subject: str) -> bool:
        """Whether a subject stands in a list, such as "aloft" or "seats"."""
        return subject in self.lists[kind]

    def size(self, subject: str) -> float:
        """Return how large a subject is beside one of middle size."""
        return _LARGE if self.has("large", subject) else _SMALL if self.has("small", subject) else 1.0


@lru_cache(maxsize=1)
def load_things() -> Things:
    """Read the bundled lists."""
    data = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    faces = data.pop("faces")
    return Things({kind: frozenset(names) for kind, names in data.items()}, faces)
