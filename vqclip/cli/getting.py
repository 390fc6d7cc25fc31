"""Fetching several weights as one: what a preset needs, said before it begins."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vqclip.cli import streams
from vqclip.errors import UsageError
from vqclip.terminal import bar_room
from vqclip.weights import cache

if TYPE_CHECKING:
    from vqclip.weights.get import How


def of_preset(preset: str) -> list[tuple[str, str]]:
    """Return kind and name of all weights that a preset names, but the bundled ones."""
    from vqclip.config import build
    from vqclip.weights import plan

    return plan.names_of(build(preset).to_dict()["models"])


def kept() -> list[Path]:
    """Return the files and folders of all weights that are kept in the home."""
    folder = cache.home() / "weights"
    inside = folder.iterdir() if folder.is_dir() else []
    ours = (path for path in inside if path.is_dir() or path.suffix == ".safetensors")
    return sorted(path for path in ours if not path.name.startswith("."))


def get_all(pairs: Sequence[tuple[str, str]], how: How, preset: str, yes: bool) -> None:
    """Fetch weights by kind and name and print where they lie; before those of a preset, say how much that is.

    On a terminal it is asked whether to go on. Raises UsageError where there is none and no `yes`, and WeightsError
    where there is no room.
    """
    from vqclip.weights import exchange, get

    if preset:
        _agree(pairs, preset, yes)
    for kind, name in pairs:
        options = how if kind == "vqgan" or not preset else get.How(keep_original=how.keep_original)
        streams.say(_get(kind, name, options))
    if cache.elsewhere():
        exchange.bring_catalog()


def _agree(pairs: Sequence[tuple[str, str]], preset: str, yes: bool) -> None:
    from vqclip.weights import plan

    if not pairs:
        streams.tell(f"the preset {preset} needs the bundled models only: nothing is to be fetched")
        return
    missing = plan.missing(pairs)
    if not missing:
        return
    plan.check_room(missing)
    streams.tell(f"the preset {preset} needs {plan.describe(missing)}, into {cache.home()}")
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():  # none where it is closed
        raise UsageError(f"fetching what the preset {preset} needs has to be agreed to: give --yes")
    if not click.confirm("go on?", default=True, err=True):
        raise click.Abort


def _get(kind: str, name: str, how: How) -> Path:
    from tqdm import tqdm

    from vqclip.weights.get import get

    with tqdm(unit="B", unit_scale=True, desc=name[:40], disable=None, **bar_room()) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return get(kind, name, how, show)
