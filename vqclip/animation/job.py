"""What somebody asks for when a film is to be drawn, what happens meanwhile, and what came of it. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqclip.config import Config, checked
from vqclip.config.film import Film, checked_film
from vqclip.errors import UsageError
from vqclip.session.events import Event

if TYPE_CHECKING:
    from vqclip.animation.draw import Drawn

_STOPPED = 130


@dataclass(frozen=True)
class FilmJob:
    """A film to be drawn: its pictures' `config`, the `film` and its `output`; or `resume`, the folder of one.

    `output` ends in .mp4, .gif or .webp, or names a folder, which gets PNGs; without it the film goes into the
    config's output folder. `replace` lets a file of that name be replaced. `record` is the metadata of a film that is
    drawn again. Raises UsageError for a wrong config and a wrong film.
    """

    config: Config | None = None
    film: Film | None = None
    output: str | None = None
    replace: bool = False
    resume: Path | None = None
    record: Mapping[str, Any] | None = None
    offline: bool = False
    keep_run: bool = False

    def __post_init__(self) -> None:
        if (self.resume is None) == (self.config is None or self.film is None):
            raise UsageError("a film needs a config and a film, or a folder to resume: give FilmJob(config, film)")
        if self.config is not None and self.film is not None:
            object.__setattr__(self, "config", checked(self.config))
            object.__setattr__(self, "film", checked_film(self.film))


@dataclass(frozen=True)
class FilmStarted(Event):
    """The networks are loaded and the film is settled: `count` frames, of which `done` are there already."""

    output: Path
    folder: Path
    count: int
    done: int
    fps: float
    size: tuple[int, int]
    seed: int
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class FrameDrawn(Event):
    """A frame is drawn and kept: the `done`-th of `count`."""

    drawn: Drawn
    done: int
    count: int


@dataclass(frozen=True)
class FilmOutcome:
    """What came of a film: its file or folder, others beside it, and the folder that it can go on from, if any."""

    film: Path | None = None
    others: tuple[Path, ...] = ()
    folder: Path | None = None
    frames: int = 0
    stopped: bool = False

    @property
    def exit_code(self) -> int:
        """0 for a film that is done, 130 for one that was stopped."""
        return _STOPPED if self.stopped else 0


@dataclass(frozen=True)
class FilmFinished(Event):
    """Nothing is left to do, or the film was stopped."""

    outcome: FilmOutcome
