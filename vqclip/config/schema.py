"""Everything that decides a picture, as one tree of plain values with their defaults.

Fields of prompts are plain tuples, since prompts may hold `${...}`; see `vqclip.config`, which fills the tree.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

PROMPT_FIELDS = ("prompts", "negative", "image_prompts")


@dataclass
class ModelsConfig:
    """Catalog names or files of the networks; several CLIPs guide together. An empty one of the last four is none.

    `memory` holds the drawings that sketches are laid out from. `vqgan_config` is the YAML of a VQGAN from another
    program, which must agree with its weights.
    """

    vqgan: str = "tiny"
    vqgan_config: str = ""
    clip: list[str] = field(default_factory=lambda: ["tiny"])
    prior: str = ""
    upsampler: str = ""
    embedding: str = ""
    memory: str = ""


@dataclass
class TargetConfig:
    """What views are compared with: `kind` text, what the prompts mean, or prior, mixed with what pictures of it mean.

    The embedding prior draws those by the picture's seed, with `guidance`; `mix` is their share.
    """

    kind: str = "text"
    mix: float = 0.5
    guidance: float = 1.0


@dataclass
class InitConfig:
    """The first latent grid: `kind` random, image, sketch, prior or auto.

    `image` begins with a picture, with a share `strength` of random codes. A sketch is laid out from the memory's
    drawings as the prompt says; `like` gives it drawings of the user's own, each as "NAME=FILE,FILE", where NAME stands
    in the prompt. Prompts of which no word is known are refused, or `anyway` guessed at by the prior. `paint` is how
    strongly a run that begins with a picture or a sketch is held to it as the world's painter paints it in the prompt's
    style (0: not at all; without a value by the kind of start).

    Only where the `mask` is not black may the image change; a prior, if there is one, draws that part anew. Of a
    prior's `candidates` the `keep` that fit the prompts best each begin a picture; `rivals` is what it weighs that they
    could be taken for something else, of prompts from the picture world.
    """

    kind: str = "auto"
    image: str | None = None
    mask: str | None = None
    strength: float | None = None
    weight: float = 0.0
    like: list[str] = field(default_factory=list)
    anyway: bool = False
    paint: float | None = None
    candidates: int = 1
    keep: int = 1
    rivals: float = 1.0


@dataclass
class CanvasConfig:
    """What is optimized: `name` vqgan, the latents of a VQGAN, or pixels; `options` are those of the canvas."""

    name: str = "vqgan"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class PriorConfig:
    """How a prior's codes are drawn, see `vqclip.priors.Sampling`; what is None becomes what the prior is used to.

    `class_index` is what a prior of classes draws.
    Every `remask_every` steps (0: never) the share `remask_share` of the codes, those that the prior finds least
    likely, is drawn again.
    """

    steps: int = 12
    guidance: float | None = None
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    choice: float = 2.0
    class_index: int = -1
    remask_every: int = 0
    remask_share: float = 0.1


@dataclass
class UpsamplingConfig:
    """How the upsampler's codes are drawn when a finer grid begins, see `vqclip.priors.Sampling`."""

    steps: int = 8
    guidance: float = 4.0
    temperature: float = 1.0
    choice: float = 2.0


@dataclass
class LatentConfig:
    """How the grid is treated: `clamp` to the codebook's bounds, `ema` decay (0: off), `noise` that fades away.

    Without a value the noise is 0.5 from a random grid, and 0 from one that shows something already.
    """

    clamp: bool = True
    ema: float = 0.0
    noise: float | None = None


