"""`vqclip models`: which weights there are."""

from __future__ import annotations

import click

from vqclip import resources
from vqclip.weights import catalog


@click.group()
def models() -> None:
    """Show the known weights."""


@models.command("list")
def list_models() -> None:
    """List all known weights: kind, name, size, licence, what they draw."""
    for record in catalog.CATALOG:
        size = resources.path(f"checkpoints/{record.file}").stat().st_size / 1e6
        click.echo(f"{record.kind:9} {record.name:12} {size:7.1f} MB  {record.licence}  draws {record.draws}")


@models.command("where")
def where() -> None:
    """Print the folder of the bundled weights."""
    click.echo(str(resources.path("checkpoints")))
