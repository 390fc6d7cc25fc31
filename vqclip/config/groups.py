"""The groups of a config, each with its fields, their defaults, and what each field says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vqclip.config.fields import Trait, setting
from vqclip.registry import AUGMENTATIONS, CANVASES, OPTIMIZERS, SCHEDULES

_OPTIONAL = Trait.MODEL | Trait.EMPTY


def _read_switch(value: Any) -> Any:
    """YAML reads on and off as truth."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


@dataclass
class ModelsConfig:
    """Catalog names or files of the networks; several CLIPs guide together. An empty one of the last five is none."""

    vqgan: str = setting(
        "tiny", "VQGAN: a name or a file.", None, "--vqgan --vqgan-model --vqgan-checkpoint -ckpt", traits=Trait.MODEL
    )
    # it must agree with the weights
    vqgan_config: str = setting(
        "", "YAML of another program's VQGAN, to be checked.", None, "--vqgan-config -conf", traits=Trait.MODEL
    )
    clip: list[str] = setting(
        ["tiny"], "CLIP: a name or a file; several guide together.", None, "--clip -m --clip-model --clip-models",
        traits=Trait.MODEL | Trait.REPEATED,
    )  # fmt: skip
    judge_clip: str = setting(
        "", "CLIP that only scores, and never guides: a name or a file.", flags="--judge-clip", traits=_OPTIONAL
    )
    prior: str = setting("", "Prior that proposes the first grid: a name or a file.", flags="--prior", traits=_OPTIONAL)
    upsampler: str = setting(
        "", "Upsampler that begins finer grids: a name or a file.", flags="--upsampler", traits=_OPTIONAL
    )
    embedding: str = setting("", "Embedding prior of --target prior: a name or a file.", traits=_OPTIONAL)
    memory: str = setting("", "Drawings that sketches are laid out from: a name or a file.", traits=_OPTIONAL)


@dataclass
class TargetConfig:
    """What views are compared with: `kind` text, what the prompts mean, or prior, mixed with what pictures of it mean.

    The embedding prior draws those by the picture's seed, with `guidance`; `mix` is their share.
    """

    kind: str = setting(
        "text", "text, or prior: what pictures of the prompt mean, by seed.", flags="--target",
        choices=("text", "prior"),
    )  # fmt: skip
    mix: float = setting(0.5, "Share of what the embedding prior draws.", (0, 1))
    guidance: float = setting(1.0, "How strongly the embedding prior is guided.", (0, 100))


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

    kind: str = setting(
        "auto", "First grid: sketch, prior, random, image or auto.", flags="--init",
        choices=("auto", "random", "image", "sketch", "prior"),
    )  # fmt: skip
    image: str | None = setting(None, "Picture to begin with.", flags="--init-image -ii --init-img", traits=Trait.PATH)
    mask: str | None = setting(
        None, "White where the init image may change; black stays.", flags="--mask", traits=Trait.PATH
    )
    strength: float | None = setting(None, "0..1: share of random codes mixed into it.", (0, 1), "--strength")
    weight: float = setting(0.0, "Pull towards the init image.", (0, 1e6), "--init-weight -iw")
    like: list[str] = setting([], "NAME=FILE[,FILE]: your own drawings of NAME.", flags="--like", traits=Trait.REPEATED)
    anyway: bool = setting(False, "Draw even if no word of the prompt is known.", flags="--anyway")
    paint: float | None = setting(
        None, "Pull towards the start, painted in the prompt's style if it names one.", (0, 1e6)
    )
    candidates: int = setting(1, "Grids of a prior, of which the best is taken.", (1, 1024), "--candidates")
    keep: int = setting(1, "Refine so many of them, each its own picture.", (1, 256), "--keep")
    rivals: float = setting(1.0, "Weight of what a candidate could be taken for.", (0, 1e6))


@dataclass
class CanvasConfig:
    """What is optimized, by its registered name, with the `options` that it has.

    `vqgan` is the latents of the VQGAN, each drawn as its code, or as it is where there are no codes; `latents` draws
    each as it is. Without a name a rule decides: the latents of the VQGAN, or pixels where a run begins with a picture
    or a sketch and the VQGAN's record says that it draws these too coarsely.
    """

    name: str | None = setting("vqgan", "What is optimized: {choices}.", flags="--canvas", choices=CANVASES)
    options: dict[str, Any] = setting({}, "Options of what is optimized.")


