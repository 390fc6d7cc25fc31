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
from vqclip.config.schema import PROMPT_FIELDS, Config
from vqclip.config.text import check_keys, nest, parse_set, read_file, refuse_interpolation
from vqclip.config.values import shown, typed_layer, typed_tree
from vqclip.errors import UsageError, unknown_name
from vqclip.registry import AUGMENTATIONS, CANVASES, INTERVENTIONS, LOSSES, OPTIMIZERS, SCHEDULES

DEFAULT_PRESET = "tiny"


_CHOICES = {
    "canvas.name": CANVASES,
    "optimizer.name": OPTIMIZERS,
    "optimizer.schedule": SCHEDULES,
    "init.kind": ("auto", "random", "image", "sketch", "prior"),
    "target.kind": ("text", "prior"),
    "run.precision": ("auto", "fp32", "bf16", "fp16"),
    "run.compile": ("auto", "on", "off"),
}
# inclusive bounds
_BOUNDS: dict[str, tuple[float, float]] = {
    "steps": (0, 1_000_000),
    "extra_steps": (0, 1_000_000),
    "count": (1, 10_000),
    "batch_size": (1, 256),
    "init.strength": (0, 1),
    "init.weight": (0, 1e6),
    "init.paint": (0, 1e6),
    "init.candidates": (1, 1024),
    "init.keep": (1, 256),
    "init.rivals": (0, 1e6),
    "prior.steps": (1, 1000),
    "prior.guidance": (0, 100),
    "prior.temperature": (0, 10),
    "prior.top_k": (0, 1_000_000),
    "prior.top_p": (0, 1),
    "prior.class_index": (-1, 1_000_000),
    "prior.choice": (0, 100),
    "prior.remask_every": (0, 1_000_000),
    "prior.remask_share": (0, 1),
    "upsampling.steps": (1, 1000),
    "upsampling.guidance": (0, 100),
    "upsampling.temperature": (0, 10),
    "upsampling.choice": (0, 100),
    "target.mix": (0, 1),
    "target.guidance": (0, 100),
    "latent.ema": (0, 0.9999),
    "latent.noise": (0, 10),
    "views.count": (1, 1024),
    "views.smallest": (0.05, 1),
    "views.largest": (0.05, 1),
    "views.overshoot": (0, 0.45),
    "views.detail_below": (0, 0.95),
    "views.chunk": (0, 100_000),
    "optimizer.lr": (0, 1000),
    "optimizer.warmup": (0, 100_000),
    "optimizer.weight_decay": (0, 10),
    "optimizer.clip_norm": (0, 1e9),
    "contrast.weight": (0, 1e6),
    "contrast.scale": (0, 1000),
    "best.every": (1, 100_000),
    "best.views": (1, 256),
    "best.patience": (0, 100_000),
    "output.save_every": (0, 1_000_000),
    "output.fps": (1, 60),
    "output.length": (0.01, 3600),
}
# names of files and folders; a model's may also be one of the catalog
_PATHS = ("init.image", "init.mask", "output.file", "output.folder", "output.video")
_MODELS = ("vqgan", "vqgan_config", "prior", "upsampler", "embedding", "memory")
_LARGEST_SIDE = 16384
# losses whose weight is a setting of another group
_WEIGHED_BY = {"painted": "init.paint", "contrast": "contrast.weight"}


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
    plain = OmegaConf.to_object(merged)
    config = Config(**{f.name: getattr(plain, f.name) for f in dataclasses.fields(plain)}, **prompts)
    _expand_home(config)
    check(config)
    return config


def checked(config: Config) -> Config:
    """Return a copy of a config, whose fields may have been set to anything, with plain values that are in range.

    Numbers of numpy and paths become Python's own, a single prompt a tuple of one. Whatever draws, loads or writes a
    config begins with this. Raises UsageError for the first value that is wrong.
    """
    if not isinstance(config, Config):
        raise UsageError(f"the config is {shown(config)}: give one that vqclip.make_config('a cat') made")
    found = typed_tree(config, Config)
    refuse_interpolation({name: value for name, value in found.to_dict().items() if name not in PROMPT_FIELDS})
    check(found)
    return found


