"""Which names the files of a run get: its own, never one that holds something else."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from vqclip.config import Config, checked
from vqclip.registry import SINKS
from vqclip.registry.outside import blamed
from vqclip.session import savepoint
from vqclip.session.sinks.sink import sink_of
from vqclip.sketch.own import parse_like
from vqclip.writers import names
from vqclip.writers.names import OwnNames


def check_outputs(config: Config, replace: bool = False, sinks: Sequence[str] | None = None) -> None:
    """Raise UsageError or OutputError, before any network is loaded, for files that could not be written.

    With `replace` nothing but ordinary files may stand at their names; without, names that are taken are numbered.
    Only the named `sinks` are asked (None: all).
    """
    config = checked(config)
    output = config.output
    for name in (output.file, output.video, output.metrics):
        if name and replace:
            names.check_replaceable(name)
    for name in reversed([*SINKS]):
        if sinks is None or name in sinks:
            with blamed():
                sink_of(name).check(config)


class Outputs(OwnNames):
    """The names of a run's pictures and videos.

    `kept` are the sha256 of files, by their places, that the run wrote before its end and may replace; `shared` are
    files that all of its pictures are written to, by the name of the sink that does.
    """

    def __init__(
        self,
        config: Config,
        replace: bool,
        found: savepoint.Savepoint | None = None,
        taken: Collection[str] = (),
    ) -> None:
        super().__init__(replace, found.used if found else taken)
        self.inputs = {names.place(name) for name in (config.init.image, config.init.mask) if name}
        self.inputs |= {names.place(name) for own in parse_like(config.init.like).values() for name in own}
        self.kept: dict[str, str] = dict(found.kept) if found else {}
        self.shared = {name: Path(path) for name, path in found.files.items()} if found else {}

    def in_place(self, path: Path, finished: bool) -> Path:
        """Return where to write what is to stand at a path: elsewhere, if another file than this run's stands there.

        A picture that is not finished never takes the place of one that the run begins with.
        """
        wanted = names.place(path)
        others = (self.used | set(self.moved.values())) - {wanted, self.moved.get(wanted, wanted)}

        def may_go(free: Path) -> bool:
            known, there = names.place(free), os.path.lexists(free)
            own = not there or self.replace or self.kept.get(known) == savepoint.sha256(free)
            usable = names.is_replaceable(free) and (finished or known not in self.inputs)
            return own and usable and known not in others

        found = next(free for free in names.numbered(path) if may_go(free))
        self.moved[wanted] = names.place(found)
        return found

    def note(self, path: Path) -> Path:
        """Remember a file that was written before the run's end, so that it may be replaced; return its path."""
        self.kept[names.place(path)] = savepoint.sha256(path)
        return path
