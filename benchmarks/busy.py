"""How long a run takes beside busy processes, by how its threads wait.

python benchmarks/busy.py --loads 0,1,3 --repeats 3

Every drawing is a process of its own, once with threads that wait asleep, as vqclip asks for, and once
as OpenMP has them wait by itself, in turn. Pictures must be equal to the bit. On a machine that others
use, their load comes on top.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# GNU's OpenMP spins so many times where nothing is said: saying it keeps vqclip from saying something else
WAYS = {"asleep": {"OMP_WAIT_POLICY": "PASSIVE"}, "as it comes": {"GOMP_SPINCOUNT": "300000"}}
SAID = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", default="0,1,3", help="numbers of busy processes")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", default="256")
    parser.add_argument("--steps", default="10")
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores; {args.steps} steps at {args.size} pixels, {args.repeats} times each, in turn")
    print("| busy processes | asleep | as it comes | ratio | load before |\n| --- | --- | --- | --- | --- |")
    hashes: set[str] = set()
    for load in (int(text) for text in args.loads.split(",")):
        before = os.getloadavg()[0]
        found: dict[str, list[float]] = {way: [] for way in WAYS}
        with busy(load):
            for _ in range(args.repeats):
                for way, environment in WAYS.items():
                    seconds, digest = draw(environment, args.size, args.steps)
                    found[way].append(seconds)
                    hashes.add(digest)
        asleep, usual = (statistics.median(found[way]) for way in WAYS)
        spans = (f"{statistics.median(each):.1f} s ({min(each):.1f} to {max(each):.1f})" for each in found.values())
        print(f"| {load} | {' | '.join(spans)} | {usual / asleep:.2f} | {before:.1f} |", flush=True)
    print("the pictures are equal" if len(hashes) == 1 else f"THERE ARE {len(hashes)} DIFFERENT PICTURES")


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep so many processes busy meanwhile."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def draw(environment: dict[str, str], size: str, steps: str) -> tuple[float, str]:
    """Draw a picture; return the seconds it took, start included, and the sha256 of its file's pixels."""
    from PIL import Image

    variables = {name: value for name, value in os.environ.items() if name not in SAID} | environment
    variables["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cat.png"
        command = [sys.executable, "-m", "vqclip", "a cat", "--seed", "1", "--quiet", "--size", size, "--steps", steps]
        began = time.perf_counter()
        subprocess.run([*command, "-o", str(file)], env=variables, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        with Image.open(file) as image:
            return seconds, hashlib.sha256(image.tobytes()).hexdigest()


if __name__ == "__main__":
    main()
