"""open_clip's networks, their layers made faster, and its list of pretrained models."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import open_clip
from open_clip import CLIP as OpenCLIP
from open_clip import CustomTextCLIP
from open_clip.transformer import QuickGELU
from torch import nn

from vqclip.models import faster
from vqclip.models.convolution import PatchConv2d, patchwise
from vqclip.types import CLIPArchitecture

_FASTER: dict[type, type] = {
    nn.MultiheadAttention: faster.Attention,
    nn.Linear: faster.Linear,
    QuickGELU: faster.QuickGELU,
}


def build(custom_text: bool = False, **model: Any) -> nn.Module:
    """Return open_clip's network of a model configuration, which it computes by faster layers."""
    network: nn.Module = (CustomTextCLIP if custom_text else OpenCLIP)(**model)
    for module in network.modules():
        if type(module) in _FASTER:
            module.__class__ = _FASTER[type(module)]
        elif patchwise(module):
            module.__class__ = PatchConv2d
    return network


@dataclass(frozen=True)
class PretrainedTag:
    """Where open_clip says that a pretrained model lies: a repository of the Hub, or a URL, and what network it is."""

    architecture: CLIPArchitecture
    hub: str = ""
    file: str = ""
    url: str = ""


def pretrained_names() -> list[str]:
    """Return all of open_clip's pretrained models as `ARCH/TAG`, of the architectures that vqclip can build."""
    return [f"{arch}/{tag}" for arch, tag in open_clip.list_pretrained() if not obstacle(arch)]


def pretrained_tags(arch: str) -> list[str]:
    """Return the tags of an architecture of open_clip's, none if it knows no such architecture."""
    tags: list[str] = open_clip.list_pretrained_tags_by_model(arch)
    return tags


def pretrained(arch: str, tag: str) -> PretrainedTag:
    """Return what open_clip knows of a pretrained model; ValueError with the reason if it cannot be built here.

    A model that was trained with QuickGELU gets it, whatever its architecture's name says: without it the model still
    runs, and guides worse.
    """
    reason = obstacle(arch)
    if reason:
        raise ValueError(reason)
    known = open_clip.pretrained.get_pretrained_cfg(arch, tag)
    config = copy.deepcopy(open_clip.get_model_config(arch))
    model: dict[str, Any] = {name: config[name] for name in ("embed_dim", "vision_cfg", "text_cfg")}
    model["quick_gelu"] = bool(known.get("quick_gelu", config.get("quick_gelu", False)))
    model |= {name: config[name] for name in ("custom_text",) if config.get(name)}
    if "timm_model_name" in model["vision_cfg"]:
        model["vision_cfg"]["timm_model_pretrained"] = False
    architecture = CLIPArchitecture(model, mean=tuple(known["mean"]), std=tuple(known["std"]))
    owner, name, file = [*known.get("hf_hub", "").split("/", 2), "", ""][:3]
    url = known.get("url", "")
    # OpenAI's own archives are programs (TorchScript), which are not run here; the Hub has their weights alone
    return PretrainedTag(architecture, f"{owner}/{name}" if name else "", file, "" if "openaipublic" in url else url)


@functools.cache
def obstacle(arch: str) -> str:
    """Return why an architecture of open_clip's cannot be built; nothing if it can."""
    config: Mapping[str, Any] | None = open_clip.get_model_config(arch)
    if config is None:
        return f"open_clip knows no architecture {arch!r}"
    text = config.get("text_cfg", {})
    if "multimodal_cfg" in config:
        return f"{arch} is a CoCa, which also writes captions: only models with two towers guide"
    if text.get("hf_model_name") or text.get("hf_tokenizer_name") or text.get("tokenizer_kwargs"):
        return f"{arch} reads texts by a tokenizer or network that open_clip fetches from the Hub by itself"
    return ""
