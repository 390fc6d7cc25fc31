"""One training loop for all bundled models: budget, schedule, resumable state, progress, validation."""

from __future__ import annotations

import copy
import io
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from vqclip import atomic
from vqclip.errors import UsageError, VqclipError, one_line
from vqclip.generation.resolve import check_compiler
from vqclip.terminal import bar_room
from vqclip.training.muon import MuonAdamW
from vqclip.training.scenes import FRAMING
from vqclip.weights import files
from vqclip.weights.catalog import locate
from vqclip.weights.load import fill

_WARM_UP = 100  # steps in which the learning rate rises
# the options that say what scenes show
_CHOSEN = ("styles", "subjects")
# parts of the way at which steps are timed, steps timed in each, the first of them that do not count, and the share of
# the budget after which a part has been timed long enough
_PARTS, _PROBES, _IGNORED, _PROBED = 5, 12, 4, 0.01


@dataclass(frozen=True)
class TrainOptions:
    """How long and where to train. Give `steps` (deterministic on one stack) or `minutes` (measured into steps).

    `clip` is the CLIP, a name or a file, by whose features a VQGAN's reconstructions are compared (None for none), or
    whose embeddings are the conditions of a prior; `vqgan` the one whose codes a prior learns.
    `start` are weight files (or names) of the same architecture; training begins from their mean, not at random. With
    `keep_codes` a VQGAN's decoder alone is trained: its codes, and what a prior learned of them, stay. `framed` scenes,
    whose subjects are large and in the middle, are what a prior or upsampler is taught last, so that it shows what it
    knows as people ask for it (quality tuning, after Dai et al. 2023, "Emu"); `styles` and `subjects` say which, as
    often as they are named (see `scenes.SceneSet`). `world` 1 is that of the emoji font, 2 that of the drawings.
    """

    folder: Path = Path(".train")
    output: Path | None = None
    steps: int | None = None
    minutes: float = 60.0
    seed: int = 0
    batch: int | None = None
    scenes: int = 90_000
    font: Path | None = None
    workers: int = 2
    device: str = "auto"
    compile: bool = True
    clip: str | None = "tiny"
    vqgan: str = "tiny"
    start: tuple[str, ...] = ()
    keep_codes: bool = False
    framed: bool = False
    styles: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    restart: bool = False
    world: int = 1

    def __post_init__(self) -> None:
        for name in ("batch", "scenes", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value}: give a number of at least 1")
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"--steps {self.steps}: give a number of at least 1")
        if not self.minutes > 0:
            raise UsageError(f"--minutes {self.minutes}: give a number above 0")

    def torch_device(self) -> torch.device:
        """The device to train on."""
        if self.device != "auto":
            return torch.device(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Task(Protocol):
    """What is trained: the runner calls these and knows nothing else of it. `file_kind` is that of its weight file."""

    name: str
    file_kind: str
    optimizer: torch.optim.Optimizer | MuonAdamW
    modules: nn.ModuleDict
    lr: float

    @property
    def epoch(self) -> int:
        """Steps in which as many scenes are seen as were rendered."""

    def batch_of(self, index: int) -> Any:
        """Return what step `index` sees, on the CPU, from (seed, index) alone: a worker process may make it."""

    def step(self, index: int, progress: float, batch: Any) -> dict[str, float]:
        """Do step `index`, `progress` in [0, 1] of the way; return the losses to show."""

    def validate(self, folder: Path, index: int) -> dict[str, float]:
        """Measure, and write a validation sheet into the folder."""

    def export(self, path: Path, info: dict[str, Any]) -> None:
        """Write the weight file."""


def train(task: Task, options: TrainOptions) -> dict[str, Any]:
    """Train until the budget is spent; resume from the folder's state unless `restart`; return the record.

    Minutes are turned into steps first, by a few steps that are then undone. The state is saved every two minutes and
    on Ctrl-C, and the weight file is written at the end.
    """
    folder = options.folder / task.name
    state = _State(folder, task, _start_hash(options, task.file_kind), options)
    start = 0 if options.restart else state.load()
    began, saved, seconds = time.monotonic(), time.monotonic(), state.plan.get("seconds", 0.0)
    total = options.steps or state.plan.get("steps") or _steps_in(task, options.minutes * 60)
    bar = tqdm(total=total, initial=start, desc=task.name, unit="step", smoothing=0.05, **bar_room())
    index = start
    try:
        for batch in feed(task, range(start, total), _feeders(options)):
            _set_lr(task, index, total)
            losses = task.step(index, index / total, batch)
            index += 1
            bar.update()
            if index % 10 == 0:
                bar.set_postfix({name: f"{value:.3f}" for name, value in losses.items()}, refresh=False)
                _check_finite(losses, index)
            if time.monotonic() - saved > 120:
                state.save(index, total, seconds + time.monotonic() - began)
                saved = time.monotonic()
    except KeyboardInterrupt:
        state.save(index, total, seconds + time.monotonic() - began)
        raise
    finally:
        bar.close()
    seconds += time.monotonic() - began
    state.save(index, total, seconds)
    if index < task.epoch:
        say(
            f"{task.name}: {index} steps are less than one epoch ({task.epoch}): the weights are saved, but weak; "
            "give more --minutes or fewer --scenes"
        )
    scores = task.validate(folder, index)
    info = _record(task, options, index, seconds, scores) | state.origin
    task.export(options.output or folder / f"{task.name}.safetensors", info)
    return info


def _feeders(options: TrainOptions) -> int:
    """Processes that make batches: on a CPU none, they would take time from the training; a GPU waits for them."""
    return options.workers if options.torch_device().type == "cuda" else 0


def feed(task: Task, steps: range, workers: int) -> Iterator[Any]:
    """Yield the batch of each step; with workers, processes make them ahead of time, the same ones."""
    if not workers:
        yield from map(task.batch_of, steps)
        return
    # forked, so that the renders, mapped from the disk, are not copied; the workers never touch the GPU
    yield from DataLoader(
        _Batches(task),
        None,
        sampler=list(steps),
        num_workers=workers,
        prefetch_factor=4,
        multiprocessing_context="fork",
    )


class _Batches(Dataset[Any]):
    """The batches of a task by step."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __getitem__(self, index: int) -> Any:
        return self.task.batch_of(index)


def say(text: str) -> None:
    """Tell something on stderr without tearing the progress bar."""
    tqdm.write(text, file=sys.stderr)


def _record(task: Task, options: TrainOptions, steps: int, seconds: float, scores: dict[str, float]) -> dict[str, Any]:
    return {
        "model": task.name,
        "steps": steps,
        "epochs": round(steps / task.epoch, 2),
        "seed": options.seed,
        "minutes": round(seconds / 60, 1),
        "scenes": options.scenes,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "scores": scores,
    }


def _start_hash(options: TrainOptions, kind: str) -> str | None:
    return "+".join(files.sha256(locate(kind, name)) for name in options.start) or None


def start_from(options: TrainOptions, kind: str, architecture: Any, network: nn.Module) -> None:
    """Put the mean of the weights that training begins from into a network.

    Weights that were trained on from one another may be averaged, and are often better so (Wortsman et al. 2022, "Model
    soups"). UsageError if any are of another architecture; known words may differ.
    """
    read = type(architecture).from_json
    total: dict[str, torch.Tensor] = {}
    wanted = vars(read(architecture.to_json())) | {"words": ()}
    for name in options.start:
        path = locate(kind, name)
        file = files.read(path, kind)
        if vars(read(file.architecture)) | {"words": ()} != wanted:
            raise UsageError(f"--start {name}: its architecture is not the one that is trained; leave --start out")
        fill(network, file.tensors, path)
        for key, value in network.state_dict().items():
            share = value.double() / len(options.start)
            total[key] = total[key] + share if key in total else share
    network.load_state_dict({key: total[key].to(value.dtype) for key, value in network.state_dict().items()})


def _check_finite(losses: dict[str, float], index: int) -> None:
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    if bad:
        raise VqclipError(f"training diverged at step {index}: {bad[0]} is not finite; the last saved state is whole")


def _steps_in(task: Task, budget: float) -> int:
    """Return how many steps a budget of seconds holds; the task is afterwards as it was.

    Steps are not alike: some are timed at each fifth of the way, fewer where they take long.
    """
    before = copy.deepcopy((task.modules.state_dict(), task.optimizer.state_dict()))
    began, mean = time.monotonic(), 0.0
    for part in range(_PARTS):
        since, seconds = time.monotonic(), []
        for repeat in range(_PROBES):
            _set_lr(task, 0, 1)
            index = part * _PROBES + repeat
            ready = time.monotonic()
            task.step(index, (part + 0.5) / _PARTS, task.batch_of(index))
            seconds.append(time.monotonic() - ready)
            if repeat and time.monotonic() - since > _PROBED * budget:
                break
        mean += statistics.fmean(seconds[min(_IGNORED, len(seconds) // 2) :]) / _PARTS
    task.modules.load_state_dict(before[0])
    task.optimizer.load_state_dict(before[1])
    left = budget - (time.monotonic() - began)
    return max(int(left / mean), 1)


def _set_lr(task: Task, index: int, total: int) -> None:
    """Linear warm-up, then half a cosine down to a hundredth; a group of parameters may ask for a `share` of it."""
    warm = min((index + 1) / _WARM_UP, 1.0)
    progress = index / total
    factor = warm * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)
    for group in task.optimizer.param_groups:
        group["lr"] = task.lr * factor * group.get("share", 1.0)


class _State:
    """The resumable state of a training in its folder: `state.pt` (tensors) and `plan.json`."""

    def __init__(self, folder: Path, task: Task, start: str | None, options: TrainOptions) -> None:
        self.origin: dict[str, Any] = {} if start is None else {"start": start}
        self.origin |= {"world": options.world} if options.world != 1 else {}
        self.origin |= {"framed": FRAMING} if options.framed else {}
        self.origin |= {name: list(getattr(options, name)) for name in _CHOSEN if getattr(options, name)}
        self.file = folder / "state.pt"
        self.plan_file = folder / "plan.json"
        self.task = task
        self.plan: dict[str, Any] = {}

    def load(self) -> int:
        """Restore the state if there is one; return the step to go on from."""
        if not (self.file.exists() and self.plan_file.exists()):
            return 0
        try:
            self.plan = json.loads(self.plan_file.read_text("utf-8"))
            world = self.plan.get("world", 1)
            if world != self.origin.get("world", 1):
                raise ValueError(f"it is of world {world}, this training of world {self.origin.get('world', 1)}")
            if any(self.plan.get(name) != self.origin.get(name) for name in ("start", "framed", *_CHOSEN)):
                raise ValueError("it began from other weights or learned from other scenes")
            saved = torch.load(self.file, map_location="cpu", weights_only=True)
            _check_same(saved["modules"], self.task.modules.state_dict())
            self.task.modules.load_state_dict(saved["modules"])
            self.task.optimizer.load_state_dict(saved["optimizer"])
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise VqclipError(
                f"cannot resume from {self.file}: {one_line(error)[:200]}; give --restart to begin anew"
            ) from None
        return int(self.plan["index"])

    def save(self, index: int, total: int, seconds: float) -> None:
        """Write state and plan, each atomically."""
        buffer = io.BytesIO()
        torch.save({"modules": self.task.modules.state_dict(), "optimizer": self.task.optimizer.state_dict()}, buffer)
        atomic.write(self.file, lambda stream: stream.write(buffer.getbuffer()))
        self.plan = {"index": index, "steps": total, "seconds": round(seconds, 1), **self.origin}
        atomic.write_text(self.plan_file, json.dumps(self.plan))


def _check_same(saved: dict[str, torch.Tensor], current: dict[str, torch.Tensor]) -> None:
    """Raise ValueError, naming the first difference, if a state is of another architecture."""
    for name in sorted(saved.keys() | current.keys()):
        if name not in saved or name not in current:
            raise ValueError(
                f"it is of another architecture: {name} is only in {'it' if name in saved else 'this one'}"
            )
        there, here = tuple(saved[name].shape), tuple(current[name].shape)
        if there != here:
            raise ValueError(f"it is of another architecture: {name} is of {there}, here of {here}")


def maybe_compile(function: Any, wanted: bool) -> Any:
    """Return the function compiled by torch.compile where that works on this machine, else as it is.

    On a CPU torch.compile needs a C++ compiler; without one training is merely slower.
    """
    if not wanted:
        return function
    try:
        check_compiler()
    except UsageError as error:
        say(f"training without torch.compile ({one_line(error)[:80]})")
        return function
    return torch.compile(function)
