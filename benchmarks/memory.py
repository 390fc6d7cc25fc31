"""Measure the peak memory of a run's steps and compare it with the estimate of `vqclip.weights.memory`.

python benchmarks/memory.py [--sizes 128,256,512] [--views 16,64] [--steps 2] [--precision fp32]
                            [--model tiny | --model VQGAN,ARCH/TAG]

Every case runs in a child process of its own: it loads the networks, prepares a run on the full grid, and steps.
`ready` is the memory before the first step (to compare with `_BASE`), `growth` what the steps add at their peak (to
compare with decoder, views and pictures). A least-squares fit of the growth proposes factors for the constants of that
module. Networks of public checkpoints, such as imagenet_f16_16384,ViT-B-32/openai, get random weights.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

MIB = 2**20


def main() -> None:
    """Measure all cases and print a table and the fit."""
    options = parse()
    if options.child:
        print(json.dumps(measure(*json.loads(options.child))))
        return
    cases = [(size, views) for size in options.sizes for views in options.views]
    print(" size views   ready  growth estimate    peak run_bytes  ratio")
    rows = []
    for size, views in cases:
        row = in_child(options.model, size, views, options.steps, options.precision)
        mib = {key: value / MIB for key, value in row.items() if key not in ("size", "views")}
        estimate = mib["run"] - mib["weights"] - memory_base() / MIB
        print(
            f"{size:5} {views:5} {mib['ready']:7.0f} {mib['growth']:7.0f} {estimate:8.0f} "
            f"{mib['peak']:7.0f} {mib['run']:9.0f} {row['run'] / row['peak']:6.2f}",
            flush=True,
        )
        rows.append(row)
    print("in MiB; ratio = run_bytes / peak, meant to lie between 1 and 1.25")
    if options.precision == "fp32":
        fit(rows)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="peak memory of a step beside its estimate")
    parser.add_argument("--sizes", type=numbers, default=[128, 256, 512], help="sides in pixels")
    parser.add_argument("--views", type=numbers, default=[16, 64], help="views a step, all in one chunk")
    parser.add_argument("--steps", type=int, default=2, help="steps to measure")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--model", default="tiny", help="tiny, or a public VQGAN and CLIP")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def numbers(text: str) -> list[int]:
    """Read `128,256` as a list."""
    return [int(part) for part in text.split(",")]


def in_child(model: str, size: int, views: int, steps: int, precision: str) -> dict[str, int]:
    """Return what a fresh process measures for one case."""
    case = json.dumps([model, size, views, steps, precision])
    done = subprocess.run([sys.executable, __file__, "--child", case], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure(model: str, size: int, views: int, steps: int, precision: str) -> dict[str, int]:
    """Run `steps` steps on the full grid in this process; return bytes measured and estimated."""
    from vqclip import make_config
    from vqclip.generation.models import Models
    from vqclip.generation.prepare import prepare
    from vqclip.models import casting
    from vqclip.weights import memory

    config = make_config(
        "a cat",
        seed=1,
        size=size,
        steps=1000,
        stages=["full:1"],
        models={"prior": "", "upsampler": ""},
        views={"count": views, "chunk": views},
        best={"every": 1000},
        run={"device": "cpu", "precision": precision},
    )
    models = Models.load(config) if model == "tiny" else random_models(*model.split(","))
    if model != "tiny":
        models.clips[0].fold()
        casting.hold(models.vqgan, models.clips, precision)
    run = prepare(models.resolve(config), models).run((1,))
    ready = peak_bytes()
    for _ in range(steps):
        run.step()
    peak = peak_bytes()
    architecture, clips = models.vqgan.architecture, [clip.architecture for clip in models.clips]
    weights = sum(p.numel() * p.element_size() for each in (models.vqgan, *models.clips) for p in each.parameters())
    estimate = memory.run_bytes(architecture, (size, size), 1, views, clips, weights, precision)
    decoder, view = memory.decoder_bytes(architecture, size, size), views * max(map(memory.view_bytes, clips))
    return {
        "size": size, "views": views, "ready": ready, "growth": peak - ready, "peak": peak, "run": estimate,
        "decoder": decoder, "view": view, "pictures": 16 * size * size * 3 * 4,
        "attention": attention_bytes(decoder, architecture, size), "weights": weights,
    }  # fmt: skip


def random_models(vqgan: str, *clips: str) -> Any:
    """Return networks of a public VQGAN's and public CLIPs' architectures, of random weights."""
    from vqclip.generation.models import Models
    from vqclip.models.clip import CLIP
    from vqclip.models.openclip import pretrained
    from vqclip.models.vqgan import VQGAN
    from vqclip.types import VQGANArchitecture
    from vqclip.weights import catalog

    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in catalog.find("vqgan", vqgan).architecture.items()}
    towers = [CLIP(pretrained(*clip.split("/")).architecture) for clip in clips]
    frozen = [network.eval().requires_grad_(False) for network in (VQGAN(VQGANArchitecture(**fields)), *towers)]
    return Models(frozen[0], frozen[1:], {}, [""] * len(towers))


def attention_bytes(decoder: int, architecture: object, size: int) -> int:
    """Return the part of the decoder's estimate that does not scale with `_PER_BLOCK`."""
    from unittest.mock import patch

    from vqclip.weights import memory

    with patch.object(memory, "_PER_BLOCK", 0.0):
        return min(memory.decoder_bytes(architecture, size, size), decoder)


def memory_base() -> int:
    """Return what the estimate takes the libraries to need."""
    from vqclip.weights import memory

    return memory._BASE


def peak_bytes() -> int:
    """Return the largest resident memory this process has had."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def fit(rows: list[dict[str, int]]) -> None:
    """Propose factors of the estimates of decoder and views that meet the growth best, by least relative squares."""
    from vqclip.weights import memory

    blocks = np.array([row["decoder"] - row["attention"] for row in rows], dtype=float)
    pixels = np.array([row["view"] for row in rows], dtype=float)
    growth = np.array([row["growth"] - row["attention"] - row["pictures"] for row in rows], dtype=float)
    weight = 1 / np.array([max(row["growth"], 1) for row in rows], dtype=float)
    columns = np.stack([blocks, pixels], 1) * weight[:, None]
    (per_block, per_pixel), *_ = np.linalg.lstsq(columns, growth * weight, rcond=None)
    base = max(row["ready"] - row["weights"] for row in rows) / MIB
    print(f"fitted: decoder x {per_block:.2f}, views x {per_pixel:.2f}, _BASE = {base:.0f} MiB, now ", end="")
    print(f"{memory._BASE / MIB:.0f} MiB")


if __name__ == "__main__":
    main()
