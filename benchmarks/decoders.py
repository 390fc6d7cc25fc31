"""Compare decoders: cost, memory, and how well they give back pictures, their own codes and codes beside these.

python benchmarks/decoders.py [--random] [--names tiny,llamagen_f16] [--size 256] [--pictures 48] [--repeats 5]
                              [--precision fp32]

Without `--random` every decoder is measured whose file is here; with it every architecture of the catalog, of random
weights, for cost and memory only. Each has a process of its own. Columns:

- `forward`, `both`: milliseconds of processor time, of all threads, to decode one picture, and to bring a gradient back
  to the latents as well; the median
- `x`: `both` as a share of that of taming's f16 VQGAN, measured in the same run
- `peak`: MB of memory that decoding and its way back add at most
- `PSNR`: of pictures that are encoded and decoded, in dB
- `FD`, `FD*`: the Frechet distance between the judge's hand-made features of the pictures and of what comes back,
  without and with a fifth of the codes replaced by one of their eight nearest (as pFID does, arXiv 2503.08354). These
  are no Inception features: figures compare with each other only.

Pictures are renders: shapes in the settings, weathers and styles of the second world, the same for all.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

MB = 1e6
REFERENCE = "imagenet_f16_16384"
REPLACED, NEIGHBOURS = 0.2, 8
# so few pictures tell no covariance of all features
DIMENSIONS = 16


def main() -> None:
    """Measure all decoders, each in a process of its own, and print a table."""
    options = parse()
    if options.child:
        print(json.dumps(measure(options, options.child, options.child_random)))
        return
    cases = [(name, options.random) for name in options.names or (known() if options.random else here())]
    if (REFERENCE, True) not in cases:
        cases.insert(0, (REFERENCE, True))
    base, rows = 0.0, []
    print("| decoder | weights | forward, ms | both, ms | x | peak, MB | PSNR | FD | FD* |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    cases.sort(key=lambda case: case != (REFERENCE, True))
    for name, random in cases:
        row = in_child(name, random)
        base = base or row["both"]
        figures = [f"{row[key]:.2f}" if key in row else "" for key in ("psnr", "fd", "replaced")]
        numbers = [f"{row['forward']:.0f}", f"{row['both']:.0f}", f"{row['both'] / base:.2f}", f"{row['peak']:.0f}"]
        print("| " + " | ".join([name, "random" if random else "its own", *numbers, *figures]) + " |", flush=True)
        rows.append(row)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="cost, memory and fidelity of decoders")
    parser.add_argument("--random", action="store_true", help="every architecture, of random weights")
    parser.add_argument("--names", type=lambda text: text.split(","), help="only these, names or files")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in pixels")
    parser.add_argument("--pictures", type=int, default=48, help="renders that are given back")
    parser.add_argument("--repeats", type=int, default=5, help="times that cost is measured")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--child-random", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def known() -> list[str]:
    """Return the names of public decoders, one of each architecture."""
    from vqclip.weights import catalog

    public = [r for r in catalog.records() if r.kind == "vqgan" and r.architecture]
    return list({json.dumps(dict(record.architecture or {})): record.name for record in reversed(public)}.values())[
        ::-1
    ]


def here() -> list[str]:
    """Return the names of decoders whose files are on this machine."""
    from vqclip.weights import catalog

    return [r.name for r in catalog.records() if r.kind == "vqgan" and catalog.place(r).exists()]


def in_child(name: str, random: bool) -> dict[str, float]:
    """Return what a fresh process measures of one decoder."""
    arguments = [*sys.argv[1:], "--child", name, *(["--child-random"] if random else [])]
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, float] = json.loads(done.stdout)
    return row


def measure(options: argparse.Namespace, name: str, random: bool) -> dict[str, float]:
    """Return the figures of one decoder."""
    import torch

    vqgan = random_vqgan(name) if random else loaded(name)
    if options.precision == "bf16":
        from vqclip.models import casting

        casting.hold(vqgan, [], "bf16")
    row = cost(vqgan, options)
    if not random and not vqgan.refusal:
        with torch.no_grad():
            row |= fidelity(vqgan, renders(options.pictures, options.size))
    return row


def random_vqgan(name: str) -> Any:
    """Return the network of a catalog record, of random weights."""
    import torch

    from vqclip.models.vqgan import VQGAN
    from vqclip.types import VQGANArchitecture
    from vqclip.weights import catalog

    fields = catalog.find("vqgan", name).architecture or {}
    torch.manual_seed(0)
    network = VQGAN(VQGANArchitecture(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}))
    network.network.to(memory_format=torch.channels_last)
    return network.eval().requires_grad_(False)


def loaded(name: str) -> Any:
    """Return a decoder that is here."""
    from vqclip.weights.load import load_vqgan

    return load_vqgan(name)[0]


def cost(vqgan: Any, options: argparse.Namespace) -> dict[str, float]:
    """Return milliseconds to decode and to decode and go back, and the memory that this adds."""
    import torch

    cells = options.size // vqgan.factor
    z = torch.randn(1, vqgan.channels, cells, cells, generator=torch.Generator().manual_seed(1))
    start = peak()
    forward, both = [], []
    for _ in range(options.repeats + 1):
        began = time.process_time()
        with torch.no_grad():
            vqgan.decode(z)
        forward.append(time.process_time() - began)
        leaf = z.clone().requires_grad_()
        began = time.process_time()
        vqgan.decode(leaf).sum().backward()
        both.append(time.process_time() - began)
    # the first one sets libraries up
    fast, slow = (1000 * statistics.median(times[1:]) for times in (forward, both))
    return {"forward": fast, "both": slow, "peak": (peak() - start) / MB}


def peak() -> int:
    """Return the largest resident memory in bytes that this process has had."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def renders(count: int, side: int) -> np.ndarray:
    """Return pictures (count, side, side, 3) uint8: shapes over settings, in weathers and styles."""
    from vqclip.world import load_world
    from vqclip.world.composition import AllSprites, Composition, Painter, Thing
    from vqclip.world.styles import STYLES

    world, painter = load_world(), Painter(AllSprites())
    pictures = []
    for number in range(count):
        rng = np.random.default_rng([1, number])

        def pick(names: Sequence[str], rng: np.random.Generator = rng) -> str:
            return names[int(rng.integers(len(names)))]

        things = [
            Thing(pick(list(world.shapes)), *rng.uniform(0.2, 0.8, 2), float(rng.uniform(0.2, 0.6)),
                  float(rng.uniform(-40, 40)), color=pick(list(world.colors)))
            for _ in range(int(rng.integers(1, 4)))
        ]  # fmt: skip
        style = pick(list(STYLES)) if rng.random() < 0.5 else None
        composition = Composition(tuple(things), setting=pick(list(world.settings)), style=style, seed=number)
        pictures.append(painter.paint(composition, side).picture)
    return np.stack(pictures)


