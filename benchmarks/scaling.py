"""How the seconds of a step grow with the picture's size, the views, the prompts and the batch; memory over long runs.

python benchmarks/scaling.py [GROUP]... [--repeat 5] [--threads N] [--device cpu] [--precision auto] [--plot FILE]

Groups: size (128 to 1024 pixels, with the decoder's attention alone beside it), views (1 to 128), prompts (1 to 32),
batch (1 to 16 pictures at once, and what the same number takes one after the other), memory (200 steps of one run, 10
pictures in one process), start (seconds of `vqclip --help`, and from the command to the first step). The bundled
models with the views of the preset `tiny`, on the full grid; every row is the median of `--repeat` steps. Exponents
are slopes of the logarithms: 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from step import device_name, synchronize

from vqclip.cli.allocator import keep_freed_memory
from vqclip.config import Config, build
from vqclip.generation.loop import stream
from vqclip.generation.models import Models
from vqclip.generation.prepare import prepare
from vqclip.generation.run import Run

SIZES = (128, 192, 256, 384, 512, 768, 1024)
VIEWS = (1, 2, 4, 8, 16, 32, 64, 128)
PROMPTS = (1, 4, 16, 32)
BATCHES = (1, 2, 4, 8, 16)
Rows = list[tuple[int, float]]


def main() -> None:
    """Measure the groups that were asked for, print tables, and plot what grows."""
    keep_freed_memory()
    args = parse()
    if args.threads:
        torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {device_name(args.device)}")
    growing = {"size": of_size, "views": of_views, "prompts": of_prompts, "batch": of_batch}
    wanted = args.groups or [*growing, "memory", "start"]
    curves = {name: growing[name](args) for name in wanted if name in growing}
    if "memory" in wanted:
        memory(args)
    if "start" in wanted:
        start()
    if args.plot and curves:
        plot(curves, args.plot)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", choices=["size", "views", "prompts", "batch", "memory", "start", []])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--plot", type=Path)
    return parser.parse_args()


def config(args: argparse.Namespace, size: int = 256, views: int = 16, prompts: int = 1, batch: int = 1) -> Config:
    """Return the config of a run of the bundled models on the full grid from random codes, never scored."""
    changes = ["stages=[full:1]", "models.prior=", "models.upsampler=", "best.every=100000", "steps=100000",
               f"views.count={views}", f"count={batch}", f"batch_size={batch}", "seed=1",
               f"run.device={args.device}", f"run.precision={args.precision}"]  # fmt: skip
    found = build(None, (), changes, {"size": [size, size]})
    found.prompts = tuple(f"a cat number {n}" if n else "a cat" for n in range(prompts))
    return found


def run_of(args: argparse.Namespace, **sizes: int) -> Run:
    """Return a run that has done its first two steps."""
    wanted = config(args, **sizes)
    models = Models.load(wanted)
    run = prepare(models.resolve(wanted), models).run(tuple(range(1, wanted.count + 1)))
    for _ in range(2):
        run.step()
    return run


def seconds_of(work: Callable[[], object], args: argparse.Namespace) -> float:
    """Return the median seconds of some repetitions."""
    found = []
    for _ in range(args.repeat):
        synchronize(args.device)
        began = time.perf_counter()
        work()
        synchronize(args.device)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def of_size(args: argparse.Namespace) -> Rows:
    """Print seconds a step by the picture's side, the decoder's attention alone beside them."""
    print("\n| side | seconds a step | of which the decoder's attention |\n| --- | --- | --- |")
    rows, without = [], []
    for size in SIZES:
        run = run_of(args, size=size)
        rows.append((size, seconds_of(run.step, args)))
        alone = attention_seconds(run, args)
        without.append((size * size, rows[-1][1] - alone))
        print(f"| {size} | {rows[-1][1]:.3f} | {alone:.4f} |", flush=True)
    print(f"exponent in pixels: {exponent([(s * s, t) for s, t in rows]):.2f}, without attention "
          f"{exponent(without):.2f}, of the larger half {exponent(without[len(without) // 2 :]):.2f}")  # fmt: skip
    return rows


def attention_seconds(run: Run, args: argparse.Namespace) -> float:
    """Return the seconds that the decoder's attentions take, there and back, on a run's grid."""
    blocks = [m for m in run.blank.medium.vqgan.network.decoder.modules() if type(m).__name__ == "_AttnBlock"]
    dtype = torch.bfloat16 if run.config.run.precision == "bf16" else torch.float32
    total = 0.0
    for block in blocks:
        x = torch.randn(
            1, block.in_channels, *run.state.drawable.z.shape[-2:], device=run.state.drawable.z.device, dtype=dtype
        )
        x.requires_grad_()

        def there_and_back(block=block, x=x) -> None:
            with torch.autocast(x.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
                y = block(x)
            y.sum().backward()

        there_and_back()
        total += seconds_of(there_and_back, args)
    return total


def of_views(args: argparse.Namespace) -> Rows:
    """Print seconds a step by the number of views."""
    return table("views", VIEWS, lambda n: seconds_of(run_of(args, views=n).step, args))


def of_prompts(args: argparse.Namespace) -> Rows:
    """Print seconds a step by the number of prompts."""
    return table("prompts", PROMPTS, lambda n: seconds_of(run_of(args, prompts=n).step, args))


def of_batch(args: argparse.Namespace) -> Rows:
    """Print seconds a step and picture by the pictures in a batch, and of 8 single pictures drawn by 8 commands."""
    rows = table("pictures", BATCHES, lambda n: seconds_of(run_of(args, batch=n).step, args) / n, "seconds a picture")
    alone = sum(drawing() for _ in range(2)) / 2
    together = drawing("--count", "8", "--batch-size", "8")
    print(
        f"8 pictures by 8 commands {8 * alone:.1f} s, by one command {together:.1f} s: {8 * alone / together:.2f} times"
    )
    return rows


def table(what: str, values: tuple[int, ...], measure: Callable[[int], float], unit: str = "seconds a step") -> Rows:
    """Print a row a value; return them."""
    print(f"\n| {what} | {unit} |\n| --- | --- |")
    rows = []
    for value in values:
        rows.append((value, measure(value)))
        print(f"| {value} | {rows[-1][1]:.4f} |", flush=True)
    print(f"exponent in {what}: {exponent(rows):.2f}")
    return rows


def exponent(rows: Rows) -> float:
    """Return the slope of log seconds over log value."""
    x, y = (np.log([row[i] for row in rows]) for i in (0, 1))
    return float(np.polyfit(x, y, 1)[0])


def drawing(*options: str) -> float:
    """Return the seconds of one command that draws with the default preset."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "vqclip", "a cat", "--seed", "1", "--quiet", "-o", "scaling.png", *options]
    folder = Path(__file__).resolve().parent.parent / ".train" / "scaling"
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def memory(args: argparse.Namespace) -> None:
    """Print the resident memory along 200 steps of one run, and after each of 10 pictures."""
    run = run_of(args)
    along = []
    for step in range(200):
        run.step()
        if step % 20 == 19:
            along.append(resident())
    print(f"\nMiB after 20, 40, ..., 200 steps: {along}; the last over the second: {along[-1] / along[1]:.3f}")
    each, wanted = [], build(None, (), ["seed=1"], {})
    wanted.prompts = ("a cat",)
    models = Models.load(wanted)
    for _ in range(10):
        for _ in stream(prepare(models.resolve(wanted), models)):
            pass
        each.append(resident())
    print(f"MiB after 1, ..., 10 pictures: {each}; the last over the second: {each[-1] / each[1]:.3f}")


