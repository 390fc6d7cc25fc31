"""States from which a run can go on, in the folder of the first picture of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vqclip.session import savepoint
from vqclip.session.api import versions
from vqclip.session.savepoint import Savepoint, Saver
from vqclip.session.sinks.sink import Sink
from vqclip.types import PackedState, Snapshot


class SavepointSink(Sink):
    """Keeps the config, and the latest state that a run can go on from, of those that the other sinks allow."""

    rank = 1

    def begin(self) -> None:
        """Keep what a run that is killed from here on can go on with; one that goes on has it already."""
        batch = self.batch
        self.saver = Saver(list(batch.folders.values()), batch.point)
        self.versions = versions()
        self.latest: PackedState | None = None
        if batch.point is None:
            self._note(None)

    def step(self, snapshot: Snapshot) -> None:
        """Take the state of this step as the next savepoint, if it is one that the run can go on from."""
        packed = self.latest = snapshot.packed
        if snapshot.resumed:
            # the state fits, also the settings that it was forced to take
            self._note(packed)
            return
        if packed is None or packed.step != snapshot.step:
            return
        if not all(sink.may_keep(snapshot) for sink in self.batch.sinks):
            return
        for sink in self.batch.sinks:
            sink.cut(snapshot)
        self.batch.attempt("state", lambda: self._offer(packed))

    def save(self, snapshot: Snapshot) -> Sequence[Path]:
        """Write the latest state. Raises OutputError."""
        self.saver.flush()
        return ()

    def finish(self, snapshot: Snapshot, hurry: bool) -> Sequence[Path]:
        """Write the latest state, before what may take long or fail."""
        self.batch.attempt("state", self.saver.flush)
        return ()

    def close(self, whole: bool) -> None:
        """Write the latest state; of a run that ended, and is kept, that it did."""
        if not hasattr(self, "saver"):
            return
        if whole and self.config.output.keep_run:
            self.batch.attempt("state", lambda: self._offer(self.latest, ended=True))
        self.batch.attempt("state", self.saver.flush)

    def _note(self, packed: PackedState | None) -> None:
        """Write the config, and the state to begin with."""
        for folder in self.batch.folders.values():
            savepoint.write_config(folder, savepoint.absolute(self.config))
        self.batch.attempt("state", lambda: self._offer(packed))

    def _offer(self, packed: PackedState | None, ended: bool = False) -> None:
        # the state may be written later: the videos of that time have more segments than belong to it
        positions = [sink.position() for sink in self.batch.sinks]
        self.saver.offer(lambda: self._point(packed, positions, ended))

    def _point(self, packed: PackedState | None, positions: Sequence[int], ended: bool) -> Savepoint:
        batch, prepared = self.batch, self.batch.prepared
        point = Savepoint(
            packed,
            batch.number,
            tuple(path.name for path in batch.paths.values()),
            config=savepoint.absolute(self.config).to_dict(),
            used=tuple(sorted(batch.outputs.used)),
            weights=prepared.models.recorded_hashes(),
            outside=prepared.outside,
            versions=self.versions,
            kept=dict(batch.outputs.kept),
            forced=tuple(prepared.forced),
            ended=ended,
        )
        return batch.filled(point, positions)
