"""Whether a CLIP's configuration fits its weights: how well it names drawings, with QuickGELU and without.

OpenAI trained with QuickGELU, and files that began as OpenAI's need it whatever their configuration says. With the
wrong one of the two a network still runs, and is worse at everything. The drawings are those of the bundled memory,
which tell nothing of a CLIP that knows none of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vqclip.models.clip import CLIP
from vqclip.models.small_clip import small
from vqclip.sketch.memory import MemorySprites
from vqclip.weights.load import load_clip, load_memory, load_vqgan
from vqclip.words.inflection import article

_SUBJECTS, _EACH = 60, 1
# standard errors by which the mean loss of the one must be below that of the other
_SURE = 3.0
# times as many as by chance must be named, or nothing is said
_ABOVE_CHANCE = 4.0


@dataclass(frozen=True)
class Check:
    """How many of `count` drawings a CLIP names among `subjects`, as it is, and with the other activation.

    `other` is None where there is no other. `better` is whether the other one fits beyond doubt, `told` whether the
    drawings tell anything.
    """

    quick_gelu: bool
    count: int
    subjects: int
    named: int
    other: int | None
    better: bool
    told: bool


@torch.no_grad()
def check_clip(name: str) -> Check:
    """Let the CLIP of a name, a file or a folder name drawings; raises WeightsError for one that cannot be read."""
    clip, _ = load_clip(name)
    texts, pictures, truth = _drawings(clip)
    quick = bool(clip.architecture.model.get("quick_gelu"))
    named, losses = _naming(clip, texts, pictures, truth)
    if not _has_activation(clip):
        return Check(quick, len(truth), len(texts), named, None, False, _above_chance(named, truth, texts))
    del clip
    other, other_losses = _naming(load_clip(name, quick_gelu=not quick)[0], texts, pictures, truth)
    gain = losses - other_losses
    sure = float(gain.mean()) > _SURE * float(gain.std()) / math.sqrt(len(gain))
    told = _above_chance(max(named, other), truth, texts)
    return Check(quick, len(truth), len(texts), named, other, sure and told and other >= named, told)


def _has_activation(clip: CLIP) -> bool:
    """Whether QuickGELU is a question: some tower is of open_clip's own kind, and does not say which it wants."""
    model = clip.architecture.model
    image, text = model["vision_cfg"], model["text_cfg"]
    towers = [not image.get("timm_model_name") and isinstance(image.get("layers"), int), not text.get("family")]
    chosen = "act_kwargs" in text or "act_kwargs" in image
    return any(towers) and not chosen and not small(model)


def _above_chance(named: int, truth: Tensor, texts: list[str]) -> bool:
    return named >= _ABOVE_CHANCE * len(truth) / len(texts)


def _naming(clip: CLIP, texts: list[str], pictures: list[Tensor], truth: Tensor) -> tuple[int, Tensor]:
    """Return how many pictures are named rightly, and the loss (n,) of each."""
    meanings = clip.encode_text(texts)
    side = (clip.image_size, clip.image_size)
    logits = []
    for picture in pictures:
        view = nn.functional.interpolate(picture, side, mode="bicubic", antialias=True).clamp(0, 1)
        logits.append(clip.logits(clip.encode_image(view), meanings))
    table = torch.cat(logits)
    return int((table.argmax(1) == truth).sum()), nn.functional.cross_entropy(table, truth, reduction="none")


def _drawings(clip: CLIP) -> tuple[list[str], list[Tensor], Tensor]:
    """Return a text for each of some subjects, pictures (1, 3, H, W) of them on white, and which is of which."""
    vqgan, _ = load_vqgan("tiny")
    sprites = MemorySprites(load_memory("tiny")[0], lambda codes: vqgan.decode(vqgan.codes(codes)))
    subjects = list(_known_subjects(clip, sprites))
    pictures, truth = [], []
    for number, subject in enumerate(subjects):
        for drawing in sprites.subjects[subject][:_EACH]:
            pixels = torch.from_numpy(sprites.pixels(drawing.id).copy()).permute(2, 0, 1).float() / 255
            pictures.append((pixels[:3] + 1 - pixels[3:])[None])
            truth.append(number)
    return (
        [f"a picture of {article(subject, subject)} {subject}" for subject in subjects],
        pictures,
        torch.tensor(truth),
    )


def _known_subjects(clip: CLIP, sprites: MemorySprites) -> Iterator[str]:
    """Yield subjects, spread over the alphabet, with words that the CLIP knows and several drawings each."""
    several = [name for name, drawings in sprites.subjects.items() if len(drawings) >= _EACH]
    known = [name for name in sorted(several) if not clip.words or set(name.split()) <= clip.words]
    yield from known[:: max(len(known) // _SUBJECTS, 1)][:_SUBJECTS]
