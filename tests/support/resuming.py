"""Runs that are stopped, fail, and are changed before they go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import safetensors.torch
import torch

from support.runs import models, small
from support.sessions import carry_out
from vqclip.config import Config
from vqclip.drawables import Moment
from vqclip.generation.prepare import Prepared, prepare
from vqclip.guidance import Guidance
from vqclip.guidance.guide import Guided
from vqclip.session import savepoint
from vqclip.session.job import Outcome


def ready(config: Config) -> Prepared:
    return prepare(models().resolve(config), models())


def wanted(name: str = "cat.png", **values: Any) -> Config:
    """Return a run of twelve steps on two grids, with everything that a state holds."""
    output = {"file": name} | values.pop("output", {})
    rest = {
        "steps": 12,
        "stages": ["32:0.5", "full:0.5"],
        "latent": {"ema": 0.8},
        "best": {"every": 3},
        "output": output,
    }
    return small(**(rest | values))


def draw(config: Config, until: int | None = None, batch: int = 0) -> Outcome:
    """Draw a config, and stop it at a step of one of its batches."""
    seen: list[int] = []

    def stop() -> bool:
        return until is not None and seen.count(0) == batch + 1 and seen[-1] >= until

    return carry_out(config, lambda snapshot: seen.append(snapshot.step), stop=stop)


def frames(path: str) -> list[np.ndarray]:
    reader = imageio_ffmpeg.read_frames(path)
    size = next(reader)["size"]
    return [np.frombuffer(frame, np.uint8).reshape(size[1], size[0], 3) for frame in reader]


def rewritten(change: Callable[[dict[str, Any]], None], rename: Callable[[str], str] = str) -> None:
    """Change what the state of cat.run tells, and names of its tensors, as somebody else might."""
    path = Path("cat.run/state.safetensors")
    with safetensors.safe_open(path, "pt") as file:
        told = json.loads(file.metadata()["run"])
        tensors = {rename(name): file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    change(told)
    safetensors.torch.save_file(tensors, path, {"format": savepoint.FORMAT, "run": json.dumps(told)})
    Path("cat.run/state-before.safetensors").unlink(missing_ok=True)


def failing(monkeypatch: pytest.MonkeyPatch, at: int, times: int, fail: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Let the guidance fail at a step, so many times."""
    sound, left = Guidance.backward, [times]

    def backward(self: Guidance, image: Any, moment: Moment) -> Guided:
        guided = sound(self, image, moment)
        if moment.step != at or not left[0]:
            return guided
        left[0] -= 1
        return Guided({name: fail(loss) for name, loss in guided.losses.items()}, guided.views)

    monkeypatch.setattr(Guidance, "backward", backward)
