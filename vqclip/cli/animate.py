"""`vqclip animate`: words, and what moves, become a film."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vqclip import config as configs
from vqclip.cli import ends, older, running, streams
from vqclip.cli.frames import FilmProgress
from vqclip.cli.options import field_options, offered
from vqclip.cli.values import FILE, TEXT
from vqclip.config import Config
from vqclip.config.film import Film, film_from
from vqclip.config.text import nest, read_file
from vqclip.config.values import shown
from vqclip.errors import OutputError, UsageError, WeightsError
from vqclip.types import Notice
from vqclip.weights import catalog

if TYPE_CHECKING:
    from vqclip.animation.job import FilmJob, FilmOutcome

# what a film has of its own, or cannot have
_NOT_OF_FILMS = {
    "output.file", "output.video", "output.fps", "output.length", "output.save_every", "output.save_candidates",
    "output.metrics", "output.tensorboard", "count", "batch_size", "init.strength", "init.mask", "init.keep",
}  # fmt: skip
# what an option means for a film
HELP = {
    "steps": "Optimization steps of a scene's first frame; the others have --frame-steps.",
    "init.image": "Picture that the film begins with.",
    "output.folder": "Folder for films whose names are not given.",
    "output.keep_run": "Keep the folder with the drawn frames.",
    "output.metadata": "Write nothing into the film about how it was drawn.",
}
PICTURE = [
    dataclasses.replace(field, setting=dataclasses.replace(field.setting, help=HELP.get(field.key, field.setting.help)))
    for field in offered()
    if field.key not in _NOT_OF_FILMS
]


@click.command(cls=older.OlderCommand, context_settings={"token_normalize_func": older.normalized})
@click.argument("prompt", nargs=-1)
@click.option(
    "-o", "--output", type=TEXT, help="Name of the film: .mp4, .gif or .webp; any other is a folder for PNGs."
)
@click.option(
    "--prompts", "--story", "story", type=FILE, help="File of prompts over time: a text, YAML, or Deforum's JSON."
)
@click.option("--camera", "camera", type=FILE, help="YAML file of the camera's tracks, or of any settings of a film.")
@field_options("film_flags", offered(Film))
@click.option("--preset", type=TEXT, help="A preset of configs/; 'tiny' is the default.")
@click.option("--model", type=TEXT, help="A VQGAN together with its CLIP.")
@click.option("-c", "files", multiple=True, type=FILE, help="A config file (YAML) of the pictures.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any key of a picture's config.")
@click.option(
    "--from",
    "source",
    type=FILE,
    help="Draw a film of vqclip's again, from the film or its .film.json; other options change it.",
)
@click.option("--plugin", "plugins", multiple=True, type=FILE, help="A Python file that registers losses and the like.")
@click.option("--quiet", is_flag=True, help="Show nothing but the file's name.")
@click.option("--json-progress", is_flag=True, help="A JSON line a frame on stderr.")
@click.option("--offline", is_flag=True, help="Never use the network.")
@click.option("--yes", "--overwrite", is_flag=True, help="Replace an existing file of the given name.")
@field_options("flags", PICTURE)
def animate(prompt: tuple[str, ...], flags: dict[str, Any], film_flags: dict[str, Any], **options: Any) -> int:
    """Draw a film of PROMPT: vqclip animate "a castle" --zoom 1.02 -o castle.mp4

    Ctrl-C keeps the film so far; vqclip resume goes on. Try --draft first.

    \b
    What changes over time is a TRACK, a value for each frame:
      1.02                      the same value all the time
      "1+0.02*sin(s)"           t is the frame, s the second
      "0:(1.02), 60:(1)"        keyframes, linear between them
      "cubic 0s:(1), 2s:(1.1)"  keyframes in seconds; or: step
      "1+0.05*bass"             with --audio; mid, treble, beat, loudness too
    """
    progress = FilmProgress.of(quiet=options["quiet"], as_json=options["json_progress"])
    running.load_plugins(options["plugins"], progress)
    asked: dict[str, Any] = dict(flags)
    if prompt:
        asked["prompts"] = (" ".join(prompt),)
    if "init.image" in asked and "init.kind" not in asked:
        asked["init.kind"] = "image"
    if options["model"]:
        vqgan, clip = catalog.pair(options["model"])
        asked = {"models.vqgan": vqgan, "models.clip": [clip]} | asked
    config, film, record = _asked(asked, film_flags, options)
    from vqclip.animation.job import FilmJob

    job = FilmJob(config, film, options["output"], options["yes"], record=record, offline=options["offline"])
    return draw(job, progress)


def draw(job: FilmJob, progress: FilmProgress) -> int:
    """Carry out a film, show how it goes, print its name, and return the exit code."""
    _check(job)
    from vqclip.animation.work import run_film

    with running.Stopper() as stopper:
        try:
            outcome = run_film(job, progress.event, control=stopper.control)
        finally:
            progress.close()
        return _finish(outcome, progress, stopper)


def _finish(outcome: FilmOutcome, progress: FilmProgress, stopper: running.Stopper) -> int:
    """Print the film's name and say of one that was stopped how it goes on; return the exit code."""
    try:
        if outcome.film is not None:
            streams.say(outcome.film)
    except (OutputError, BrokenPipeError):
        if not outcome.stopped:
            raise
    if not outcome.stopped:
        return outcome.exit_code
    text = "stopped before the first frame"
    if outcome.folder is not None:
        count = f"{outcome.frames} frame{'s' * (outcome.frames != 1)}"
        text = f"stopped after {count}: the film so far is kept; go on with: vqclip resume {outcome.folder}"
    progress.notice(Notice(text))
    return ends.exit_code(stopper.number)


