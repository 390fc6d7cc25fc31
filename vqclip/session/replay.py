"""Drawing a picture again from what it says of itself. Nothing in its metadata is ever opened or believed unchecked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqclip import config as configs
from vqclip.config import Config
from vqclip.errors import UsageError, WeightsError
from vqclip.registry import plugins
from vqclip.sketch.own import parse_like
from vqclip.types import Notice
from vqclip.writers import foreign, metadata

if TYPE_CHECKING:
    from vqclip.generation.prepare import Prepared

# files from outside: key of the config, and the option that names them anew
_OUTSIDE = {
    "init.image": "--init-image",
    "init.mask": "--mask",
    "models.vqgan": "--vqgan",
    "models.clip": "--clip",
    "models.judge_clip": "--judge-clip",
    "models.prior": "--prior",
    "models.upsampler": "--upsampler",
    "models.embedding": "--set models.embedding",
    "models.memory": "--set models.memory",
}
# what pictures of other programs tell, and the config key of each
_TOLD = {"prompt": "prompts", "negative": "negative", "seed": "seed", "size": "size", "steps": "steps"}
_LISTED = 12


def read_source(picture: Path) -> tuple[dict[str, Any] | None, foreign.Foreign | None]:
    """Return the record of a picture of vqclip's, or else what one of another program tells.

    Raises UsageError for a picture that tells nothing that can be drawn.
    """
    if metadata.read(picture)["record"] is None:
        found = foreign.read(picture)
        if found is not None:
            return None, found
    return read(picture), None


def foreign_notice(picture: Path, found: foreign.Foreign, asked: Iterable[str] = ()) -> Notice:
    """Return what is said of a picture of another program: what was taken, unless `asked` for anew, and what left."""
    taken = [name for name, _ in found.facts() if _TOLD[name] not in set(asked)]
    left = ", ".join(found.left[:_LISTED]) + (", ..." if len(found.left) > _LISTED else "")
    text = f"{picture} was made by {found.program}: took {', '.join(taken) or 'nothing'}; left {left or 'nothing'}"
    return Notice(f"{text}; models and look are vqclip's own")


def read(picture: Path) -> dict[str, Any]:
    """Return the record in a picture's metadata; UsageError if there is none that can be drawn."""
    record = metadata.read(picture)["record"]
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        raise UsageError(
            f"{picture} holds no metadata to draw from: give a picture that vqclip saved, or one of "
            "AUTOMATIC1111's web UI, ComfyUI or InvokeAI"
        )
    schema = record.get("schema")
    if schema != metadata.SCHEMA:
        raise UsageError(f"{picture} has metadata of schema {schema!r}, this version reads {metadata.SCHEMA}")
    return record


def began_with_image(record: Mapping[str, Any] | None) -> bool:
    """Whether a recorded picture had an init image, whatever its first grid was."""
    return record is not None and _value(record["config"], "init.image") is not None


def config_of(
    record: Mapping[str, Any], files: Iterable[Path], sets: Iterable[str], asked: Mapping[str, Any]
) -> Config:
    """Return the config of a record with what the user changes; files from outside must be given again."""
    recorded = {key: value for key, value in record["config"].items() if key != "output"}
    if "steps" in asked:
        recorded["extra_steps"] = 0
    changes = configs.layers_of(files, sets, asked)
    plugins.check_loaded(_mapping(record.get("files")), "the picture")
    config = configs.from_dict(recorded, *changes)
    for key, option in _OUTSIDE.items():
        wanted = _value(recorded, key)
        if key == "models.memory" and config.init.kind == "image":
            continue  # it says that styles are painted, and is never opened
        if _is_file(key, wanted) and not any(_value(layer, key) is not None for layer in changes):
            raise UsageError(f"the picture was drawn with the file {wanted!r}: give it again with {option} FILE")
    wanted = _value(recorded, "init.like")
    if wanted and not any(_value(layer, "init.like") for layer in changes):
        raise UsageError(f"the picture was drawn with --like {', '.join(wanted)}: give it again with its files")
    if wanted and not any("prompts" in layer for layer in changes):
        _check_like(wanted, config.init.like)
    wanted = recorded.get("image_prompts")
    if wanted and not any("image_prompts" in layer for layer in changes):
        raise UsageError(f"the picture was drawn with image prompts {wanted}: give them again with --image-prompt FILE")
    return config


