"""diffusers' `config.json` beside a decoder: what it tells that tensors do not, and whether it fits them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqclip.errors import WeightsError, one_line
from vqclip.types import VQGANArchitecture

_MAX_BYTES = 1 << 20
_CLASSES = ("VQModel", "AutoencoderKL", "AutoencoderTiny")
# its names of sizes, and ours
_SIZES = {
    "latent_channels": "z_channels",
    "layers_per_block": "num_res_blocks",
    "num_vq_embeddings": "n_embed",
    "vq_embed_dim": "embed_dim",
    "mid_block_add_attention": "mid_attention",
}
_TYPES = {"norm_num_groups": int, "scaling_factor": float, "shift_factor": float}


def beside(weights: Path) -> Path | None:
    """Return the config that diffusers saved beside a weight file; None if there is none."""
    config = weights.with_name("config.json")
    if not weights.name.startswith("diffusion_pytorch_model") or not config.is_file():
        return None
    return config


def read(config: Path) -> dict[str, Any]:
    """Return what a config tells of an architecture, by the names of its fields, `sizes` among them as it has them.

    Raises WeightsError for one that is no config of a decoder, or of one that is not drawn with.
    """
    try:
        if config.stat().st_size > _MAX_BYTES:
            raise WeightsError(f"{config} is over {_MAX_BYTES >> 20} MB: that is no config of diffusers'")
        content = json.loads(config.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"cannot read {config}: {one_line(error)[:100]}") from None
    kind = content.get("_class_name") if isinstance(content, Mapping) else None
    if kind not in _CLASSES:
        raise WeightsError(f"{config} describes a {str(kind)[:60]}: known are {', '.join(_CLASSES)}")
    if content.get("norm_type", "group") != "group":
        raise WeightsError(f"{config} describes a MoVQ (its norms see the codes), which is not drawn with")
    if content.get("act_fn", "silu") not in ("silu", "relu") or content.get("latents_mean") is not None:
        raise WeightsError(f"{config} describes a variant of {kind} that is not drawn with: give another decoder")
    return _told(content, config, str(kind))


def _told(content: Mapping[str, Any], config: Path, kind: str) -> dict[str, Any]:
    for name, wanted in _TYPES.items():
        value = content.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, wanted))):
            raise WeightsError(f"{config} has the {name} {value!r:.40}: that is no number")
    told: dict[str, Any] = {"sizes": {}}
    if kind != "AutoencoderTiny":
        told["norm_groups"] = content.get("norm_num_groups", 32)
        told["sizes"] = {name: content[name] for name in _SIZES if content.get(name) is not None}
        widths = content.get("block_out_channels")
        told["sizes"] |= {"block_out_channels": list(widths)} if isinstance(widths, list) else {}
    else:
        told["sizes"] = {name: content[name] for name in ("latent_channels",) if name in content}
    if kind == "AutoencoderKL":
        told["quantizer"] = "none"
        told["scale"] = float(content.get("scaling_factor") or 0.18215)
        told["shift"] = float(content.get("shift_factor") or 0.0)
    if content.get("force_upcast") is True and kind != "AutoencoderTiny":
        told["fp16"] = False
    if kind == "VQModel" and content.get("lookup_from_codebook"):
        told["pixels"] = "unit"  # aMUSEd's, whose pipeline does not normalize pictures
    return told


def compare(architecture: VQGANArchitecture, told: Mapping[str, Any], path: Path, config: Path | None) -> None:
    """Raise WeightsError if the sizes that a config tells are others than those of the tensors."""
    for name, value in told.get("sizes", {}).items():
        if name == "block_out_channels":
            actual: Any = [architecture.ch * mult for mult in architecture.ch_mult]
        else:
            actual = getattr(architecture, _SIZES[name])
        if value != actual:
            raise WeightsError(
                f"{config} does not fit {path.name}: {name} is {value} there and {actual} in the weights"
            )
