"""One optimization step as the published VQGAN+CLIP loop does it, beside vqclip's: same networks, size, views.

python benchmarks/step.py [--size 256] [--views 32] [--rounds 5] [--threads N] [--device cpu] [--precisions fp32,auto]
                          [--vqgan imagenet_f16_16384] [--clip ViT-B-32/openai] [--no-memory]
python benchmarks/step.py --preset NAME[,NAME] | --preset all [--rounds 5] [--threads N] [--device cpu]

The reference is written from the constants of nerdyrodent's VQGAN-CLIP, whose defaults the field copied: codes looked
up through a one-hot product with the codebook, taming's decoder, (average + maximum) pooling of the whole picture once
for every view, kornia's affine, perspective, jitter and erasing, noise, open_clip's own forward pass, Adam; all fp32.
Weights are random, which costs the same. Steps alternate in one process: reference, vqclip in each precision, and so
on; the ratio is that of the medians, its spread the least and largest ratio of one round. Then the image gradients are
compared, both sides given the same views, and each side's peak memory is measured in a child process of its own.
`fp32@0.5` among the precisions is fp32 with `views.tokens` 0.5.

With `--preset` the steps of presets are timed, as they are drawn by default, beside no reference: the bundled networks,
or random ones of the sizes that the preset names.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from memory import peak_bytes, random_models
from reference import Reference
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vqclip import make_config, resources
from vqclip.cli.allocator import keep_freed_memory
from vqclip.config.groups import ModelsConfig
from vqclip.drawables import Moment
from vqclip.generation.models import Models
from vqclip.generation.prepare import prepare
from vqclip.generation.run import Run
from vqclip.guidance.views import aspect_of, cut_each, sample_views
from vqclip.models import casting
from vqclip.weights import catalog

MIB = 2**20
_REFERENCE = "reference"


def main() -> None:
    """Time, compare, measure, print."""
    keep_freed_memory()
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.preset:
        time_presets(options)
        return
    if options.child:
        print(json.dumps(own_peak(options)))
        return
    sides = [_REFERENCE, *options.precisions]
    # first of all: a child is told the peak of the process it was forked from
    peaks = {} if options.no_memory else {name: child_peak(name) for name in sides}
    print(f"{options.vqgan}, {options.clip}, {options.size}x{options.size} pixels, {options.views} views; "
          f"torch {torch.__version__}, {torch.get_num_threads()} threads, {device_name(options.device)}")  # fmt: skip
    models, reference = networks(options)
    runs = {name: run_of(copy.deepcopy(models), options, name) for name in options.precisions}
    matmul, conv = ceilings(options.device, {"fp32", *(run.config.run.precision for run in runs.values())})
    for kind, found in (("matmul", matmul), ("convolution", conv)):
        print(f"ceiling, {kind}: " + ", ".join(f"{name} {value:.0f} GFLOP/s" for name, value in found.items()))
    steps = {_REFERENCE: reference.step} | {name: run.step for name, run in runs.items()}
    work = {name: flops(step) for name, step in steps.items()}  # also warms up
    seconds = timed(steps, options.rounds, options.device)
    print("\n| side | seconds a step | ratio | spread | GFLOP a step | GFLOP/s | peak MiB | cosine of gradients |")
    print("|" + " --- |" * 8)
    for name in sides:
        ratio, low, high = ratios(seconds, name)
        cosine = "" if name == _REFERENCE else f"{gradient_cosine(runs[name], reference):.5f}"
        median = statistics.median(seconds[name])
        peak = f"{peaks[name] / MIB:.0f}" if name in peaks else ""
        print(f"| {label(name, runs)} | {median:.3f} | {ratio:.2f} | {low:.2f} to {high:.2f} | {work[name]:.0f} | "
              f"{work[name] / median:.0f} | {peak} | {cosine} |")  # fmt: skip
    print()
    for name in options.precisions:
        ratio, low, high = ratios(seconds, name)
        print(f"ratio {'default' if name == 'auto' else name} {ratio:.2f} ({low:.2f} to {high:.2f})")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--views", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precisions", type=lambda text: text.split(","), default=["fp32", "auto"])
    parser.add_argument("--compile", default="auto", choices=("auto", "on", "off"))
    parser.add_argument("--vqgan", default="imagenet_f16_16384")
    parser.add_argument("--clip", default="ViT-B-32/openai")
    parser.add_argument("--preset", default="", help="time steps of these presets, or of all")
    parser.add_argument("--no-memory", action="store_true", help="leave out the peaks")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def networks(options: argparse.Namespace) -> tuple[Models, Reference]:
    """Return vqclip's networks and the reference, which has its own copies of the same weights."""
    torch.manual_seed(0)
    models = random_models(options.vqgan, options.clip)
    reference = Reference(models, options.size, options.views, options.device)
    models.clips[0].fold()
    return models, reference


