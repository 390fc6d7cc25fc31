"""Small files as vqclip and others write them: where a fuzzer begins to change bytes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from PIL import Image, PngImagePlugin

from vqclip.session import savepoint
from vqclip.types import PackedState
from vqclip.writers.picture import save_image

YAML = """model:
  target: taming.models.vqgan.VQModel
  params:
    embed_dim: 8
    n_embed: 16
    ddconfig: {double_z: false, z_channels: 8, resolution: 32, in_channels: 3, out_ch: 3, ch: 32, ch_mult: [1, 2],
               num_res_blocks: 1, attn_resolutions: [16], dropout: 0.0}
"""


def samples(kind: str, folder: Path) -> list[bytes]:
    """Return what a parser of `fuzz.parsers` reads without complaint, or nearly so."""
    return {"metadata": _pictures, "foreign": _others, "yaml": _yaml, "checkpoint": _checkpoints, "state": _states}[
        kind
    ](folder)


def _pictures(folder: Path) -> list[bytes]:
    record = {"prompt": "a cat", "seed": 1, "config": {"steps": 3, "size": [8, 8]}, "versions": {"vqclip": "0"}}
    found = []
    for ending in ("png", "jpg", "webp"):
        path = folder / f"sample.{ending}"
        save_image(Image.new("RGB", (8, 8), "red"), path, record)
        found.append(path.read_bytes())
    return found


def _others(folder: Path) -> list[bytes]:
    nodes = {"1": {"class_type": "KSampler", "inputs": {"seed": 3, "positive": ["2", 0], "latent_image": ["3", 0]}},
             "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat"}},
             "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 8, "height": 8}}}  # fmt: skip
    texts = {
        "parameters": "a (cat:1.2)\nNegative prompt: [dog]\nSteps: 3, Sampler: Euler, Seed: 1, Size: 8x8",
        "prompt": json.dumps(nodes),
        "invokeai_metadata": json.dumps({"positive_prompt": "a cat", "seed": 1, "steps": 3, "width": 8, "height": 8}),
    }
    found = []
    for name, text in texts.items():
        info = PngImagePlugin.PngInfo()
        info.add_text(name, text)
        Image.new("RGB", (8, 8), "red").save(folder / "sample.png", pnginfo=info)
        found.append((folder / "sample.png").read_bytes())
    return found


def _yaml(folder: Path) -> list[bytes]:
    del folder
    return [YAML.encode()]


def _checkpoints(folder: Path) -> list[bytes]:
    del folder
    found = []
    for legacy in (False, True):
        buffer = io.BytesIO()
        torch.save({"state_dict": {"quantize.embedding.weight": torch.zeros(4, 2)}}, buffer,
                   _use_new_zipfile_serialization=not legacy)  # fmt: skip
        found.append(buffer.getvalue())
    return found


def _states(folder: Path) -> list[bytes]:
    run = folder / "sample.run"
    run.mkdir(exist_ok=True)
    packed = PackedState(2, {"z": torch.zeros(1, 2, 2, 2)}, {"stage": 0})
    savepoint.write(run, savepoint.Savepoint(packed, 0, ("cat.png",), {"steps": 3, "prompts": ["a cat"]}))
    return [(run / "state.safetensors").read_bytes()]
