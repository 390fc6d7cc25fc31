"""`vqclip resume`: goes on with a run that was stopped, killed or failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vqclip.cli import running
from vqclip.cli.progress import Progress
from vqclip.cli.values import FILE
from vqclip.errors import UsageError


@click.command()
@click.argument("run", type=FILE)
@click.option("--steps", type=int, help="Draw on to so many steps; those beyond the planned ones are as its last one.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change a setting, with --force.")
@click.option("--plugin", "plugins", multiple=True, type=FILE, help="A plugin that the run was drawn with.")
@click.option("--force", is_flag=True, help="Go on although settings, weights or files have changed.")
@click.option("--keep-run", is_flag=True, help="Keep the run's folder, to draw on later.")
@click.option("--quiet", is_flag=True, help="Show nothing but the files' names.")
@click.option("--json-progress", is_flag=True, help="A JSON line a step on stderr.")
@click.option("--offline", is_flag=True, help="Never use the network.")
@click.option("--yes", is_flag=True, help="Replace files that stand in the way.")
def resume(run: Path, **options: Any) -> int:
    """Go on with RUN, a run's folder (NAME.run) or the name of its picture or film, as if it had never stopped.

    A run that ended, and was kept with --keep-run, is drawn on with --steps.
    """
    from vqclip.animation.folder import find
    from vqclip.session.job import Job, Resume

    folder = find(run)
    if folder is not None:
        return _resume_film(folder, options)
    wanted = Resume(run, options["steps"], options["sets"], options["force"], options["keep_run"])
    progress = Progress.of(quiet=options["quiet"], as_json=options["json_progress"])
    running.load_plugins(options["plugins"], progress)
    plugins = tuple(str(path) for path in options["plugins"])
    job = Job(replace=options["yes"], resume=wanted, offline=options["offline"], plugins=plugins)
    with running.Stopper() as stopper:
        outcome = running.carry_out(job, progress, stopper)
        return running.exit_code(outcome, progress, stopper)


def _resume_film(folder: Path, options: dict[str, Any]) -> int:
    """Go on with a film; UsageError for what only pictures take."""
    from vqclip.animation.job import FilmJob
    from vqclip.cli.animate import draw
    from vqclip.cli.frames import FilmProgress

    for name, option in (("steps", "--steps"), ("sets", "--set"), ("force", "--force")):
        if options[name]:
            raise UsageError(f"{option} changes a run of a picture, and {folder} is one of a film: leave it out")
    progress = FilmProgress.of(quiet=options["quiet"], as_json=options["json_progress"])
    running.load_plugins(options["plugins"], progress)
    job = FilmJob(resume=folder, replace=options["yes"], offline=options["offline"], keep_run=options["keep_run"])
    return draw(job, progress)
