"""What holds the frames of a film together, and in how many of them a judge finds the subject.

    python benchmarks/films.py [--frames 16] [--size 256] [--threads 1] [--only NAME]...
    python benchmarks/films.py --subjects [--frames 48] [--known]

Without `--subjects` two films, one in a style and one in none, are drawn with one means after the other. The table
holds the flicker: the mean difference, of 255, between each frame and the one before as the camera moves it. The step
from the first frame, which is drawn as a picture, is left out. A film without steps, which only moves, shows what the
measure finds where nothing flickers: its own blur. Seconds are those of the processor, by frame, without the first one.
With `--subjects` eight films are drawn with the defaults, and the bundled judge names what each frame shows; with
`--known` they are of the first eight subjects, in an order that is drawn once, whose first frame it names.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqclip import Models, animate, images, make_config, make_film
from vqclip.animation.plan import plan_film
from vqclip.animation.timeline import Timeline
from vqclip.cli.allocator import keep_freed_memory
from vqclip.evaluation.films import flicker, subject_share
from vqclip.evaluation.judging import Share
from vqclip.world import load_world

PROMPTS = {"in a style": "a castle in the mountains, van gogh style", "in none": "a red car on a street"}
CAMERA = {"zoom": "1.015", "rotate": "0.5"}
# by name, what is set of the film and of its pictures: each of the first four holds what the one before it does
MEANS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "fresh views, no hold, full rate": ({"same_views": False, "hold": "0"}, {"optimizer": {"lr": 0.1}}),
    "same views": ({"hold": "0"}, {"optimizer": {"lr": 0.1}}),
    "hold": ({}, {"optimizer": {"lr": 0.1}}),
    "half the rate: the default": ({}, {}),
    "no steps: only the camera": ({"steps": 0}, {}),
}
# eight films of subjects that the judge knows, each with what is to happen in it
FILMS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("castle", "a castle in the mountains, van gogh style", {"camera": {"zoom": "1.015"}}),
    ("car", "a red car on a street", {"camera": {"x": "2"}}),
    ("owl", "an owl in a forest, watercolor", {"camera": {"zoom": "1.01", "rotate": "0.5"}}),
    ("lion", "a lion in the desert", {"camera": {"zoom": "1+0.02*sin(t/4)"}}),
    ("rose", "a rose, stained glass", {"camera": {"rotate": "1"}}),
    ("fish", "a fish under water, oil painting", {"camera": {"x": "-2", "y": "0.5"}}),
    ("penguin", "a penguin in the snow", {"camera": {"zoom": "0.995"}}),
    ("cat", "a cat, mosaic", {"camera": {"yaw": "0.5", "dolly": "0.005"}}),
)


def main() -> None:
    """Draw, measure and print a table."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=None, help="of each film: 16, with --subjects 48")
    parser.add_argument("--size", default="256")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--subjects", action="store_true", help="judge films instead of measuring flicker")
    parser.add_argument("--known", action="store_true", help="judge films of subjects whose first frame is named")
    parser.add_argument("--only", action="append", help="names of means, or of subjects, to try")
    parser.add_argument("--sheets", action="store_true", help="write a sheet of each film into the current folder")
    args = parser.parse_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    models = Models.load(make_config("a cat", size=args.size))
    (judged if args.subjects else measured)(args, models)


def measured(args: argparse.Namespace, models: Models) -> None:
    """Print the flicker and the processor's seconds of a film with each of the means."""
    print(f"| film | means | flicker | of the first | seconds a frame |\n{'| --- ' * 5}|")
    for name, prompt in PROMPTS.items():
        first: float | None = None
        for means, (changed, pictures) in MEANS.items():
            if args.only and means not in args.only:
                continue
            film = {"frames": args.frames or 16, "camera": CAMERA, **changed}
            frames, seconds = drawn(prompt, film, pictures | {"size": args.size}, models)
            error = mean_flicker(frames, prompt, film, args.size)
            first = first or error
            print(f"| {name} | {means} | {error:.2f} | {error / first:.2f} | {seconds:.2f} |", flush=True)
            if args.sheets:
                save_sheet(frames, f"{name} {means}")