def _expand_home(config: Config) -> None:
    """Let `~` at the beginning of a path be the user's home, as shells do except behind `--output=`."""
    for group, name in [key.split(".") for key in (*_PATHS, *(f"models.{name}" for name in _MODELS))]:
        part = getattr(config, group)
        if getattr(part, name):
            setattr(part, name, os.path.expanduser(getattr(part, name)))
    config.models.clip = [os.path.expanduser(name) for name in config.models.clip]
    config.image_prompts = tuple(os.path.expanduser(text) for text in config.image_prompts)


def check(config: Config) -> None:
    """Raise UsageError for the first value, of those of a config with the declared types, that is not in its range."""
    for key, (low, high) in _BOUNDS.items():
        value = _get(config, key)
        if value is not None and not low <= value <= high:
            raise UsageError(f"{key} is {value:g}: give a number from {low:g} to {high:g}")
    for key, allowed in _CHOICES.items():
        if _get(config, key) not in allowed:
            raise unknown_name(key, str(_get(config, key)), allowed)
    if config.seed < -1 < config.seed + config.count:
        raise UsageError(
            f"seed is {config.seed} and count {config.count}: seeds counted up pass -1, which asks for a new one; "
            "give a seed from 0"
        )
    for name in config.views.augmentations:
        AUGMENTATIONS.check(name)
    for name in config.losses:
        LOSSES.check(name)
    for name, setting in _WEIGHED_BY.items():
        if name in config.losses:
            raise UsageError(f"losses.{name} is {shown(config.losses[name])}: set {setting}, which is its weight")
    for name in config.interventions:
        INTERVENTIONS.check(name)
    for key in _PATHS:
        if _get(config, key) == "":
            raise UsageError(f"{key} is empty: name a file or folder, or leave it out")
    if not all(config.image_prompts):
        raise UsageError("image_prompts holds an empty name: give FILE or FILE:weight, or leave it out")
    together = config.init.keep if config.init.keep > 1 else min(config.count, config.batch_size)
    if config.only is not None and not (0 <= config.only < together and config.count <= config.batch_size):
        raise UsageError(f"only is {config.only}: give the place, from 0, of one of count pictures drawn in one batch")
    if config.init.keep > config.init.candidates:
        raise UsageError(f"init.keep is {config.init.keep}: give at most init.candidates, {config.init.candidates}")
    if config.init.keep > 1 and config.count > 1:
        raise UsageError(f"init.keep is {config.init.keep} and count {config.count}: give one of them above 1")
    if not config.models.clip:
        raise UsageError("models.clip is empty: give at least one CLIP, such as tiny")
    if len(config.size) != 2 or any(not 1 <= side <= _LARGEST_SIDE for side in config.size):
        given = "x".join(str(side) for side in config.size)
        raise UsageError(f"size is {given}: give a width and a height of 1 to {_LARGEST_SIDE} pixels")
    if config.views.smallest > config.views.largest:
        raise UsageError(f"views.smallest is {config.views.smallest:g}: give at most views.largest")
    if len(config.views.overview) != 2 or any(not 0 <= share <= 1 for share in config.views.overview):
        raise UsageError(f"views.overview is {config.views.overview}: give two shares from 0 to 1, first and last")
    template = config.views.detail_prompt
    if template and "{}" not in template:
        raise UsageError(f"views.detail_prompt is {template!r}: write {{}} where the prompt is to stand")
    if len(config.optimizer.betas) != 2 or any(not 0 <= beta < 1 for beta in config.optimizer.betas):
        raise UsageError(f"optimizer.betas is {config.optimizer.betas}: give two numbers from 0 to below 1")


def to_yaml(config: Config) -> str:
    """Return the config as YAML that `-c` reads back; UsageError for one with a wrong value."""
    return yaml.safe_dump(checked(config).to_dict(), sort_keys=False, allow_unicode=True)


def _preset(name: str | None) -> str:
    name = str(name or DEFAULT_PRESET)
    if name not in resources.presets():
        raise unknown_name("preset", name, resources.presets())
    return name


def _get(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


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


def _copy(source: dataclasses.Field) -> Any:
    if source.default_factory is not dataclasses.MISSING:
        return field(default_factory=source.default_factory)
    return field(default=source.default)
