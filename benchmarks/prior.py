"""Draws prompts with the prior in several ways and lets the judge name what they show.

python benchmarks/prior.py GROUP [--list FILE] [--subset 40] [--seeds 0] [--size 256] [--only NAME]...
                           [--set KEY=VALUE]... [--judge FILE] [--sheets FOLDER] [--plot FILE]

Groups: modes (random grid, prior alone, prior refined), curve (these three at several costs; `--plot` draws subject and
style against seconds), sampling, candidates, refinement, steps (many of them, at several rates), upsampling, remask,
target. Prints a Markdown row an arm: subject top 1 and top 5 with 95 % intervals, style, setting, background, the
distance between pictures of one prompt by different seeds (with two seeds or more), seconds a picture. The row
"renders" is the picture world's own painting of what the prompts name: what could be reached, and how varied it is.
`--set` applies to all arms.
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
from vqclip.cli.allocator import keep_freed_memory
from vqclip.config import Config, build
from vqclip.evaluation import judging, listing
from vqclip.evaluation.pictures import Picture
from vqclip.generation.models import Models
from vqclip.models.judge import Judge
from vqclip.session.api import generate
from vqclip.weights.load import load_judge
from vqclip.world import Renderer, World, load_world, mentioned, replace, sample_scene
from vqclip.writers.picture import save_image

# ticks of plots
_SECONDS = (0.3, 1, 3, 10, 30, 100, 300)
_ALONE = ("init.kind=prior", "steps=0")
_SOFT = ("init.kind=prior", "latent.noise=0", "optimizer.lr=0.05")
# as drawings were tuned before there was a prior
_HARD = ("init.kind=prior", "latent.noise=0.5", "optimizer.lr=0.1")
# what each arm changes of the preset
GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "modes": {
        "renders": (),
        "random grid": ("init.kind=random", "steps=240", "optimizer.lr=0.1"),
        "prior alone": _ALONE,
        "prior, refined": ("init.kind=prior",),
    },
    "curve": {
        **{f"random grid, {n}": ("init.kind=random", f"steps={n}", "optimizer.lr=0.1") for n in (30, 60, 120, 240)},
        **{f"prior alone, best of {n}": (*_ALONE, f"init.candidates={n}") for n in (1, 4, 8, 16, 32)},
        **{f"prior refined, {n}": ("init.kind=prior", f"steps={n}") for n in (15, 30, 60, 120)},
    },
    "upsampling": {
        "scaled": ("models.upsampler=",),
        "as it is": (),
        "guidance 1": ("upsampling.guidance=1",),
        "guidance 2": ("upsampling.guidance=2",),
        "4 steps": ("upsampling.steps=4",),
        "16 steps": ("upsampling.steps=16",),
        "temperature 0.7": ("upsampling.temperature=0.7",),
        "choice 0.5": ("upsampling.choice=0.5",),
        "choice 6": ("upsampling.choice=6",),
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
        "60 steps": (*_HARD, "steps=60"),
        "60 steps, no noise": (*_HARD, "steps=60", "latent.noise=0"),
        "60 steps, soft": (*_SOFT, "steps=60"),
        "60 steps, soft, fine grid": (*_SOFT, "steps=60", "stages=[128:0.4,full:0.6]"),
        "120 steps, soft": (*_SOFT, "steps=120"),
        "120 steps, soft, fine grid": (*_SOFT, "steps=120", "stages=[128:0.4,full:0.6]"),
        "240 steps": (*_HARD, "steps=240"),
    },
    "steps": {
        f"{n} steps, learning rate {lr}": ("init.kind=prior", f"steps={n}", f"optimizer.lr={lr}")
        for n, lr in ((30, 0.05), (150, 0.05), (150, 0.025), (150, 0.01), (500, 0.05), (500, 0.012), (500, 0.003))
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


def judged(judge: Judge, pictures: list[Image.Image], prompts: list[str]) -> tuple[dict[str, judging.Share], str]:
    """Return the shares judged right, and how far apart pictures of one prompt are, a cell of a table."""
    world = load_world()
    labels = [mentioned(prompt, world) for prompt in prompts]
    verdict = judging.look(judge, pictures)
    found = judging.shares(judging.ranks(judge, verdict, labels), labels)
    named = [Picture(Path(), prompt, None) for prompt in prompts]
    spread = judging.diversity(verdict.embeddings, named)
    return found, f"{spread['same prompt']:.3f}" if spread else ""


def plot(points: dict[str, tuple[float, dict[str, judging.Share]]], file: Path) -> None:
    """Draw shares of subject and style against seconds, a line for all arms whose names begin alike."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, key in zip(figure.subplots(1, 2, sharey=True), ("subject", "style"), strict=True):
        for line in dict.fromkeys(name.partition(",")[0] for name in points):
            own = sorted((s, found[key]) for name, (s, found) in points.items() if name.partition(",")[0] == line)
            seconds, shares = [s for s, _ in own], [share for _, share in own]
            values = [share.value for share in shares]
            low = [share.value - share.interval[0] for share in shares]
            high = [share.interval[1] - share.value for share in shares]
            axes.errorbar(seconds, values, [low, high], marker="o", capsize=2, label=line)
        axes.set(xscale="log", xlabel="seconds a picture", title=key, ylim=(0, 1))
        limits = axes.get_xlim()
        axes.set_xticks(_SECONDS, [f"{value:g}" for value in _SECONDS])
        axes.minorticks_off()
        axes.set_xlim(limits)
    figure.axes[0].set_ylabel("share judged right, with 95 % interval")
    figure.axes[0].legend(loc="lower left")
    figure.savefig(file, dpi=110)


def main() -> None:
    """Draw and judge the arms of a group, one after the other."""
    keep_freed_memory()
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
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    found, seeds = listing.read_list(args.list), [int(seed) for seed in args.seeds.split(",")]
    prompts = [found[i] for i in listing.subset(found, min(args.subset, len(found)))]
    every = [prompt for prompt in prompts for _ in seeds]
    judge, _ = load_judge(args.judge)
    points = {}
    print("| way | subject | top 5 | style | setting | background | distance by seed | seconds |\n|" + " --- |" * 8)
    for name, changes in GROUPS[args.group].items():
        if args.only and name not in args.only:
            continue
        flags = {"size": [args.size] * 2}
        config = None if name == "renders" else build(None, (), [*args.sets, *changes], flags)
        pictures, seconds = drawn(config, prompts, seeds, args.size)
        shares, distance = judged(judge, pictures, every)
        points[name] = seconds, shares
        print("| " + " | ".join([name, *share_cells(shares), distance, f"{seconds:.2f}"]) + " |", flush=True)
        if args.plot:
            plot(points, args.plot)
        if args.sheets:
            args.sheets.mkdir(parents=True, exist_ok=True)
            sheet = images.contact_sheet(pictures[:48], every[:48], 8, 160)
            save_image(sheet, args.sheets / f"{name.replace(' ', '-').replace(',', '')}.png", None)


if __name__ == "__main__":
    main()
