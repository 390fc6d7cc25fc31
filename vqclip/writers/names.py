"""Names of output files: made from prompts without ever leaving the folder or overwriting a file."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from vqclip import atomic
from vqclip.errors import OutputError, UsageError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
VIDEO_SUFFIXES = (".mp4", ".gif", ".webp")
SLUG_BYTES = 60
# in every run's folder
CONFIG = "config.yaml"
RESERVED = {"con", "prn", "aux", "nul", "conin$", "conout$", *(f"{d}{n}" for d in ("com", "lpt") for n in range(10))}


def slug(text: str) -> str:
    """Return `text` as a part of a file name: `[a-z0-9._-]`, 1 to 60 bytes, legal on Windows too.

    Compatibility forms are unfolded and accents dropped (Unicode NFKD); everything else becomes a dash. Text that
    leaves nothing becomes "picture".
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    name = re.sub(r"[^a-z0-9._]+", "-", plain.lower())
    name = re.sub(r"\.{2,}", ".", name)[:SLUG_BYTES].strip("-._")
    if name.partition(".")[0] in RESERVED:
        name = f"picture-{name}"
    return name[:SLUG_BYTES].strip("-._") or "picture"


def run_folder(picture: str | Path) -> Path:
    """Return the folder that holds the state of the run that draws `picture`: its name without ending, and `.run`."""
    return Path(picture).with_suffix(".run")


def next_path(folder: str | Path, seed: int, prompt: str, suffix: str = ".png") -> Path:
    """Return the free name `<folder>/<date>/<counter>-<seed>-<slug><suffix>` and create its run folder.

    The counter is one higher than any in the day's folder. The empty run folder reserves the name: no other call, in
    this process or another, gets the same counter, and a picture that was never drawn leaves no empty file. The caller
    removes the folder once the picture is written. Raises OutputError.
    """
    day = check_writable(Path(folder) / datetime.date.today().isoformat())
    try:
        for counter in itertools.count(max(_counters(day), default=0) + 1):
            picture = day / f"{counter:04d}-{seed}-{slug(prompt)}{suffix}"
            if _reserve(day, counter, run_folder(picture)):
                return picture
    except OSError as error:
        raise atomic.output_error(day, error) from error
    raise AssertionError("unreachable: the counter has no end")


def numbered(path: str | Path) -> Iterator[Path]:
    """Yield `path`, then `name-1.png`, `name-2.png`, ... without end."""
    path = Path(path)
    yield path
    for number in itertools.count(1):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def free_path(path: str | Path) -> Path:
    """Return the first of the numbered names that neither a file has nor a run that draws it."""
    return next(p for p in numbered(path) if is_free(p))


def is_free(path: str | Path) -> bool:
    """Whether neither a file has a name nor a run that draws it."""
    return not (os.path.lexists(path) or os.path.lexists(run_folder(path)))


class OwnNames:
    """Names that the user gave, numbered where one is used already, in this run or (unless replacing) on the disk.

    Replacing concerns ordinary files only: a folder, a link or a device stays where it is.
    """

    def __init__(self, replace: bool, used: Iterable[str] = ()) -> None:
        self.replace = replace
        self.used = set(used)
        self.folders: set[Path] = set()
        # where a file went, by the place that it was meant for
        self.moved: dict[str, str] = {}

    def next(self, name: str, *, drawn: bool) -> Path:
        """Return the next name to write to; a picture that is `drawn` there needs a run folder too, a video none."""
        free = next(path for path in numbered(name) if self._may_write(path, drawn))
        self.take(free)
        return free

    def take(self, path: Path) -> None:
        """Use a name."""
        self.used.add(place(path))

    def _may_write(self, path: Path, drawn: bool) -> bool:
        if place(path) in self.used or place(path) in self.moved.values():
            return False
        folder = run_folder(path)
        if self.replace:
            # a folder of that name which no run made is the user's
            return is_replaceable(path) and not (drawn and os.path.lexists(folder) and not is_run(folder))
        # a run folder that is not of this run tells of another one that draws the picture
        return not (os.path.lexists(path) or (folder not in self.folders and os.path.lexists(folder)))


def place(path: str | Path) -> str:
    """Return an absolute path that is the same for all names of one file, if its last part is no link."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.normcase(os.path.join(os.path.realpath(folder), name))


def is_replaceable(path: str | Path) -> bool:
    """Whether nothing stands at a path, or an ordinary file: what a new file may take the place of."""
    return not os.path.lexists(path) or (os.path.isfile(path) and not os.path.islink(path))


def check_replaceable(path: str | Path) -> None:
    """Raise OutputError if what stands at a path is no ordinary file."""
    if not is_replaceable(path):
        kind = "a link" if os.path.islink(path) else "a folder" if os.path.isdir(path) else "no ordinary file"
        raise OutputError(f"{path} is {kind}, which nothing replaces: give another name, or remove it first")


def is_run(folder: Path) -> bool:
    """Whether a folder is one that a run made."""
    return not folder.is_symlink() and folder.is_dir() and ((folder / CONFIG).is_file() or not any(folder.iterdir()))


def check_writable(folder: str | Path) -> Path:
    """Create `folder` if need be and return it; raise OutputError at once if no file can be written there."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"\0")
    except OSError as error:
        raise atomic.output_error(folder, error) from error
    return folder


def check_suffix(path: str | Path, kind: str) -> str:
    """Return the lower-case ending of a file of `kind` "image" or "video"; raise UsageError for an unknown one."""
    known = {"image": IMAGE_SUFFIXES, "video": VIDEO_SUFFIXES}[kind]
    suffix = Path(path).suffix.lower()
    if suffix not in known:
        given = f"the ending {suffix!r}" if suffix else "no ending"
        raise UsageError(f"{kind} file {str(path)!r} has {given}: known are {', '.join(known)}")
    return suffix


def _counters(day: Path) -> list[int]:
    """Return the counters of all pictures and run folders of a day."""
    names = (re.match(r"(\d{4,9})-", entry.name) for entry in day.iterdir())
    return [int(match[1]) for match in names if match]


def _reserve(day: Path, counter: int, run: Path) -> bool:
    """Create the folder `run` unless the counter is taken; two callers never both succeed.

    The claim file is created exclusively, so only its owner looks for the counter and takes it. One left behind by a
    killed process costs its number, nothing else.
    """
    claim = day / f".{counter:04d}.claim"
    try:
        os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    try:
        if counter in _counters(day):
            return False
        run.mkdir()
        return True
    finally:
        with contextlib.suppress(OSError):
            claim.unlink()
