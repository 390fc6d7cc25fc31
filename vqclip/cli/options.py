"""Options of the command line, built from what the fields of a config, or of a film, say of themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from vqclip.cli.values import TEXT
from vqclip.config import Config
from vqclip.config.fields import Leaf, Trait, leaves

# what people look for first comes first in --help; what is not named here follows in the order of the config
_ORDER = (
    "steps", "size", "seed", "output.file", "output.folder", "count", "batch_size", "canvas.name", "init.kind",
    "init.image", "init.like", "init.anyway", "init.strength", "init.weight", "init.mask", "image_prompts", "negative",
    "models.vqgan", "models.vqgan_config", "models.clip", "models.judge_clip", "models.prior", "models.upsampler",
    "prior.class_index",
    "init.candidates", "init.keep", "output.save_candidates", "target.kind", "views.count", "optimizer.name",
    "optimizer.lr", "stages", "best.patience", "run.device", "run.precision", "run.compile", "run.deterministic",
    "output.video", "output.fps", "output.length", "output.save_every", "output.keep_run",
)  # fmt: skip


def offered(tree: type = Config) -> list[Leaf]:
    """Return the fields of a config, or another tree, that have an option of their own, in the order of --help."""
    fields = {field.key: field for field in leaves(tree) if field.setting.flags}
    first = _ORDER if tree is Config else ()
    return [fields[key] for key in dict.fromkeys((*first, *fields))]


def generate_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each field that has one to a command, which receives them as one mapping `flags` of keys."""
    return field_options("flags", offered())(command)


def field_options(name: str, fields: Sequence[Leaf]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what adds an option for each of some fields to a command.

    The command receives what was typed as one mapping, called `name`, of the fields' keys.
    """

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapped(**values: Any) -> Any:
            flags = {field.key: values.pop(_parameter(name, field)) for field in fields}
            return command(**{name: typed_values(flags, fields)}, **values)

        for field in reversed(fields):
            wrapped = click.option(*field.setting.flags, _parameter(name, field), **_details(field))(wrapped)
        return wrapped

    return add


def typed_values(flags: Mapping[str, Any], fields: Sequence[Leaf]) -> dict[str, Any]:
    """Turn what was typed into values of the fields' keys; what was not typed is left out."""
    typed = {key: value for key, value in flags.items() if value is not None and value is not False and value != ()}
    return typed | {field.key: _value(field, typed[field.key]) for field in fields if field.key in typed}


def _parameter(name: str, field: Leaf) -> str:
    """click's name for the value of a field."""
    return f"{name}__{field.key.replace('.', '__')}"


def _details(field: Leaf) -> dict[str, Any]:
    """Return click's keywords for the option of a field."""
    details = {"default": None, "show_default": False, "help": field.setting.line}
    if field.scalar is bool:
        return details | {"is_flag": True}
    if Trait.REPEATED in field.setting.traits:
        details["multiple"] = True
    if field.scalar in (int, float) and field.setting.read is None:
        return details | {"type": field.scalar}
    if Trait.TRACK in field.setting.traits:
        details["metavar"] = "TRACK"
    return details if Trait.EMPTY in field.setting.traits else details | {"type": TEXT}


def _value(field: Leaf, typed: Any) -> Any:
    """Return what was typed as the config takes it."""
    if field.scalar is bool:
        return not field.default
    if field.setting.read is not None:
        return field.setting.read(typed)
    if Trait.REPEATED in field.setting.traits:
        return list(typed)
    return [text.strip() for text in typed.split(",")] if field.many else typed
