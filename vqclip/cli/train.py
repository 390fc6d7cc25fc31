"""`vqclip train`: the bundled models again, from nothing but this repository and a font."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vqclip.cli import streams
from vqclip.cli.values import FILE, NAME
from vqclip.errors import UsageError, unknown_name
from vqclip.registry import Registry

TASKS = Registry(
    "model to train",
    {
        "judge": "vqclip.training.judge:JudgeTask",
        "clip": "vqclip.training.clip:CLIPTask",
        "vqgan": "vqclip.training.vqgan:VQGANTask",
        "prior": "vqclip.training.prior:PriorTask",
        "twin": "vqclip.training.prior:TwinTask",
        "flow": "vqclip.training.prior:FlowTask",
        "upsampler": "vqclip.training.upsampler:UpsamplerTask",
        "embedding": "vqclip.training.embedding:EmbeddingTask",
    },
)

# those that can learn from the second world, and what trains them there
SECOND = Registry(
    "model to train on --world 2",
    {"clip": "vqclip.training.guide:GuideTask", "vqgan": "vqclip.training.vqgan:VQGANTask"},
)

_OPTIONS = [
    click.option("--minutes", type=float, default=60.0, show_default=True, help="Time to train, measured into steps."),
    click.option("--steps", type=int, help="Steps to train instead: the same on the same stack."),
    click.option("--output", "-o", type=FILE, help="Weight file to write."),
    click.option("--folder", type=FILE, default=Path(".train"), show_default=True,
                 help="Renders and the resumable state."),
    click.option("--font", type=FILE, help="NotoColorEmoji.ttf."),
    click.option("--scenes", type=int, default=90_000, show_default=True, help="Scenes to render."),
    click.option("--batch", type=int, help="Scenes a step."),
    click.option("--seed", type=int, default=0, show_default=True),
    click.option("--workers", type=int, default=2, show_default=True, help="Processes that render."),
    click.option("--device", default="auto", show_default=True),
    click.option("--compile/--no-compile", default=True, show_default=True, help="Use torch.compile if it works."),
    click.option("--clip", type=NAME, default="tiny", show_default=True,
                 help="CLIP by whose features a VQGAN's pictures are compared ('none': pixels alone), or of a prior."),
    click.option("--vqgan", type=NAME, default="tiny", show_default=True,
                 help="VQGAN whose codes a prior or upsampler learns."),
    click.option("--start", type=NAME, multiple=True,
                 help="Weight file of the same architecture to begin from; of several the mean; default: at random."),
    click.option("--keep-codes", is_flag=True, help="With --start, of a VQGAN: train its decoder alone."),
    click.option("--framed", is_flag=True,
                 help="With --start, of a prior or upsampler: scenes whose subjects are large and in the middle."),
    click.option("--styles", default="",
                 help="With --framed: styles, each as often as it counts, such as 'none:6,all,woodcut:3'."),
    click.option("--subjects", default="", help="With --framed: subjects, likewise, such as 'all,cat:3'."),
    click.option("--world", type=click.IntRange(1, 2), default=1, show_default=True,
                 help="1: scenes of the emoji font; 2: drawings from package registries ('train drawings')."),
    click.option("--restart", is_flag=True, help="Forget the state in the folder."),
    click.option("--plan", is_flag=True, help="With 'all': print the second world's stages and hours; train nothing."),
]  # fmt: skip


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


# shares of the time that `train all` gives to each model, in the order in which they need each other
SHARES = {"judge": 0.04, "clip": 0.32, "vqgan": 0.28, "prior": 0.22, "upsampler": 0.12, "embedding": 0.02}
ALL, DRAWINGS, MEMORY = "all", "drawings", "memory"


@click.command()
@click.argument("model")
@_options
def train(model: str, **options: Any) -> None:
    """Train MODEL on the procedural picture world, going on where it stopped.

    MODEL is judge, clip, vqgan, prior (masked; twin writes code after code, flow clears noise), upsampler, embedding,
    or all. Needs the Noto Color Emoji font (Debian: fonts-noto-color-emoji). Ctrl-C saves the state. 'all' shares
    --minutes among judge, clip, vqgan, prior, upsampler and embedding, gives --steps to each, and takes a folder as
    --output.

    \b
    Of the second world (--world 2): clip and vqgan, and what comes before them:
      drawings  fetch, check and pack its drawings (needs npm, apt-get and vqclip[train])
      memory    encode the drawings, from which sketches are laid out
    """
    if options.pop("plan"):
        _plan(model, options["device"])
    elif model in (DRAWINGS, MEMORY):
        _prepare(model, options)
    elif model == ALL:
        _train_all(options)
    elif model not in TASKS:
        raise unknown_name("model to train", model, [*TASKS, ALL, DRAWINGS, MEMORY])
    else:
        _train(model, **options)


def _plan(model: str, device: str) -> None:
    from vqclip.training.plan import stages, table
    from vqclip.training.runner import TrainOptions

    if model != ALL:
        raise UsageError(f"--plan is of all stages: 'vqclip train all --plan', not of {model!r}")
    for line in table(list(stages(TrainOptions(device=device).torch_device()))):
        click.echo(line)


def _prepare(what: str, options: dict[str, Any]) -> None:
    """Fetch the drawings of the second world; for its memory, encode them too."""
    folder = options["folder"]
    if what == DRAWINGS:
        from vqclip.training.gathering import gather

        click.echo(str(gather(folder / "drawings").folder))
        return
    from vqclip.training.memory import memorize

    output = options["output"] or folder / "tiny-memory.safetensors"
    memorize(folder, output, options["vqgan"])
    click.echo(str(output))


def _train(model: str, **options: Any) -> None:
    from vqclip.training.runner import TrainOptions
    from vqclip.training.runner import train as run
    from vqclip.training.scenes import PLAIN, parse_shares
    from vqclip.world import load_world
    from vqclip.writers import names

    if options["world"] == 2 and model not in SECOND:
        raise UsageError(
            f"--world 2: a {model} learns from the first world only; of the second are {', '.join(SECOND)}"
        )
    if options["framed"] and model in ("judge", "clip", "vqgan"):
        raise UsageError(f"--framed is for what draws grids of codes: a {model} must know scenes of every kind")
    if (options["styles"] or options["subjects"]) and not options["framed"]:
        raise UsageError("--styles and --subjects go with --framed: first a model must know all of them alike")
    options["styles"] = parse_shares("--styles", options["styles"], load_world().styles, PLAIN)
    options["subjects"] = parse_shares("--subjects", options["subjects"], load_world().subjects)
    if options["output"] is not None:  # what cannot be written is told of before hours of training
        names.check_writable(options["output"].parent)
        names.check_replaceable(options["output"])
    if options["clip"] == "none":
        options["clip"] = None
    settings = TrainOptions(**options)
    tasks = SECOND if settings.world == 2 else TASKS
    info = run(tasks.load(model)(settings), settings)
    for name, value in info["scores"].items():
        streams.say(f"{name}: {value}")
    streams.say(settings.output or settings.folder / model / f"{model}.safetensors")


def _train_all(options: dict[str, Any]) -> None:
    """Train one model after the other; each learns by those that were trained just before it."""
    target = options["output"] or options["folder"]
    if options["framed"]:
        raise UsageError("--framed is for one model: 'train all' begins with scenes of every kind")
    if options["start"]:
        raise UsageError("--start is for one model: 'train all' begins at random")
    if options["world"] == 2:
        raise UsageError("--world 2 is for one model: 'train all --plan' names its stages")
    if target.suffix == ".safetensors":
        raise UsageError(f"--output {target}: 'train all' writes several files, give a folder")
    for model, share in SHARES.items():
        own = options | {"output": target / f"tiny-{model}.safetensors", "minutes": options["minutes"] * share}
        if options["clip"] == "tiny" and model not in ("judge", "clip"):
            own["clip"] = str(target / "tiny-clip.safetensors")
        if options["vqgan"] == "tiny" and model in ("prior", "upsampler", "embedding"):
            own["vqgan"] = str(target / "tiny-vqgan.safetensors")
        _train(model, **own)
