"""The architecture that the shapes of a decoder's tensors tell, family by family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vqclip.types import VQGANArchitecture
from vqclip.weights.layouts import CODEBOOKS, LOOKUP_FREE, TINY_ANCHOR

# fields that no shape tells, which a catalog or a config may tell
_UNTOLD = ("pixels", "norm_groups", "scale", "shift", "fp16")
# what brings the latents of a KL autoencoder to unit variance, by their channels: Stable Diffusion's and FLUX's
_USUAL_SCALES = {4: (0.18215, 0.0), 16: (0.3611, 0.1159)}
# layers of a TAESD before the blocks of a level: the first convolution and its activation
_BEFORE = 2


def infer(tensors: Mapping[str, Tensor], known: Mapping[str, Any] | None = None) -> VQGANArchitecture:
    """Return the architecture that the shapes of a VQGAN's tensors tell; KeyError or ValueError if they tell none.

    `known` fields tell what shapes do not: which of several quantizers it is, the range of its pictures, the scale of
    continuous latents, the groups of its norms.
    """
    known = known or {}
    if TINY_ANCHOR in tensors:
        fields = _tiny(tensors)
    elif LOOKUP_FREE in tensors:
        fields = _convolutional(tensors) | {"family": "magvit2", "quantizer": "bits"}
        fields["n_embed"] = 2 ** fields["embed_dim"]
    elif "decoder.mid.0.conv1.weight" in tensors:
        fields = _convolutional(tensors) | {"family": "maskgit", "pixels": "unit"} | _codes(tensors, known)
    else:
        fields = _taming(tensors, known)
    return VQGANArchitecture(**fields | {name: known[name] for name in _UNTOLD if name in known})


def _taming(tensors: Mapping[str, Tensor], known: Mapping[str, Any]) -> dict[str, Any]:
    codes = _codes(tensors, known)
    levels = _levels(tensors)
    attended = "decoder.mid.attn_1.q.weight" in tensors
    convs = any(name.startswith(("quant_conv.", "post_quant_conv.")) for name in tensors)
    fields = _widths(tensors, [f"decoder.up.{i}.block.0.conv1.weight" for i in range(levels)]) | {
        "num_res_blocks": _count(tensors, "decoder.up.0.block.") - 1,
        "attn_levels": tuple(i for i in range(levels) if f"decoder.up.{i}.attn.0.q.weight" in tensors),
        "z_channels": len(tensors["post_quant_conv.weight"]) if convs else tensors["decoder.conv_in.weight"].shape[1],
        "mid_attention": attended,
        "quant_convs": convs,
    }
    if codes["quantizer"] == "none":
        channels = tensors["post_quant_conv.weight"].shape[1] if convs else fields["z_channels"]
        scale, shift = _USUAL_SCALES.get(channels, (1.0, 0.0))
        return fields | {"quantizer": "none", "n_embed": 1, "embed_dim": channels, "scale": scale, "shift": shift}
    # of those with codes only aMUSEd's has no attention in the middle, and pictures in [0, 1]
    return fields | codes | ({} if attended else {"pixels": "unit", "fp16": False})


def _codes(tensors: Mapping[str, Tensor], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return quantizer, number and width of the codes; KeyError if there are none and latents are not continuous."""
    quantizer = next((kind for kind, name in CODEBOOKS.items() if name in tensors), "")
    if not quantizer:
        last, first = tensors.get("encoder.conv_out.weight"), tensors.get("decoder.conv_in.weight")
        doubled = last is not None and first is not None and len(last) == 2 * first.shape[1]
        if doubled or known.get("quantizer") == "none":
            return {"quantizer": "none"}
        raise KeyError(CODEBOOKS["vq"])
    count, width = tensors[CODEBOOKS[quantizer]].shape
    # a file tells no difference between the nearest code, that of the least angle and that of the largest product
    chosen = known.get("quantizer") if quantizer == "vq" and known.get("quantizer") in ("cosine", "dot") else quantizer
    return {"quantizer": chosen, "n_embed": count, "embed_dim": width}


def _convolutional(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    channels = tensors["decoder.conv_in.weight"].shape[1]
    return _widths(tensors, [f"decoder.up.{i}.block.0.conv1.weight" for i in range(_levels(tensors))]) | {
        "num_res_blocks": _count(tensors, "decoder.up.0.block."),
        "attn_levels": (),
        "mid_attention": False,
        "quant_convs": False,
        "z_channels": channels,
        "embed_dim": channels,
    }


def _tiny(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    first = tensors[TINY_ANCHOR]
    # a block has three convolutions, and a convolution without bias ends a level
    layers = {int(name.split(".")[2]) for name in tensors if name.startswith("decoder.layers.")}
    ends = [n for n in sorted(layers) if f"decoder.layers.{n}.weight" in tensors and n]
    upward = [n for n in ends if f"decoder.layers.{n}.bias" not in tensors]
    if not upward:
        raise ValueError("it has one level only")
    channels = first.shape[1]
    return {
        "family": "tiny",
        "quantizer": "none",
        "pixels": "unit",
        "ch": len(first),
        "ch_mult": (1,) * (len(upward) + 1),
        # upsampling, which has no parameters, comes before the convolution
        "num_res_blocks": upward[0] - _BEFORE - 1,
        "attn_levels": (),
        "mid_attention": False,
        "quant_convs": False,
        "z_channels": channels,
        "embed_dim": channels,
        "n_embed": 1,
        "encoder": any(name.startswith("encoder.") for name in tensors),
    }


def _widths(tensors: Mapping[str, Tensor], names: list[str]) -> dict[str, Any]:
    widths = [len(tensors[name]) for name in names]
    encoder = any(name.startswith("encoder.") for name in tensors)
    # a decoder tells the products of ch and ch_mult alone
    ch = len(tensors["encoder.conv_in.weight"]) if encoder else widths[0]
    if any(width % ch for width in widths):
        raise ValueError(f"levels of {widths} channels are no multiples of {ch}")
    return {"ch": ch, "ch_mult": tuple(width // ch for width in widths), "encoder": encoder}


def _levels(tensors: Mapping[str, Tensor]) -> int:
    return 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("decoder.up."))


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max(int(name.split(".")[4]) for name in tensors if name.startswith(prefix))
