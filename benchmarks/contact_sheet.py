"""Draws the prompts and seeds of a list with the shipped defaults and puts them on one sheet.

python benchmarks/contact_sheet.py --folder .train/sheet --sheet docs/images/sheet.jpg [--preset NAME]
                                  [--set KEY=VALUE]...
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import vqclip
from vqclip import images, resources
from vqclip.cli.allocator import keep_freed_memory
from vqclip.config import build
from vqclip.errors import UsageError
from vqclip.writers.picture import save_image


def read_list(file: Path) -> list[tuple[int, str]]:
    """Return the seeds and prompts of a list; blank lines and those that begin with # are skipped."""
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        seed, _, prompt = line.strip().partition(" ")
        if not seed or seed.startswith("#"):
            continue
        if not seed.isdigit() or not prompt.strip():
            raise UsageError(f"{file} line {number}: write a seed and a prompt, such as '1 a cat'")
        rows.append((int(seed), prompt.strip()))
    return rows


def main() -> None:
    """Draw what is not in the folder yet, then the sheet."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", type=Path, default=resources.path("configs/evaluate/sheet.txt"))
    parser.add_argument("--folder", type=Path, default=Path(".train/sheet"))
    parser.add_argument("--sheet", type=Path, default=Path("docs/images/sheet.jpg"))
    parser.add_argument("--preset")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--columns", type=int, default=6)
    arguments = parser.parse_args()
    rows, models, seconds = read_list(arguments.list), None, []
    for seed, prompt in rows:
        file = arguments.folder / f"{seed:03d}.png"
        if file.exists():
            continue
        config = build(arguments.preset, (), arguments.sets, {"seed": seed, "prompts": (prompt,)})
        models = models or vqclip.Models.load(config)
        began = time.perf_counter()
        result = vqclip.generate(config, models)
        seconds.append(time.perf_counter() - began)
        save_image(result.image, file, result.pictures[0].record)
        print(f"{seconds[-1]:6.1f} s  {prompt}", flush=True)
    pictures = [images.read_image(arguments.folder / f"{seed:03d}.png") for seed, _ in rows]
    sheet = images.contact_sheet(pictures, [prompt for _, prompt in rows], arguments.columns, 192)
    save_image(sheet, arguments.sheet, None, quality=88)
    if seconds:
        print(f"{len(seconds)} pictures, {sum(seconds) / len(seconds):.1f} s each on average")


if __name__ == "__main__":
    main()
