"""What a session tells while it goes on: frozen records, one a thing that happened. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vqclip.config import Resolved
from vqclip.types import Candidates, Notice, Snapshot

if TYPE_CHECKING:
    from vqclip.session.job import Outcome


@dataclass(frozen=True)
class Event:
    """Something that happened in a session; see the kinds below."""


@dataclass(frozen=True)
class Started(Event):
    """The networks are loaded, and everything that was automatic is settled: the first event of every session.

    `config` is the resolved config. A session that goes on does so from `step` (else 0), with `picture`, the name of
    the first picture that it goes on with (else "").
    """

    config: Resolved
    step: int = 0
    picture: str = ""


@dataclass(frozen=True)
class NoticeGiven(Event):
    """Something the user should know that is no error, such as a word that the models do not know."""

    notice: Notice

    @property
    def text(self) -> str:
        """One line for the user."""
        return self.notice.text


@dataclass(frozen=True)
class BatchStarted(Event):
    """Pictures that are drawn together have their names.

    `number` counts batches from 0. `seeds`, `pictures` and `folders` (the run's folder of each picture, in which its
    state, preview and video segments lie meanwhile) are in the same order; a picture that is in its way when it is
    written may still get another name.
    """

    number: int
    seeds: tuple[int, ...]
    pictures: tuple[Path, ...]
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class CandidatesDrawn(Event):
    """A prior has proposed first grids; told if they are to be shown (`output.save_candidates`).

    `candidates` holds those of each seed, best first.
    """

    candidates: Mapping[int, Candidates]


@dataclass(frozen=True)
class Stepped(Event):
    """A step is done: told for the first grid, step 0, too, and before anything of the step is written.

    After trouble the run goes back, so that a step may come twice.
    """

    snapshot: Snapshot


@dataclass(frozen=True)
class PreviewWritten(Event):
    """The previews of a batch, one a picture, show this step."""

    step: int
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Saved(Event):
    """What was asked for by `save` is on the disk: pictures, videos as far as they are encoded, and the state."""

    step: int
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Paused(Event):
    """The session waits after this step; the next call of `next` returns when it goes on, is saved or stopped."""

    step: int


@dataclass(frozen=True)
class WentOn(Event):
    """The session goes on after a pause."""

    step: int


@dataclass(frozen=True)
class BatchEnded(Event):
    """The files of pictures that are drawn together are written; `whole` is false for a batch that was stopped."""

    number: int
    pictures: tuple[Path, ...]
    videos: tuple[Path, ...]
    whole: bool


@dataclass(frozen=True)
class Finished(Event):
    """Nothing is left to do, or the session was stopped: the last event of a session that did not fail."""

    outcome: Outcome = field()
