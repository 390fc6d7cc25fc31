"""Pictures that are drawn together: the names of their files, their folders, and the sinks that write them."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqclip.errors import OutputError, PluginError, ResumeError
from vqclip.registry import SINKS
from vqclip.registry.outside import blamed, place_of
from vqclip.session import savepoint
from vqclip.session.events import BatchStarted, Event, NoticeGiven
from vqclip.session.outputs import Outputs
from vqclip.session.savepoint import Savepoint
from vqclip.session.sinks import Sink
from vqclip.session.sinks.sink import sink_of
from vqclip.types import Notice, Snapshot
from vqclip.writers import names

if TYPE_CHECKING:
    from vqclip.generation.prepare import Prepared


class Batch:
    """What the sinks of a batch share.

    `wanted` are the places in the batch of the pictures that are written; `paths` and `folders` hold the file and the
    run's folder of each. `point` is the savepoint that the batch goes on from, if it does. The lock of the first
    folder is held until `close`. Making one raises OutputError, and ResumeError for a savepoint of another batch or a
    folder that another process draws in.
    """

    def __init__(
        self,
        prepared: Prepared,
        number: int,
        seeds: tuple[int, ...],
        outputs: Outputs,
        begin: tuple[Path, Savepoint] | None = None,
    ) -> None:
        self.prepared, self.config = prepared, prepared.config
        self.number, self.seeds, self.outputs = number, seeds, outputs
        self.wanted = [k for k in range(len(seeds)) if self.config.only in (None, k)]
        self.point = None if begin is None else begin[1]
        if begin is not None and len(begin[1].pictures) != len(self.wanted):
            held = len(begin[1].pictures)
            raise ResumeError(f"{begin[0]} holds the state of {held} pictures, not {len(self.wanted)}")
        self.paths = {k: self._path(seeds[k], place, begin) for place, k in enumerate(self.wanted)}
        # the run's folder reserves the name, so that the next picture gets another one
        self.folders = {k: names.check_writable(names.run_folder(path)) for k, path in self.paths.items()}
        outputs.folders |= set(self.folders.values())
        self._lock = savepoint.lock(self.lead)
        self.sinks: list[Sink] = []
        self.last: Snapshot | None = None
        self.closed = False
        self._events: list[Event] = []
        self._failed = set[str]()

    @property
    def lead(self) -> Path:
        """The folder that holds the state of all."""
        return next(iter(self.folders.values()))

    def begin(self, wanted: Sequence[str] | None = None) -> None:
        """Make the sinks, of those that are wanted (None: all) the ones that the config asks for, and begin them.

        Raises OutputError.
        """
        kinds = [sink_of(name) for name in SINKS if wanted is None or name in wanted]
        kinds.sort(key=lambda kind: kind.rank)
        with blamed():
            self.sinks = [kind(self) for kind in kinds if kind.wanted(self.config)]
        paths, folders = tuple(self.paths.values()), tuple(self.folders.values())
        self.emit(BatchStarted(self.number, tuple(self.seeds[k] for k in self.wanted), paths, folders))
        for sink in self.sinks:
            with blamed():
                sink.begin()

    def emit(self, event: Event) -> None:
        """Tell of something, when the sink that does so has returned."""
        self._events.append(event)

    def notice(self, text: str) -> None:
        """Tell the user something."""
        self.emit(NoticeGiven(Notice(text)))

    def events(self) -> Iterator[Event]:
        """Yield what was told of, each once."""
        while self._events:
            yield self._events.pop(0)

    def attempt(self, what: str, work: Callable[[], None]) -> None:
        """Do what a run can do without; say once that it failed."""
        try:
            work()
        except OutputError as error:
            if what not in self._failed:
                self.notice(f"the {what} is not saved: {error}")
            self._failed.add(what)

    def filled(self, point: Savepoint, positions: Sequence[int]) -> Savepoint:
        """Return a savepoint with the fields of all sinks, as these were at their positions."""
        files: dict[str, str] = {}
        fields: dict[str, Any] = {}
        for sink, position in zip(self.sinks, positions, strict=True):
            of_sink = dict(sink.fields(position))
            files |= of_sink.pop("files", {})
            if not of_sink.keys() <= {each.name for each in dataclasses.fields(point)}:
                raise PluginError(f"the sink {type(sink).__name__} ({place_of(sink)}) returned fields of no Savepoint")
            fields |= of_sink
        return dataclasses.replace(point, files=files, **fields)

    def close(self, whole: bool, remove: bool) -> Path | None:
        """Close all sinks, let go of the folders, and remove them or leave them for the run to go on.

        Return the folder that it can go on from, if there is one. What a sink raises is raised after all the rest.
        """
        try:
            with contextlib.ExitStack() as stack:
                # the last callback is the first to be called
                for sink in reversed(self.sinks):
                    stack.callback(blamed()(sink.close), whole)
        finally:
            self._lock.release()
            self.closed = True
            if remove:
                for folder in self.folders.values():
                    shutil.rmtree(folder, ignore_errors=True)
        return self.lead if savepoint.is_saved(self.lead) else None

    def _path(self, seed: int, place: int, begin: tuple[Path, Savepoint] | None) -> Path:
        output = self.config.output
        if begin is not None:
            path = begin[0].parent / begin[1].pictures[place]
            self.outputs.take(path)
            return path
        if output.file is None:
            first = (*self.config.prompts, *self.config.image_prompts)[0]
            return names.next_path(output.folder, seed, first)
        return self.outputs.next(output.file, drawn=True)
