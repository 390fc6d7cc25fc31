"""What a film says of itself: its settings in its comment, and beside it in a file of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqclip.animation.plan import Plan, files_of, without_paths
from vqclip.config.film import Film, film_from
from vqclip.config.text import read_text
from vqclip.errors import UsageError
from vqclip.weights import files
from vqclip.writers.films import read_comment

SCHEMA = 1
SUFFIX = ".film.json"
# files that a film names, and the options that name them again
_OPTIONS = {"video": "--init-video", "audio": "--audio", "flow": "--flow", "camera.depth": "--depth"}


def record_of(plan: Plan, picture: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a film, from that of its first frame: enough to draw it again, without a path."""
    outside = {
        f"film.{key}": {"name": Path(name).name, "sha256": files.sha256(Path(name))}
        for key, name in files_of(plan.film).items()
    }
    kept = {key: value for key, value in picture.items() if key not in ("frame", "stopped_at_step", "events")}
    return kept | {
        "film_schema": SCHEMA,
        "film": without_paths(plan.film),
        "files": {**picture.get("files", {}), **outside},
    }


def comment_of(record: Mapping[str, Any]) -> str:
    """Return the record as the comment of a film."""
    return json.dumps({"vqclip_film": record}, separators=(",", ":"), ensure_ascii=True)


def side_car(film: Path) -> Path:
    """Return where the settings of a film stand beside it."""
    return film.with_name(film.stem + SUFFIX)


def read_record(path: Path) -> dict[str, Any]:
    """Return the record of a film, or of the file beside it; UsageError if there is none."""
    text = read_text(path, "film settings") if path.suffix == ".json" else _comment(path)
    try:
        data = json.loads(text) if text else None
    except (ValueError, RecursionError):
        data = None
    record = data.get("vqclip_film", data) if isinstance(data, dict) else None
    if not isinstance(record, dict) or not isinstance(record.get("film"), dict) or "config" not in record:
        raise UsageError(f"{path} does not say how it was drawn: give a film of vqclip's, or its NAME{SUFFIX}")
    if record.get("film_schema") != SCHEMA:
        raise UsageError(f"{path} has settings of schema {record.get('film_schema')!r}, this version reads {SCHEMA}")
    return record


def _comment(path: Path) -> str | None:
    if not path.is_file():
        raise UsageError(f"there is no film {path}: give a film of vqclip's, or its NAME{SUFFIX}")
    beside = side_car(path)
    return read_comment(path) or (read_text(beside, "film settings") if beside.is_file() else None)


def film_of(record: Mapping[str, Any], *changes: Mapping[str, Any]) -> Film:
    """Return the recorded film with what the user changes; its files must be given again, and be the same.

    Raises UsageError for a file that is missing or another one.
    """
    recorded = dict(record["film"])
    wanted = {key: value for key, value in dict(record.get("files") or {}).items() if key.startswith("film.")}
    film = film_from(recorded, *changes)
    for key, told in wanted.items():
        name = key.removeprefix("film.")
        given = next((found for layer in changes if (found := _given(layer, name)) is not None), None)
        if name.startswith("story."):
            raise UsageError(f"the film was drawn with the picture {told.get('name')!r}: give its story again")
        if given is None:
            raise UsageError(
                f"the film was drawn with the file {told.get('name')!r}: give it again: {_OPTIONS[name]} FILE"
            )
        if files.sha256(Path(given)) != told.get("sha256"):
            raise UsageError(f"{given} is another file than the film was drawn with: give {told.get('name')}")
    return film


def _given(changes: Mapping[str, Any], key: str) -> Any:
    """Return what nested data holds at a dotted key; None if nothing."""
    value: Any = changes
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
