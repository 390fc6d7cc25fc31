"""The golden cases, how one is drawn, and how two drawings are compared, exactly and within a tolerance.

Beside the picture, two numbers a step are kept: the loss, and the root mean square by which the shown grid moved. The
second is an average over thousands of latents, so it hardly feels what chaos does to single ones, but moves with every
constant of the optimizer.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from vqclip import config as configs
from vqclip import images, resources
from vqclip.config import Config
from vqclip.generation.loop import stream
from vqclip.generation.models import Models
from vqclip.generation.prepare import prepare
from vqclip.guidance import Guidance
from vqclip.weights import files

FOLDER = Path(__file__).resolve().parent
RECORD = FOLDER / "golden.json"
REGENERATE = "python -m tests.golden.regenerate"
THREADS = 1
WEIGHTS = ("tiny-vqgan", "tiny-clip", "tiny-prior", "tiny-upsampler")

_COMMON = {
    "run": {"device": "cpu", "precision": "fp32"},
    "best": {"every": 4, "views": 4},
    "init": {"kind": "random"},
}
CASES: dict[str, dict[str, Any]] = {
    "cat": {"prompts": ["a red cat"], "seed": 1, "size": [64, 64], "steps": 8, "views": {"count": 8}},
    "ship": {"prompts": ["a ship in the snow"], "seed": 2, "size": [128, 128], "steps": 8, "views": {"count": 6},
             "stages": ["64:0.5", "full:0.5"]},
    "flower": {"prompts": ["a yellow flower:1 | a dog:-0.5"], "seed": 3, "size": [96, 60], "steps": 6,
               "views": {"count": 6}, "losses": {"tv": 0.5}},
    "tree": {"prompts": ["a pine tree on a white background"], "seed": 4, "size": [128, 128], "steps": 4,
             "views": {"count": 4}, "init": {"kind": "prior", "candidates": 2}, "stages": ["full:1"]},
}  # fmt: skip

# Measured by `python -m tests.golden.regenerate --measure`: two threads instead of one, and gradients off by 1e-4, move
# losses and grids by 1e-7 to 2e-6 (relative) and pixels by 0.0002 levels; one code that flips on the way moves late
# losses by 3e-3, the grid's moves by 1e-3 and pixels by 0.3. A learning rate 2 % higher moves the grid's moves by 2e-2,
# an EMA of 0.88 by 2e-2, one overview view more the first losses by 2e-2, a fifth more noise by 2e-3.
FIRST_STEPS = 3
TOLERANCES = {"first losses": 5e-4, "later losses": 4e-3, "moved": 2e-3, "pixels": 1.0}


@dataclass(frozen=True)
class Drawing:
    """A picture (H, W, 3), the loss of each step and the rms move of the shown grid (0 where a stage began)."""

    pixels: np.ndarray
    losses: list[float]
    moved: list[float]


@functools.cache
def models() -> Models:
    """Return the bundled models."""
    return Models.load(configs.make_config("a cat", run={"device": "cpu"}))


def config_of(name: str, changes: Mapping[str, Any] | None = None) -> Config:
    """Return the config of a case with changes of its keys."""
    return configs.from_dict(
        yaml.safe_load(resources.path("configs/tiny.yaml").read_text()), _COMMON, CASES[name], dict(changes or {})
    )


def draw(name: str, changes: Mapping[str, Any] | None = None, jitter: float = 0.0, threads: int = THREADS) -> Drawing:
    """Draw a case on a fixed number of threads; `jitter` disturbs every gradient by so much of its own size."""
    with _threads(threads):
        prepared = prepare(models().resolve(config_of(name, changes)), models())
        if jitter:
            _disturb(prepared.guidance, jitter)
        runs, start = [], prepared.run
        prepared.run = lambda seeds: runs.append(start(seeds)) or runs[0]
        losses, moved, before = [], [], None
        for last in stream(prepared):
            grid = runs[0].state.output.z.clone()
            if before is not None:
                losses.append(last.loss)
                moved.append(float((grid - before).square().mean().sqrt()) if grid.shape == before.shape else 0.0)
            before = grid
        picture = images.frames(last.best, *last.size)[0]
    return Drawing(np.asarray(picture.convert("RGB")), losses, moved)


def _disturb(guidance: Guidance, jitter: float) -> None:
    """Let the gradient at the image be a little off, as other kernels would leave it."""
    sound, generator = guidance.backward, torch.Generator().manual_seed(0)

    def disturbed(image: torch.Tensor, *rest: Any) -> torch.Tensor:
        loss = sound(image, *rest)
        image.grad.mul_(1 + jitter * torch.randn(image.shape, generator=generator))
        return loss

    guidance.backward = disturbed


def exact(found: Drawing, golden: Drawing) -> list[str]:
    """Return what is not equal to the last bit."""
    wrong = [f"{key} differ" for key in ("losses", "moved") if getattr(found, key) != getattr(golden, key)]
    return wrong + ([] if np.array_equal(found.pixels, golden.pixels) else ["pixels differ"])


def distances(found: Drawing, golden: Drawing) -> dict[str, float]:
    """Return how far two drawings are apart, by the names of the tolerances."""
    losses = _relative(found.losses, golden.losses)
    if len(losses) != len(golden.losses) or found.pixels.shape != golden.pixels.shape:
        return dict.fromkeys(TOLERANCES, float("inf"))
    pixels = np.abs(found.pixels.astype(float) - golden.pixels).mean()
    return {
        "first losses": max(losses[:FIRST_STEPS]),
        "later losses": max(losses[FIRST_STEPS:]),
        "moved": max(_relative(found.moved, golden.moved)),
        "pixels": float(pixels),
    }


def close(found: Drawing, golden: Drawing) -> list[str]:
    """Return which distances are beyond their tolerance."""
    apart = distances(found, golden)
    return [f"{name} {apart[name]:.2g} > {limit:g}" for name, limit in TOLERANCES.items() if not apart[name] <= limit]


def weights() -> dict[str, str]:
    """Return the sha256 of the weight files."""
    return {name: files.sha256(resources.path(f"checkpoints/{name}.safetensors")) for name in WEIGHTS}


def fingerprint() -> dict[str, str]:
    """Return all of the stack that the last bit of a picture depends on."""
    return {
        "torch": torch.__version__,
        "build": hashlib.sha256(torch.__config__.show().encode()).hexdigest()[:16],
        "capability": torch.backends.cpu.get_cpu_capability(),
        "mkldnn": str(torch.backends.mkldnn.is_available()),
        "machine": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "threads": str(THREADS),
    }


def load(name: str) -> Drawing:
    """Return the golden drawing of a case."""
    with Image.open(FOLDER / f"{name}.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    values = json.loads(RECORD.read_text())["cases"][name]
    return Drawing(pixels, values["losses"], values["moved"])


def save(drawings: Mapping[str, Drawing]) -> None:
    """Write golden drawings with the fingerprint of this stack."""
    for name, drawing in drawings.items():
        Image.fromarray(drawing.pixels).save(FOLDER / f"{name}.png")
    cases = {name: {"losses": d.losses, "moved": d.moved} for name, d in drawings.items()}
    record = {"fingerprint": fingerprint(), "weights": weights(), "cases": cases}
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


def _relative(found: Sequence[float], golden: Sequence[float]) -> list[float]:
    return [abs(a - b) / max(abs(b), 1e-9) for a, b in zip(found, golden, strict=False)]


def _cpu() -> str:
    """Return the processor's model and features: the kernels that oneDNN and MKL choose depend on them."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
        return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
    return platform.processor()


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)
