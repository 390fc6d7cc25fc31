"""`vqclip train all --plan`: the stages of the second world's trainings, with the hours that this machine needs.

Nothing is trained: the stated steps are multiplied with the seconds that a few passes of the very networks take here,
forward and backward, and the stated pictures with those that a few take to paint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from vqclip.models.clip import CLIP
from vqclip.models.vqgan import VQGAN
from vqclip.training import guide
from vqclip.training.precision import autocast
from vqclip.types import VQGANArchitecture
from vqclip.weights import files
from vqclip.weights.catalog import locate
from vqclip.words.reading import SETTINGS
from vqclip.world.composition import AllSprites, Composition, Painter, Thing
from vqclip.world.styles import ALL_STYLES

_TIMES = 2  # passes that are timed
_PAINTED = 12  # pictures that are timed


@dataclass(frozen=True)
class Stage:
    """One command, what it does, and the hours that it needs, None where that hangs on the network connection."""

    command: str
    what: str
    hours: float | None


# what the second edition's weights are meant to be trained with: steps, scenes, and passes a step as a mean over all of
# a training (the adversary's and the self-negatives' of a CLIP; the discriminator's of a decoder)
GUIDE_STEPS, GUIDE_SCENES, _GUIDE_BATCH, _GUIDE_PASSES = 12_000, 60_000, 128, 2.4
DECODER_STEPS, DECODER_SCENES, _DECODER_BATCH, _DECODER_PASSES = 40_000, 90_000, 8, 1.5
# as it was measured for 6730 drawings on one core
_RASTERIZING, _MEMORIZING = 2 / 60, 5 / 60


def stages(device: torch.device) -> Iterator[Stage]:
    """Measure and yield the stages, in the order in which they need each other."""
    yield Stage("vqclip train drawings", "240 MB from package registries, then an atlas of 1 GB", None)
    yield Stage("vqclip train memory", "drawings to codes", _MEMORIZING)
    painting = {side: _painting(side) for side in (128, 256)}
    scenes = (painting[128] + painting[256] / 8) / 3600
    step = _passes(_guide_pass(device)) * _GUIDE_PASSES
    yield Stage(
        f"vqclip train clip --world 2 --steps {GUIDE_STEPS} --scenes {GUIDE_SCENES}",
        f"{step:.1f} s a step",
        GUIDE_SCENES * scenes + GUIDE_STEPS * step / 3600,
    )
    step = _passes(_decoder_pass(device)) * _DECODER_PASSES
    yield Stage(
        f"vqclip train vqgan --world 2 --start tiny --keep-codes --steps {DECODER_STEPS} --scenes {DECODER_SCENES}",
        f"{step:.1f} s a step",
        DECODER_SCENES * scenes + DECODER_STEPS * step / 3600,
    )


def _painting(side: int) -> float:
    """Return the seconds that a picture of `side` pixels takes on one core, as a mean over settings and styles."""
    painter, styles = Painter(AllSprites()), list(ALL_STYLES)
    began = time.monotonic()
    for number in range(_PAINTED):
        style = styles[number % len(styles)] if number % 2 else None
        things = (Thing("circle", color="red"),)
        painter.paint(Composition(things, setting=SETTINGS[number % len(SETTINGS)], style=style, seed=number), side)
    return (time.monotonic() - began) / _PAINTED


def _passes(run: Callable[[], None]) -> float:
    """Return the seconds of one pass, after one that does not count."""
    run()
    seconds = []
    for _ in range(_TIMES):
        began = time.monotonic()
        run()
        seconds.append(time.monotonic() - began)
    return float(np.mean(seconds))


def _guide_pass(device: torch.device) -> Callable[[], None]:
    clip = CLIP(guide.architecture()).to(device).train()
    views = torch.rand(_GUIDE_BATCH, 3, clip.image_size, clip.image_size, device=device).requires_grad_()
    texts = ["two red cats on a wooden chair in a garden at sunset, watercolor"] * (2 * _GUIDE_BATCH)

    def run() -> None:
        with autocast(device):
            image, text = clip.encode_image(views), clip.encode_text(texts)
        (image @ text.t()).sum().backward()
        _wait(device)

    return run


def _decoder_pass(device: torch.device) -> Callable[[], None]:
    network = VQGAN(VQGANArchitecture.from_json(files.read(locate("vqgan", "tiny"), "vqgan").architecture)).to(device)
    side = 128 // network.factor
    codes = torch.zeros(_DECODER_BATCH, side, side, dtype=torch.long, device=device)

    def run() -> None:
        with autocast(device):
            picture = network.decode(network.codebook[codes].permute(0, 3, 1, 2))
        picture.float().mean().backward()
        _wait(device)

    return run


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def table(stages: list[Stage]) -> list[str]:
    """Return the lines that are printed."""
    lines = ["seconds a step: passes of the networks, measured here; steps and pictures: as stated in each command"]
    for stage in stages:
        hours = "the download, then minutes" if stage.hours is None else f"{stage.hours:.1f} h"
        lines.append(f"{hours:>10}  {stage.command}  ({stage.what})")
    total = sum(stage.hours or 0.0 for stage in stages)
    return [*lines, f"{total:.1f} h together; judge, prior, upsampler and embedding learn from the first world so far"]
