"""aMUSEd from a folder as diffusers saves its pipeline: transformer, VQGAN, text tower, each with its config."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vqclip.errors import WeightsError, one_line
from vqclip.models.amused import AmusedArchitecture
from vqclip.models.clip_text import TextArchitecture
from vqclip.weights import collected

# heads of 64 dimensions, as the public files have, where no config says how many there are
_HEAD = 64
_MAX_JSON = 1 << 20  # bytes
_FOLDERS = ("transformer", "vqvae", "text_encoder")
_PADDED_BY = {"!": 0, "<|endoftext|>": 49407}
# what a text tower of other versions keeps beside its weights
_NO_WEIGHTS = ("text_model.embeddings.position_ids",)


def sha256(folder: Path) -> str:
    """Return one hash of all weights of a folder."""
    parts = [collected.sha256(folder / name) for name in _FOLDERS]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def read(folder: Path) -> tuple[AmusedArchitecture, dict[str, Tensor]]:
    """Return the architecture and the tensors of transformer and text tower under one roof.

    Shapes of tensors tell the sizes, configs what shapes do not. Raises WeightsError, in one line, for a folder that
    lacks a part, whose configs and tensors disagree, or that holds another model.
    """
    absent = [name for name in _FOLDERS if not (folder / name).is_dir()]
    if absent:
        raise WeightsError(f"{folder} has no {absent[0]}/: an aMUSEd needs the folders {', '.join(_FOLDERS)}")
    held = {name: collected.read_all(folder / name) for name in ("transformer", "text_encoder")}
    said = {name: _config(folder / name / "config.json") for name in held}
    kind = said["transformer"].get("_class_name", "UVit2DModel")
    if kind != "UVit2DModel" or any("sample." in name for name in held["transformer"]):
        what = "shrinks its grids, as that for 512 pixels does" if kind == "UVit2DModel" else f"is a {str(kind)[:40]}"
        raise WeightsError(f"{folder} holds a transformer that {what}: give amused-256's")
    try:
        text = _text(held["text_encoder"], said["text_encoder"], _pad(folder / "tokenizer"))
        architecture = _transformer(held["transformer"], said["transformer"], text)
    except (KeyError, ValueError, IndexError, TypeError, ArithmeticError) as error:
        missing = f"its {error.args[0]} is missing" if isinstance(error, KeyError) else one_line(error)[:120]
        raise WeightsError(f"{folder} holds no aMUSEd that can be read ({missing}): get it again") from None
    tensors = {
        f"{part}.{name}": value.float()
        for part, each in held.items()
        for name, value in each.items()
        if name not in _NO_WEIGHTS
    }
    return architecture, tensors


def _transformer(held: Mapping[str, Tensor], said: Mapping[str, Any], text: TextArchitecture) -> AmusedArchitecture:
    width, channels = (len(held[f"project_{way}_hidden.weight"]) for way in ("to", "from"))
    tokens, embedded = held["embed.embeddings.weight"].shape
    sizes = {
        "hidden_size": width,
        "block_out_channels": channels,
        "vocab_size": tokens,
        "codebook_size": len(held["mlm_layer.conv2.weight"]),
        "encoder_hidden_size": text.width,
        "cond_embed_dim": text.projected,
    }
    _agree(sizes, said, "transformer")
    micro, rest = divmod(held["cond_embed.linear_1.weight"].shape[1] - text.projected, 5)
    eps = float(said.get("layer_norm_eps", 1e-6))
    if rest or micro < 2 or micro % 2 or not 0 < eps < 1:
        raise ValueError(f"what tells of a picture has {micro} numbers a value, and layer_norm_eps is {eps:g}")
    return AmusedArchitecture(
        text=text,
        width=width,
        heads=int(said.get("num_attention_heads", max(width // _HEAD, 1))),
        layers=_count(held, "transformer_layers"),
        inner=held["transformer_layers.0.ff.net.2.weight"].shape[1],
        channels=channels,
        block_heads=int(said.get("block_num_heads", max(channels // _HEAD, 1))),
        blocks=_count(held, "down_block.res_blocks"),
        embedded=embedded,
        tokens=tokens,
        codes=sizes["codebook_size"],
        micro=micro,
        side=_side(said),
        eps=eps,
    )


def _text(held: Mapping[str, Tensor], said: Mapping[str, Any], pad: int) -> TextArchitecture:
    words, width = held["text_model.embeddings.token_embedding.weight"].shape
    inner = len(held["text_model.encoder.layers.0.mlp.fc1.weight"])
    projected = len(held["text_projection.weight"])
    _agree({"hidden_size": width, "intermediate_size": inner, "projection_dim": projected}, said, "text_encoder")
    places = len(held["text_model.embeddings.position_embedding.weight"])
    if words < max(_PADDED_BY.values()) + 1 or places < 3:
        raise ValueError(f"its text tower knows {words} tokens at {places} places, and CLIP's tokenizer has 49408")
    return TextArchitecture(
        words=words,
        places=places,
        width=width,
        layers=_count(held, "text_model.encoder.layers"),
        heads=int(said.get("num_attention_heads", max(width // _HEAD, 1))),
        inner=inner,
        projected=projected,
        activation=str(said.get("hidden_act", "quick_gelu")),
        pad=pad,
    )


def _agree(sizes: Mapping[str, int], said: Mapping[str, Any], part: str) -> None:
    """Raise ValueError for a config that tells another size than the tensors."""
    for name, value in sizes.items():
        if said.get(name, value) != value:
            raise ValueError(f"{part}/config.json tells {name} {said[name]!r:.20}, its tensors {value}")


def _side(said: Mapping[str, Any]) -> int:
    side = said.get("sample_size", 16)
    if type(side) is not int or not 1 <= side <= 64:
        raise ValueError(f"sample_size is {side!r:.20}, and a grid has 1 to 64 codes a side")
    return side


def _pad(tokenizer: Path) -> int:
    """Return the token that a tokenizer's config names for padding; the end mark where it names none."""
    said = _config(tokenizer / "tokenizer_config.json") | _config(tokenizer / "special_tokens_map.json")
    pad = said.get("pad_token", "<|endoftext|>")
    name = pad.get("content") if isinstance(pad, Mapping) else pad
    if name not in _PADDED_BY:
        raise ValueError(f"its tokenizer pads with {name!r:.20}: known are {', '.join(_PADDED_BY)}")
    return _PADDED_BY[name]


def _config(path: Path) -> dict[str, Any]:
    """Return what a config says; nothing where there is none."""
    try:
        if not path.exists():
            return {}
        if path.stat().st_size > _MAX_JSON:
            raise WeightsError(f"{path} is over {_MAX_JSON >> 20} MB: that is no config")
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"cannot read {path}: {one_line(error)[:100]}") from None
    return content if isinstance(content, dict) else {}


def _count(held: Mapping[str, Tensor], prefix: str) -> int:
    """Return how many layers there are, each of which has tensors: a name alone builds nothing."""
    place = prefix.count(".") + 1
    numbers = {int(name.split(".")[place]) for name in held if name.startswith(f"{prefix}.")}
    if numbers != set(range(len(numbers))):
        raise ValueError(f"its {prefix} are not numbered from 0")
    return len(numbers)
