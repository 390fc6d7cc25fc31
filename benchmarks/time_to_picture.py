"""Measure the README's drawing: wall seconds from the command to the finished file, steps a second, peak memory.

    python benchmarks/time_to_picture.py [--repeat N] [--steps N] [--size N|WxH] [--limit SECONDS]

Runs `python -m vqclip "a cat in Van Gogh style" --steps 500 --seed 1` in a child process, as a user would, and reads
its JSON progress. With `--limit` the exit code is 1 if the slowest repetition took longer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROMPT = "a cat in Van Gogh style"


@dataclass(frozen=True)
class Measured:
    """One drawing: seconds to the file and to step 1, steps a second in between, peak memory of the child in bytes."""

    seconds: float
    first_step: float
    rate: float
    peak: int
    size: tuple[int, int]


def main() -> int:
    """Draw, print the table, and compare with the limit."""
    options = parse()
    print(f"{PROMPT!r}, {options.steps} steps; {machine()}")
    print(f"{'run':>3} {'seconds':>8} {'to step 1':>9} {'steps/s':>8} {'peak MiB':>9}  picture")
    runs = []
    for number in range(1, options.repeat + 1):
        run = draw(options.steps, options.size)
        peak = f"{run.peak / 2**20:9.0f}" if run.peak else "        -"
        picture = "x".join(map(str, run.size))
        print(f"{number:3} {run.seconds:8.1f} {run.first_step:9.1f} {run.rate:8.2f} {peak}  {picture}", flush=True)
        runs.append(run)
    slowest = max(run.seconds for run in runs)
    if options.limit is not None and slowest > options.limit:
        print(f"over the limit: {slowest:.1f} s, {options.limit:g} s are allowed")
        return 1
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="time and memory of the README's drawing")
    parser.add_argument("--repeat", type=positive, default=1, help="how often to draw")
    parser.add_argument("--steps", type=positive, default=500)
    parser.add_argument("--size", help="N or WxH; the preset's without it")
    parser.add_argument("--limit", type=float, help="exit 1 if a drawing takes more seconds")
    return parser.parse_args()


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def draw(steps: int, size: str | None) -> Measured:
    """Draw once in a child process and measure it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.png"
        command = [sys.executable, "-m", "vqclip", PROMPT, "--steps", str(steps), "--seed", "1", "-o", str(file)]
        command += ["--json-progress", *(["--size", size] if size else [])]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        began = time.perf_counter()
        child = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        marks = follow(child, began)
        code = child.wait()
        seconds = time.perf_counter() - began
        if code or not file.exists() or 1 not in marks:
            raise SystemExit(f"the drawing failed with exit code {code}")
        first, last = marks[1], marks[steps]
        return Measured(seconds, first, (steps - 1) / (last - first) if steps > 1 else 0.0, peak_bytes(), side(file))


def follow(child: subprocess.Popen, began: float) -> dict[int, float]:
    """Read the child's progress to its end; return the second at which each step was reported."""
    marks = {}
    for line in child.stderr:
        try:
            event = json.loads(line)
        except ValueError:
            print(line, end="", file=sys.stderr)
            continue
        if event.get("event") == "step":
            marks[event["step"]] = time.perf_counter() - began
    return marks


def peak_bytes() -> int:
    """Return the largest resident memory of any child so far, 0 where the platform does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def side(file: Path) -> tuple[int, int]:
    """Return width and height of a picture in pixels."""
    from PIL import Image

    with Image.open(file) as image:
        return image.size


def machine() -> str:
    """Return what the numbers depend on."""
    asked = os.environ.get("OMP_NUM_THREADS")
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = f"OMP_NUM_THREADS={asked}" if asked else "torch's default threads"
    return f"{count} CPUs ({platform.machine()}), torch {metadata.version('torch')}, {threads}"


if __name__ == "__main__":
    sys.exit(main())
