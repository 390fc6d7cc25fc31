"""Draws the same prompts with one setting changed at a time and lets the judge name what they show.

python benchmarks/tuning.py [--subset 16] [--steps 120] [--size 128] [--seed 7] [--only NAME]... [--set KEY=VALUE]...
                            [--clip FILE] [--judge FILE] [--sheets FOLDER] [--preset tiny-random]

Prints a Markdown row an arm: subject top 1 and top 5 with 95 % intervals, median rank, style, setting, background,
seconds a picture. `--set` applies to all arms. With `--sheets` every arm's pictures are written side by side.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from pathlib import Path

from PIL import Image

from vqclip import images
from vqclip.cli.allocator import keep_freed_memory
from vqclip.config import Config, build
from vqclip.evaluation import judging, listing
from vqclip.generation.models import Models
from vqclip.session.api import generate
from vqclip.weights.load import load_judge
from vqclip.world import load_world, mentioned
from vqclip.writers.picture import save_image

_CROPS = ("views.smallest=0.25", "views.largest=0.6")
# what each arm changes of the preset
ARMS: dict[str, tuple[str, ...]] = {
    "the preset": (),
    "views: whole only": ("views.overview=[1.0,1.0]",),
    "views: crops of 0.25 to 0.6": _CROPS,
    "the same, by a prompt of their own": ("views.detail_prompt='a detail of {}'", *_CROPS),
    "8 views": ("views.count=8",),
    "32 views": ("views.count=32",),
    "learning rate 0.05": ("optimizer.lr=0.05",),
    "learning rate 0.2": ("optimizer.lr=0.2",),
    "constant learning rate": ("optimizer.schedule=constant",),
    "NAdam": ("optimizer.name=nadam",),
    "RAdam": ("optimizer.name=radam",),
    "AdamW, weight decay 0.1": ("optimizer.name=adamw", "optimizer.weight_decay=0.1"),
    "Adamax": ("optimizer.name=adamax",),
    "RMSprop": ("optimizer.name=rmsprop",),
    "no latent noise": ("latent.noise=0",),
    "latent noise 1": ("latent.noise=1.0",),
    "no moving average": ("latent.ema=0",),
    "moving average 0.98": ("latent.ema=0.98",),
    "one grid from the start": ("stages=[full:1]",),
    "a smaller grid first": ("stages=[64:0.4,full:0.6]",),
    "total variation 1": ("losses.tv=1",),
    "commitment 0.1": ("losses.commitment=0.1",),
    "negative prompt": ("negative=[noise]",),
    "contrast 0.3": ("contrast.weight=0.3",),
}


def drawn(config: Config, prompts: list[str]) -> tuple[list[Image.Image], float]:
    """Return a picture of each prompt, and the seconds that one took."""
    models = Models.load(config)
    began = time.monotonic()
    pictures = [generate(dataclasses.replace(config, prompts=(prompt,)), models).image for prompt in prompts]
    return pictures, (time.monotonic() - began) / len(prompts)


def row(name: str, judge, pictures: list[Image.Image], labels: list[dict[str, str]], seconds: float) -> str:
    """Return an arm's results as a row of a Markdown table."""
    places = judging.ranks(judge, judging.look(judge, pictures), labels)
    found = judging.shares(places, labels)
    ranks = [p["subject"] for p in places if "subject" in p]
    cells = [name, *share_cells(found), f"{statistics.median(ranks):g}" if ranks else "", f"{seconds:.1f}"]
    return "| " + " | ".join(cells) + " |"


def share_cells(found: dict[str, judging.Share]) -> list[str]:
    """Return the cells of a row that say how often the judge named what the prompt names, with 95 % intervals."""
    cells = []
    for key in ("subject", "subject, top 5", "style", "setting", "background"):
        share = found.get(key)
        low, high = share.interval if share else (0.0, 0.0)
        cells.append(f"{share.right} of {share.count} ({low:.0%} to {high:.0%})" if share else "")
    return cells


def main() -> None:
    """Draw and judge the arms, one after the other."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("subset", 16), ("steps", 120), ("size", 128), ("seed", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", action="append", choices=ARMS)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--clip", default="tiny", help="a name or file, or several with commas between")
    parser.add_argument("--judge", default="tiny")
    parser.add_argument("--preset", default="tiny-random")
    parser.add_argument("--sheets", type=Path)
    args = parser.parse_args()
    found = listing.read_list()
    prompts = [found[i] for i in listing.subset(found, args.subset)]
    world, (judge, _) = load_world(), load_judge(args.judge)
    labels = [mentioned(prompt, world) for prompt in prompts]
    print("| change | subject | top 5 | style | setting | background | median rank | seconds |\n|" + " --- |" * 8)
    flags = {"steps": args.steps, "size": [args.size] * 2, "seed": args.seed, "models.clip": args.clip.split(",")}
    configs = {name: build(args.preset, (), [*args.sets, *ARMS[name]], flags) for name in args.only or ARMS}
    for name, config in configs.items():
        pictures, seconds = drawn(config, prompts)
        print(row(name, judge, pictures, labels, seconds), flush=True)
        if args.sheets:
            args.sheets.mkdir(parents=True, exist_ok=True)
            sheet = images.contact_sheet(pictures, prompts, 8, 160)
            save_image(sheet, args.sheets / f"{name.replace(' ', '-').replace(':', '')}.png", None)


if __name__ == "__main__":
    main()
