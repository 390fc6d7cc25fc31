"""What the judge names after how many seconds: the published loop's two schools beside vqclip, same bundled models.

python benchmarks/quality_per_second.py [--subset 12] [--seed 0] [--size 256] [--steps 500] [--only LINE]...
                                        [--set KEY=VALUE]... [--plot FILE] [--pictures FOLDER] [--json FILE]...

Lines: "pooling" and "crops", the peers' defaults as `reference.py` tells them (both fp32, random codes, `--steps` of
them), "vqclip, random codes" (the preset tiny-random) and "vqclip" (the default preset). Every picture is taken on its
way, at the same shares of its run, with the seconds since its own begin; models are loaded before. The judge, which
guides nobody, names subject and style. Prompts are spread evenly over the evaluation's list. Prints a Markdown row a
point, over the prompts that every line has drawn; `--json` keeps what each picture got after each prompt, so that a
benchmark that is stopped goes on, and lines may be drawn by processes of their own (a file for each; give several to
put them together).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from PIL import Image
from reference import Reference

from vqclip import generate_stream, images, make_config
from vqclip.cli.allocator import keep_freed_memory
from vqclip.config import build
from vqclip.evaluation import judging, listing
from vqclip.generation.models import Models
from vqclip.weights.load import load_clip, load_judge
from vqclip.world import load_world, mentioned
from vqclip.writers.picture import save_image

_SCHOOLS = {"pooling": 32, "crops": 64}
_PRESETS = {"vqclip, random codes": "tiny-random", "vqclip": "tiny"}
# of a run's steps, at which pictures are taken
_SHARES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)

# share of the run, seconds since its begin, picture
Taken: TypeAlias = "tuple[float, float, Image.Image]"
# of every line and prompt, what each picture on the way got
Drawn: TypeAlias = "dict[str, dict[str, list[dict]]]"


def published(models: Models, school: str, prompt: str, args: argparse.Namespace) -> Iterator[Taken]:
    """Draw one picture as the published loop does; yield it on its way."""
    began = time.monotonic()
    loop = Reference(models, args.size, _SCHOOLS[school], school=school, seed=args.seed, prompt=prompt)
    at = {round(share * args.steps): share for share in _SHARES}
    for step in range(args.steps + 1):
        if step in at:
            yield at[step], time.monotonic() - began, images.to_pil(loop.picture()[0].detach())
        loop.step()


def ours(preset: str, models: Models, prompt: str, args: argparse.Namespace) -> Iterator[Taken]:
    """Draw one picture with a preset of vqclip; yield the best of what there is on its way."""
    config = preset_config(preset, args)
    config = dataclasses.replace(config, prompts=(prompt,), seed=args.seed)
    began = time.monotonic()
    at = {round(share * config.steps): share for share in _SHARES}
    for snapshot in generate_stream(config, models):
        if snapshot.step in at:
            seconds = time.monotonic() - began
            best = snapshot.image if snapshot.best is None else snapshot.best
            yield at[snapshot.step], seconds, images.to_pil(best[0])


def preset_config(preset: str, args: argparse.Namespace):
    """Return the config of a preset with the benchmark's changes."""
    return build(preset, (), args.sets, {"size": [args.size] * 2})


