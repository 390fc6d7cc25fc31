"""The options of `vqclip generate`, in one table: names, the config key each one sets, and what it says of itself."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from vqclip.cli import older
from vqclip.cli.values import TEXT
from vqclip.config import text as config_text
from vqclip.seeding import from_text

# names (with those that users of older tools know), config key, click's keywords
_FLAGS: list[tuple[tuple[str, ...], str, dict[str, Any]]] = [
    (("--steps", "-i"), "steps", {"type": int, "help": "Optimization steps; 0 writes the initial grid's picture."}),
    (("--size",), "size", {"help": "Pixels, N or WIDTHxHEIGHT."}),
    (("--seed", "-sd"), "seed", {"help": "An integer or any word; without it one is drawn, and recorded."}),
    (("--output", "-o"), "output.file", {"help": "File for the picture: .png, .jpg or .webp."}),
    (("--outdir",), "output.folder", {"help": "Folder for pictures whose names are not given."}),
    (("--count",), "count", {"type": int, "help": "Number of pictures, from seeds counted up."}),
    (("--batch-size",), "batch_size", {"type": int, "help": "Pictures drawn at a time."}),
    (("--canvas",), "canvas.name", {"help": "What is optimized: vqgan, its latents, or pixels."}),
    (("--init",), "init.kind", {"help": "First grid: sketch, prior, random, image or auto."}),
    (("--init-image", "-ii"), "init.image", {"help": "Picture to begin with."}),
    (("--like",), "init.like", {"multiple": True, "help": "NAME=FILE[,FILE]: your own drawings of NAME."}),
    (("--anyway",), "init.anyway", {"is_flag": True, "help": "Draw even if no word of the prompt is known."}),
    (("--strength",), "init.strength", {"type": float, "help": "0..1: share of random codes mixed into it."}),
    (("--init-weight", "-iw"), "init.weight", {"type": float, "help": "Pull towards the init image."}),
    (("--mask",), "init.mask", {"help": "White where the init image may change; black stays."}),
    (("--image-prompt", "-ip"), "image_prompts", {"multiple": True, "help": "FILE[:weight]: draw what it shows."}),
    (("--negative",), "negative", {"multiple": True, "help": "What the picture should not show."}),
    (("--vqgan",), "models.vqgan", {"help": "VQGAN: a name or a file."}),
    (("--vqgan-config",), "models.vqgan_config", {"help": "YAML of another program's VQGAN, to be checked."}),
    (("--clip", "-m"), "models.clip", {"multiple": True, "help": "CLIP: a name or a file; several guide together."}),
    (("--prior",), "models.prior", {"help": "Prior that proposes the first grid: a name or a file."}),
    (("--upsampler",), "models.upsampler", {"help": "Upsampler that begins finer grids: a name or a file."}),
    (("--prior-class",), "prior.class_index", {"type": int, "help": "What a prior of classes draws."}),
    (("--candidates",), "init.candidates", {"type": int, "help": "Grids of a prior, of which the best is taken."}),
    (("--keep",), "init.keep", {"type": int, "help": "Refine so many of them, each its own picture."}),
    (("--save-candidates",), "output.save_candidates", {"is_flag": True, "help": "Write a sheet of them too."}),
    (("--target",), "target.kind", {"help": "text, or prior: what pictures of the prompt mean, by seed."}),
    (("--views", "-cuts"), "views.count", {"type": int, "help": "Views a step that CLIP judges."}),
    (("--optimizer", "-opt"), "optimizer.name", {"help": "adam, adamw, nadam, radam, adamax, adagrad, rmsprop, sgd."}),
    (("--lr", "-lr"), "optimizer.lr", {"type": float, "help": "Learning rate."}),
    (("--stages",), "stages", {"help": "Coarse to fine, SIDE:SHARE,... such as 128:0.8,full:0.2."}),
    (("--patience",), "best.patience", {"type": int, "help": "Scores of the last stage, none better, that end it."}),
    (("--device",), "run.device", {"help": "auto, cpu, cuda, cuda:N or mps."}),
    (("--precision",), "run.precision", {"help": "auto, fp32, bf16 or fp16."}),
    (("--compile",), "run.compile", {"help": "torch.compile: auto, on or off."}),
    (("--deterministic",), "run.deterministic", {"is_flag": True, "help": "As if drawn alone; on CUDA equal bits."}),
    (("--video",), "output.video", {"help": "Progress video: .mp4, .gif or .webp."}),
    (("--fps",), "output.fps", {"type": float, "help": "Frames a second of the video."}),
    (("--length",), "output.length", {"type": float, "help": "Seconds of the video: steps are skipped or held."}),
    (("--save-every", "-se"), "output.save_every", {"type": int, "help": "Steps between previews; 0 for none."}),
    (("--keep-run",), "output.keep_run", {"is_flag": True, "help": "Keep the run's folder."}),
    (("--no-metadata",), "output.metadata", {"is_flag": True, "help": "Write nothing about the picture into it."}),
]  # fmt: skip


# where nothing says something: no prior, no upsampler, a new seed; an empty prompt has an error of its own
_MAY_BE_EMPTY = ("models.prior", "models.upsampler", "seed", "negative")


def _parameter(key: str) -> str:
    """click's name for the value of a config key."""
    return key.replace(".", "__")


def generate_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add all options of the table to a command, which receives them as one mapping `flags` of config keys."""

    @functools.wraps(command)
    def wrapped(**values: Any) -> Any:
        flags = {key: values.pop(_parameter(key)) for _, key, _ in _FLAGS}
        return command(flags=to_config(flags), **values)

    for names, key, keywords in reversed(_FLAGS):
        usual = {"default": None, "show_default": False}
        if "is_flag" not in keywords and key not in _MAY_BE_EMPTY:
            usual["type"] = TEXT
        keywords = usual | keywords
        wrapped = click.option(*names, *older.NAMES.get(key, ()), _parameter(key), **keywords)(wrapped)
    return wrapped


def to_config(flags: dict[str, Any]) -> dict[str, Any]:
    """Turn what was typed into values of config keys; what was not typed is left out."""
    given = {key: value for key, value in flags.items() if value is not None and value is not False and value != ()}
    if "size" in given:
        given["size"] = config_text.parse_size(given["size"])
    if "seed" in given:
        given["seed"] = from_text(given["seed"])
    if "stages" in given:
        given["stages"] = [stage.strip() for stage in given["stages"].split(",")]
    if "output.metadata" in given:
        given["output.metadata"] = False
    for key in ("models.clip", "init.like"):
        if key in given:
            given[key] = list(given[key])
    return given
