"""Depth networks from the checkpoints of others: Depth Anything V2, in transformers' layout or its authors' own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqclip.errors import WeightsError, one_line
from vqclip.models.depth import DepthArchitecture
from vqclip.weights import collected, files
from vqclip.weights.layouts import under

_ANCHOR = "backbone.embeddings.cls_token"
_AUTHORS_ANCHOR = "pretrained.cls_token"
# which layers' outputs are taken, by their number; of another number every fourth part
_TAKEN = {12: (3, 6, 9, 12), 24: (5, 12, 18, 24)}
_HEAD_WIDTH = 64
# in files of others, and of no use to inference: the last is what the coarsest level would be added to
_UNUSED = ("backbone.embeddings.mask_token", "neck.fusion_stage.layers.0.residual_layer1.")
_LAYER = r"backbone.encoder.layer.\1."
# the authors' names, and newer ones of transformers', as patterns, and what they are called here
_RENAMED = (
    (r"^pretrained\.cls_token$", "backbone.embeddings.cls_token"),
    (r"^pretrained\.mask_token$", "backbone.embeddings.mask_token"),
    (r"^pretrained\.pos_embed$", "backbone.embeddings.position_embeddings"),
    (r"^pretrained\.patch_embed\.proj\.", "backbone.embeddings.patch_embeddings.projection."),
    (r"^pretrained\.norm\.", "backbone.layernorm."),
    (r"^pretrained\.blocks\.(\d+)\.attn\.proj\.", rf"{_LAYER}attention.output.dense."),
    (r"^pretrained\.blocks\.(\d+)\.ls(\d)\.gamma$", rf"{_LAYER}layer_scale\2.lambda1"),
    (r"^pretrained\.blocks\.(\d+)\.", _LAYER),
    (r"^depth_head\.projects\.(\d)\.", r"neck.reassemble_stage.layers.\1.projection."),
    (r"^depth_head\.resize_layers\.(\d)\.", r"neck.reassemble_stage.layers.\1.resize."),
    (r"^depth_head\.scratch\.output_conv1\.", "head.conv1."),
    (r"^depth_head\.scratch\.output_conv2\.0\.", "head.conv2."),
    (r"^depth_head\.scratch\.output_conv2\.2\.", "head.conv3."),
    (r"^(backbone\.encoder\.layer\.\d+\.attention\.)(query|key|value)_proj\.", r"\1attention.\2."),
    (r"^(backbone\.encoder\.layer\.\d+\.attention\.)([qkv])_proj\.", r"\1attention.\2."),
    (r"^(backbone\.encoder\.layer\.\d+\.attention\.)o_proj\.", r"\1output.dense."),
)
_LEVEL = re.compile(r"^depth_head\.scratch\.layer(\d)_rn\.")
_REFINED = re.compile(r"^depth_head\.scratch\.refinenet(\d)\.(out_conv|resConfUnit(\d)\.conv(\d))\.")
_FUSED_QKV = re.compile(r"^(backbone\.encoder\.layer\.\d+\.)attn\.qkv\.(weight|bias)$")
_LETTERS = {"q": "query", "k": "key", "v": "value"}


def read_depth(path: Path) -> tuple[DepthArchitecture, dict[str, Tensor]]:
    """Return architecture and tensors, in transformers' names, of a depth network in a file of vqclip's or of others.

    Raises WeightsError, in one line, for a file that is absent, damaged or holds another network.
    """
    if path.is_file() and files.is_own(path):
        file = files.read(path, "depth")
        return DepthArchitecture.from_json(file.architecture), file.tensors
    held = collected.read_all(path)
    authors = under(held, _AUTHORS_ANCHOR)
    tensors = _renamed(authors) if authors else _renamed(under(held, _ANCHOR))
    try:
        architecture = _infer(tensors)
    except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
        named = f"its {error.args[0]} is missing" if isinstance(error, KeyError) else one_line(error)[:120]
        raise WeightsError(f"{path} holds no Depth Anything V2 ({named}): give another file") from None
    kept = {name: value.float() for name, value in tensors.items() if not name.startswith(_UNUSED)}
    return architecture, kept


def convert_depth(source: Path, target: Path, info: Mapping[str, Any]) -> None:
    """Write a depth network of others as a file of vqclip's, fp32; WeightsError if it holds none."""
    architecture, tensors = read_depth(source)
    files.save(target, "depth", architecture.to_json(), tensors, {"source": source.name, **info}, torch.float32)


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, value in tensors.items():
        name = _new_name(name)
        if (match := _FUSED_QKV.match(name)) and value.ndim and len(value) % 3 == 0:
            for part, kind in zip(value.chunk(3), ("query", "key", "value"), strict=True):
                renamed[f"{match[1]}attention.attention.{kind}.{match[2]}"] = part.clone()
        else:
            renamed[name] = value
    return renamed


def _new_name(name: str) -> str:
    if match := _LEVEL.match(name):
        return f"neck.convs.{int(match[1]) - 1}.{name[match.end() :]}"
    if match := _REFINED.match(name):
        inner = "projection" if match[2] == "out_conv" else f"residual_layer{match[3]}.convolution{match[4]}"
        return f"neck.fusion_stage.layers.{4 - int(match[1])}.{inner}.{name[match.end() :]}"
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return re.sub(r"(\.attention\.attention\.)([qkv])\.", lambda m: f"{m[1]}{_LETTERS[m[2]]}.", name)


def _infer(tensors: Mapping[str, Tensor]) -> DepthArchitecture:
    """Return the architecture that the shapes of tensors tell; KeyError or ValueError if they tell none."""
    _, places, width = tensors["backbone.embeddings.position_embeddings"].shape
    layers = 1 + max(int(name.split(".")[3]) for name in tensors if name.startswith("backbone.encoder.layer."))
    return DepthArchitecture(
        width=width,
        heads=max(width // _HEAD_WIDTH, 1),
        layers=layers,
        taken=_TAKEN.get(layers, tuple(layers * part // 4 for part in range(1, 5))),
        positions=int((places - 1) ** 0.5),
        patch=tensors["backbone.embeddings.patch_embeddings.projection.weight"].shape[-1],
        neck=tuple(len(tensors[f"neck.reassemble_stage.layers.{level}.projection.weight"]) for level in range(4)),
        fused=len(tensors["neck.convs.0.weight"]),
        head=len(tensors["head.conv2.weight"]),
    )