def _check_like(recorded: Sequence[str], given: Sequence[str]) -> None:
    """Raise UsageError for own things, or numbers of their pictures, that are not those that a record tells of."""
    wanted, found = ({name: len(paths) for name, paths in parse_like(texts).items()} for texts in (recorded, given))
    for name in wanted | found:
        had, has = wanted.get(name, 0), found.get(name, 0)
        if had != has:
            hint = f"give {had}" if had else "leave it out"
            raise UsageError(f"--like {name}: files given: {has}, those the picture was drawn with: {had}: {hint}")


def check(record: Mapping[str, Any], prepared: Prepared) -> list[Notice]:
    """Compare files, weights and versions with those recorded.

    Raises UsageError for another file and WeightsError for other weights of one's own; bundled weights and libraries
    that have changed since are told of: the picture will differ.
    """
    for key, seen in _mapping(record.get("files")).items():
        given = prepared.outside.get(key)
        if given and given["sha256"] != _mapping(seen).get("sha256"):
            raise UsageError(
                f"{given['name']} is not the file the picture was drawn with (another sha256): find that one"
            )
    notices = []
    for name, digest in prepared.models.recorded_hashes().items():
        recorded = _mapping(record.get("weights")).get(name)
        if recorded == digest:
            continue
        if _is_file("", name):
            raise WeightsError(f"{name} is not the weight file the picture was drawn with (another sha256)")
        notices.append(Notice(f"the weights of {name} have changed since: the picture will differ"))
    changed = changed_versions(_mapping(record.get("versions")))
    if changed:
        notices.append(Notice(f"drawn with other {', '.join(changed)}: the picture may differ in detail"))
    events = record.get("events")
    # what halved a learning rate does so again
    short = [e for e in events if "views.chunk" in _mapping(e)] if isinstance(events, list) else []
    if short:
        step = str(short[0].get("step"))[:20]
        notices.append(
            Notice(f"memory ran out at step {step} of it, which changed sums: the picture may differ in detail")
        )
    for forced in record.get("forced") or ():
        what = ", ".join(str(name) for name in _mapping(forced).get("changed") or ())
        notices.append(Notice(f"the run was changed on the way ({what[:200]}): the picture will differ"))
    return notices


def changed_versions(recorded: Mapping[str, Any]) -> list[str]:
    """Return the names of the libraries, and of what else bits depend on, that are others than were recorded."""
    from vqclip.session.api import versions

    return [name for name, version in versions().items() if recorded.get(name) != version]


def _value(tree: Mapping[str, Any], key: str) -> Any:
    value: Any = tree
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_public(key: str, name: str) -> bool:
    """Whether a name is one of open_clip's or the Hub's, its slash no folder's; weights begin with their kind."""
    kind, _, rest = name.partition(":")
    plain = rest if not key and kind == "clip" else name if key in ("models.clip", "models.judge_clip") else ""
    if "/" not in plain:
        return False
    from vqclip.weights.catalog import public_clip
    from vqclip.weights.clip_names import hub_name

    try:
        return bool(hub_name(plain) or public_clip(plain))
    except UsageError:
        return False


def _is_file(key: str, value: Any) -> bool:
    """Init images and masks are files; a model is one if its name has a suffix or a slash (`catalog.locate`)."""
    if key in ("init.image", "init.mask"):
        return value is not None
    names = [name for name in (value if isinstance(value, list) else [value]) if not _is_public(key, str(name))]
    return any(bool(Path(str(name)).suffix) or "/" in str(name) or "\\" in str(name) for name in names)