def main() -> None:
    """Draw and judge prompt after prompt of every line, then print what all have drawn."""
    keep_freed_memory()
    args = parse()
    found = listing.read_list(None)
    prompts = [found[i] for i in listing.subset(found, args.subset)]
    drawn: Drawn = {}
    for file in args.json:
        drawn |= json.loads(file.read_text("utf-8")) if file.exists() else {}
    for line in args.only or (*_SCHOOLS, *_PRESETS):
        rows = drawn.setdefault(line, {})
        draw = drawer(line, args) if set(prompts) - rows.keys() else None
        for prompt in prompts:
            if prompt not in rows:
                rows[prompt] = judged(line, prompt, draw(prompt), args)
                if args.json:
                    args.json[0].write_text(json.dumps(drawn, indent=1), "utf-8")
    points = together(drawn)
    print("| line | share of the steps | seconds | subject | top 5 | style |\n|" + " --- |" * 6)
    for line, rows in points.items():
        for row in rows:
            cells = [cell(row.get(key, [0, 0])) for key in ("subject", "subject, top 5", "style")]
            print(f"| {line} | {row['share']:.0%} | {row['seconds']:.1f} | " + " | ".join(cells) + " |")
    if args.plot:
        plot(points, args.plot)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subset", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=500, help="of the published loop")
    parser.add_argument("--only", action="append", choices=(*_SCHOOLS, *_PRESETS))
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--json", type=Path, action="append", default=[], help="the first is written to")
    return parser.parse_args()


def drawer(line: str, args: argparse.Namespace) -> Callable[[str], Iterator[Taken]]:
    """Return what draws a prompt by one line; its models are loaded here, once."""
    if line in _SCHOOLS:
        models = Models.load(make_config("a cat", models={"prior": "", "upsampler": ""}, run={"precision": "fp32"}))
        models.clips = [load_clip("tiny", folded=False)[0]]
        return lambda prompt: published(models, line, prompt, args)
    models = Models.load(preset_config(_PRESETS[line], args))
    return lambda prompt: ours(_PRESETS[line], models, prompt, args)


def judged(line: str, prompt: str, taken: Iterator[Taken], args: argparse.Namespace) -> list[dict]:
    """Return of one picture on its way: share of the run, seconds, and the place of each name its prompt holds."""
    judge, _ = load_judge("tiny")
    label = mentioned(prompt, load_world())
    rows = []
    for share, seconds, picture in list(taken):  # or the judge's time would count
        places = judging.ranks(judge, judging.look(judge, [picture]), [label])[0]
        rows.append({"share": share, "seconds": round(seconds, 2), "places": places})
        if args.pictures:
            args.pictures.mkdir(parents=True, exist_ok=True)
            name = f"{line}-{prompt}-{share:.2f}".replace(",", "").replace(" ", "-")
            save_image(picture, args.pictures / f"{name}.png", None)
    return rows


def together(drawn: Drawn) -> dict[str, list[dict]]:
    """Return the points of every line, over the prompts that all lines have drawn: mean seconds, and shares."""
    lines = {line: rows for line, rows in drawn.items() if rows}
    prompts = [p for p in next(iter(lines.values()), {}) if all(p in rows for rows in lines.values())]
    labels = [mentioned(prompt, load_world()) for prompt in prompts]
    points: dict[str, list[dict]] = {line: [] for line in lines}
    for line, rows in lines.items():
        for place, share in enumerate(_SHARES):
            own = [rows[prompt][place] for prompt in prompts]
            shares = judging.shares([row["places"] for row in own], labels)
            mean = sum(row["seconds"] for row in own) / max(len(own), 1)
            counts = {key: [share.right, share.count] for key, share in shares.items()}
            points[line].append({"share": share, "seconds": mean} | counts)
    return points


def cell(counts: list[int]) -> str:
    """Return a share as a cell: `9 of 12`."""
    return f"{counts[0]} of {counts[1]}"


def plot(points: dict[str, list[dict]], file: Path) -> None:
    """Draw shares of subject and style against seconds, a line each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, key in zip(figure.subplots(1, 2, sharey=True), ("subject", "style"), strict=True):
        for line, rows in points.items():
            pairs = [judging.Share(*row[key]) for row in rows]
            low = [share.value - share.interval[0] for share in pairs]
            high = [share.interval[1] - share.value for share in pairs]
            seconds = [max(row["seconds"], 0.1) for row in rows]
            axes.errorbar(seconds, [share.value for share in pairs], [low, high], marker="o", capsize=2, label=line)
        axes.set(xscale="log", xlabel="seconds a picture", title=key, ylim=(0, 1))
    figure.axes[0].set_ylabel("share judged right, with 95 % interval")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
