"""Measures the bundled models by the judge: how well pictures survive the VQGAN, and how robust the CLIP is.

python benchmarks/gates.py [--vqgan FILE] [--clip FILE] [--judge FILE] [--scenes 512]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vqclip import images
from vqclip.evaluation.judging import look
from vqclip.training.clip import SIDE
from vqclip.training.zero_shot import zero_shot
from vqclip.weights.load import load_clip, load_judge, load_vqgan
from vqclip.world import Renderer, Scene, SceneShares, load_world, sample_scene

_SEED = 2001
_EPSILON = 0.85


def scenes_of(style: str | None, count: int) -> list[Scene]:
    """Held-out scenes with a subject, all of one style (None: unstyled)."""
    found, world = [], load_world()
    for index in range(count):
        rng = np.random.default_rng([_SEED, index])
        styled = {} if style is None else {"styles": [style]}
        found.append(sample_scene(world, rng, SceneShares(styled=float(style is not None), shapes=0.0), **styled))
    return found


@torch.no_grad()
def reconstruct(vqgan, pictures: list[np.ndarray]) -> tuple[list[Image.Image], torch.Tensor, float]:
    """Return pictures (uint8) sent through the codes, the codes used, and the PSNR in dB."""
    out, used, psnr = [], [], []
    for picture in pictures:
        x = torch.from_numpy(picture / 255).permute(2, 0, 1).float()[None]
        codes, indices = vqgan.quantize(vqgan.encode(x))
        y = vqgan.decode(codes)
        psnr.append(float(10 * torch.log10(1 / (x - y).square().mean())))
        out.append(images.to_pil(y[0]))
        used.append(indices.flatten())
    return out, torch.cat(used), sum(psnr) / len(psnr)


def named_right(judge, pictures: list[Image.Image], scenes: list[Scene]) -> float:
    """Share of pictures whose subject the judge names."""
    names = list(load_world().subjects)
    guess = look(judge, pictures).log_probabilities["subject"][:, 1:].argmax(1).tolist()
    return sum(names[g] == s.subject for g, s in zip(guess, scenes, strict=True)) / len(scenes)


def main() -> None:
    """Print one line a measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    for kind in ("vqgan", "clip", "judge"):
        parser.add_argument(f"--{kind}", default="tiny")
    parser.add_argument("--scenes", type=int, default=512)
    parser.add_argument("--font", type=Path)
    arguments = parser.parse_args()
    judge, _ = load_judge(arguments.judge)
    vqgan, _ = load_vqgan(arguments.vqgan)
    renderer = Renderer(arguments.font)
    for style in (None, "Van Gogh"):
        for side in (128, 256):
            scenes = scenes_of(style, arguments.scenes)
            originals = [renderer.render(scene, side) for scene in scenes]
            drawn, used, psnr = reconstruct(vqgan, originals)
            before = named_right(judge, [Image.fromarray(o) for o in originals], scenes)
            after = named_right(judge, drawn, scenes)
            share = len(used.unique()) / vqgan.architecture.n_embed
            print(
                f"{style or 'unstyled'} {side} px: named {after:.1%} of reconstructions, {before:.1%} of originals; "
                f"PSNR {psnr:.2f} dB; codes used {share:.1%}",
                flush=True,
            )
    clip, _ = load_clip(arguments.clip)
    scenes = scenes_of(None, arguments.scenes)
    x = torch.stack([torch.from_numpy(renderer.render(s, SIDE) / 255).permute(2, 0, 1).float() for s in scenes])
    scores = zero_shot(clip, x, scenes, _EPSILON)
    print(f"CLIP: subject {scores['subject_unstyled']:.1%} clean, "
          f"{scores['subject_unstyled_robust']:.1%} under L2 PGD-10 of {_EPSILON}")  # fmt: skip


if __name__ == "__main__":
    main()