def judged(args: argparse.Namespace, models: Models) -> None:
    """Print in how many frames of each film the judge finds its subject, and in how many of all.

    Of pictures that it does not know films cannot do better: films whose first frame it names are counted too.
    """
    print(f"| film | the first frame | frames that show it | seconds a frame |\n{'| --- ' * 4}|")
    films = list[tuple[bool, Share]]()
    for subject, prompt, changed in known_films(args.size, models) if args.known else FILMS:
        if args.only and subject not in args.only:
            continue
        frames, seconds = drawn(prompt, {"frames": args.frames or 48, **changed}, {"size": args.size}, models)
        share, named = subject_share(frames, subject), bool(subject_share(frames[:1], subject).right)
        films.append((named, share))
        first = "named" if named else "not named"
        print(f"| {prompt} | {first} | {share.right} of {share.count} | {seconds:.2f} |", flush=True)
        if args.sheets:
            save_sheet(frames, subject)
    for what, shares in (
        ("all", [share for _, share in films]),
        ("those whose first frame is named", [share for named, share in films if named]),
    ):
        whole = Share(sum(share.right for share in shares), sum(share.count for share in shares))
        if whole.count:
            low, high = whole.interval
            said = f"{whole.right} of {whole.count}: {whole.value:.0%} (95 % interval {low:.0%} to {high:.0%})"
            print(f"| {what} | {len(shares)} films | {said} | |")


def known_films(size: str, models: Models) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield films, with the movements of the eight, of subjects whose first frame the judge names."""
    subjects, found = list(load_world().subjects), 0
    for place in np.random.default_rng(1).permutation(len(subjects)):
        subject = subjects[int(place)]
        frames, _ = drawn(f"a {subject}", {"frames": 1}, {"size": size}, models)
        if subject_share(frames, subject).right:
            yield subject, f"a {subject}", FILMS[found][2]
            found += 1
        if found == len(FILMS):
            return


def drawn(
    prompt: str, film: dict[str, Any], pictures: dict[str, Any], models: Models
) -> tuple[list[Image.Image], float]:
    """Return the frames of a film, and the processor's seconds of one after the first."""
    frames, began = list[Image.Image](), time.process_time()
    for drawing in animate(make_config(prompt, seed=1, **pictures), make_film(**film), models):
        frames.append(drawing.image)
        if len(frames) == 1:
            began = time.process_time()
    return frames, (time.process_time() - began) / max(len(frames) - 1, 1)


def mean_flicker(frames: Sequence[Image.Image], prompt: str, film: dict[str, Any], size: str) -> float:
    """Return the mean warped-frame error of a film by its own camera, in 1/255, without the step from the first."""
    timeline = plan_film(make_film(**film), make_config(prompt, size=size)).timeline
    errors = flicker(map(images.to_tensor, frames), fields(timeline))
    return float(np.mean(errors[1:]))


def fields(timeline: Timeline) -> Iterator[Tensor]:
    """Yield, for each frame after the first, where each of its pixels was in the one before, (1, 2, H, W)."""
    width, height = timeline.size
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    here = torch.stack([columns, rows, torch.ones_like(rows)]).double()
    for number in range(1, timeline.count):
        there = torch.einsum("ij,jhw->ihw", timeline.between(number, number - 1), here)
        yield (there[:2] / there[2:] - here[:2])[None].float()


def save_sheet(frames: Sequence[Image.Image], name: str) -> None:
    """Write eight frames of a film side by side."""
    chosen = [round(place * (len(frames) - 1) / 7) for place in range(8)]
    sheet = images.contact_sheet([frames[n] for n in chosen], [str(n) for n in chosen], 8, 160)
    sheet.save(f"films-{name.replace(' ', '-').replace(':', '').replace(',', '')}.png")


if __name__ == "__main__":
    main()
