"""`vqclip resume`: goes on with a run that was stopped, killed or failed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vqclip import config as configs
from vqclip.cli import running
from vqclip.cli.progress import Progress
from vqclip.cli.values import FILE
from vqclip.config import Config
from vqclip.config.text import nest, parse_set, read_file
from vqclip.errors import ResumeError, UsageError
from vqclip.types import Notice

if TYPE_CHECKING:
    from vqclip.session.savepoint import Savepoint

# what a run that is drawn on changes by itself
_EXTENDED = {"extra_steps", "output.keep_run"}


@click.command()
@click.argument("run", type=FILE)
@click.option("--steps", type=int, help="Draw on to so many steps; those beyond the planned ones are as its last one.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change a setting, with --force.")
@click.option("--force", is_flag=True, help="Go on although settings, weights or files have changed.")
@click.option("--keep-run", is_flag=True, help="Keep the run's folder, to draw on later.")
@click.option("--quiet", is_flag=True, help="Show nothing but the files' names.")
@click.option("--json-progress", is_flag=True, help="A JSON line a step on stderr.")
@click.option("--offline", is_flag=True, help="Never use the network.")
@click.option("--yes", is_flag=True, help="Replace files that stand in the way.")
def resume(run: Path, **options: Any) -> int:
    """Go on with RUN, a run's folder (NAME.run) or the name of its picture, as if it had never stopped.

    A run that ended, and was kept with --keep-run, is drawn on with --steps.
    """
    if options["offline"]:
        os.environ["HF_HUB_OFFLINE"] = "1"
    from vqclip.session import savepoint

    folder = savepoint.find(run)
    savepoint.lock(folder).release()  # a run that is being drawn is told of before seconds of loading
    point = savepoint.read(folder)
    config, changed = _config_of(folder, point, options)
    if point.ended and config.total_steps <= point.step:
        raise UsageError(f"{folder} has done all its {point.step} steps: give --steps above that to draw on")
    _check_places(folder, point, config, options["force"])
    return _draw(folder, point, config, changed, options)


def _draw(folder: Path, point: Savepoint, config: Config, changed: list[str], options: Mapping[str, Any]) -> int:
    from vqclip.generation.models import Models
    from vqclip.generation.prepare import prepare
    from vqclip.session import replay

    progress = Progress.of(quiet=options["quiet"], as_json=options["json_progress"], several=config.count > 1)
    with running.Stopper() as stopper:
        models = Models.load(config)
        prepared = prepare(models.resolve(config), models)
        # what was loaded and not used is not loaded again
        weights = {name: digest for name, digest in models.recorded_hashes().items() if name in point.weights}
        other = [f"weights of {n}" for n in weights if weights[n] != point.weights[n]]
        was, now = ({key: _sum(seen) for key, seen in seens.items()} for seens in (point.outside, prepared.outside))
        other += [f"the file of {name}" for name in _differing(was, now)]
        _refuse(folder, other, options["force"])
        forced = [{"from_step": point.step, "changed": changed + other}] if changed + other else []
        prepared.forced = [dict(each) for each in point.forced] + forced
        versions = replay.changed_versions(point.versions)
        if versions:
            text = f"the run began with other {', '.join(versions)}: its picture may differ in detail"
            prepared.notices.append(Notice(text))
        step = f"step {point.step} of {config.total_steps}"
        progress.notice(Notice(f"going on with {point.pictures[0]} from {step}"))
        return running.draw(prepared, progress, stopper, options["yes"], (folder, point))


def _check_places(folder: Path, point: Savepoint, config: Config, force: bool) -> None:
    """Raise ResumeError if files are to be written neither beside the run nor in the present folder.

    The state may be a stranger's.
    """
    later = [] if len(point.pictures) >= config.count else [config.output.file or config.output.folder]
    allowed = [folder.resolve().parent, Path().resolve()]
    for name in [*point.videos, *later, *([config.output.video] if config.output.video else [])]:
        place = Path(name).resolve()
        if not force and not any(place.is_relative_to(each) for each in allowed):
            raise ResumeError(f"{folder} is to write {place}: go on from the folder it began in, or give --force")


def _config_of(folder: Path, point: Savepoint, options: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """Return the config to go on with, and what was changed in it; ResumeError for changes without --force."""
    from vqclip.session import savepoint

    was = configs.from_dict(point.config)
    given = nest(parse_set(text, Config) for text in options["sets"])
    file = folder / savepoint.CONFIG
    config = configs.from_dict(read_file(file), given) if file.is_file() else configs.from_dict(point.config, given)
    if options["steps"] is not None:
        if options["steps"] < was.steps:
            raise UsageError(f"--steps {options['steps']}: the run was planned for {was.steps}, give no fewer")
        config.extra_steps = options["steps"] - config.steps
    config.output.keep_run = config.output.keep_run or options["keep_run"]
    if "chunk" not in given.get("views", {}):
        config.views.chunk = was.views.chunk
    keys = _differing(*(dict(_leaves(each.to_dict())) for each in (was, config)))
    changed = [key for key in keys if key not in _EXTENDED]
    _refuse(folder, changed, options["force"])
    if config.extra_steps < was.extra_steps and not options["force"]:
        raise UsageError(f"the run was told to go to step {was.total_steps}: give no fewer --steps")
    return config, changed


def _refuse(folder: Path, changed: Sequence[str], force: bool) -> None:
    if changed and not force:
        listed = ", ".join(changed[:6]) + (", ..." if len(changed) > 6 else "")
        raise ResumeError(f"{folder} was drawn with other settings ({listed}): give --force to go on with the new ones")


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    return [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]


def _sum(seen: Any) -> Any:
    return seen.get("sha256") if isinstance(seen, Mapping) else None


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield above + name, value
