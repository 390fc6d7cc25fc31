"""Draws prompts with the prior in several ways and lets the judge name what they show.

python benchmarks/prior.py GROUP [--list FILE] [--subset 40] [--seeds 0] [--size 256] [--only NAME]...
                           [--set KEY=VALUE]... [--judge FILE] [--sheets FOLDER]

Groups: modes (random grid, prior alone, prior refined), sampling, candidates, refinement, remask, target. Prints a
Markdown row an arm: subject top 1 and top 5 with 95 % intervals, style, setting, background, the distance between
pictures of one prompt by different seeds (with two seeds or more), seconds a picture. The row "renders" is the picture
world's own painting of what the prompts name: what could be reached, and how varied it is. `--set` applies to all arms.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tuning import share_cells

from vqclip import images
from vqclip.api import generate
from vqclip.config import Config, build
from vqclip.evaluation import judging, listing
from vqclip.evaluation.pictures import Picture
from vqclip.generation.models import Models
from vqclip.models.judge import Judge
from vqclip.weights.load import load_judge
from vqclip.world import Renderer, World, load_world, mentioned, replace, sample_scene
from vqclip.writers.image import save_image

_ALONE = ("init.kind=prior", "steps=0")
_SOFT = ("init.kind=prior", "latent.noise=0", "optimizer.lr=0.05")
# what each arm changes of the preset
GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "modes": {
        "renders": (),
        "random grid": ("init.kind=random",),
        "prior alone": _ALONE,
        "prior, refined": ("init.kind=prior",),
    },
    "sampling": {
        "as it is": (*_ALONE, "init.candidates=1"),
        "guidance 1": (*_ALONE, "init.candidates=1", "prior.guidance=1"),
        "guidance 2": (*_ALONE, "init.candidates=1", "prior.guidance=2"),
        "guidance 5": (*_ALONE, "init.candidates=1", "prior.guidance=5"),
        "6 steps": (*_ALONE, "init.candidates=1", "prior.steps=6"),
        "20 steps": (*_ALONE, "init.candidates=1", "prior.steps=20"),
        "temperature 0.8": (*_ALONE, "init.candidates=1", "prior.temperature=0.8"),
        "choice 0.5": (*_ALONE, "init.candidates=1", "prior.choice=0.5"),
        "choice 6": (*_ALONE, "init.candidates=1", "prior.choice=6"),
    },
    "candidates": {f"best of {n}": (*_ALONE, f"init.candidates={n}") for n in (1, 2, 4, 8, 16, 32)},
    "refinement": {
        "60 steps": ("init.kind=prior", "steps=60"),
        "60 steps, no noise": ("init.kind=prior", "steps=60", "latent.noise=0"),
        "60 steps, soft": (*_SOFT, "steps=60"),
        "60 steps, soft, fine grid": (*_SOFT, "steps=60", "stages=[128:0.4,full:0.6]"),
        "120 steps, soft": (*_SOFT, "steps=120"),
        "120 steps, soft, fine grid": (*_SOFT, "steps=120", "stages=[128:0.4,full:0.6]"),
        "240 steps": ("init.kind=prior", "steps=240"),
    },
    "remask": {
        "off": ("prior.remask_every=0",),
        "every 10, a tenth": ("prior.remask_every=10", "prior.remask_share=0.1"),
        "every 10, a third": ("prior.remask_every=10", "prior.remask_share=0.3"),
        "every 30, a third": ("prior.remask_every=30", "prior.remask_share=0.3"),
    },
    "target": {
        "text": ("target.kind=text",),
        # with --set models.embedding=FILE, from `vqclip train embedding`
        "prior, half": ("target.kind=prior", "target.mix=0.5"),
        "prior, all": ("target.kind=prior", "target.mix=1"),
    },
}


def rendered(wanted: dict[str, str], world: World, renderer: Renderer, seed: int, side: int) -> Image.Image:
    """Return the picture world's own picture of what a prompt names; what it leaves open, the seed decides."""
    scene = sample_scene(world, np.random.default_rng(seed))
    plain = replace(scene, subject=None, shape=None, color=None, setting=None, background=None, style=None)
    return Image.fromarray(renderer.render(replace(plain, **wanted), side))


def drawn(config: Config | None, prompts: list[str], seeds: list[int], side: int) -> tuple[list[Image.Image], float]:
    """Return a picture of each prompt and seed, and the seconds that one took; without a config, renders."""
    if config is None:
        world, renderer = load_world(), Renderer()
        began = time.monotonic()
        pictures = [rendered(mentioned(p, world), world, renderer, s + 1, side) for p in prompts for s in seeds]
        return pictures, (time.monotonic() - began) / len(pictures)
    models = Models.load(config)
    began = time.monotonic()
    pictures = [
        generate(dataclasses.replace(config, prompts=(prompt,), seed=seed), models).image
        for prompt in prompts
        for seed in seeds
    ]
    return pictures, (time.monotonic() - began) / len(pictures)


def row(name: str, judge: Judge, pictures: list[Image.Image], prompts: list[str], seconds: float) -> str:
    """Return an arm's results as a row of a Markdown table."""
    world = load_world()
    labels = [mentioned(prompt, world) for prompt in prompts]
    verdict = judging.look(judge, pictures)
    found = judging.shares(judging.ranks(judge, verdict, labels), labels)
    cells = [name, *share_cells(found)]
    named = [Picture(Path(), prompt, None) for prompt in prompts]
    spread = judging.diversity(verdict.embeddings, named)
    cells.append(f"{spread['same prompt']:.3f}" if spread else "")
    return "| " + " | ".join([*cells, f"{seconds:.2f}"]) + " |"


def main() -> None:
    """Draw and judge the arms of a group, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("--list", type=Path, help="prompts, one a line; the 200 of the evaluation without it")
    parser.add_argument("--subset", type=int, default=40)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--only", action="append")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--judge", default="tiny")
    parser.add_argument("--sheets", type=Path)
    args = parser.parse_args()
    found, seeds = listing.read_list(args.list), [int(seed) for seed in args.seeds.split(",")]
    prompts = [found[i] for i in listing.subset(found, min(args.subset, len(found)))]
    every = [prompt for prompt in prompts for _ in seeds]
    judge, _ = load_judge(args.judge)
    print("| way | subject | top 5 | style | setting | background | distance by seed | seconds |\n|" + " --- |" * 8)
    for name, changes in GROUPS[args.group].items():
        if args.only and name not in args.only:
            continue
        flags = {"size": [args.size] * 2}
        config = None if name == "renders" else build(None, (), [*args.sets, *changes], flags)
        pictures, seconds = drawn(config, prompts, seeds, args.size)
        print(row(name, judge, pictures, every, seconds), flush=True)
        if args.sheets:
            args.sheets.mkdir(parents=True, exist_ok=True)
            sheet = images.contact_sheet(pictures[:48], every[:48], 8, 160)
            save_image(sheet, args.sheets / f"{name.replace(' ', '-').replace(',', '')}.png", None)


if __name__ == "__main__":
    main()
