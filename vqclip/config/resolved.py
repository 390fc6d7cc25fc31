"""A config of which every rule has decided what it decides: what is drawn, recorded, and never changed."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

from vqclip.config.fields import get, is_group, leaves
from vqclip.config.groups import (
    BestConfig,
    CanvasConfig,
    ContrastConfig,
    InitConfig,
    LatentConfig,
    ModelsConfig,
    OptimizerConfig,
    OutputConfig,
    PriorConfig,
    RunConfig,
    TargetConfig,
    UpsamplingConfig,
    ViewsConfig,
)
from vqclip.config.schema import Config

_T = TypeVar("_T")
_HINT = "a resolved config is fixed: change a copy, config = resolved.config()"
# what a config holds where a rule is to decide
_OPEN: dict[str, Any] = {
    "seed": -1,
    "stages": [],
    "init.kind": "auto",
    "views.chunk": 0,
    "run.device": "auto",
    "run.precision": "auto",
    "run.compile": "auto",
}


class Fixed:
    """Base of groups whose fields are set once, when they are made; lists and mappings in them are fixed too."""

    if not TYPE_CHECKING:  # a checker would take it for leave to set any name

        def __setattr__(self, name: str, value: object) -> None:
            if name in vars(self) or all(name != each.name for each in dataclasses.fields(self)):
                raise dataclasses.FrozenInstanceError(f"{name} cannot be set: {_HINT}")
            super().__setattr__(name, _fixed(value))

        def __delattr__(self, name: str) -> None:
            raise dataclasses.FrozenInstanceError(f"{name} cannot be deleted: {_HINT}")


class ResolvedModels(Fixed, ModelsConfig):
    """The networks of a run."""


@dataclass(kw_only=True)
class ResolvedCanvas(Fixed, CanvasConfig):
    """What is optimized."""

    name: str = field()


class ResolvedTarget(Fixed, TargetConfig):
    """What its views are compared with."""


class ResolvedUpsampling(Fixed, UpsamplingConfig):
    """How its upsampler's codes are drawn."""


class ResolvedContrast(Fixed, ContrastConfig):
    """How much naming the prompt among its rivals counts."""


class ResolvedBest(Fixed, BestConfig):
    """When its pictures are scored."""


class ResolvedOutput(Fixed, OutputConfig):
    """Its files."""


@dataclass(kw_only=True)
class ResolvedInit(Fixed, InitConfig):
    """The first grid; `kind` is random, image, sketch or prior."""

    strength: float = field()
    paint: float = field()


@dataclass(kw_only=True)
class ResolvedPrior(Fixed, PriorConfig):
    """How a prior's codes are drawn; of a run without one, how one would be."""

    guidance: float = field()
    top_k: int = field()
    top_p: float = field()


@dataclass(kw_only=True)
class ResolvedLatent(Fixed, LatentConfig):
    """How the grid is treated."""

    noise: float = field()


@dataclass(kw_only=True)
class ResolvedViews(Fixed, ViewsConfig):
    """Views a step, and how many of them go through CLIP at a time, at least one."""

    count: int = field()


@dataclass(kw_only=True)
class ResolvedOptimizer(Fixed, OptimizerConfig):
    """Optimizer and learning rate."""

    lr: float = field()


@dataclass(kw_only=True)
class ResolvedRun(Fixed, RunConfig):
    """The device, the precision and whether networks are compiled; nothing is `auto`."""

    precision: Literal["fp32", "bf16", "fp16"] = field()
    compile: Literal["on", "off"] = field()


@dataclass(kw_only=True)
class Resolved(Fixed, Config):
    """A config as it is drawn. It reads as a `Config` does, and drawing it again gives the same pictures.

    Nothing that a rule decides is left open: seed, stages, kind, strength and painting of the start, noise, learning
    rate, views and how many at a time, the prior's guidance, device, precision and compiling. Setting anything raises
    `dataclasses.FrozenInstanceError`; `config()` gives a `Config` that may be changed.
    """

    models: ResolvedModels = field()
    canvas: ResolvedCanvas = field()
    init: ResolvedInit = field()
    prior: ResolvedPrior = field()
    upsampling: ResolvedUpsampling = field()
    target: ResolvedTarget = field()
    latent: ResolvedLatent = field()
    views: ResolvedViews = field()
    optimizer: ResolvedOptimizer = field()
    contrast: ResolvedContrast = field()
    best: ResolvedBest = field()
    output: ResolvedOutput = field()
    run: ResolvedRun = field()

    @classmethod
    def of(cls, config: Config) -> Resolved:
        """Return a config, of which a rule has decided everything it decides; ValueError if something is left open."""
        for each in leaves(cls):
            value = get(config, each.key)
            if value == _OPEN.get(each.key) and type(None) not in typing.get_args(each.kind):
                raise ValueError(f"{each.key} is {value!r}: nothing has decided it")
        return _copied(config, cls)

    def config(self) -> Config:
        """Return a config of the same values, which may be changed."""
        return _copied(self, Config)

    def to_dict(self) -> dict[str, Any]:
        """Return the tree as plain data, ready for JSON and YAML, of the same form as a `Config`'s."""
        return self.config().to_dict()


def _copied(group: object, kind: type[_T]) -> _T:
    """Return a copy of a group as another kind with fields of the same names."""
    hints, values = typing.get_type_hints(kind), dict[str, Any]()
    for name in hints:
        value = getattr(group, name)
        values[name] = _copied(value, hints[name]) if is_group(hints[name]) else _plain(value)
    return kind(**values)


def _plain(value: Any) -> Any:
    """Return a copy of a list or mapping that may be changed; anything else as it is."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, dict) else value


def _fixed(value: Any) -> Any:
    """Return a copy of a list or mapping that refuses to be changed; anything else as it is."""
    if isinstance(value, list):
        return _FixedList(_fixed(item) for item in value)
    if isinstance(value, dict):
        return _FixedDict((name, _fixed(item)) for name, item in value.items())
    return value


def _refuse(*_: object, **__: object) -> NoReturn:
    raise TypeError(_HINT)


class _FixedList(list[Any]):
    """A list that cannot be changed: equal to one that can, and written as one."""

    if not TYPE_CHECKING:
        append = clear = extend = insert = pop = remove = reverse = sort = _refuse
        __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self),)


class _FixedDict(dict[str, Any]):
    """A mapping that cannot be changed: equal to one that can, and written as one."""

    if not TYPE_CHECKING:
        clear = pop = popitem = setdefault = update = _refuse
        __setitem__ = __delitem__ = __ior__ = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)
