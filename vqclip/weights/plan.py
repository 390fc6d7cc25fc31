"""What a preset needs: which weights it names, which are to be fetched, and whether there is room for them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vqclip.errors import WeightsError
from vqclip.weights import cache, catalog, fetch, get, hub
from vqclip.weights.catalog import Source, Weights

# what stays of a VQGAN's checkpoint (docs/checkpoints.md)
_KEPT = {"vqgan": 1 / 3}
# fields of a config's `models` that name weights, and of which kind
_FIELDS = {name: name for name in ("vqgan", "clip", "prior", "upsampler", "embedding", "memory", "depth")}
_FIELDS |= {"judge_clip": "clip", "judge_clips": "clip"}


@dataclass(frozen=True)
class Missing:
    """Weights that are not here: what is still to be fetched, in bytes, and what of it stays; None if not known."""

    kind: str
    name: str
    size: int | None
    kept: int | None

    def __str__(self) -> str:
        return f"{self.kind} {self.name} ({'size not known' if self.size is None else _gigabytes(self.size)})"


def names_of(models: dict[str, object]) -> list[tuple[str, str]]:
    """Return kind and name of all weights that a config's `models` name, but the bundled ones."""
    bundled = {(record.kind, record.name) for record in catalog.records() if record.file}
    pairs = []
    for field, kind in _FIELDS.items():
        value = models.get(field)
        named = value if isinstance(value, list) else [value]
        pairs += [(kind, name) for name in named if isinstance(name, str) and name and (kind, name) not in bundled]
    return list(dict.fromkeys(pairs))


def missing(names: Iterable[tuple[str, str]]) -> list[Missing]:
    """Return which of some weights, by kind and name, are not here.

    The sources of those that the catalog knows no size of are asked. Raises UsageError for a name that is not known.
    """
    records = [get.record_of(kind, name) for kind, name in names]
    return [_missing(record) for record in records if not catalog.place(record).exists()]


def total(items: Iterable[Missing]) -> int:
    """Return the bytes that are to be fetched, as far as they are known."""
    return sum(item.size or 0 for item in items)


def check_room(items: Sequence[Missing]) -> None:
    """Raise WeightsError if there is no room for what is fetched and stays.

    What is fetched goes when it was converted: the largest file and all that stays must have room together.
    """
    kept = sum(item.kept or 0 for item in items)
    # of parts, which are kept as they come, nothing goes
    passing = max((item.size or 0 for item in items if item.kind != "prior"), default=0)
    home = cache.home()
    there = next(place for place in (home, *home.absolute().parents) if cache.exists(place))
    free = shutil.disk_usage(there).free
    if free < kept + passing:
        raise WeightsError(
            f"it needs {_gigabytes(kept + passing)} in {home}, {_gigabytes(free)} are free: make room, or set "
            "VQCLIP_HOME to another folder"
        )


def describe(items: Sequence[Missing]) -> str:
    """Return in words what is to be fetched, and how much that is together."""
    unknown = sum(item.size is None for item in items)
    more = f" and {unknown} of unknown size" if unknown else ""
    return f"{', '.join(map(str, items))}: {_gigabytes(total(items))}{more} to fetch"


def _missing(record: Weights) -> Missing:
    if record.parts:
        sizes = [_size(source) for source in record.parts.values()]
        size = None if None in sizes else sum(each or 0 for each in sizes)
        return Missing(record.kind, record.name, size, size)
    whole = record.size or next((size for size in map(_size, record.sources) if size is not None), None)
    if whole is None and record.name in catalog.RECOMMENDED_CLIPS:
        whole = catalog.RECOMMENDED_CLIPS[record.name][0]  # what is kept is about what is fetched
    if whole is None:
        return Missing(record.kind, record.name, None, None)
    place = get.place_of_original(record)
    here = whole if place.exists() else get.arrived(record)
    return Missing(record.kind, record.name, max(whole - here, 0), round(whole * _KEPT.get(record.kind, 1)))


def _size(source: Source) -> int | None:
    """Return the bytes of a source's file, as it says; None if it does not, and 0 if it need not be fetched."""
    if cache.offline():
        return None
    if source.url:
        return fetch.size_of(source.url)
    if hub.cached(source):
        return 0
    try:
        return hub.look_up(source).size
    except WeightsError:
        return None


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 5e7 else f"{size / 1e6:.2f} MB"
