"""Draws random prompts with random options in one process, stops half of the runs anywhere, and goes on with them.

python benchmarks/soak.py [--minutes 20] [--seed 0] [--size 64]

Every run is drawn twice: once as it is, and once either the same way or stopped at a random step and resumed. Both must
end in the same picture. Prints runs, stops, mismatches, growth of memory (the first tenth of the time does not count)
and files that were left over; the exit code is 1 if anything differed or was left.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vqclip import make_config
from vqclip.config import Config
from vqclip.generation.models import Models
from vqclip.registry import OPTIMIZERS, SCHEDULES
from vqclip.session import events, savepoint
from vqclip.session.job import Job, Resume
from vqclip.session.session import Session, run_job
from vqclip.world import captions, load_world, sample_scene


@dataclass
class Tally:
    """What happened so far."""

    runs: int = 0
    stops: int = 0
    mismatches: int = 0
    left: int = 0
    memory: int = 0


def options(chance: random.Random, side: int) -> dict[str, Any]:
    """Return random settings of a short run."""
    coarse = chance.choice([[], [f"{side // 2}:{chance.uniform(0.2, 0.8):.2f}"]])
    return {
        "steps": chance.randrange(0, 30),
        "extra_steps": chance.choice([0, 0, 3]),
        "size": [chance.choice([side, side + 8, side // 2]), side],
        "stages": [*coarse, "full:0.5"],
        "count": (count := chance.choice([1, 1, 2, 3])),
        "batch_size": chance.randint(1, count),
        "seed": chance.randrange(2**32),
        "views": {"count": chance.randint(1, 6), "chunk": chance.choice([0, 1, 2])},
        "optimizer": {"name": chance.choice(list(OPTIMIZERS)), "schedule": chance.choice(list(SCHEDULES))},
        "latent": {"ema": chance.choice([0.0, 0.8]), "noise": chance.choice([0.0, 0.4])},
        "init": {"kind": chance.choice(["random", "prior"]), "candidates": 2},
        "losses": chance.choice([{}, {"tv": 0.1}]),
        "best": {"every": chance.randint(1, 9), "views": 2},
    }


def drawn(config: Config, models: Models, stop: int | None, video: bool) -> tuple[list[Path], bool]:
    """Draw a config, or stop it at a step of one of its batches and go on; return pictures and whether it stopped."""
    config.output.video = str(Path(config.output.file).with_suffix(".mp4")) if video else None
    session, seen = Session.start(Job(config), models), 0
    for event in session:
        seen += isinstance(event, events.Stepped)
        if stop is not None and seen > stop:
            session.stop()
    found = session.outcome
    if not found.stopped:
        return list(found.pictures), False
    begun = 0 if found.step is None else len(savepoint.read(found.folder).pictures)
    rest = run_job(Job(resume=Resume(found.folder)), models=models)
    return [*found.pictures[: len(found.pictures) - begun], *rest.pictures], True


def same(a: list[Path], b: list[Path]) -> bool:
    """Whether two lists of files hold the same pictures."""
    return len(a) == len(b) and all(
        np.array_equal(np.asarray(Image.open(one)), np.asarray(Image.open(other)))
        for one, other in zip(a, b, strict=True)
    )


def resident() -> int:
    """Return the memory of this process in bytes (Linux; elsewhere 0)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmRSS"))


def once(chance: random.Random, models: Models, side: int, folder: Path, tally: Tally) -> None:
    """Draw one config twice, compare, and look at what is left."""
    scene = sample_scene(load_world(), np.random.default_rng(chance.randrange(2**32)))
    config = make_config(captions(scene, load_world()), **options(chance, side))
    video = config.total_steps > 0 and chance.random() < 0.2
    stop = chance.randrange(0, max(config.total_steps * config.count // config.batch_size, 1) + 1)
    stop = stop if chance.random() < 0.5 else None
    for name in ("a.png", "b.png"):
        config.output = replace(config.output, file=str(folder / name))
        pictures, stopped = drawn(config, models, stop if name == "b.png" else None, video)
        if name == "a.png":
            straight = pictures
    tally.runs += 1
    tally.stops += stopped
    if not same(straight, pictures):
        tally.mismatches += 1
        print(f"MISMATCH: {config}", flush=True)
    kept = {*straight, *pictures}
    tally.left += sum(f not in kept and f.suffix != ".mp4" for f in folder.iterdir())
    for file in folder.iterdir():
        if file.is_file():
            file.unlink()


def main() -> int:
    """Draw until the time is over, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=64)
    args = parser.parse_args()
    chance, tally, began = random.Random(args.seed), Tally(), time.monotonic()  # noqa: S311 - no secrets
    models = Models.load(make_config("a cat", init={"kind": "prior"}))
    with tempfile.TemporaryDirectory() as name:
        while (elapsed := time.monotonic() - began) < args.minutes * 60:
            once(chance, models, args.size, Path(name), tally)
            if not tally.memory and elapsed > args.minutes * 6:
                tally.memory = resident()
    growth = (resident() - tally.memory) / 2**20
    print(f"{tally.runs} runs in {args.minutes:g} minutes, {tally.stops} resumed, {tally.mismatches} mismatches")
    print(f"memory {resident() / 2**20:.0f} MiB, {growth:+.1f} since a tenth of the time; {tally.left} files left over")
    return int(bool(tally.mismatches or tally.left))


if __name__ == "__main__":
    sys.exit(main())
