"""`vqclip info`: what a picture says of itself."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vqclip.cli import streams
from vqclip.cli.values import FILE
from vqclip.errors import UsageError

if TYPE_CHECKING:
    from vqclip.writers.foreign import Foreign


@click.command()
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="The whole record as JSON.")
def info(file: Path, as_json: bool) -> None:
    """Show how the picture FILE was drawn: prompt, seed, settings, weights and versions; also of other programs."""
    from vqclip.writers import foreign, metadata

    found = metadata.read(file)
    record, parameters = found["record"], found["parameters"]
    other = foreign.read(file) if record is None else None
    if as_json:
        if record is None and other is None:
            raise UsageError(f"{file} holds no metadata that vqclip understands")
        streams.say(json.dumps(record if other is None else dataclasses.asdict(other), indent=2))
        return
    if parameters is None and other is None:
        raise UsageError(f"{file} says nothing of how it was made")
    if other is not None and other.program != foreign.OWN:
        _show(other)
        return
    streams.say(metadata.clean(parameters))
    for group in ("weights", "files", "versions"):
        values = record.get(group) if isinstance(record, dict) else None
        for name, value in (values or {}).items() if isinstance(values, dict) else ():
            streams.say(f"{group}: {metadata.clean(str(name))} {metadata.clean(str(value))}")


def _show(other: Foreign) -> None:
    """Print what a picture of another program tells, and the names of what `--from` leaves."""
    streams.say(f"made by: {other.program}")
    for name, value in other.facts():
        streams.say(f"{name}: {value}")
    for name in other.left:
        streams.say(f"left: {name}")
