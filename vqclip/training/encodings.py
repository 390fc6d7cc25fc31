"""Scenes as a prior or an upsampler meets them: codes of a VQGAN, CLIP embeddings, captions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from vqclip import atomic
from vqclip.models.clip import CLIP
from vqclip.models.vqgan import VQGAN
from vqclip.terminal import bar_room
from vqclip.training.batches import Captioner
from vqclip.training.precision import autocast
from vqclip.training.runner import TrainOptions
from vqclip.training.scenes import SceneSet
from vqclip.weights.load import load_clip, load_vqgan

SIDE = 128
_UNCONDITIONED = 0.1  # share of a batch whose condition is withheld, for guidance
# how often a caption is the condition, else its picture; framed scenes come last, nearer to use, where captions are
_BY_TEXT, _BY_TEXT_FRAMED = 0.5, 0.8


@dataclass(frozen=True)
class Encodings:
    """Rendered scenes and held-out ones, with the networks that encode them and what these make of the former.

    `codes` are uint16 (count, h, w), `seen` CLIP embeddings, float16 (count, D); `digest` is the CLIP's sha256. Large
    scenes have `coarse` codes (count, h / 2, w / 2) too: those of the pictures at half the side.
    """

    vqgan: VQGAN
    clip: CLIP
    digest: str
    scenes: SceneSet
    held_out: SceneSet
    codes: np.ndarray
    seen: np.ndarray
    captioner: Captioner
    coarse: np.ndarray | None = None

    @classmethod
    def of(cls, options: TrainOptions, large: bool = False) -> Encodings:
        """Render and encode what the disk lacks: scenes of `SIDE` pixels, or an eighth as many, twice as large."""
        vqgan, _ = load_vqgan(options.vqgan)
        clip, digest = load_clip(options.clip or "tiny")
        seed, count, side = options.seed, options.scenes, SIDE
        if large:
            seed, count, side = seed + 1, max(count // 8, 1), 2 * SIDE
        kind = options.framed, options.styles, options.subjects
        scenes = SceneSet(options.folder, seed, count, side, *kind)
        held_out = SceneSet(options.folder, options.seed + 1002, min(options.scenes, 256), side, *kind)
        for each in (scenes, held_out):
            each.render(options.font, options.workers)
        codes, seen = _encoded(scenes, vqgan, clip, digest[:8], side)
        coarse = _encoded(scenes, vqgan, clip, digest[:8], SIDE)[0] if large else None
        return cls(vqgan, clip, digest, scenes, held_out, codes, seen, Captioner(scenes.scenes), coarse)

    def conditions(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return conditions (B, D) of chosen scenes, by picture or by caption, and which of them (B,) are withheld."""
        conditions = torch.from_numpy(self.seen[chosen].astype(np.float32))
        texts, _ = self.captioner.captions(chosen, rng)
        by_text = rng.random(len(chosen)) < (_BY_TEXT_FRAMED if self.scenes.framed else _BY_TEXT)
        with torch.no_grad(), autocast("cpu"):
            said = self.clip.encode_text([text for text, chosen in zip(texts, by_text, strict=True) if chosen] or [""])
        conditions[torch.from_numpy(by_text)] = said.float()[: by_text.sum()]
        return conditions, torch.from_numpy(rng.random(len(chosen)) < _UNCONDITIONED)

    @property
    def width(self) -> int:
        """Dimensions of an embedding."""
        return int(self.clip.architecture.model["embed_dim"])


def seen_by(clip: CLIP, x: Tensor) -> Tensor:
    """Return the embeddings (B, D) of whole pictures (B, 3, H, W) in [0, 1]."""
    return clip.encode_image(nn.functional.interpolate(x, (clip.image_size, clip.image_size), mode="area"))


@torch.no_grad()
def _encoded(scenes: SceneSet, vqgan: VQGAN, clip: CLIP, digest: str, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return codes, uint16 (count, h, w), and CLIP embeddings, float16 (count, D), of all scenes, kept on the disk.

    They are those of the pictures scaled to `side` pixels.
    """
    cells = side // vqgan.factor
    width = clip.architecture.model["embed_dim"]
    codebook = hashlib.sha256(vqgan.codebook.numpy().tobytes()).hexdigest()[:8]
    scaled = "" if side == scenes.side else f"-at-{side}"
    name = f"{scenes.name}-{scenes.count}{scaled}-{codebook}-{digest}"
    paths = scenes.folder / f"codes-{name}.raw", scenes.folder / f"embeddings-{name}.raw"
    shapes = (scenes.count, cells, cells), (scenes.count, width)
    kinds = np.uint16, np.float16
    if not all(p.exists() for p in paths):
        codes, embeddings = (np.empty(shape, kind) for shape, kind in zip(shapes, kinds, strict=True))
        for start in tqdm(range(0, scenes.count, 64), desc=f"codes {side} px", unit="batch", **bar_room()):
            x = torch.from_numpy(scenes.images[start : start + 64]).permute(0, 3, 1, 2).float() / 255
            x = nn.functional.interpolate(x, (side, side), mode="area")
            with autocast("cpu"):
                codes[start : start + 64] = vqgan.quantize(vqgan.encode(x))[1].numpy()
                embeddings[start : start + 64] = seen_by(clip, x).numpy()
        for path, values in zip(paths, (codes, embeddings), strict=True):
            _keep(path, values)
    codes, embeddings = (np.memmap(p, k, "r", shape=s) for p, k, s in zip(paths, kinds, shapes, strict=True))
    return codes, embeddings


def _keep(path: Path, values: np.ndarray) -> None:
    atomic.write(path, lambda stream: stream.write(values.tobytes()))
