"""One tree of dataclasses holds everything that decides a picture; presets, files, `--set` and flags fill it.

Defaults < preset < `-c file.yaml` < `--set key=value` < flags. Prompts never pass through OmegaConf, which would
resolve `${...}` in them: they are plain tuples, set after the merge.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import typing
from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

import yaml

from vqclip import resources
from vqclip.config.checks import check, checked
from vqclip.config.fields import Trait, get, leaves, put
from vqclip.config.schema import PROMPT_FIELDS, Config
from vqclip.config.text import check_keys, nest, parse_set, read_file, refuse_interpolation
from vqclip.config.values import typed_layer
from vqclip.errors import UsageError, unknown_name

DEFAULT_PRESET = "tiny"


def build(
    preset: str | None = None,
    files: Iterable[Path] = (),
    sets: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Config:
    """Return the config of a run from its sources, later ones over earlier ones.

    `flags` maps dotted keys to typed values. Raises UsageError for unknown keys (naming the nearest), values of
    another type, and values out of range.
    """
    base = read_file(resources.path("configs") / f"{_preset(preset)}.yaml")
    return from_dict(base, *layers_of(files, sets, flags or {}))


def layers_of(files: Iterable[Path], sets: Iterable[str], flags: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the user's own layers as nested plain data: files, then `--set`, then flags."""
    return [
        *(read_file(Path(file)) for file in files),
        nest(parse_set(text, Config) for text in sets),
        nest(flags.items()),
    ]


def make_config(*prompts: str, preset: str | None = None, **values: Any) -> Config:
    """Return a config for Python callers, such as `make_config("a cat", seed=3, views={"count": 8})`.

    Keywords are the keys of `Config`; groups take mappings, `size` also a number or "WxH", `seed` also a word, or None
    for a new one. Several prompts, or a list of them, are drawn into one picture.
    """
    texts = prompts[0] if len(prompts) == 1 and isinstance(prompts[0], (list, tuple)) else prompts
    layer = {"prompts": texts} | values if prompts else values
    return from_dict(read_file(resources.path("configs") / f"{_preset(preset)}.yaml"), layer)


def from_dict(*layers: Mapping[str, Any]) -> Config:
    """Return the config of nested plain data, later layers over earlier ones; the same errors as `build`."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    prompts: dict[str, tuple[str, ...]] = {}
    merged = _schema()
    for layer in layers:
        check_keys(layer, Config)
        refuse_interpolation({name: value for name, value in layer.items() if name not in PROMPT_FIELDS})
        values = typed_layer(layer, Config)
        prompts |= {name: values.pop(name) for name in PROMPT_FIELDS if name in values}
        try:
            merged = OmegaConf.merge(merged, OmegaConf.create(values))
        except (OmegaConfBaseException, ValueError, TypeError, OverflowError) as error:
            key = getattr(error, "full_key", None)
            raise UsageError(f"config: {key or 'a value'} does not fit: see 'vqclip generate --print-config'") from None
    plain: Any = OmegaConf.to_object(merged)
    values = {f.name: getattr(plain, f.name) for f in dataclasses.fields(plain)}
    config = Config(**(values | prompts))
    _expand_home(config)
    check(config)
    return config


def _expand_home(config: Config) -> None:
    """Let `~` at the beginning of a path be the user's home, as shells do except behind `--output=`."""
    for leaf in leaves(Config):
        value = get(config, leaf.key)
        if value and leaf.setting.traits & (Trait.PATH | Trait.MODEL):
            home = type(value)(map(os.path.expanduser, value)) if leaf.many else os.path.expanduser(value)
            put(config, leaf.key, home)


def to_yaml(config: Config) -> str:
    """Return the config as YAML that `-c` reads back; UsageError for one with a wrong value."""
    return yaml.safe_dump(checked(config).to_dict(), sort_keys=False, allow_unicode=True)


def _preset(name: str | None) -> str:
    name = str(name or DEFAULT_PRESET)
    if name not in resources.presets():
        raise unknown_name("preset", name, resources.presets())
    return name


@functools.cache
def _schema() -> Any:
    """Return the tree without its prompt fields as OmegaConf's schema, which takes most of the time to make.

    Merging copies it.
    """
    from omegaconf import OmegaConf

    return OmegaConf.structured(_without_prompts())


def _without_prompts() -> Any:
    """The tree without its prompt fields, as OmegaConf's schema: it knows no variadic tuples, and must not see them."""
    kept = [(f.name, f.type, f) for f in dataclasses.fields(Config) if f.name not in PROMPT_FIELDS]
    hints = typing.get_type_hints(Config)
    return dataclasses.make_dataclass("Schema", [(name, hints[name], _copy(f)) for name, _, f in kept])


def _copy(source: dataclasses.Field[Any]) -> Any:
    if source.default_factory is not dataclasses.MISSING:
        return field(default_factory=source.default_factory)
    return field(default=source.default)
