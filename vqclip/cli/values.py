"""Kinds of values that options take: texts and names of files, none of them empty."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    _Kind = click.ParamType[Any]
else:  # not generic in every version of click
    _Kind = click.ParamType


class Text(_Kind):
    """A text that is not empty: an empty one is a variable of the shell that was never set."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text; a usage error for an empty one."""
        if str(value) == "":
            self.fail("it is empty: give a value, or leave it out", param, ctx)
        return value


class Name(Text):
    """A name of weights: of the catalog, or of a file, at whose beginning `~` is the user's home."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name; a usage error for an empty one."""
        return os.path.expanduser(super().convert(value, param, ctx))


class File(Text):
    """The name of a file or folder, as a path; `~` at its beginning is the user's home."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path; a usage error for an empty name."""
        return Path(os.path.expanduser(super().convert(value, param, ctx)))


TEXT, NAME, FILE = Text(), Name(), File()
