"""Measures whether steps help: what they keep of a subject, and what they gain of a style.

python benchmarks/guide.py restyle [--count 120] [--atlas .train/drawings] [--set KEY=VALUE]...
python benchmarks/guide.py steps [--count 24] [--start sketch|prior] [--sheet FILE] [--set KEY=VALUE]...
python benchmarks/guide.py samplers [--count 12] [--clip NAME|FILE]... [--sheet FILE]

`restyle` begins with drawings that no model and no memory has seen (`--init-image`, defaults), each with a style in the
prompt. It counts how often the nearest of all these drawings, by histograms of oriented gradients, is still the one
that the run began with, and how often the judge names the style. `steps` draws prompts of a sketch or of the prior and
compares the first picture with the last: subject and style by the judge (the subjects and styles that it knows), and
a sheet of pairs to look at. `samplers` draws prompts from nothing with each of some CLIPs, such as the bundled one and
a file of one before it: by the usual steps through the VQGAN, and by the preset `ascent`; the judge names subjects.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.feature import hog

from vqclip import images
from vqclip.config import build
from vqclip.evaluation.judging import Share, look, named
from vqclip.generation.loop import generate_stream
from vqclip.generation.models import Models
from vqclip.training.compositions import AtlasSprites
from vqclip.training.gathering import gather
from vqclip.weights.load import load_judge
from vqclip.world import load_world, mentioned
from vqclip.world.composition import Painter, of_things
from vqclip.world.drawings import load_drawings
from vqclip.writers.picture import save_image

_GRADIENTS = 64


def gradients(picture: Image.Image) -> np.ndarray:
    """Return the histograms of oriented gradients of a picture, of unit length."""
    small = np.asarray(picture.convert("RGB").resize((_GRADIENTS, _GRADIENTS), Image.Resampling.BOX)) / 255
    found = hog(small, 9, (8, 8), (2, 2), "L2-Hys", channel_axis=-1)
    return found / max(np.linalg.norm(found), 1e-9)


def drawn(prompt: str, seed: int, models: list[Models], sets: list[str], **flags: str) -> list[Image.Image]:
    """Return the first and the last picture of a run; `models` keeps the networks."""
    asked = {key.replace("__", "."): value for key, value in flags.items()}
    config = build(None, (), sets, {"prompts": (prompt,), "seed": seed, **asked})
    if not models:
        models.append(Models.load(config))
    first = last = None
    for snapshot in generate_stream(config, models[0]):
        first, last = first or images.to_pil(snapshot.image), snapshot
    return [first, last.pictures()[0]]


def restyle(options: argparse.Namespace) -> None:
    """Print what is kept of held-out drawings that are painted in a style."""
    atlas = gather(options.atlas)
    held = [drawing for drawing in load_drawings() if drawing.held == "drawing"]
    rng = np.random.default_rng(0)
    held = [held[k] for k in rng.permutation(len(held))[: max(options.count, 300)]]
    painter, styles = Painter(AtlasSprites(atlas)), list(load_world().styles)
    plain = [Image.fromarray(painter.paint(of_things([drawing.id]), 256).picture) for drawing in held]
    known = np.stack([gradients(picture) for picture in plain])
    judge, models, kept, styled = load_judge("tiny")[0], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number, drawing in enumerate(held[: options.count]):
            style, file = styles[number % len(styles)], Path(folder) / f"{number}.png"
            plain[number].save(file)
            _, last = drawn(f"{drawing.subject}, {style}", number, models, options.sets, init__image=str(file))
            kept.append(int((known @ gradients(last)).argmax()) == number)
            styled.append(named(judge, look(judge, [last]), 0, "style") == style)
    for name, right in (("subject kept", kept), ("style named", styled)):
        share = Share(sum(right), len(right))
        low, high = share.interval
        print(f"{name}: {share.right} of {share.count}, {share.value:.1%} ({low:.1%} to {high:.1%})")


def steps(options: argparse.Namespace) -> None:
    """Print what the judge names in the first and in the last picture of runs."""
    world, rng = load_world(), np.random.default_rng(1)
    subjects, styles = list(world.subjects), list(world.styles)
    judge, models, pairs, prompts = load_judge("tiny")[0], [], [], []
    for number in range(options.count):
        subject = subjects[int(rng.integers(len(subjects)))]
        prompts.append(f"{subject}, {styles[number % len(styles)]}")
        pairs.append(drawn(prompts[-1], number, models, options.sets, init__kind=options.start))
    for place, when in enumerate(("first", "last")):
        verdict = look(judge, [pair[place] for pair in pairs])
        for kind in ("subject", "style"):
            labels = [mentioned(prompt, world).get(kind) for prompt in prompts]
            share = Share(sum(named(judge, verdict, k, kind) == name for k, name in enumerate(labels)), len(labels))
            print(f"{when} picture, {kind} named: {share.right} of {share.count}, {share.value:.1%}")
    if options.sheet:
        flat = [picture for pair in pairs for picture in pair]
        labels = [text for prompt in prompts for text in (prompt, "")]
        save_image(images.contact_sheet(flat, labels, columns=8, cell=192), options.sheet, None)


def samplers(options: argparse.Namespace) -> None:
    """Print how many subjects the judge names in pictures that two samplers drew from nothing, by each CLIP."""
    world, rng, judge = load_world(), np.random.default_rng(1), load_judge("tiny")[0]
    chosen = [list(world.subjects)[k] for k in rng.permutation(len(world.subjects))[: options.count]]
    ways = {
        "vqgan": (None, {"init.kind": "random", "steps": 240, "models.memory": "", "models.prior": ""}),
        "ascent": ("ascent", {}),
    }
    pictures, labels = [], []
    for clip in options.clip or ["tiny"]:
        for way, (preset, values) in ways.items():
            config = build(preset, (), options.sets, {"models.clip": [clip], "models.upsampler": "", **values})
            models, last = Models.load(config), []
            for number, subject in enumerate(chosen):
                asked = {"prompts": (subject,), "seed": number, "models.clip": [clip], "models.upsampler": "", **values}
                *_, snapshot = generate_stream(build(preset, (), options.sets, asked), models)
                last.append(snapshot.pictures()[0])
            verdict = look(judge, last)
            share = Share(
                sum(named(judge, verdict, k, "subject") == name for k, name in enumerate(chosen)), len(chosen)
            )
            low, high = share.interval
            print(f"{Path(clip).stem}, {way}: {share.right} of {share.count} ({low:.0%} to {high:.0%})", flush=True)
            pictures += last
            labels += [f"{way}: {subject}" for subject in chosen]
    if options.sheet:
        save_image(images.contact_sheet(pictures, labels, columns=options.count, cell=128), options.sheet, None)


def main() -> None:
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("restyle", "steps", "samplers"))
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--start", choices=("sketch", "prior"), default="sketch")
    parser.add_argument("--atlas", type=Path, default=Path(".train/drawings"))
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--clip", action="append")
    parser.add_argument("--set", dest="sets", action="append", default=[])
    options = parser.parse_args()
    {"restyle": restyle, "steps": steps, "samplers": samplers}[options.what](options)


if __name__ == "__main__":
    main()