@dataclass
class PriorConfig:
    """How a prior's codes are drawn, see `vqclip.priors.Sampling`; what is None becomes what the prior is used to."""

    steps: int = setting(12, "Steps in which codes are drawn.", (1, 1000))
    guidance: float | None = setting(None, "How strongly the prompt guides the prior; 1 is unguided.", (0, 100))
    temperature: float = setting(1.0, "Chance in each code.", (0, 10))
    top_k: int | None = setting(None, "Likeliest codes that count; 0 for all.", (0, 1_000_000))
    top_p: float | None = setting(None, "Share of the probability whose codes count.", (0, 1))
    choice: float = setting(2.0, "Chance in which codes stay.", (0, 100))
    class_index: int = setting(-1, "What a prior of classes draws.", (-1, 1_000_000), "--prior-class")
    remask_every: int = setting(0, "Steps between two drawings of the least likely codes; 0 for never.", (0, 1_000_000))
    remask_share: float = setting(0.1, "Share of the codes that is drawn again.", (0, 1))


@dataclass
class UpsamplingConfig:
    """How the upsampler's codes are drawn when a finer grid begins, see `vqclip.priors.Sampling`."""

    steps: int = setting(8, "Steps in which codes are drawn.", (1, 1000))
    guidance: float = setting(4.0, "How strongly the prompt guides the upsampler; 1 is unguided.", (0, 100))
    temperature: float = setting(1.0, "Chance in each code.", (0, 10))
    choice: float = setting(2.0, "Chance in which codes stay.", (0, 100))


@dataclass
class LatentConfig:
    """How the grid is treated: `clamp` to the codebook's bounds, `ema` decay (0: off), `noise` that fades away.

    Without a value the noise is 0.5 from a random grid, and 0 from one that shows something already.
    """

    clamp: bool = setting(True, "Keep latents within the codebook's bounds.")
    ema: float = setting(0.0, "Decay of the moving average that is shown; 0 for none.", (0, 0.9999))
    noise: float | None = setting(None, "Noise on the latents, which fades away.", (0, 10))


@dataclass
class ViewsConfig:
    """Views a step and how they are cut: `vqclip.guidance.views.ViewPlan`. `overview` goes from first to last value.

    Without a value there are 32, 16 for CLIPs that see 64 pixels or less; half as many where a prior proposed the first
    grid and more than 60 steps go as far as 30 would, by the rate that they have without one (`optimizer.lr`): each
    goes less far, so that all together see as many views on the way and more. Where `last` has a value their number
    goes from `count` to it. Of each view a vision transformer sees a random share `tokens` of the patches, others in
    each step; where pictures are scored it sees all.

    Views of less than `detail_below` short sides are compared with `detail_prompt`, in which `{}` stands for each text
    prompt of positive weight; where that is empty, with the prompt itself. `chunk` views at a time go through CLIP (0:
    chosen by size and memory); the result does not depend on it. Of several CLIPs all see views at every step, or, if
    they `alternate`, one after the other has a step.
    """

    count: int | None = setting(
        None, "Views a step that CLIP judges.", (1, 1024),
        "--views -cuts --cutn --cuts --num-cuts --cutouts --num-cutouts",
    )  # fmt: skip
    last: int | None = setting(None, "Views of the last step, where late ones have fewer.", (1, 1024))
    tokens: float = setting(1.0, "Share of the patches of a view that a ViT sees.", (0.02, 1))
    overview: list[float] = setting([0.25, 0.25], "Share of views of the whole, first and last.", (0, 1))
    smallest: float = setting(0.4, "Side of the smallest views, in short sides of the picture.", (0.05, 1))
    largest: float = setting(0.9, "Side of the largest views, in short sides of the picture.", (0.05, 1))
    overshoot: float = setting(0.1, "Share of a view that may lie outside the picture.", (0, 0.45))
    detail_prompt: str = setting("", "What details are compared with; {} stands for the prompt.")
    detail_below: float = setting(0.65, "Side below which a view shows a detail, in short sides.", (0, 0.95))
    chunk: int = setting(0, "Views that go through CLIP at a time; 0 for as many as fit.", (0, 100_000))
    alternate: bool = setting(False, "Several CLIPs judge one after the other, a step each.")
    augmentations: dict[str, float] = setting({}, "Strengths of {choices}.", choices=AUGMENTATIONS)


