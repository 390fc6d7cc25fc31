"""Savepoints: what a run keeps on the disk, so that it can go on after whatever ended it.

In a run's folder stand `config.yaml`, and the latest state and the one before as safetensors whose metadata says the
rest as JSON: nothing in them can run code. The state of pictures that are drawn together lies in the folder of the
first of them; `lead.txt` in the others' names it. Importing this loads no torch, so that
a run that is not there is told of at once.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
from filelock import FileLock, Timeout

from vqclip import atomic, prompts
from vqclip.config import Config, Resolved, to_yaml
from vqclip.errors import ResumeError, UsageError, WeightsError, one_line
from vqclip.sketch.own import with_files
from vqclip.types import PackedState
from vqclip.weights import containers
from vqclip.weights.clip_names import LOCAL, local_folder
from vqclip.writers import names
from vqclip.writers.names import CONFIG

FORMAT = "vqclip-state-1"
_STATE, _BEFORE, _LEAD, _LOCK = "state.safetensors", "state-before.safetensors", "lead.txt", "lock"
# between two savepoints
_SECONDS = 30.0
_LARGEST = 4 << 30
# what reading a state that is damaged, or made by a stranger, may raise
_DAMAGED = (
    OSError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError, UsageError,
    WeightsError, safetensors.SafetensorError,
)  # fmt: skip


@dataclass(frozen=True)
class Savepoint:
    """The state of pictures that are drawn together, the `batch`-th of a run, and what it belongs to.

    Without `packed` they have not been begun. `pictures` are names of files beside the run's folder, `videos` paths, of
    each of which `segments` are encoded; `used` are paths that earlier pictures of the run have. `config` is the
    resolved config as plain data, with absolute paths; `weights` and `outside` are sha256 sums, of networks and of
    files that came from outside. `kept` are the sha256 of files, by their paths, that the run wrote before its end and
    may replace; `forced` what it was forced to change. `ended` says that nothing is left to do but extra steps. `files`
    are paths of what else the run writes, by the name of the sink that does.
    """

    packed: PackedState | None
    batch: int
    pictures: tuple[str, ...]
    config: Mapping[str, Any]
    videos: tuple[str, ...] = ()
    segments: int = 0
    used: tuple[str, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    outside: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    forced: tuple[Mapping[str, Any], ...] = ()
    ended: bool = False
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """The step that is done."""
        return 0 if self.packed is None else self.packed.step


_TOLD = [f.name for f in dataclasses.fields(Savepoint) if f.name != "packed"]


class Saver:
    """Writes the savepoints of a batch: the first at once, then one about every half minute, and when asked.

    The caller holds the lock of the first folder. `found` is the savepoint that stands there already; what an earlier
    run left there goes.
    """

    def __init__(self, folders: Sequence[Path], found: Savepoint | None = None) -> None:
        self.folder, *others = folders
        self._latest: Callable[[], Savepoint] | None = None
        self._when = -_SECONDS
        if found is None:
            for name in (_STATE, _BEFORE, _LEAD):
                (self.folder / name).unlink(missing_ok=True)
        # what a process that was killed while it wrote left behind
        for stale in self.folder.glob(".*.tmp"):
            with contextlib.suppress(OSError):
                stale.unlink()
        for other in others:
            atomic.write_text(other / _LEAD, self.folder.name)

    def offer(self, make: Callable[[], Savepoint]) -> None:
        """Take what makes the latest savepoint; write it if that is due. Raises OutputError."""
        self._latest = make
        if time.monotonic() - self._when >= _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the latest savepoint, if there is one. Raises OutputError."""
        # a disk that is full is not asked again at every step
        self._when = time.monotonic()
        if self._latest is not None:
            write(self.folder, self._latest())


def lock(folder: Path) -> FileLock:
    """Return the lock of a run's folder, taken; ResumeError if another process holds it."""
    held = FileLock(folder / _LOCK)
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise ResumeError(f"{folder} is being drawn by another process: wait for it, or stop it") from None
    except OSError as error:
        raise atomic.output_error(folder, error) from error
    return held


def write(folder: Path, point: Savepoint) -> None:
    """Write a savepoint into a run's folder, atomically; the one before it stays. Raises OutputError."""
    from safetensors.torch import save

    told = {name: getattr(point, name) for name in _TOLD}
    packed = point.packed or PackedState(0, {}, {})
    told |= {"begun": point.packed is not None, "numbers": dict(packed.numbers) | {"step": packed.step}}
    told["optimizer"] = packed.optimizer
    tensors = {name: value.cpu().contiguous() for name, value in packed.tensors.items()}
    payload = save(tensors, {"format": FORMAT, "run": json.dumps(told)})
    try:
        os.replace(folder / _STATE, folder / _BEFORE)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise atomic.output_error(folder, error) from error
    atomic.write(folder / _STATE, lambda stream: stream.write(payload))


def is_saved(folder: Path) -> bool:
    """Whether a folder holds a state."""
    return any((folder / name).is_file() for name in (_STATE, _BEFORE))