def run_of(models: Models, options: argparse.Namespace, precision: str) -> Run:
    """Return a run of vqclip on the full grid from random codes, which scores nothing between its steps.

    A share of patches, as in `fp32@0.5`, may stand behind the precision.
    """
    precision, _, share = precision.partition("@")
    config = make_config(
        "a cat",
        seed=1,
        size=options.size,
        steps=100_000,
        stages=["full:1"],
        models={"prior": "", "upsampler": ""},
        views={"count": options.views, "tokens": float(share or 1)},
        best={"every": 100_000},
        run={"device": options.device, "precision": precision, "compile": options.compile},
    )
    resolved = models.resolve(config)
    casting.hold(models.vqgan, models.clips, resolved.run.precision)  # as `Models.load` does
    return prepare(resolved, models).run((1,))


def time_presets(options: argparse.Namespace) -> None:
    """Time steps of presets, each alone, and print a table."""
    names = resources.presets() if options.preset == "all" else options.preset.split(",")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {device_name(options.device)}\n")
    print(
        "| preset | canvas, VQGAN | CLIP | pixels, views | precision | seconds a step | spread | CPU seconds | GFLOP |"
    )
    print("|" + " --- |" * 9)
    for name in names:
        run, named = preset_run(name, options.device)
        work = flops(run.step)
        busy = time.process_time()
        seconds = timed({name: run.step}, options.rounds, options.device)[name]
        busy, config = (time.process_time() - busy) / options.rounds, run.config
        asked = f"{config.canvas.name}, {named.vqgan} | {', '.join(named.clip)} | {config.size[0]}x{config.size[1]}"
        asked += f", {config.views.count} | {config.run.precision}"
        spread = f"{statistics.median(seconds):.3f} | {min(seconds):.3f} to {max(seconds):.3f}"
        print(f"| `{name}` | {asked} | {spread} | {busy:.2f} | {work:.0f} |", flush=True)


def preset_run(name: str, device: str) -> tuple[Run, ModelsConfig]:
    """Return a run of a preset on its last stage, with no score between its steps, and the networks that it names."""
    values = {"seed": 1, "steps": 100_000, "stages": ["full:1"], "best": {"every": 100_000}, "run": {"device": device}}
    config = make_config("a cat", preset=name, **values)
    bundled = {record.name for record in catalog.records() if record.file}
    if config.models.vqgan in bundled:
        models = Models.load(config)
    else:
        torch.manual_seed(0)
        models = random_models(config.models.vqgan, *map(published_like, config.models.clip))
        for clip in models.clips:
            clip.fold()
        config = make_config("a cat", preset=name, **values, models={"prior": "", "upsampler": "", "memory": ""})
    resolved = models.resolve(config)
    casting.hold(models.vqgan, models.clips, resolved.run.precision)
    return prepare(resolved, models).run((1,)), config.models


def published_like(clip: str) -> str:
    """Return the `ARCH/TAG` of open_clip's that a CLIP has the size of: itself, or what its record names."""
    if clip not in catalog.names("clip"):
        return clip
    return str((catalog.find("clip", clip).architecture or {})["like"])


