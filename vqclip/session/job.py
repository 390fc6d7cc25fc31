"""What somebody asks for, and what came of it: plain records that go to other processes. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqclip.config import Config, checked
from vqclip.errors import UsageError
from vqclip.registry import SINKS
from vqclip.registry.plugins import load_plugin

# shells count 128 and the number of the signal, here that of Ctrl-C
_STOPPED = 130


@dataclass(frozen=True)
class Resume:
    """Going on with a run that was stopped, killed or failed.

    `run` is its folder or the name of its picture. `steps` draws on to so many steps (None: as planned). `changes` are
    settings as "KEY=VALUE"; they, and weights or files that are others now, are refused without `force`. `keep_run`
    keeps the run's folder at the end.
    """

    run: str | Path
    steps: int | None = None
    changes: tuple[str, ...] = ()
    force: bool = False
    keep_run: bool = False


@dataclass(frozen=True)
class Job:
    """What somebody asks for: the pictures of a `config`, or going on with a run by `resume`; one of the two.

    `replace` lets files of the configured names be replaced, otherwise the new ones are numbered; paths in `taken` are
    replaced by no means. `record` is the metadata of a picture that is drawn again: what has changed since is refused,
    or told. `sinks` names those of the registry `SINKS` that may write (None: all that the config asks for). `offline`
    forbids the network whatever the environment says. `plugins` are Python files that register what the config
    names; they run in the process that carries the job out.

    A job can be pickled. It holds a copy of the config, so that later changes of that have no effect. Raises UsageError
    for a wrong config and for unknown sinks.
    """

    config: Config | None = None
    replace: bool = False
    resume: Resume | None = None
    taken: tuple[str, ...] = ()
    record: Mapping[str, Any] | None = None
    sinks: tuple[str, ...] | None = None
    offline: bool = False
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.config is None) == (self.resume is None):
            raise UsageError("a job needs a config, or a run to resume, and not both: give Job(config) or Job(resume=)")
        if self.resume is not None and not isinstance(self.resume, Resume):
            raise UsageError(f"resume is of the type {type(self.resume).__name__}: give Resume(FOLDER or PICTURE)")
        for path in self.plugins:
            load_plugin(path)
        if self.config is not None:
            object.__setattr__(self, "config", checked(self.config))
        for name in self.sinks or ():
            SINKS.check(name)


@dataclass(frozen=True)
class Outcome:
    """What came of a job: its files, each in the order of the seeds; `others` are tables and the like.

    `stopped` says that it ended early because somebody wished it. `folder` is what it can go on from
    (`Resume(folder)`), also of a job that is done and kept (`output.keep_run`); None if there is none. `step` is the
    last one of the batch that was drawn last, None if that has not begun.
    """

    pictures: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    stopped: bool = False
    folder: Path | None = None
    step: int | None = None

    @property
    def exit_code(self) -> int:
        """0 for a job that is done, 130 for one that was stopped; a job that fails raises an error with its own."""
        return _STOPPED if self.stopped else 0
