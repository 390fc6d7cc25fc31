"""Guidance without a VQGAN: optimizes pixels towards prompts and lets the judge name what appears.

python benchmarks/pixels.py [--clip FILE] [--subset 40] [--side 128] [--steps 120] [--renders 0] [--details]
                            [--judge FILE] [--sheet FILE]

What a CLIP cannot draw in pixels no decoder will draw for it, and all prompts go in one batch: a CLIP is known in a
minute. `--renders N` aims at the mean embedding of N renders of each prompt instead of its text, the best that a text
tower could do. `--details` compares views of less than 0.65 of the side with "a detail of" the prompt.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vqclip import images
from vqclip.evaluation import judging, listing
from vqclip.guidance.views import ViewPlan, cut_views, sample_views
from vqclip.models.clip import CLIP
from vqclip.weights.load import load_clip, load_judge
from vqclip.world import Renderer, detail_of, load_world, mentioned, replace, sample_scene
from vqclip.writers.picture import save_image

_VIEWS = 4
_RATE = 0.05
_NEAR = 0.65
_STRENGTHS = {"rotate": 8, "shear": 4, "perspective": 0.15, "brightness": 0.05, "contrast": 0.1, "saturation": 0.1,
              "noise": 0.1}  # fmt: skip
_PLAN = ViewPlan(_VIEWS, 0.5, 0.5, 0.95, 0.1, _STRENGTHS)


def optimized(clip: CLIP, whole: Tensor, detail: Tensor, side: int, steps: int) -> Tensor:
    """Return pictures (B, 3, side, side) optimized towards embeddings (B, D) of wholes and of details."""
    generator = torch.Generator().manual_seed(1)
    levels = [torch.zeros(len(whole), 3, s, s) for s in (4, 8, 16, 32, 64, 128, 256) if s <= side]
    for level in levels[:2]:
        level.normal_(0, 0.25, generator=generator)
    for level in levels:
        level.requires_grad_()
    optimizer = torch.optim.Adam(levels, lr=_RATE)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = _RATE * (1 + math.cos(math.pi * step / steps)) / 2
        views = [sample_views(_PLAN, b, step, (1.0, 1.0), clip.image_size) for b in range(len(whole))]
        found = clip.encode_image(cut_views(_picture(levels, side), views, clip.image_size))
        near = torch.cat([v.side for v in views]) < _NEAR
        wanted = torch.where(near[:, None], *(e.repeat_interleave(_VIEWS, 0) for e in (detail, whole)))
        # the squared great-circle distance of the product's own loss
        loss = 2 * ((found - wanted).norm(dim=1) / 2).clamp(max=1).asin().square().sum() / _VIEWS
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return _picture(levels, side).detach()


def _picture(levels: list[Tensor], side: int) -> Tensor:
    grown = [torch.nn.functional.interpolate(x, side, mode="bicubic" if x.shape[-1] < side else "nearest")
             for x in levels]  # fmt: skip
    return torch.sigmoid(2 * torch.stack(grown).sum(0))


@torch.no_grad()
def mean_of_renders(clip: CLIP, labels: list[dict[str, str]], count: int) -> Tensor:
    """Return the mean embeddings (B, D) of `count` renders of what each prompt names."""
    world, renderer, found = load_world(), Renderer(None), []
    for row, wanted in enumerate(labels):
        nothing = dict.fromkeys(("subject", "shape", "color", "setting", "background", "style"))
        scenes = [replace(sample_scene(world, np.random.default_rng([77, row, i])), **(nothing | wanted))
                  for i in range(count)]  # fmt: skip
        x = np.stack([renderer.render(scene, clip.image_size) for scene in scenes])
        mean = clip.encode_image(torch.from_numpy(x / 255).permute(0, 3, 1, 2).float()).mean(0)
        found.append(torch.nn.functional.normalize(mean, dim=0))
    return torch.stack(found)


def main() -> None:
    """Optimize, judge, print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("subset", 40), ("side", 128), ("steps", 120), ("renders", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--clip", default="tiny")
    parser.add_argument("--judge", default="tiny")
    parser.add_argument("--details", action="store_true")
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    (clip, _), (judge, _) = load_clip(args.clip), load_judge(args.judge)
    every = listing.read_list()
    prompts = [every[i] for i in listing.subset(every, args.subset)]
    labels = [mentioned(prompt, load_world()) for prompt in prompts]
    if args.renders:
        kept = [i for i, wanted in enumerate(labels) if wanted.keys() & {"subject", "shape"}]
        prompts, labels = [prompts[i] for i in kept], [labels[i] for i in kept]
    whole = mean_of_renders(clip, labels, args.renders) if args.renders else clip.encode_text(prompts).detach()
    detail = clip.encode_text([detail_of(p) for p in prompts]).detach() if args.details else whole
    began = time.monotonic()
    x = optimized(clip, whole, detail, args.side, args.steps)
    seconds = time.monotonic() - began
    pictures = [images.to_pil(picture) for picture in x]
    verdict = judging.look(judge, pictures)
    shares = judging.shares(judging.ranks(judge, verdict, labels), labels)
    kinds = ("subject", "subject, top 5", "style", "setting", "background")
    said = [f"{key} {shares[key].right} of {shares[key].count}" for key in kinds if key in shares]
    print(f"{args.clip}: " + ", ".join(said) + f"; {len(prompts)} pictures in {seconds:.0f} seconds")
    if args.sheet:
        save_image(images.contact_sheet(pictures, prompts, 8, 160), args.sheet, None)


if __name__ == "__main__":
    main()
