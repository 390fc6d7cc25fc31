"""`vqclip train memory`: encodes the drawings of the second world, so that sketches can be laid out from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from vqclip.models.memory import Memory, MemoryArchitecture, remember
from vqclip.models.vqgan import VQGAN
from vqclip.training.gathering import gather
from vqclip.training.precision import autocast
from vqclip.weights import files
from vqclip.weights.load import load_vqgan
from vqclip.world.atlas import Atlas, digest
from vqclip.world.drawings import load_drawings
from vqclip.world.fields import blur

_TOGETHER = 16  # drawings encoded at a time
_OUTLINE = 64  # cells a side of an outline


def memorize(folder: Path, output: Path, vqgan: str = "tiny") -> Memory:
    """Fetch the drawings that `folder` lacks, write the memory of all that are not held out, and return it."""
    atlas = gather(folder / "drawings")
    network, hashed = load_vqgan(vqgan)
    table = [drawing for drawing in load_drawings() if not drawing.held]
    names = list(dict.fromkeys(drawing.id for drawing in table))
    codebook = network.codebook
    codes, channels = codebook.shape
    architecture = MemoryArchitecture(
        codes, channels, len(names), atlas.side // network.factor, _OUTLINE, digest(table)
    )
    outlines = [outline(atlas.drawing(name)) for name in names]
    grids = list(tqdm(_encoded(atlas, names, network), total=len(names), desc="memory", unit="drawing"))
    memory = remember(architecture, codebook, grids, outlines)
    files.save(output, "memory", architecture.to_json(), memory.state_dict(), {"vqgan": hashed})
    return memory


def outline(pixels: np.ndarray) -> np.ndarray:
    """Return the alpha channel of a drawing (side, side, 4) uint8 at the memory's size, float32 in 0..1."""
    alpha = Image.fromarray(pixels[..., 3]).resize((_OUTLINE, _OUTLINE), Image.Resampling.BOX)
    return np.asarray(alpha, dtype=np.float32) / 255


@torch.no_grad()
def _encoded(atlas: Atlas, names: list[str], network: VQGAN) -> Iterator[np.ndarray]:
    for start in range(0, len(names), _TOGETHER):
        pictures = [spread(atlas.drawing(name)) for name in names[start : start + _TOGETHER]]
        x: Tensor = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        with autocast("cpu"):
            z = network.encode(x)
        yield from network.quantize(z.float())[1].numpy()


def spread(pixels: np.ndarray) -> np.ndarray:
    """Return a drawing (side, side, 4) uint8, premultiplied, as a picture (side, side, 3) in 0..1 without a ground.

    The colors at its rim spread over what is transparent, so that no ground is encoded with them.
    """
    color, alpha = pixels[..., :3].astype(np.float32) / 255, pixels[..., 3].astype(np.float32) / 255
    filled, weight = color.copy(), alpha.copy()
    for radius in (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32):
        around, share = blur(color, radius), blur(alpha, radius)
        more = np.clip(1 - weight, 0, 1)[..., None] * (share > 0.004)[..., None]
        filled = filled + more * around / np.maximum(share, 0.004)[..., None]
        weight = np.where(share > 0.004, 1.0, weight)
    out: np.ndarray = np.clip(filled, 0.0, 1.0).astype(np.float32)
    return out