def fidelity(vqgan: Any, pictures: np.ndarray) -> dict[str, float]:
    """Return what comes back of pictures: PSNR, and Frechet distances with the codes as they are and some replaced."""
    import torch

    plain, replaced = [], []
    for number, picture in enumerate(pictures):
        image = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
        z = vqgan.encode(image)
        codes = vqgan.quantize(z)[0] if len(vqgan.codebook) else z
        plain.append(uint8(vqgan.decode(codes)))
        if len(vqgan.codebook):
            replaced.append(uint8(vqgan.decode(beside(vqgan, codes, number))))
    errors = [np.mean((a.astype(float) - b) ** 2) for a, b in zip(pictures, plain, strict=True)]
    wanted = features(pictures)
    row = {"psnr": float(np.mean([10 * np.log10(255**2 / max(error, 1e-9)) for error in errors]))}
    row["fd"] = frechet(wanted, features(plain))
    return row | ({"replaced": frechet(wanted, features(replaced))} if replaced else {})


def beside(vqgan: Any, codes: Any, seed: int) -> Any:
    """Return codes of which a fifth is replaced, each by one of its nearest others."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    cells = codes.permute(0, 2, 3, 1).reshape(-1, codes.shape[1])
    chosen = (torch.rand(len(cells), generator=generator) < REPLACED).nonzero().flatten()
    distances = torch.cdist(cells[chosen], vqgan.live_codebook)
    nearest = distances.topk(NEIGHBOURS + 1, largest=False).indices[:, 1:]
    pick = torch.randint(NEIGHBOURS, (len(chosen), 1), generator=generator)
    cells[chosen] = vqgan.live_codebook[nearest.gather(1, pick).flatten()]
    return cells.view(1, *codes.shape[2:], -1).permute(0, 3, 1, 2).contiguous()


def uint8(image: Any) -> np.ndarray:
    """Return an image (1, 3, H, W) in [0, 1] as pixels (H, W, 3)."""
    return (image[0].permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8)


def features(pictures: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Return the judge's hand-made features (n, FEATURES) of pictures."""
    from PIL import Image

    from vqclip.models import judge

    side = (judge.TEXTURE_SIDE, judge.TEXTURE_SIDE)
    return np.stack(
        [judge.features(np.asarray(Image.fromarray(p).resize(side, Image.Resampling.BOX))) for p in pictures]
    )


def frechet(wanted: np.ndarray, drawn: np.ndarray) -> float:
    """Return the Frechet distance of two sets of features, along the wanted ones' principal directions."""
    mean, deviation = wanted.mean(0), wanted.std(0) + 1e-3
    _, _, directions = np.linalg.svd((wanted - mean) / deviation, full_matrices=False)
    kept = directions[: min(DIMENSIONS, len(wanted) - 1)].T
    a, b = ((part - mean) / deviation @ kept for part in (wanted, drawn))
    first, second = np.cov(a.T), np.cov(b.T)
    # the trace of the root of a product, by eigenvalues: both are symmetric and no negative
    root = np.sqrt(np.clip(np.linalg.eigvals(first @ second).real, 0, None)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * root)


if __name__ == "__main__":
    main()
