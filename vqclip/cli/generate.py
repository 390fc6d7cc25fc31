"""`vqclip generate`: a sentence becomes a picture."""

from __future__ import annotations

import copy
import dataclasses
import os
from pathlib import Path
from typing import Any

import click

from vqclip import config as configs
from vqclip.cli import ends, older, running, streams
from vqclip.cli.options import generate_options
from vqclip.cli.progress import Progress
from vqclip.cli.values import FILE, TEXT
from vqclip.config import Config
from vqclip.config.text import MAX_FILE, decode, read_text
from vqclip.errors import UsageError
from vqclip.types import Notice
from vqclip.weights import catalog


@click.command(cls=older.OlderCommand, context_settings={"token_normalize_func": older.normalized})
@click.argument("prompt", nargs=-1)
@click.option(
    "-p", "--prompt", "--prompts", "--text", "prompt_option", multiple=True, help="A prompt, as in older tools."
)
@click.option("-s", "size_pair", nargs=2, type=int, help="Width and height, as in older tools.")
@click.option("--width", type=int, help="Width, as in older tools; only one of the two is both.")
@click.option("--height", type=int, help="Height, as in older tools.")
@click.option("--each", is_flag=True, help="Draw every prompt, such as each line of @FILE, as a picture of its own.")
@click.option("--model", type=TEXT, help="A VQGAN together with its CLIP.")
@click.option("--preset", type=TEXT, help="A preset of configs/; 'tiny' is the default.")
@click.option("-c", "files", multiple=True, type=FILE, help="A config file (YAML).")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any key of --print-config.")
@click.option(
    "--from", "source", type=FILE, help="Draw a picture again; of other programs, its prompt, seed, size and steps."
)
@click.option("--plugin", "plugins", multiple=True, type=FILE, help="A Python file that registers losses and the like.")
@click.option("--print-config", is_flag=True, help="Print the config as YAML and stop.")
@click.option("--quiet", is_flag=True, help="Show nothing but the files' names.")
@click.option("--json-progress", is_flag=True, help="A JSON line a step on stderr.")
@click.option("--offline", is_flag=True, help="Never use the network.")
@click.option("--yes", "--overwrite", is_flag=True, help="Replace an existing file of the given name.")
@generate_options
def generate(prompt: tuple[str, ...], flags: dict[str, Any], **options: Any) -> int:
    """Draw PROMPT: text:weight:stop, several joined by |.

    Words are joined to one prompt; '@FILE' reads prompts from a file, one a line, and '-' from stdin. All are drawn
    into one picture, or with --each a picture of each.
    """
    from vqclip.session import replay  # numpy and PIL, which --help need not wait for

    running.load_plugins(options["plugins"], Progress.of(quiet=options["quiet"], as_json=options["json_progress"]))
    record, foreign = replay.read_source(options["source"]) if options["source"] else (None, None)
    asked = _asked(prompt, flags, options)
    if "init.image" in asked and not {"init.kind", "init.mask"} & set(asked) and not replay.began_with_image(record):
        asked["init.kind"] = "image"
    if record is not None and options["preset"]:
        raise UsageError("--from and --preset exclude each other: the picture brings its own settings")
    if foreign is not None:
        told = replay.foreign_notice(options["source"], foreign, asked)
        Progress.of(quiet=options["quiet"], as_json=options["json_progress"]).notice(told)
        asked = foreign.settings() | asked
    if record is None:
        # priors, upsamplers and memories know the codes of one VQGAN only
        others = () if options["model"] in (None, "tiny") else ("models.prior=", "models.upsampler=", "models.memory=")
        config = configs.build(options["preset"], options["files"], (*others, *options["sets"]), asked)
    else:
        config = replay.config_of(record, options["files"], options["sets"], asked)
    if options["print_config"]:
        streams.say(configs.to_yaml(config), end=False)
        return 0
    if not config.prompts and not config.image_prompts:
        raise UsageError("there is no prompt: say what to draw, such as vqclip 'a cat'")
    listed = len(prompt) == 1 and prompt[0][:1] in ("@", "-")
    return _draw(config, record, options, _told_of_lines(config, options["each"], listed))


