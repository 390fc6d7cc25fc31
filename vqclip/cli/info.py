"""`vqclip info`: what a picture says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vqclip.cli import streams
from vqclip.cli.values import FILE
from vqclip.errors import UsageError


@click.command()
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="The whole record as JSON.")
def info(file: Path, as_json: bool) -> None:
    """Show how the picture FILE was drawn: prompt, seed, settings, weights and versions."""
    from vqclip.writers import metadata

    found = metadata.read(file)
    record, parameters = found["record"], found["parameters"]
    if as_json:
        if record is None:
            raise UsageError(f"{file} holds no vqclip metadata")
        streams.say(json.dumps(record, indent=2))
        return
    if parameters is None:
        raise UsageError(f"{file} says nothing of how it was made")
    streams.say(metadata.clean(parameters))
    for group in ("weights", "files", "versions"):
        values = record.get(group) if isinstance(record, dict) else None
        for name, value in (values or {}).items() if isinstance(values, dict) else ():
            streams.say(f"{group}: {metadata.clean(str(name))} {metadata.clean(str(value))}")
