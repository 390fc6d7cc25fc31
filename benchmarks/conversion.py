"""Converts a full-size VQGAN of random weights, saved as Lightning saved the public ones, and measures what that takes.

python benchmarks/conversion.py [--name imagenet_f16_16384] [--folder .train/conversion]

Prints sizes before and after, seconds to convert and to load (the second time, from the page cache), and the memory
that loading takes beyond what the libraries take (Linux alone tells). Every measurement is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path

import torch

from vqclip.models.vqgan import TamingNetwork
from vqclip.types import VQGANArchitecture
from vqclip.weights import catalog

_CONVERT = """
from pathlib import Path
from vqclip.weights.convert import convert_vqgan
convert_vqgan(Path(argument), Path(target), decoder_only=decoder_only, dtype=dtype)
"""
_LOAD = """
from vqclip.weights.load import load_vqgan
load_vqgan(argument)
"""
_MEASURE = """
import json, re, sys, time
import torch, vqclip.models.vqgan, vqclip.weights.load, vqclip.weights.convert
# the peak of this program alone: getrusage counts what the parent had when it forked
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
argument, target, decoder_only, dtype = json.loads(sys.argv[1])
before = peak()
began = time.perf_counter()
{work}
seconds = time.perf_counter() - began
print(json.dumps([seconds, peak() - before]))
"""


def write_checkpoint(path: Path, architecture: VQGANArchitecture) -> None:
    """Write random weights with a discriminator, LPIPS and an optimizer's state, as a Lightning checkpoint has them."""
    network = TamingNetwork(architecture)
    held = OrderedDict(network.state_dict())
    # VGG16's convolutions for LPIPS and a patch discriminator: 58 and 11 MB in the public files
    held |= {
        "loss.perceptual_loss.net.weight": torch.zeros(14_714_688),
        "loss.discriminator.main": torch.zeros(2_764_737),
    }
    count = sum(p.numel() for p in network.parameters())
    moments = {0: {"step": 1, "exp_avg": torch.zeros(count), "exp_avg_sq": torch.zeros(count)}}
    torch.save({"state_dict": held, "optimizer_states": [{"state": moments}], "epoch": 1, "callbacks": {}}, path)


def measured(work: str, *arguments: object) -> tuple[float, float]:
    """Return seconds and bytes of memory that some work takes in a process of its own."""
    command = [sys.executable, "-c", _MEASURE.format(work=work), json.dumps(arguments)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seconds, size = json.loads(found)
    return seconds, size


def main() -> None:
    """Write, convert, load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="imagenet_f16_16384")
    parser.add_argument("--folder", type=Path, default=Path(".train/conversion"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    known = dict(catalog.find("vqgan", args.name).architecture or {})
    architecture = VQGANArchitecture(**{k: tuple(v) if isinstance(v, list) else v for k, v in known.items()})
    source = args.folder / "last.ckpt"
    write_checkpoint(source, architecture)
    print(f"{args.name}, torch {torch.__version__}: checkpoint {source.stat().st_size / 1e6:.0f} MB")
    print(
        "| kept | size, MB | to convert, s | memory to convert, MB | to load, s | memory to load, MB |\n|"
        + " --- |" * 6
    )
    for decoder_only, dtype in ((False, "fp32"), (True, "fp32"), (True, "fp16")):
        target = args.folder / f"{'decoder' if decoder_only else 'whole'}-{dtype}.safetensors"
        target.unlink(missing_ok=True)
        convert_seconds, convert_bytes = measured(_CONVERT, str(source), str(target), decoder_only, dtype)
        measured(_LOAD, str(target), "", False, "")
        time.sleep(1)
        load_seconds, load_bytes = measured(_LOAD, str(target), "", False, "")
        cells = [target.stem.replace("-", ", "), f"{target.stat().st_size / 1e6:.0f}"]
        cells += [
            f"{convert_seconds:.1f}",
            f"{convert_bytes / 1e6:.0f}",
            f"{load_seconds:.2f}",
            f"{load_bytes / 1e6:.0f}",
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