def _draw(config: Config, record: dict[str, Any] | None, options: dict[str, Any], told: list[Notice]) -> int:
    from vqclip import prompts
    from vqclip.cli import inputs

    prompts.parse_all(config.prompts, config.negative)  # mistakes come before seconds of loading
    every = _each(config) if options["each"] else [config]
    for one in every:
        inputs.check_inputs(one)
    from vqclip.generation.models import Models
    from vqclip.generation.prepare import check_wanted
    from vqclip.session.job import Job
    from vqclip.session.outputs import check_outputs
    from vqclip.weights import cache

    for one in every:
        check_wanted(one)
    check_outputs(config, options["yes"])
    several = config.count > 1 or len(every) > 1
    progress = Progress.of(quiet=options["quiet"], as_json=options["json_progress"], several=several)
    code, taken = 0, set[str]()
    with running.Stopper() as stopper:
        with cache.no_network(options["offline"]):
            models = Models.load(config)
        for notice in told:
            progress.notice(notice)
        for number, one in enumerate(every):
            if number and stopper.asked():
                code = ends.exit_code(stopper.number)
            if code:
                progress.notice(Notice(f"{len(every) - number} of {len(every)} prompts are not drawn"))
                return code
            job = Job(one, options["yes"], taken=tuple(taken), record=record, offline=options["offline"],
                      plugins=tuple(str(path) for path in options["plugins"]))  # fmt: skip
            outcome = running.carry_out(job, progress, stopper, models)
            taken |= {os.path.abspath(path) for path in (*outcome.pictures, *outcome.videos, *outcome.others)}
            code = running.exit_code(outcome, progress, stopper)
    return code


def _each(config: Config) -> list[Config]:
    """Return a config for each prompt of one."""
    return [dataclasses.replace(copy.deepcopy(config), prompts=(text,)) for text in config.prompts] or [config]


def _told_of_lines(config: Config, each: bool, listed: bool) -> list[Notice]:
    """Say of several prompts whether they are one picture or many, where somebody may expect the other."""
    count = len(config.prompts)
    if count < 2 or not (each or listed):
        return []
    one = f"{count} prompts are drawn into one picture: --each draws a picture of each"
    return [Notice(f"{count} prompts, a picture of each" if each else one)]


def _asked(prompt: tuple[str, ...], flags: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Add to the flags what takes more than one option to say."""
    asked = dict(flags)
    texts = [*_read_prompts(prompt), *options["prompt_option"]]
    if texts or prompt:
        asked["prompts"] = tuple(texts)
    sides = [side for side in (options["width"], options["height"]) if side is not None]
    if options["size_pair"] or sides:
        asked["size"] = list(options["size_pair"] or (sides[0], sides[-1]))
    if "init.mask" in asked and "init.image" in asked and not _sized(asked, options):
        from vqclip import images

        # the picture that is to stay as it is keeps its size
        asked["size"] = list(images.read_image(asked["init.image"]).size)
    if options["model"]:
        vqgan, clip = catalog.pair(options["model"])
        asked = {"models.vqgan": vqgan, "models.clip": [clip]} | asked
    return asked


def _sized(asked: dict[str, Any], options: dict[str, Any]) -> bool:
    """Whether the user says how large the picture is to be, or a file that was given may say it."""
    told = any(text.partition("=")[0].strip() == "size" for text in options["sets"])
    return told or "size" in asked or bool(options["files"]) or bool(options["source"])


def _read_prompts(words: tuple[str, ...]) -> list[str]:
    """Join the words to one prompt, or read prompts from a file or stdin."""
    if words == ("-",):
        return _lines(_typed(), "stdin")
    if len(words) == 1 and words[0].startswith("@") and len(words[0]) > 1:
        return _lines(read_text(Path(os.path.expanduser(words[0][1:])), "prompt file"), words[0])
    return [" ".join(words)] if words else []


def _typed() -> str:
    stream = streams.stdin()
    if stream is None:
        raise UsageError("stdin is closed: type the prompts there, or give them as words")
    return decode(stream.read(MAX_FILE + 1), "stdin")


def _lines(text: str, source: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UsageError(f"{source} holds no prompt: write one a line")
    return lines
