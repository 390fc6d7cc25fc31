"""Write what `vqclip models list --clips` shows of open_clip's: `python benchmarks/clips.py openclip_results.csv`.

Cost and size are computed: each image tower runs once on torch's meta device, which counts operations and holds no
numbers. Accuracy, zero-shot on ImageNet, is what open_clip published in `docs/openclip_results.csv`; licences are those
that publishers state for all that bears their tag.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import open_clip
import torch
from torch.utils.flop_counter import FlopCounterMode

from vqclip.models import openclip
from vqclip.models.clip import CLIP
from vqclip.types import CLIPArchitecture

TABLE = Path(__file__).resolve().parent.parent / "vqclip" / "weights" / "clips.tsv"
# by how names or tags begin; of the others it is not known here
LICENCES = {
    "openai": "MIT", "laion": "MIT", "datacomp": "MIT", "commonpool": "MIT", "webli": "Apache-2.0",
    "metaclip": "CC-BY-NC-4.0", "nllb": "CC-BY-NC-4.0", "PE-": "Apache-2.0", "MobileCLIP2": "research only",
}  # fmt: skip


def cost(architecture: CLIPArchitecture) -> tuple[float, float]:
    """Return the GFLOP of one view's way through the image tower, and the MB of all weights in float32."""
    with torch.device("meta"):
        clip = CLIP(architecture).eval()
        with FlopCounterMode(display=False) as counter:
            clip.network.encode_image(torch.empty(1, 3, clip.image_size, clip.image_size))
    return counter.get_total_flops() / 1e9, sum(p.numel() for p in clip.network.parameters()) * 4 / 1e6


def main() -> None:
    with open(sys.argv[1], newline="") as stream:
        published = {f"{row['name']}/{row['pretrained']}": row["ImageNet 1k"] for row in csv.DictReader(stream)}
    costs: dict[str, tuple[float, float]] = {}
    lines = ["name\taccuracy\tgflop\tmegabytes\tlicence"]
    for arch, tag in open_clip.list_pretrained():
        if arch not in costs:
            costs[arch] = cost(openclip.pretrained(arch, tag).architecture)
        name = f"{arch}/{tag}"
        accuracy = f"{100 * float(published[name]):.1f}" if published.get(name) else ""
        licence = next(
            (text for begin, text in LICENCES.items() if tag.startswith(begin) or arch.startswith(begin)), ""
        )
        lines.append(f"{name}\t{accuracy}\t{costs[arch][0]:.1f}\t{costs[arch][1]:.0f}\t{licence}")
    TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
