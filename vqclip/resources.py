"""Where the files that ship with vqclip are: presets in `configs/`, bundled weights in `checkpoints/`."""

from __future__ import annotations

from pathlib import Path

from vqclip.errors import VqclipError

PACKAGE = Path(__file__).resolve().parent


def path(name: str) -> Path:
    """Return the folder or file `name`, such as `"configs/tiny.yaml"`, that ships with vqclip.

    In an installed wheel these folders lie inside the package; in a checkout and in an editable install they lie
    beside it. Raises VqclipError if neither place holds it.
    """
    for root in (PACKAGE, PACKAGE.parent):
        place = root / name
        if place.exists():
            return place
    raise VqclipError(f"the installation lacks {name!r}: install vqclip again")


def presets() -> list[str]:
    """Return the names of the presets that ship with vqclip."""
    return sorted(file.stem for file in path("configs").glob("*.yaml"))
