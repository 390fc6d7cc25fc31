"""The folder of a film that is being drawn: its settings and every frame so far, which is all that going on needs."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from vqclip import atomic
from vqclip.config import Config, from_dict
from vqclip.config.film import Film, film_from
from vqclip.errors import ResumeError, UsageError, one_line
from vqclip.images import read_image
from vqclip.session.savepoint import sha256
from vqclip.writers import names
from vqclip.writers.picture import save_image

FORMAT = "vqclip-film-1"
_WRITTEN = "written.txt"
SETTINGS, FRAMES, PREVIEW = "film.json", "frames", "preview.png"
_LARGEST = 4 << 20
_FRAME = re.compile(r"(\d{6})\.png")


class FilmFolder(Mapping[int, Image.Image]):
    """The folder NAME.run of a film: `film.json`, and the frames that were drawn, which it maps from their numbers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._latest: tuple[int, Image.Image] | None = None

    def __getitem__(self, number: int) -> Image.Image:
        """Return a frame; KeyError for one that was not drawn, UsageError for one that cannot be read."""
        if self._latest is not None and self._latest[0] == number:
            return self._latest[1]
        file = self.file(number)
        if not file.is_file():
            raise KeyError(number)
        return read_image(file)

    def __iter__(self) -> Iterator[int]:
        """Return the numbers of the frames that are there, in their order."""
        folder = self.path / FRAMES
        if not folder.is_dir():
            return iter(())
        found = (_FRAME.fullmatch(entry) for entry in os.listdir(folder))
        return iter(sorted(int(match[1]) for match in found if match))

    def __len__(self) -> int:
        """Return how many frames are there."""
        return sum(1 for _ in self)

    def __contains__(self, number: object) -> bool:
        """Whether a frame is there."""
        return isinstance(number, int) and self.file(number).is_file()

    def file(self, number: int) -> Path:
        """Return where a frame stands, or will."""
        return self.path / FRAMES / f"{number:06d}.png"

    def add(self, number: int, image: Image.Image, record: Mapping[str, Any] | None) -> None:
        """Keep a frame, which is the preview too. Raises OutputError."""
        self.make()
        save_image(image, self.file(number), record)
        self._latest = (number, image)
        with contextlib.suppress(OSError):
            save_image(image, self.path / PREVIEW, None)

    def make(self) -> None:
        """Make the folder of frames; OutputError if that cannot be."""
        names.check_writable(self.path / FRAMES)

    def keep_only(self, numbers: tuple[int, ...]) -> int:
        """Remove what is no frame of a film, and all frames after the first that is missing or damaged.

        Return how many are left.
        """
        whole = 0
        for number in numbers:
            if number not in self or not self._is_whole(number):
                break
            whole += 1
        for number in set(self) - set(numbers[:whole]):
            self.file(number).unlink(missing_ok=True)
        return whole

    def write(self, settings: Mapping[str, Any]) -> None:
        """Write the settings. Raises OutputError."""
        atomic.write_text(self.path / SETTINGS, json.dumps({"format": FORMAT, **settings}, indent=1))

    def read(self) -> dict[str, Any]:
        """Return the settings; ResumeError if they are damaged."""
        try:
            if (self.path / SETTINGS).stat().st_size > _LARGEST:
                raise ValueError("it is larger than settings can be")
            values = json.loads((self.path / SETTINGS).read_text("utf-8"))
            if not isinstance(values, dict) or values.get("format") != FORMAT:
                raise ValueError("it is no film of this version of vqclip")
        except (OSError, ValueError, RecursionError) as error:
            raise ResumeError(
                f"{self.path / SETTINGS} cannot be read ({one_line(error)[:120]}): draw it anew"
            ) from None
        return values

    def note(self, film: Path) -> None:
        """Remember a film that was written before its end, which may be replaced. Raises OutputError."""
        atomic.write_text(self.path / _WRITTEN, sha256(film))

    def wrote(self, film: Path) -> bool:
        """Whether a file is the film that was written before its end, and not another one that came to stand there."""
        try:
            return (self.path / _WRITTEN).read_text("utf-8") == sha256(film)
        except OSError:
            return False

    def _is_whole(self, number: int) -> bool:
        try:
            with Image.open(self.file(number)) as image:
                image.load()
        except (OSError, ValueError, SyntaxError):
            return False
        return True


def find(path: Path) -> Path | None:
    """Return the folder of a film, from its own path or the film's; None if there is none.

    Raises ResumeError for one that is a link, or holds one.
    """
    folder = path if path.is_dir() else names.run_folder(path)
    if not (folder / SETTINGS).is_file():
        return None
    entries = [folder, *folder.iterdir(), *((folder / FRAMES).iterdir() if (folder / FRAMES).is_dir() else ())]
    if any(entry.is_symlink() for entry in entries):
        raise ResumeError(f"{folder} is or holds a link, as no run's folder does: draw the film anew")
    return folder


def resumed(folder: Path, settings: Mapping[str, Any]) -> tuple[Film, Config, Path]:
    """Return film, config and output that a folder's settings tell of; ResumeError if they are damaged."""
    try:
        film, config = film_from(dict(settings["film"])), from_dict(dict(settings["config"]))
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise ResumeError(f"the settings of {folder} are damaged ({one_line(error)}): draw the film anew") from None
    # settings may be a stranger's
    board = Path(film.storyboard or folder).resolve()
    if not any(board.is_relative_to(allowed) for allowed in (folder.resolve().parent, Path().resolve())):
        raise ResumeError(f"{folder} is to write {board}: go on from the folder it began in")
    return film, config, _output_of(folder, settings.get("name"))


def _output_of(folder: Path, name: Any) -> Path:
    """Return the path of a folder's film, whose name its settings tell; ResumeError for a name that is none."""
    if not isinstance(name, str) or not name or Path(name).name != name or "\0" in name:
        raise ResumeError(f"{folder} names a film that is no name of a file: draw the film anew")
    path = folder.parent / name
    if names.run_folder(path) != folder and path.with_suffix(".run") != folder:
        raise ResumeError(f"{folder} holds the frames of {name}: name it {names.run_folder(name)} again")
    return path
