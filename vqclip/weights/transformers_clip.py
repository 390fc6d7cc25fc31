"""CLIP and SigLIP as the package transformers keeps them, under open_clip's names.

Sizes that a `config.json` leaves out are transformers' defaults. SigLIP's image tower becomes timm's, which open_clip
builds: those are of the published sizes only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqclip.errors import WeightsError
from vqclip.types import CLIPArchitecture

KINDS = ("clip", "siglip")
# what stands for the name of a tokenizer in the same folder
ITS_OWN = "its own"
# what a config.json need not say
_CLIP_TEXT = {
    "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
}  # fmt: skip
_CLIP_VISION = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip
_SIGLIP_TEXT = {
    "vocab_size": 32000, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 64, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
}  # fmt: skip
_SIGLIP_VISION = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "image_size": 224, "patch_size": 16, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
}  # fmt: skip
# width, layers, heads and width of the perceptron of timm's SigLIP towers, and their patches and sides
_TIMM: dict[tuple[Any, ...], tuple[str, dict[int, tuple[int, ...]]]] = {
    (768, 12, 12, 3072): ("base", {16: (224, 256, 384, 512), 32: (256,)}),
    (1024, 24, 16, 4096): ("large", {16: (256, 384, 512)}),
    (1152, 27, 16, 4304): ("so400m", {14: (224, 378, 384), 16: (256, 384, 512)}),
    (1536, 40, 16, 6144): ("giantopt", {16: (256, 384)}),
}
_LAYER = re.compile(r"(?P<tower>text|vision)_model\.encoder\.layers\.(?P<number>\d+)\.(?P<rest>.+)")
_LAYERS_OPEN_CLIP = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}  # fmt: skip
_LAYERS_TIMM = {
    "layer_norm1": "norm1", "layer_norm2": "norm2", "self_attn.out_proj": "attn.proj", "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}  # fmt: skip
_CLIP_NAMES = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "logit_scale": "logit_scale",
}
# of these the matrices stand the other way round
_TURNED = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}
_POOL = "vision_model.head."
_SIGLIP_NAMES = {
    "vision_model.embeddings.patch_embedding.weight": "visual.trunk.patch_embed.proj.weight",
    "vision_model.embeddings.patch_embedding.bias": "visual.trunk.patch_embed.proj.bias",
    "vision_model.post_layernorm.weight": "visual.trunk.norm.weight",
    "vision_model.post_layernorm.bias": "visual.trunk.norm.bias",
    f"{_POOL}probe": "visual.trunk.attn_pool.latent",
    f"{_POOL}attention.out_proj.weight": "visual.trunk.attn_pool.proj.weight",
    f"{_POOL}attention.out_proj.bias": "visual.trunk.attn_pool.proj.bias",
    f"{_POOL}layernorm.weight": "visual.trunk.attn_pool.norm.weight",
    f"{_POOL}layernorm.bias": "visual.trunk.attn_pool.norm.bias",
    **{
        f"{_POOL}mlp.{n}.{p}": f"visual.trunk.attn_pool.mlp.{n}.{p}" for n in ("fc1", "fc2") for p in ("weight", "bias")
    },
    "text_model.embeddings.token_embedding.weight": "text.token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "text.positional_embedding",
    "text_model.final_layer_norm.weight": "text.ln_final.weight",
    "text_model.final_layer_norm.bias": "text.ln_final.bias",
    "text_model.head.weight": "text.text_projection.weight",
    "text_model.head.bias": "text.text_projection.bias",
    "logit_scale": "logit_scale",
    "logit_bias": "logit_bias",
}


def architecture(
    config: Mapping[str, Any], preprocess: Mapping[str, Any]
) -> tuple[CLIPArchitecture, Mapping[str, Any]]:
    """Return the network of a `config.json`, how its texts are read left open, and what `text_cfg` says of that.

    `preprocess` is its `preprocessor_config.json`. Raises ValueError or KeyError for what is not built.
    """
    build = _clip if config["model_type"] == "clip" else _siglip
    model, reading = build(config, dict(config.get("text_config") or {}), dict(config.get("vision_config") or {}))
    usual = CLIPArchitecture(model)
    half = (0.5, 0.5, 0.5)
    defaults = (usual.mean, usual.std) if config["model_type"] == "clip" else (half, half)
    mean = tuple(preprocess.get("image_mean") or defaults[0])
    return CLIPArchitecture(model, mean=mean, std=tuple(preprocess.get("image_std") or defaults[1])), reading


def _clip(
    config: Mapping[str, Any], given_text: Mapping[str, Any], given_vision: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    text, vision = {**_CLIP_TEXT, **given_text}, {**_CLIP_VISION, **given_vision}
    activation = {text["hidden_act"], vision["hidden_act"]}
    if activation not in ({"quick_gelu"}, {"gelu"}):
        raise ValueError(f"its towers compute {' and '.join(sorted(map(str, activation)))}: both quick_gelu or gelu")
    vision_cfg = {**_tower(vision, 1e-5), "head_width": vision["hidden_size"] // vision["num_attention_heads"]}
    vision_cfg |= {"image_size": vision["image_size"], "patch_size": vision["patch_size"]}
    text_cfg = {**_tower(text, 1e-5), "heads": text["num_attention_heads"], "vocab_size": text["vocab_size"]}
    text_cfg |= {"context_length": text["max_position_embeddings"]}
    reading: dict[str, Any] = {}
    if text["vocab_size"] != _CLIP_TEXT["vocab_size"]:
        # not CLIP's own vocabulary: the text ends at a mark that need not be its highest number
        reading = {"hf_tokenizer_name": ITS_OWN}
        text_cfg |= {"pool_type": "eos", "eos_id": text["eos_token_id"]} if text["eos_token_id"] != 2 else {}
    model = {"embed_dim": config.get("projection_dim", 512), "vision_cfg": vision_cfg, "text_cfg": text_cfg}
    return model | {"quick_gelu": activation == {"quick_gelu"}}, reading


def _siglip(
    config: Mapping[str, Any], given_text: Mapping[str, Any], given_vision: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    text, vision = {**_SIGLIP_TEXT, **given_text}, {**_SIGLIP_VISION, **given_vision}
    sizes = tuple(vision[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"))
    name, patches = _TIMM.get(sizes, ("", {}))
    side, patch = vision["image_size"], vision["patch_size"]
    if side not in patches.get(patch, ()):
        raise ValueError(f"no published image tower has the sizes {sizes}, patches of {patch} and {side} pixels")
    vision_cfg = {"image_size": side, "timm_model_name": f"vit_{name}_patch{patch}_siglip_{side}", "timm_pool": "map"}
    vision_cfg |= {"timm_proj": "none", "timm_model_pretrained": False, "act_kwargs": _gelu(vision["hidden_act"])}
    text_cfg = {**_tower(text, 1e-5), "heads": text["num_attention_heads"], "vocab_size": text["vocab_size"]}
    text_cfg |= {"context_length": text["max_position_embeddings"], "act_kwargs": _gelu(text["hidden_act"])}
    text_cfg |= {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
    wide = text.get("projection_size", text["hidden_size"])
    if wide != vision["hidden_size"]:
        raise ValueError(f"its texts are embedded in {wide} numbers and its images in {vision['hidden_size']}")
    model = {"embed_dim": wide, "vision_cfg": vision_cfg, "text_cfg": text_cfg, "custom_text": True}
    reading = {"hf_tokenizer_name": ITS_OWN, "tokenizer_kwargs": {"clean": "canonicalize"}}
    return model | {"init_logit_bias": -10.0}, reading


def _tower(sizes: Mapping[str, Any], usual_eps: float) -> dict[str, Any]:
    """Return what open_clip calls the sizes that towers of both kinds have."""
    # open_clip rounds the product down
    ratio = (sizes["intermediate_size"] + 0.5) / sizes["hidden_size"]
    tower = {"width": sizes["hidden_size"], "layers": sizes["num_hidden_layers"], "mlp_ratio": ratio}
    eps = sizes["layer_norm_eps"]
    return tower if eps == usual_eps else tower | {"norm_kwargs": {"eps": eps}}


def _gelu(name: str) -> dict[str, str]:
    kinds = {"gelu_pytorch_tanh": "tanh", "gelu": "none"}
    if name not in kinds:
        raise ValueError(f"its towers compute {name!r}: known are {', '.join(kinds)}")
    return {"approximate": kinds[name]}


def renamed(tensors: Mapping[str, Tensor], kind: str, config: Path) -> dict[str, Tensor]:
    """Return the tensors of a CLIP or SigLIP of transformers' under open_clip's names; WeightsError for one unknown."""
    names = _CLIP_NAMES if kind == "clip" else _SIGLIP_NAMES
    out: dict[str, Tensor] = {}
    products: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        layer = _LAYER.fullmatch(name)
        if name.endswith("position_ids"):
            continue
        if layer:
            _put_layer(layer, value, kind, out, products)
        elif name in names:
            out[names[name]] = value
        elif kind == "clip" and name in _TURNED:
            out[_TURNED[name]] = value.t().contiguous()
        elif kind == "siglip" and name in _SPLIT:
            out |= _SPLIT[name](value)
        else:
            raise WeightsError(f"{config.parent} holds the tensor {name[:80]!r}, which no {kind} of transformers' has")
    for name, parts in products.items():
        if set(parts) != {"q", "k", "v"}:
            raise WeightsError(f"{config.parent} lacks a part of {name}: fetch it again")
        out[name] = torch.cat([parts[part] for part in "qkv"])
    return out


def _put_layer(
    layer: re.Match[str], value: Tensor, kind: str, out: dict[str, Tensor], products: dict[str, dict[str, Tensor]]
) -> None:
    """Put a tensor of a residual block where open_clip has it, one of three that it keeps as one among `products`."""
    tower, number, rest = layer.group("tower", "number", "rest")
    timm = kind == "siglip" and tower == "vision"
    text = "text.transformer" if kind == "siglip" else "transformer"
    base = {"vision": "visual.transformer", "text": text}[tower]
    begin = f"visual.trunk.blocks.{number}" if timm else f"{base}.resblocks.{number}"
    module, _, part = rest.rpartition(".")
    product = re.fullmatch(r"self_attn\.([qkv])_proj", module)
    if product:
        name = f"{begin}.attn.qkv.{part}" if timm else f"{begin}.attn.in_proj_{part}"
        products.setdefault(name, {})[product[1]] = value
    else:
        modules = _LAYERS_TIMM if timm else _LAYERS_OPEN_CLIP
        out[f"{begin}.{modules.get(module, module)}.{part}"] = value


def _query_and_rest(part: str) -> Callable[[Tensor], dict[str, Tensor]]:
    """Return what splits the product of the pooling attention: timm keeps its query beside keys and values."""

    def split(value: Tensor) -> dict[str, Tensor]:
        query, rest = value[: len(value) // 3], value[len(value) // 3 :]
        pool = "visual.trunk.attn_pool"
        return {f"{pool}.q.{part}": query.contiguous(), f"{pool}.kv.{part}": rest.contiguous()}

    return split


_SPLIT: dict[str, Callable[[Tensor], dict[str, Tensor]]] = {
    f"{_POOL}attention.in_proj_weight": _query_and_rest("weight"),
    f"{_POOL}attention.in_proj_bias": _query_and_rest("bias"),
    "vision_model.embeddings.position_embedding.weight": lambda value: {"visual.trunk.pos_embed": value[None]},
}