@dataclass
class OptimizerConfig:
    """Optimizer and learning rate; `betas` where it has them, `clip_norm` bounds the gradient's norm (0: off).

    Without a value the rate is 0.1, and where a prior proposed the first grid 0.01 for 30 steps: less for more of them,
    so that the grid goes as far and no further.
    """

    name: str = setting("adam", "{choices}.", None, "--optimizer -opt --optimiser", OPTIMIZERS)
    lr: float | None = setting(None, "Learning rate.", (0, 1000), "--lr -lr --learning-rate --step-size")
    schedule: str = setting("constant", "How the learning rate goes: {choices}.", choices=SCHEDULES)
    warmup: int = setting(0, "Steps in which the learning rate rises.", (0, 100_000))
    betas: list[float] = setting([0.9, 0.999], "Decays of the optimizer's moments.")
    weight_decay: float = setting(0.0, "Weight decay.", (0, 10))
    clip_norm: float = setting(0.0, "Largest norm of the gradient; 0 for any.", (0, 1e9))


@dataclass
class ContrastConfig:
    """How much naming the prompt among its rivals counts (0: not at all), and the scale of the cosines in it.

    Rivals are captions of the picture world that differ from the prompt in one thing; a prompt from outside has none.
    """

    weight: float = setting(0.0, "Weight of naming the prompt among its rivals.", (0, 1e6))
    scale: float = setting(30.0, "Scale of the cosines in it.", (0, 1000))


@dataclass
class BestConfig:
    """The best iterate: every `every` steps `views` fixed held-out views score the picture.

    After `patience` scores in a row (0: however many) of the last stage that found none better, of any picture of the
    batch, the batch ends early.
    """

    every: int = setting(10, "Steps between two scores.", (1, 100_000))
    views: int = setting(8, "Held-out views of a score.", (1, 256))
    patience: int = setting(0, "Scores of the last stage, none better, that end it.", (0, 100_000), "--patience")


@dataclass
class OutputConfig:
    """Files of a run."""

    file: str | None = setting(
        None, "File for the picture: .png, .jpg or .webp.", flags="--output -o", traits=Trait.PATH
    )
    folder: str = setting(
        "outputs", "Folder for pictures whose names are not given.", flags="--outdir", traits=Trait.PATH
    )
    save_every: int = setting(50, "Steps between previews; 0 for none.", (0, 1_000_000), "--save-every -se")
    video: str | None = setting(None, "Progress video: .mp4, .gif or .webp.", flags="--video", traits=Trait.PATH)
    fps: float | None = setting(None, "Frames a second of the video.", (1, 60), "--fps --video-fps")
    length: float | None = setting(
        None, "Seconds of the video: steps are skipped or held.", (0.01, 3600), "--length --video-length -vl"
    )
    metadata: bool = setting(True, "Write nothing about the picture into it.", flags="--no-metadata")
    keep_run: bool = setting(False, "Keep the run's folder.", flags="--keep-run")
    save_candidates: bool = setting(False, "Write a sheet of them too.", flags="--save-candidates")
    metrics: str | None = setting(
        None, "CSV file for losses, rate, score and seconds of every step.", flags="--metrics", traits=Trait.PATH
    )
    tensorboard: str | None = setting(
        None, "Folder for the same in the form of TensorBoard, if that is installed.", traits=Trait.PATH
    )


@dataclass
class RunConfig:
    """Where and how exactly to compute; the `auto` values are resolved by fixed rules before the first step."""

    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps.", None, "--device --cuda-device -cd")
    precision: str = setting(
        "auto", "auto, fp32, bf16 or fp16.", flags="--precision", choices=("auto", "fp32", "bf16", "fp16")
    )
    compile: str = setting(
        "auto", "torch.compile: auto, on or off.", flags="--compile", choices=("auto", "on", "off"), read=_read_switch
    )
    deterministic: bool = setting(False, "As if drawn alone; on CUDA equal bits.", flags="--deterministic")
