"""What a sink is: a listener to the steps of one batch that writes one kind of file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqclip.config import Config
from vqclip.errors import PluginError
from vqclip.registry import SINKS
from vqclip.registry.outside import place_of
from vqclip.types import Snapshot

if TYPE_CHECKING:
    from vqclip.session.batch import Batch


KINDS = ("pictures", "videos", "others")
"""What the files of a sink are to the user."""


class Sink:
    """Writes one kind of file for the pictures of a batch; a subclass says what it does at which moment.

    A session makes the sinks of a batch whose `wanted` says so, by their `rank` and then in the order of the registry
    `SINKS`. They begin, step and close in this order, and save and finish in the opposite one, so that the picture and
    the state are written before anything that may take long or fail. An OutputError that a sink raises ends the
    session, unless it comes within `batch.attempt`.
    """

    # one of KINDS
    kind = "others"
    # the state is kept of what others have taken already, and the picture is written first of all
    rank = 0

    def __init__(self, batch: Batch) -> None:
        self.batch, self.config = batch, batch.config

    @staticmethod
    def wanted(config: Config) -> bool:
        """Whether a config asks for such files."""
        return True

    @staticmethod
    def check(config: Config) -> None:
        """Raise UsageError or OutputError, before anything is loaded, for files that could not be written."""

    def begin(self) -> None:
        """Do what comes before the first snapshot; the names of the batch are chosen."""

    def step(self, snapshot: Snapshot) -> None:
        """Take the snapshot of a step; the first one of a batch that goes on is marked as `resumed`."""

    def may_keep(self, snapshot: Snapshot) -> bool:
        """Whether a state of this step may be kept to go on from; all sinks are asked."""
        return True

    def cut(self, snapshot: Snapshot) -> None:
        """Make what was taken so far final, as a state of this step is kept."""

    def position(self) -> int:
        """Return how much is final, in whatever the sink counts, for `fields`."""
        return 0

    def fields(self, position: int) -> dict[str, Any]:
        """Return the fields of a `Savepoint` that are the sink's, as it was at a position."""
        return {}

    def save(self, snapshot: Snapshot) -> Sequence[Path]:
        """Write what there is after a step, at the user's wish, and return the files; the run goes on."""
        return ()

    def finish(self, snapshot: Snapshot, hurry: bool) -> Sequence[Path]:
        """Write what there is after the last snapshot and return the files; in a `hurry` only what is quick."""
        return ()

    def close(self, whole: bool) -> None:
        """Let go of everything; called once, also after a failure. `whole` says that all went well to the end."""


def sink_of(name: str) -> type[Sink]:
    """Return the class of a registered sink; PluginError for one that is no subclass of `Sink`, or of no known kind."""
    record: Any = SINKS.load(name)
    if not (isinstance(record, type) and issubclass(record, Sink)):
        raise PluginError(f"the sink {name!r} ({place_of(record)}) is no subclass of vqclip.session.sinks.Sink")
    if record.kind not in KINDS:
        raise PluginError(
            f"the sink {name!r} ({place_of(record)}) writes the kind {record.kind!r}: give {', '.join(KINDS)}"
        )
    return record
