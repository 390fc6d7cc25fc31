"""Checkpoints of other programs as these save them, and records of them in a catalog."""

from __future__ import annotations

import contextlib
import io
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from support.networks import Reference, randomize
from support.serving import Server
from vqclip.types import VQGANArchitecture

# the catalog's architectures, a quarter as wide and with few codes
NARROW = {
    "f16": {"ch": 32, "n_embed": 40, "z_channels": 32, "embed_dim": 32},
    "gumbel f8": {"ch": 32, "n_embed": 40, "z_channels": 32, "embed_dim": 32, "quantizer": "gumbel",
                  "ch_mult": (1, 1, 2, 4), "attn_levels": (3,)},
    "ldm f8": {"ch": 32, "n_embed": 40, "z_channels": 4, "embed_dim": 4, "ch_mult": (1, 2, 2, 4), "attn_levels": (3,)},
    "ldm f16": {"ch": 32, "n_embed": 40, "z_channels": 8, "embed_dim": 8},
}  # fmt: skip


def theirs(name: str) -> Reference:
    """Return taming's own modules, of random weights and codes from N(0, 1)."""
    return reference(VQGANArchitecture(**NARROW[name]))


def reference(a: VQGANArchitecture) -> Reference:
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()):  # taming prints the shape of its latents
        network = Reference(a).eval().requires_grad_(False)
    randomize(network)
    return network


def lightning(path: Path, network: torch.nn.Module, prefix: str = "", legacy: bool = False, **more: Any) -> Path:
    """Save weights as Lightning saved them, with a callback's class as a key, a loss and an optimizer's state."""
    held = {prefix + name: value for name, value in network.state_dict().items()}
    held |= {"loss.discriminator.main.0.weight": torch.zeros(4), "loss.perceptual_loss.lin0.weight": torch.zeros(2)}
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})
    sys.modules[module.__name__] = module
    content = {"state_dict": OrderedDict(held | more), "callbacks": {module.ModelCheckpoint: {"best": 1.0}}, "epoch": 3}
    content |= {"optimizer_states": [{"state": {0: {"step": 5}}}], "global_step": np.int64(7)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    del sys.modules[module.__name__]
    return path


def model_yaml(path: Path, a: VQGANArchitecture, **changes: Any) -> Path:
    target = "taming.models.vqgan." + ("GumbelVQ" if a.quantizer == "gumbel" else "VQModel")
    ddconfig = {"ch": a.ch, "ch_mult": list(a.ch_mult), "num_res_blocks": a.num_res_blocks, "z_channels": a.z_channels}
    loss = {"target": "taming.modules.losses.vqperceptual.VQLPIPSWithDiscriminator", "params": {"disc_start": 0}}
    params = {"embed_dim": a.embed_dim, "n_embed": a.n_embed, "ddconfig": ddconfig, "lossconfig": loss}
    path.write_text(yaml.safe_dump({"model": {"target": target, "params": params} | changes}))
    return path


def record(home: Path, server: Server, kind: str = "vqgan", **changes: Any) -> None:
    values = {"kind": kind, "name": "mine", "draws": "noise", "licence": "none", "sources": [{"url": server.url()}]}
    home.mkdir(exist_ok=True)
    (home / "catalog.yaml").write_text(yaml.safe_dump([values | changes]))