def resident() -> int:
    """Return the resident memory of this process in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return round(pages * 4096 / 2**20)


def start() -> None:
    """Print the seconds of `--help`, of importing torch, and from the command to the first step."""
    helped = least([sys.executable, "-m", "vqclip", "--help"])
    torched = least([sys.executable, "-c", "import torch"])
    print(f"\nvqclip --help: {helped:.2f} s; import torch: {torched:.2f} s", flush=True)
    found = []
    for _ in range(3):
        began = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "vqclip",
            "a cat",
            "--seed",
            "1",
            "--json-progress",
            "-o",
            "start.png",
            "--yes",
        ]
        folder = Path(__file__).resolve().parent.parent / ".train" / "scaling"
        folder.mkdir(parents=True, exist_ok=True)
        with subprocess.Popen(
            command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        ) as child:
            for line in child.stderr:
                if line.startswith("{") and json.loads(line).get("step", 0) >= 1:
                    found.append(time.perf_counter() - began)
                    break
            child.kill()
    print(f"from the command to the end of step 1, with the prior's 8 candidates: {min(found):.2f} s")


def least(command: list[str]) -> float:
    """Return the least seconds of five runs of a command."""
    found = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - began)
    return min(found)


def plot(curves: dict[str, Rows], file: Path) -> None:
    """Draw every curve, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(curves) + 1, 3.2), layout="constrained")
    for axes, (name, rows) in zip(np.atleast_1d(figure.subplots(1, len(curves))), curves.items(), strict=True):
        axes.loglog(*zip(*rows, strict=True), marker="o")
        axes.set(xlabel="pixels a side" if name == "size" else name, title=name)
        ticks = [value for value, _ in rows]
        axes.set_xticks(ticks, [str(t) for t in ticks], fontsize=7)
        axes.minorticks_off()
        low, high = min(t for _, t in rows), max(t for _, t in rows)
        axes.set_ylim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)))
    figure.supylabel("seconds")
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
