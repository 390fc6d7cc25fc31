"""VQGANs from other programs' checkpoints: which network the tensors are is told by their shapes, never by code.

taming's `VQModel` and `GumbelVQ`, latent-diffusion's `VQModel`, diffusers' of the same name, and the first stages of
transformers that hold one, under whatever prefix.
What only training needs (losses, discriminators, LPIPS, optimizers) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vqclip.errors import WeightsError, one_line
from vqclip.types import VQGANArchitecture
from vqclip.weights import collected, files
from vqclip.weights.layouts import CODEBOOKS, vqgan_tensors
from vqclip.weights.model_yaml import read_model_yaml

_TARGETS = {
    "taming.models.vqgan.VQModel": "vq",
    "taming.models.vqgan.GumbelVQ": "gumbel",
    "ldm.models.autoencoder.VQModel": "vq",
    "ldm.models.autoencoder.VQModelInterface": "vq",
}
_BUNDLES = ("taming.models.cond_transformer.Net2NetTransformer", "ldm.models.diffusion.ddpm.LatentDiffusion")


def read_vqgan(path: Path, config: Path | None = None) -> tuple[VQGANArchitecture, dict[str, Tensor]]:
    """Return architecture and tensors, under taming's names, of a VQGAN in a checkpoint of another program.

    The file's first bytes decide how it is read. A `config` in taming's YAML must agree with the shapes of the tensors.
    Raises WeightsError, in one line, for a file that is absent, damaged or holds another network.
    """
    path = Path(path)
    if path.is_file() and files.is_own(path):
        file = files.read(path, "vqgan")
        architecture = VQGANArchitecture.from_json(file.architecture)
        if config is not None:
            _compare(architecture, read_model_yaml(config, {*_TARGETS, *_BUNDLES}), path, config)
        return architecture, file.tensors
    tensors = vqgan_tensors(collected.read_all(path), path)
    try:
        architecture = infer(tensors)
    except (KeyError, ValueError, IndexError, TypeError, ZeroDivisionError) as error:
        named = f"its {error.args[0]} is missing" if isinstance(error, KeyError) else one_line(error)[:120]
        raise WeightsError(f"{path} holds no VQGAN of taming's layout ({named}): give --vqgan another file") from None
    if config is not None:
        _compare(architecture, read_model_yaml(config, {*_TARGETS, *_BUNDLES}), path, config)
    if not architecture.encoder:
        tensors = {name: value for name, value in tensors.items() if not name.startswith(("encoder.", "quant_conv."))}
    return architecture, {name: value.float() for name, value in tensors.items()}


def infer(tensors: Mapping[str, Tensor]) -> VQGANArchitecture:
    """Return the architecture that the shapes of a VQGAN's tensors tell; KeyError or ValueError if they tell none."""
    quantizer = next((kind for kind, name in CODEBOOKS.items() if name in tensors), "")
    if not quantizer:
        raise KeyError(CODEBOOKS["vq"])
    codes, dimensions = tensors[CODEBOOKS[quantizer]].shape
    levels = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("decoder.up."))
    widths = [len(tensors[f"decoder.up.{i}.block.0.conv1.weight"]) for i in range(levels)]
    encoder = any(name.startswith("encoder.") for name in tensors)
    # a decoder tells the products of ch and ch_mult alone
    ch = len(tensors["encoder.conv_in.weight"]) if encoder else widths[0]
    if any(width % ch for width in widths):
        raise ValueError(f"levels of {widths} channels are no multiples of {ch}")
    blocks = 1 + max(int(name.split(".")[4]) for name in tensors if name.startswith("decoder.up.0.block."))
    return VQGANArchitecture(
        ch=ch,
        ch_mult=tuple(width // ch for width in widths),
        num_res_blocks=blocks - 1,
        attn_levels=tuple(i for i in range(levels) if f"decoder.up.{i}.attn.0.q.weight" in tensors),
        z_channels=len(tensors["post_quant_conv.weight"]),
        embed_dim=dimensions,
        n_embed=codes,
        quantizer=quantizer,
        encoder=encoder,
        **_unattended(tensors),
    )


def _unattended(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what a network without attention in its middle differs in: aMUSEd's, whose pictures lie in [0, 1]."""
    attended = "decoder.mid.attn_1.q.weight" in tensors
    return {} if attended else {"mid_attention": False, "pixels": "unit"}


def _compare(architecture: VQGANArchitecture, model: Mapping[str, Any], path: Path, config: Path) -> None:
    """Raise WeightsError if a model's YAML, `model` of it, describes another network than was found."""
    if model.get("target") in _BUNDLES:
        stage = (model.get("params") or {}).get("first_stage_config")
        model = stage if isinstance(stage, Mapping) else {}
    params = model.get("params")
    ddconfig = params.get("ddconfig") if isinstance(params, Mapping) else None
    if model.get("target") not in _TARGETS or not isinstance(params, Mapping) or not isinstance(ddconfig, Mapping):
        raise WeightsError(f"{config} describes no VQGAN: give the YAML that belongs to {path.name}")
    said = {name: params.get(name) for name in ("n_embed", "embed_dim")}
    said |= {name: ddconfig.get(name) for name in ("ch", "num_res_blocks", "z_channels")}
    said |= {"ch_mult": _numbers(ddconfig.get("ch_mult")), "quantizer": _TARGETS[model["target"]]}
    for name, value in said.items():
        actual = getattr(architecture, name)
        if value is not None and value != actual and not (name in ("ch", "ch_mult") and not architecture.encoder):
            raise WeightsError(
                f"{config} does not fit {path.name}: {name} is {value} there and {actual} in the weights"
            )


def _numbers(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
