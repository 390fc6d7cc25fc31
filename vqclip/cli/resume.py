"""`vqclip resume`: goes on with a run that was stopped, killed or failed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from vqclip import config as configs
from vqclip.cli import running
from vqclip.cli.progress import Progress
from vqclip.config import Config
from vqclip.config_text import nest, parse_set, read_file
from vqclip.errors import ResumeError, UsageError
from vqclip.types import Notice

# what trouble with memory changes in a run that is underway
_FREE = {"views.chunk"}
_EXTENDED = {"extra_steps", "output.keep_run"}


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
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
    from vqclip import savepoint

    folder = savepoint.find(run)
    savepoint.lock(folder).release()  # a run that is being drawn is told of before seconds of loading
    point = savepoint.read(folder)
    config = _config_of(folder, point.config, options)
    if point.ended and config.total_steps <= point.packed.step:
        raise UsageError(f"{folder} has done all its {point.packed.step} steps: give --steps above that to draw on")
    return _draw(folder, point, config, options)


def _draw(folder: Path, point: Any, config: Config, options: Mapping[str, Any]) -> int:
    from vqclip.generation.models import Models
    from vqclip.generation.prepare import prepare

    progress = Progress.of(quiet=options["quiet"], as_json=options["json_progress"])
    with running.Stopper() as stopper:
        models = Models.load(config)
        prepared = prepare(models.resolve(config), models)
        changed = [f"weights of {name}" for name in _differing(point.weights, models.recorded_hashes())]
        was, now = ({key: _sum(seen) for key, seen in seens.items()} for seens in (point.outside, prepared.outside))
        changed += [f"the file of {name}" for name in _differing(was, now)]
        _refuse(folder, changed, options["force"])
        prepared.notices += _of_versions(point.versions)
        step = f"step {point.packed.step} of {config.total_steps}"
        progress.notice(Notice(f"going on with {point.pictures[0]} from {step}"))
        return running.draw(prepared, progress, stopper, options["yes"] or point.replace, (folder, point))


def _config_of(folder: Path, recorded: Mapping[str, Any], options: Mapping[str, Any]) -> Config:
    """Return the config to go on with; ResumeError if it is not the one that the run had."""
    from vqclip import savepoint

    was = configs.from_dict(recorded)
    given = nest(parse_set(text, Config) for text in options["sets"])
    file = folder / savepoint.CONFIG
    config = configs.from_dict(read_file(file), given) if file.is_file() else configs.from_dict(recorded, given)
    if options["steps"] is not None:
        if options["steps"] < was.steps:
            raise UsageError(f"--steps {options['steps']}: the run was planned for {was.steps}, give no fewer")
        config.extra_steps = options["steps"] - config.steps
    config.output.keep_run = config.output.keep_run or options["keep_run"]
    keys = _differing(*(dict(_leaves(each.to_dict())) for each in (was, config)))
    _refuse(folder, [key for key in keys if key not in _FREE | _EXTENDED], options["force"])
    if config.extra_steps < was.extra_steps and not options["force"]:
        raise UsageError(f"the run was told to go to step {was.total_steps}: give no fewer --steps")
    config.views.chunk = was.views.chunk
    return config


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


def _of_versions(recorded: Mapping[str, str]) -> list[Notice]:
    from vqclip.api import versions

    changed = _differing(recorded, versions())
    if not changed:
        return []
    return [Notice(f"the run began with other {', '.join(changed)}: its picture may differ in detail")]
