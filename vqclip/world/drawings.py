"""The table of drawings of the second world: which drawing shows which subject, and what is held out.

Only the table is committed. `vqclip train drawings` fetches the drawings themselves from package registries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from vqclip.errors import VqclipError

TABLE = Path(__file__).with_name("drawings.tsv")
_COLUMNS = ["subject", "id", "kind", "licence", "held", "title"]
_HELD = ("", "subject", "drawing")


@dataclass(frozen=True)
class Drawing:
    """One drawing of a subject.

    `id` is "source:name". `kind` is flat emoji, 3d emoji, clip art or photo cut-out. `held` is "" for a drawing that
    trainings and the memory may use, "drawing" for the one drawing of a subject that only tests may use, and "subject"
    where the whole subject is held out.
    """

    subject: str
    id: str
    kind: str
    licence: str
    held: str
    title: str

    @property
    def source(self) -> str:
        """The set of drawings that it comes from, such as "noto"."""
        return self.id.split(":", 1)[0]

    @property
    def name(self) -> str:
        """Its name within its source."""
        return self.id.split(":", 1)[1]


@lru_cache(maxsize=4)
def load_drawings(path: Path = TABLE) -> tuple[Drawing, ...]:
    """Read the table, sorted by subject; raise VqclipError if it cannot be read or a row is damaged."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise VqclipError(f"cannot read the table of drawings {path.name}: {error}") from error
    rows = [line.split("\t") for line in lines]
    if not rows or rows[0] != _COLUMNS:
        raise VqclipError(f"{path.name} is no table of drawings: its first line must be {', '.join(_COLUMNS)}")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(_COLUMNS) or ":" not in row[1] or row[4] not in _HELD:
            raise VqclipError(f"{path.name}, line {number}: give {len(_COLUMNS)} columns, as in the first line")
    return tuple(Drawing(*row) for row in rows[1:])


def drawings_of(
    drawings: Iterable[Drawing] | None = None, held: Iterable[str] = ("",)
) -> Mapping[str, tuple[Drawing, ...]]:
    """Return the drawings of each subject, subjects in the order of the table; only those whose `held` is named."""
    wanted = set(held)
    by_subject: dict[str, list[Drawing]] = {}
    for drawing in load_drawings() if drawings is None else drawings:
        if drawing.held in wanted:
            by_subject.setdefault(drawing.subject, []).append(drawing)
    return MappingProxyType({subject: tuple(group) for subject, group in by_subject.items()})


def weights(drawings: Iterable[Drawing]) -> list[float]:
    """Return how often each drawing of one subject is shown, so that no set dominates; the sum is 1.

    Each source counts alike, and the drawings of one source share its part.
    """
    choices = list(drawings)
    counts: dict[str, int] = {}
    for drawing in choices:
        counts[drawing.source] = counts.get(drawing.source, 0) + 1
    return [1 / (len(counts) * counts[drawing.source]) for drawing in choices]
