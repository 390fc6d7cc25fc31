"""The options of `vqclip generate`, built from what the fields of a config say of themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import click

from vqclip.cli.values import TEXT
from vqclip.config import Config
from vqclip.config.fields import Leaf, Trait, leaves

# what people look for first comes first in --help; what is not named here follows in the order of the config
_ORDER = (
    "steps", "size", "seed", "output.file", "output.folder", "count", "batch_size", "canvas.name", "init.kind",
    "init.image", "init.like", "init.anyway", "init.strength", "init.weight", "init.mask", "image_prompts", "negative",
    "models.vqgan", "models.vqgan_config", "models.clip", "models.prior", "models.upsampler", "prior.class_index",
    "init.candidates", "init.keep", "output.save_candidates", "target.kind", "views.count", "optimizer.name",
    "optimizer.lr", "stages", "best.patience", "run.device", "run.precision", "run.compile", "run.deterministic",
    "output.video", "output.fps", "output.length", "output.save_every", "output.keep_run",
)  # fmt: skip


def offered() -> list[Leaf]:
    """Return the fields of a config that have an option of their own, in the order of --help."""
    fields = {field.key: field for field in leaves(Config) if field.setting.flags}
    return [fields[key] for key in dict.fromkeys((*_ORDER, *fields))]


def generate_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each field that has one to a command, which receives them as one mapping `flags` of keys."""

    @functools.wraps(command)
    def wrapped(**values: Any) -> Any:
        flags = {field.key: values.pop(_parameter(field)) for field in offered()}
        return command(flags=to_config(flags), **values)

    for field in reversed(offered()):
        wrapped = click.option(*field.setting.flags, _parameter(field), **_details(field))(wrapped)
    return wrapped


def to_config(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Turn what was typed into values of config keys; what was not typed is left out."""
    typed = {key: value for key, value in flags.items() if value is not None and value is not False and value != ()}
    for field in offered():
        if field.key in typed:
            typed[field.key] = _value(field, typed[field.key])
    return typed


def _parameter(field: Leaf) -> str:
    """click's name for the value of a field."""
    return field.key.replace(".", "__")


def _details(field: Leaf) -> dict[str, Any]:
    """Return click's keywords for the option of a field."""
    details = {"default": None, "show_default": False, "help": field.setting.line}
    if field.scalar is bool:
        return details | {"is_flag": True}
    if Trait.REPEATED in field.setting.traits:
        details["multiple"] = True
    if field.scalar in (int, float) and field.setting.read is None:
        return details | {"type": field.scalar}
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