@dataclass
class ViewsConfig:
    """Views a step and how they are cut: `vqclip.guidance.views.ViewPlan`. `overview` goes from first to last value.

    Without a value there are 32, 16 for CLIPs that see 64 pixels or less; half as many where a prior proposed the first
    grid and more than 60 steps go as far as 30 would, by the rate that they have without one (`optimizer.lr`): each
    goes less far, so that all together see as many views on the way and more.

    Views of less than `detail_below` short sides are compared with `detail_prompt`, in which `{}` stands for each text
    prompt of positive weight; where that is empty, with the prompt itself. `chunk` views at a time go through CLIP (0:
    chosen by size and memory); the result does not depend on it. Of several CLIPs all see views at every step, or, if
    they `alternate`, one after the other has a step.
    """

    count: int | None = None
    overview: list[float] = field(default_factory=lambda: [0.25, 0.25])
    smallest: float = 0.4
    largest: float = 0.9
    overshoot: float = 0.1
    detail_prompt: str = ""
    detail_below: float = 0.65
    chunk: int = 0
    alternate: bool = False
    augmentations: dict[str, float] = field(default_factory=dict)


@dataclass
class OptimizerConfig:
    """Optimizer and learning rate; `betas` where it has them, `clip_norm` bounds the gradient's norm (0: off).

    Without a value the rate is 0.1, and where a prior proposed the first grid 0.01 for 30 steps: less for more of them,
    so that the grid goes as far and no further.
    """

    name: str = "adam"
    lr: float | None = None
    schedule: str = "constant"
    warmup: int = 0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    weight_decay: float = 0.0
    clip_norm: float = 0.0


@dataclass
class ContrastConfig:
    """How much naming the prompt among its rivals counts (0: not at all), and the scale of the cosines in it.

    Rivals are captions of the picture world that differ from the prompt in one thing; a prompt from outside has none.
    """

    weight: float = 0.0
    scale: float = 30.0


@dataclass
class BestConfig:
    """The best iterate: every `every` steps `views` fixed held-out views score the picture.

    After `patience` scores in a row (0: however many) of the last stage that found none better, of any picture of the
    batch, the batch ends early.
    """

    every: int = 10
    views: int = 8
    patience: int = 0


@dataclass
class OutputConfig:
    """Files of a run. `save_every` steps the preview is replaced; `video` names an mp4, gif or webp.

    `save_candidates` writes a contact sheet of a prior's candidates beside the picture.
    """

    file: str | None = None
    folder: str = "outputs"
    save_every: int = 50
    video: str | None = None
    fps: float | None = None
    length: float | None = None
    metadata: bool = True
    keep_run: bool = False
    save_candidates: bool = False


@dataclass
class RunConfig:
    """Where and how exactly to compute; the `auto` values are resolved by fixed rules before the first step."""

    device: str = "auto"
    precision: str = "auto"
    compile: str = "auto"
    deterministic: bool = False


@dataclass
class Config:
    """Everything that decides a picture.

    `size` is width and height in pixels; `count` pictures are drawn `batch_size` at a time from seeds counted up from
    `seed`, and `only` picks one of them. `extra_steps` follow the `steps` and are as the last of these: all that was
    planned stays. `stages` are `SIDE:SHARE` of the steps, coarse to fine, SIDE in pixels of the short side or `full`.
    `losses` weighs the registered losses, each by a number or by a mapping of its options; `interventions` names those
    registered ones that are to act, each with its options, or true.
    """

    prompts: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    image_prompts: tuple[str, ...] = ()
    steps: int = 500
    extra_steps: int = 0
    size: list[int] = field(default_factory=lambda: [256, 256])
    seed: int = -1
    count: int = 1
    batch_size: int = 1
    only: int | None = None
    stages: list[str] = field(default_factory=lambda: ["full:1"])
    models: ModelsConfig = field(default_factory=ModelsConfig)
    canvas: CanvasConfig = field(default_factory=CanvasConfig)
    init: InitConfig = field(default_factory=InitConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    upsampling: UpsamplingConfig = field(default_factory=UpsamplingConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    latent: LatentConfig = field(default_factory=LatentConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    losses: dict[str, Any] = field(default_factory=dict)
    interventions: dict[str, Any] = field(default_factory=dict)
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