def timed(sides: dict[str, Callable[[], Any]], rounds: int, device: str) -> dict[str, list[float]]:
    """Return the seconds of every side's step in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, step in sides.items():
            synchronize(device)
            began = time.perf_counter()
            step()
            synchronize(device)
            seconds[name].append(time.perf_counter() - began)
    return seconds


def ratios(seconds: dict[str, list[float]], name: str) -> tuple[float, float, float]:
    """Return the reference's median over a side's, with the least and largest ratio of one round."""
    each = [a / b for a, b in zip(seconds[_REFERENCE], seconds[name], strict=True)]
    return statistics.median(seconds[_REFERENCE]) / statistics.median(seconds[name]), min(each), max(each)


def gradient_cosine(run: Run, reference: Reference) -> float:
    """Return the cosine of the image gradients by the same views of the same picture, ours and the reference's."""
    guidance, config = run.guidance, run.config
    image = run.render(run.state.drawable).float().detach()
    perceptor, targets = guidance.perceptors[0], guidance.targets[0]
    leaf = image.clone().requires_grad_()
    guidance.backward(leaf, Moment((1,), 0, 0.0))
    views = sample_views(guidance.plan(0.0), 1, 0, aspect_of(image), perceptor.image_size)
    other = image.clone().requires_grad_()
    cuts = cut_each(other.expand(config.views.count, -1, -1, -1), views, perceptor.image_size)
    reference.loss_of(cuts, targets.embeddings).backward()
    return float(nn.functional.cosine_similarity(leaf.grad.flatten(), other.grad.flatten(), dim=0))


def flops(step: Callable[[], Any]) -> float:
    """Return the GFLOP of matrix products and convolutions of one step, the latter as by their definition."""
    minimal = {torch.ops.aten._nnpack_spatial_convolution: minimal_flops}
    with FlopCounterMode(display=False, custom_mapping=minimal) as counter:
        step()
    return counter.get_total_flops() / 1e9


def minimal_flops(x: list[int], weight: list[int], *_: Any, out_shape: list[int], **__: Any) -> int:
    """Return the FLOP that a convolution by minimal filtering stands for: of x (B, C, H, W) by weight (C', C, 3, 3)."""
    return 2 * math.prod(out_shape) * math.prod(weight[1:])


def ceilings(device: str, precisions: set[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the GFLOP/s that one large matrix product and one large direct convolution reach, by precision.

    Only of the precisions that are run: where bf16 is emulated, one product takes half a minute.
    """
    matmul, conv = {}, {}
    for name in sorted(precisions):
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
        a, b = (torch.randn(2048, 2048, device=device, dtype=dtype) for _ in range(2))
        matmul[name] = 2 * 2048**3 / best_seconds(lambda a=a, b=b: a @ b, device) / 1e9
        x = torch.randn(1, 256, 128, 128, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        w = torch.randn(256, 256, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        seconds = best_seconds(lambda x=x, w=w: nn.functional.conv2d(x, w, padding=1), device)
        conv[name] = 2 * 9 * 256**2 * 128**2 / seconds / 1e9
    return matmul, conv


def best_seconds(work: Callable[[], Tensor], device: str) -> float:
    """Return the least seconds of ten runs, after two to warm up."""
    found = []
    for _ in range(12):
        synchronize(device)
        began = time.perf_counter()
        work()
        synchronize(device)
        found.append(time.perf_counter() - began)
    return min(found[2:])


def child_peak(name: str) -> int:
    """Return the peak memory in bytes of a fresh process that does two steps of one side."""
    command = [sys.executable, __file__, *sys.argv[1:], "--child", name]
    return int(json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout))


def own_peak(options: argparse.Namespace) -> int:
    """Do two steps of the side that `--child` names and return this process's peak memory in bytes."""
    models, reference = networks(options)
    if options.child == _REFERENCE:
        del models
        step = reference.step
    else:
        del reference
        step = run_of(models, options, options.child).step
    for _ in range(2):
        step()
    return torch.cuda.max_memory_allocated() if options.device.startswith("cuda") else peak_bytes()


def label(name: str, runs: dict[str, Run]) -> str:
    """Return what a row of the table is called."""
    if name == _REFERENCE:
        return "reference, fp32"
    share = runs[name].config.views.tokens
    return f"vqclip, {runs[name].config.run.precision}" + (f", tokens {share:g}" if share < 1 else "")


def synchronize(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def device_name(device: str) -> str:
    """Return the name of the processor."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")


if __name__ == "__main__":
    main()