def find(path: Path) -> Path:
    """Return the folder that holds the state of a run, from that of any of its pictures or a picture's name.

    Raises UsageError if there is none, and ResumeError for one that is a link, or holds one.
    """
    path = path if path.name and path.name != ".." else Path(os.path.abspath(path))
    folder = path if path.is_dir() else names.run_folder(path)
    if folder.is_dir() and (folder / _LEAD).is_file():
        name = (folder / _LEAD).read_text("utf-8", "replace")[:300].strip()
        folder = folder.parent / Path(name).name
    if not is_saved(folder):
        told = "its run was stopped before any state was saved" if (folder / CONFIG).is_file() else "there is no run"
        raise UsageError(f"{path}: {told}; give a run's folder, NAME.run, or the name of its picture")
    if folder.is_symlink() or any(entry.is_symlink() for entry in folder.iterdir()):
        raise ResumeError(f"{folder} is or holds a link, as no run's folder does: draw the picture anew")
    return folder


def read(folder: Path) -> Savepoint:
    """Return the latest savepoint that is whole; ResumeError if none is, or if it belongs to another folder."""
    reasons = []
    for name in (_STATE, _BEFORE):
        if (folder / name).is_file():
            try:
                point = _read(folder / name)
            except _DAMAGED as error:
                reasons.append(one_line(error).replace(f"{folder}{os.sep}", "")[:120])
                continue
            if names.run_folder(folder.parent / point.pictures[0]) != folder:
                was = names.run_folder(point.pictures[0])
                raise ResumeError(f"{folder} holds the state of {point.pictures[0]}: name it {was} again")
            return point
    raise ResumeError(f"{folder} holds no state that can be read ({'; '.join(reasons)}): draw the picture anew")


def _read(path: Path) -> Savepoint:
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path.name} is larger than a state can be")
    with containers.open_safetensors(path) as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (no mapping)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path.name} is no state of this version of vqclip")
    told = json.loads(metadata["run"])
    numbers = {str(name): float(value) for name, value in told["numbers"].items()}
    # states of version 0.1 do not name it
    optimizer = str(told.get("optimizer", ""))
    packed = PackedState(int(numbers["step"]), tensors, numbers, optimizer) if told["begun"] is True else None
    pictures = tuple(told["pictures"])
    for name in pictures:
        # a state from a stranger writes beside its folder
        if not isinstance(name, str) or Path(name).name != name or "\0" in name:
            raise ValueError(f"{name!r} is no name of a file")
        names.check_suffix(name, "image")
    if not pictures:
        raise ValueError("it names no picture")
    videos, used = (tuple(str(name) for name in told[key]) for key in ("videos", "used"))
    mappings = {n: dict(told[n]) for n in ("config", "weights", "outside", "versions", "kept")}
    # states of version 0.1 have none
    files = {str(name): str(path) for name, path in dict(told.get("files", {})).items()}
    return Savepoint(
        packed,
        int(told["batch"]),
        pictures,
        videos=videos,
        used=used,
        segments=int(told["segments"]),
        forced=tuple(dict(each) for each in told["forced"]),
        ended=told["ended"] is True,
        files=files,
        **mappings,
    )


def absolute(config: Config) -> Config:
    """Return a config whose files are found from any folder."""
    found = config.config() if isinstance(config, Resolved) else copy.deepcopy(config)
    found.init.image, found.init.mask = (_absolute(name) for name in (config.init.image, config.init.mask))
    found.init.like = [with_files(text, _absolute) for text in config.init.like]
    found.image_prompts = tuple(_absolute_prompt(text) for text in config.image_prompts)
    found.output.folder = os.path.abspath(config.output.folder)
    for name in ("file", "video", "metrics", "tensorboard"):
        setattr(found.output, name, _absolute(getattr(config.output, name)))
    for name in ("vqgan", "vqgan_config", "prior", "upsampler", "embedding", "memory", "judge_clip"):
        setattr(found.models, name, _own_file(getattr(config.models, name)))
    found.models.clip = [_own_file(name) for name in config.models.clip]
    return found


def write_config(folder: Path, config: Config) -> None:
    """Write the config that a resumed run reads into its folder. Raises OutputError."""
    atomic.write_text(folder / CONFIG, to_yaml(config))


def _absolute_prompt(text: str) -> str:
    """Return an image prompt, FILE[:weight[:stop]], with its numbers as they were written."""
    numbers = "" if os.path.exists(text) else prompts.numbers_of(text).text
    return os.path.abspath(text[: len(text) - len(numbers)]) + numbers


def _absolute(name: str | None) -> str | None:
    return None if name is None else os.path.abspath(name)


def _own_file(name: str) -> str:
    """Return the path of a weight file that was given by its path; a name of the catalog as it is."""
    folder = local_folder(name)
    if folder is not None:
        return f"{LOCAL}{os.path.abspath(folder)}"
    return os.path.abspath(name) if (Path(name).suffix or os.sep in name) and os.path.exists(name) else name


def sha256(path: Path) -> str:
    """Return the sha256 of a file that was kept, nothing if it is gone."""
    from vqclip.weights import files  # with torch, which refusals need not wait for

    try:
        return files.sha256(path)
    except OSError:
        return ""
