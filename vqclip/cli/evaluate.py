"""`vqclip evaluate`: how often pictures show what their prompts say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vqclip import config as configs
from vqclip.cli import streams
from vqclip.cli.values import FILE, NAME, TEXT
from vqclip.errors import UsageError
from vqclip.seeding import from_text
from vqclip.terminal import bar_room


@click.command()
@click.option(
    "--folder",
    type=FILE,
    default=Path("evaluation"),
    show_default=True,
    help="Where pictures are drawn and the report is written.",
)
@click.option("--pictures", type=FILE, help="Judge the pictures of this folder; draw nothing.")
@click.option("--list", "listing", type=FILE, help="Prompts, one a line; default: 200 bundled.")
@click.option("--subset", type=int, help="Draw only so many prompts, spread evenly over the list.")
@click.option("--seeds", default="0", show_default=True, help="Seeds of every prompt: 0,1,...")
@click.option("--preset", type=TEXT, help="A preset of configs/; 'tiny' is the default.")
@click.option("-c", "files", multiple=True, type=FILE, help="A config file (YAML).")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any key of --print-config.")
@click.option("--judge", type=NAME, default="tiny", show_default=True, help="Judge: a name or a file.")
@click.option("--clip", type=NAME, default="tiny", show_default=True, help="CLIP of CLIPScore; 'none' leaves it out.")
@click.option(
    "--metric", "metric_names", multiple=True, help="kid (the default), fid, is, psnr or ssim; needs vqclip[eval]."
)
@click.option(
    "--features",
    type=NAME,
    default="judge",
    show_default=True,
    help="What FID, KID and IS look through: judge, inception, or a CLIP's name or file.",
)
@click.option("--reference", type=FILE, help="Pictures to compare with; PSNR and SSIM by name.")
def evaluate(**options: Any) -> None:
    """Draw a list of prompts and report how often the judge sees what they say.

    The judge looks through hand-made features and never guides. Pictures that are there already are not drawn again:
    a stopped evaluation goes on. Writes report.json, report.md, sheet.jpg and plots.png.
    """
    from vqclip.evaluation import metrics, pictures
    from vqclip.evaluation.run import Instruments
    from vqclip.evaluation.run import evaluate as run

    usual = ("kid",) if metrics.available() and options["features"] == "judge" else ()
    instruments = Instruments(
        options["judge"],
        None if options["clip"] == "none" else options["clip"],
        options["metric_names"] or usual,
        options["features"],
        options["reference"],
    )
    if options["pictures"] is not None:
        found, skipped = pictures.find(options["pictures"])
        if skipped:
            streams.tell(f"{skipped} pictures without a prompt in their metadata are left out")
    else:
        found = _draw(options)
    if len(found) < 2 and not options["metric_names"]:
        instruments.metric_names = ()
    report = run(found, instruments)
    streams.say(report.to_markdown())
    for path in report.write(options["folder"]):
        streams.say(path)


def _draw(options: dict[str, Any]) -> list[Any]:
    from tqdm import tqdm

    from vqclip.evaluation import listing, pictures
    from vqclip.writers import names

    prompts = listing.read_list(options["listing"])
    places = range(len(prompts)) if options["subset"] is None else listing.subset(prompts, options["subset"])
    seeds = _seeds(options["seeds"])
    chosen = [(place, prompts[place]) for place in places]
    names.check_writable(options["folder"])

    def config_for(prompt: str, seed: int) -> configs.Config:
        asked = {"prompts": (prompt,), "seed": seed, "count": 1, "batch_size": 1}
        return configs.build(options["preset"], options["files"], options["sets"], asked)

    with tqdm(total=len(chosen) * len(seeds), desc="drawing", unit="picture", **bar_room()) as bar:
        return pictures.draw_prompts(chosen, seeds, options["folder"], config_for, lambda _: bar.update())


def _seeds(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    found = [from_text(part) for part in parts]
    # -1 draws a new seed at every call, so that nothing could be gone on with
    if not found or "-1" in parts or len(set(found)) != len(found):
        raise UsageError(f"--seeds {text!r}: give different seeds, such as 0,1")
    return found
