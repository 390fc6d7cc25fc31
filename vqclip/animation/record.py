"""What a film says of itself: its settings in its comment, and beside it in a file of its own."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqclip.animation.folder import SETTINGS
from vqclip.animation.output import side_car
from vqclip.animation.plan import Plan, files_of, without_paths
from vqclip.config.film import Film, film_from
from vqclip.config.text import read_text
from vqclip.errors import UsageError, one_line
from vqclip.writers.films import read_comment

SCHEMA = 1
# files that a film names, and the options that name them again
_OPTIONS = {"video": "--init-video", "audio": "--audio", "flow": "--flow", "camera.depth": "--depth"}

# settings of pictures that each scene has of its own, or settles by its own first picture
_OF_SCENES = (
    "prompts", "negative", "seed", "size", "stages", "init.kind", "init.strength", "init.paint", "canvas.name",
    "optimizer.lr", "latent.noise", "views.count", "prior.guidance", "prior.top_k", "prior.top_p",
)  # fmt: skip


def record_of(plan: Plan, picture: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a film, from that of its first frame: enough to draw it again, without a path.

    What every scene, and every frame, settles for itself is recorded as it was asked for.
    """
    outside = {
        f"film.{key}": {"name": Path(name).name, "sha256": sha256(Path(name))}
        for key, name in files_of(plan.film).items()
    }
    kept = {key: value for key, value in picture.items() if key not in ("frame", "stopped_at_step", "events")}
    return kept | {
        "film_schema": SCHEMA,
        "film": without_paths(plan.film),
        "seed": plan.asked.seed,
        "config": _config_of(plan, picture),
        "files": {**picture.get("files", {}), **outside},
    }


def _config_of(plan: Plan, picture: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a film's pictures, as plain data without a path."""
    from vqclip.weights.load import base_name

    values: dict[str, Any] = copy.deepcopy(picture["config"])
    asked = plan.asked.to_dict()
    for key in _OF_SCENES:
        group, _, name = key.rpartition(".")
        (values[group] if group else values)[name] = (asked[group] if group else asked)[name]
    image = plan.asked.init.image
    values["init"]["image"] = image and Path(image).name
    used = {name.partition(":")[0] for name in picture.get("weights", {})}
    used |= {"prior"} if plan.film.camera.border == "prior" else set()
    values["models"]["memory"] = base_name(plan.asked.models.memory)  # also says that styles are painted
    for kind in ("prior", "upsampler", "embedding"):
        values["models"][kind] = base_name(asked["models"][kind]) if kind in used else ""
    return values


def comment_of(record: Mapping[str, Any]) -> str:
    """Return the record as the comment of a film."""
    return json.dumps({"vqclip_film": record}, separators=(",", ":"), ensure_ascii=True)


def read_record(path: Path) -> dict[str, Any]:
    """Return the record of a film, of its folder of PNGs, or of the file beside it; UsageError if there is none."""
    path = path / SETTINGS if path.is_dir() else path
    text = read_text(path, "film settings") if path.suffix == ".json" else _comment(path)
    try:
        data = json.loads(text) if text else None
    except (ValueError, RecursionError):
        data = None
    record = data.get("vqclip_film", data) if isinstance(data, dict) else None
    if not isinstance(record, dict) or not all(isinstance(record.get(key), dict) for key in ("film", "config")):
        raise UsageError(f"{path} does not say how it was drawn: give a film of vqclip's, or its NAME.film.json")
    if record.get("film_schema") != SCHEMA:
        raise UsageError(f"{path} has settings of schema {record.get('film_schema')!r}, this version reads {SCHEMA}")
    return record


def _comment(path: Path) -> str | None:
    if not path.is_file():
        raise UsageError(f"there is no film {path}: give a film of vqclip's, or its NAME.film.json")
    beside = side_car(path)
    return read_comment(path) or (read_text(beside, "film settings") if beside.is_file() else None)


def film_of(record: Mapping[str, Any], *changes: Mapping[str, Any]) -> Film:
    """Return the recorded film with what the user changes; its files must be given again, and be the same.

    Pictures of a story come with another story. Raises UsageError for a file that is missing or another one.
    """
    files = record.get("files")
    recorded = {str(key): told for key, told in files.items()} if isinstance(files, Mapping) else {}
    film = film_from(dict(record["film"]), *changes)
    for key, told in recorded.items():
        name = key.removeprefix("film.")
        if name == key or not (isinstance(told, Mapping) and (name in _OPTIONS or name.startswith("story."))):
            continue
        given = _given(film, name, changes)
        if given is None:
            option = f"{_OPTIONS[name]} FILE" if name in _OPTIONS else "--prompts FILE, the story that names it"
            raise UsageError(f"the film was drawn with the file {told.get('name')!r}: give it again: {option}")
        if given and sha256(Path(given)) != told.get("sha256"):
            raise UsageError(f"{given} is another file than the film was drawn with: give {told.get('name')}")
    return film


def _given(film: Film, name: str, changes: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the file that the user gave again, "" for one that a new story has not; None if none was given."""
    if name.startswith("story."):
        return files_of(film).get(name, "") if any("story" in layer for layer in changes) else None
    given = [value for layer in changes if isinstance(value := _value(layer, name), str) and value]
    return given[-1] if given else None


def sha256(path: Path) -> str:
    """Return the sha256 of a file that a film is drawn with; UsageError for one that cannot be read."""
    from vqclip.weights import files  # with torch, for which mistakes do not wait

    try:
        return files.sha256(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {one_line(error)}") from None


def _value(changes: Mapping[str, Any], key: str) -> Any:
    """Return what nested data holds at a dotted key; None if nothing."""
    value: Any = changes
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