def _asked(
    asked: dict[str, Any], film_flags: dict[str, Any], options: dict[str, Any]
) -> tuple[Config, Film, dict[str, Any] | None]:
    """Return what is asked for: the pictures' config, the film, and the record of a film that is drawn again."""
    changes: list[dict[str, Any]] = []
    if options["camera"] is not None:
        changes.append(of_file(options["camera"]))
    if options["story"] is not None:
        from vqclip.animation.story import read_story

        changes.append({"story": read_story(options["story"])})
    changes.append(nest(film_flags.items()))
    if options["source"] is None:
        others = () if options["model"] in (None, "tiny") else ("models.prior=", "models.upsampler=", "models.memory=")
        config = configs.build(options["preset"], options["files"], (*others, *options["sets"]), asked)
        return config, film_from(*changes), None
    if options["preset"]:
        raise UsageError("--from and --preset exclude each other: the film brings its own settings")
    from vqclip.animation import record as records
    from vqclip.session import replay

    record = records.read_record(options["source"])
    config = replay.config_of(record, options["files"], options["sets"], asked)
    return config, records.film_of(record, *changes), record


def of_file(path: Path) -> dict[str, Any]:
    """Return a film's settings of a file; tracks of the camera may stand at its top."""
    values = read_file(path)
    names = {field.name for field in dataclasses.fields(Film().camera)}
    camera = {name: values.pop(name) for name in list(values) if name in names}
    if not camera:
        return values
    group = values.get("camera")
    if not isinstance(group, (dict, type(None))):
        raise UsageError(f"{path}: camera is {shown(group)}: write its tracks below it, or at the top of the file")
    return values | {"camera": {**(group or {}), **camera}}


def _check(job: FilmJob) -> None:
    """Raise an error for what can be refused before torch is loaded, which takes seconds."""
    from vqclip import images
    from vqclip.animation.folder import FilmFolder, resumed
    from vqclip.animation.output import check_output
    from vqclip.animation.plan import Outline
    from vqclip.cli import inputs
    from vqclip.session import savepoint

    if job.resume is not None:
        film, config, _ = resumed(job.resume, FilmFolder(job.resume).read())
        savepoint.lock(job.resume).release()
    elif job.config is not None and job.film is not None:
        film, config = job.film, job.config
    if film.camera.depth:
        catalog.check_here("depth", film.camera.depth)
    for scene in Outline.of(film, config).scenes:
        one = dataclasses.replace(config, prompts=scene.prompts)
        one.init = dataclasses.replace(config.init)
        if scene.image is not None:
            images.read_image(scene.image)
            one.init.image, one.init.kind = scene.image, "image"
        if film.video is not None:
            one.init.kind = "image"
        inputs.check_inputs(one)
    if film.camera.depth:
        catalog.check_here("depth", film.camera.depth)
    if film.flow and not Path(film.flow).is_file():
        raise WeightsError(f"cannot read the flow model {film.flow}: there is no such file")
    if job.resume is None:
        check_output(job.output, job.replace, film.storyboard)
