"""Where a film is written: what its name says it becomes, and which names are free. Torch-free."""

from __future__ import annotations

import os
from pathlib import Path

from vqclip.animation.folder import SETTINGS
from vqclip.errors import OutputError, UsageError
from vqclip.writers import names
from vqclip.writers.video import check_encoder

_SUFFIX = ".film.json"


def side_car(film: Path) -> Path:
    """Return where the settings of a film stand beside it."""
    return film.with_name(film.stem + _SUFFIX)


def is_folder(output: str | Path) -> bool:
    """Whether a name is that of a folder for PNGs: it has no ending, ends in a slash, or a folder stands there."""
    path = Path(output)
    return path.suffix == "" or str(output).endswith(("/", os.sep)) or path.is_dir()


def check_output(output: str | None, replace: bool, storyboard: str | None = None) -> None:
    """Raise UsageError or OutputError for a film, or a storyboard, that could not be written."""
    if storyboard is not None:
        names.check_suffix(storyboard, "image")
        names.check_writable(Path(storyboard).parent)
    if output is None:
        check_encoder("film.mp4")
        return
    path = Path(output)
    if path.name in ("", ".."):
        raise UsageError(f"-o {output}: name a film that ends in .mp4, .gif or .webp, or a new folder for PNGs")
    if is_folder(output):
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path} is a file: name a folder for PNGs, or a film that ends in .mp4, .gif or .webp")
        names.check_writable(path.parent)
        return
    names.check_suffix(path, "video")
    if replace:
        names.check_replaceable(path)
    names.check_writable(path.parent)
    check_encoder(path)


def film_path(output: str, replace: bool) -> Path:
    """Return the path of the film: the name that was given, numbered where something else stands there.

    `replace` lets the film take the place of a film, and of the folder that another one was drawn in; a folder of that
    name which is something else stays.
    """
    path = Path(os.path.abspath(output))
    if replace and not is_folder(output) and _may_begin(names.run_folder(path)):
        return path
    return next(free for free in names.numbered(path) if names.is_free(free) and not os.path.lexists(side_car(free)))


def _may_begin(folder: Path) -> bool:
    """Whether a film can be drawn in a folder: there is none yet, or it is a film's."""
    return not os.path.lexists(folder) or (not folder.is_symlink() and (folder / SETTINGS).is_file())
