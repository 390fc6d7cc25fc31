"""Everything that decides a picture, as one tree of plain values with their defaults.

Fields of prompts are plain tuples, since prompts may hold `${...}`; see `vqclip.config`, which fills the tree. What a
field says of itself (its range, its options, its help) stands beside it: `vqclip.config.fields.Setting`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from vqclip.config.fields import Trait, setting
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
from vqclip.config.values import read_seed, read_size
from vqclip.registry import INTERVENTIONS, LOSSES

__all__ = [
    "PROMPT_FIELDS",
    "BestConfig",
    "CanvasConfig",
    "Config",
    "ContrastConfig",
    "InitConfig",
    "LatentConfig",
    "ModelsConfig",
    "OptimizerConfig",
    "OutputConfig",
    "PriorConfig",
    "RunConfig",
    "TargetConfig",
    "UpsamplingConfig",
    "ViewsConfig",
]

PROMPT_FIELDS = ("prompts", "negative", "image_prompts")


@dataclass
class Config:
    """Everything that decides a picture, as it was asked for: `None` and "auto" mean that a rule decides.

    `size` is width and height in pixels; `count` pictures are drawn `batch_size` at a time from seeds counted up from
    `seed`, and `only` picks one of them. `extra_steps` follow the `steps` and are as the last of these: all that was
    planned stays. `stages` are `SIDE:SHARE` of the steps, coarse to fine, SIDE in pixels of the short side or `full`.
    `losses` weighs the registered losses, each by a number or by a mapping of its options; `interventions` names those
    registered ones that are to act, each with its options, or true.
    """

    prompts: tuple[str, ...] = setting((), "What to draw: text:weight:stop, several joined by |.", traits=Trait.WHOLE)
    negative: tuple[str, ...] = setting(
        (), "What the picture should not show.", None, "--negative --negative-prompt --text-min",
        traits=Trait.WHOLE | Trait.REPEATED | Trait.EMPTY,
    )  # fmt: skip
    image_prompts: tuple[str, ...] = setting(
        (), "FILE[:weight]: draw what it shows.", None, "--image-prompt -ip --image-prompts",
        traits=Trait.PATH | Trait.WHOLE | Trait.REPEATED,
    )  # fmt: skip
    steps: int = setting(
        500, "Optimization steps; 0 writes the initial grid's picture.", (0, 1_000_000),
        "--steps -i --iterations --num-iterations --max-iterations",
    )  # fmt: skip
    extra_steps: int = setting(0, "Steps after the planned ones, each as the last of these.", (0, 1_000_000))
    size: list[int] = setting(
        [256, 256], "Pixels, N or WIDTHxHEIGHT.", (1, 16384), "--size --image-size --image-width", read=read_size
    )
    seed: int = setting(
        -1, "An integer or any word; without it one is drawn, and recorded.", None, "--seed -sd",
        traits=Trait.EMPTY, read=read_seed,
    )  # fmt: skip
    count: int = setting(1, "Number of pictures, from seeds counted up.", (1, 10_000), "--count --num-images")
    batch_size: int = setting(1, "Pictures drawn at a time.", (1, 256), "--batch-size")
    only: int | None = setting(None, "The one picture of a batch that is written, from 0.")
    stages: list[str] = setting(
        ["full:1"], "Coarse to fine, SIDE:SHARE,... such as 128:0.8,full:0.2.", flags="--stages"
    )
    models: ModelsConfig = field(default_factory=ModelsConfig)
    canvas: CanvasConfig = field(default_factory=CanvasConfig)
    init: InitConfig = field(default_factory=InitConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    upsampling: UpsamplingConfig = field(default_factory=UpsamplingConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    latent: LatentConfig = field(default_factory=LatentConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    losses: dict[str, Any] = setting({}, "Weights or options of {choices}.", choices=LOSSES)
    interventions: dict[str, Any] = setting({}, "Options of {choices}, or true.", choices=INTERVENTIONS)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    best: BestConfig = field(default_factory=BestConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    run: RunConfig = field(default_factory=RunConfig)

    @property
    def total_steps(self) -> int:
        """Steps of a run, planned and extra."""
        return self.steps + self.extra_steps

    def to_dict(self) -> dict[str, Any]:
        """Return the tree as plain data, ready for JSON and YAML."""
        values = asdict(self)
        return values | {name: list(values[name]) for name in PROMPT_FIELDS}
