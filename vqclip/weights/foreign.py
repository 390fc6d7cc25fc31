"""VQGANs from other programs' checkpoints: which network the tensors are is told by their shapes, never by code.

taming's `VQModel` and `GumbelVQ`, latent-diffusion's `VQModel`, diffusers' of the same name, and the first stages of
transformers that hold one, under whatever prefix; decoders of other families (`renaming`, `shapes`).
What only training needs (losses, discriminators, LPIPS, optimizers) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vqclip.errors import WeightsError, one_line
from vqclip.types import VQGANArchitecture
from vqclip.weights import collected, diffusers_config, files
from vqclip.weights.layouts import find_vqgan
from vqclip.weights.model_yaml import read_model_yaml
from vqclip.weights.shapes import infer

# the target of a model's YAML, and what it says of the quantizer
_TARGETS = {
    "taming.models.vqgan.VQModel": "vq",
    "taming.models.vqgan.GumbelVQ": "gumbel",
    "ldm.models.autoencoder.VQModel": "vq",
    "ldm.models.autoencoder.VQModelInterface": "vq",
    "ldm.models.autoencoder.AutoencoderKL": "none",
    "src.IBQ.models.ibqgan.IBQ": "dot",
    "src.Open_MAGVIT2.models.lfqgan.VQModel": "bits",
}
_BUNDLES = ("taming.models.cond_transformer.Net2NetTransformer", "ldm.models.diffusion.ddpm.LatentDiffusion")


def read_vqgan(
    path: Path, config: Path | None = None, known: Mapping[str, Any] | None = None
) -> tuple[VQGANArchitecture, dict[str, Tensor]]:
    """Return architecture and tensors, under the names of its network here, of a VQGAN of another program.

    The file's first bytes decide how it is read. A `config` in taming's YAML, or diffusers' `config.json`, must agree
    with the shapes of the tensors; one of diffusers' beside the file is read without being asked for. Both, and
    `known`, fields of the architecture, tell what tensors do not: the range of pictures, the scale of latents.
    Raises WeightsError, in one line, for a file that is absent, damaged or holds another network.
    """
    path = Path(path)
    if path.is_file() and files.is_own(path):
        file = files.read(path, "vqgan")
        architecture = VQGANArchitecture.from_json(file.architecture)
        _check_config(architecture, path, config)
        return architecture, file.tensors
    beside = diffusers_config.beside(collected.parts_of(path)[0])
    told = dict(known or {}) | _told(config)
    said = diffusers_config.read(beside) if beside and not config else {}
    tensors, named = find_vqgan(collected.read_all(path), path, told)
    try:
        architecture = infer(tensors, said | named | told)
    except (KeyError, ValueError, IndexError, TypeError, ZeroDivisionError) as error:
        missing = f"its {error.args[0]} is missing" if isinstance(error, KeyError) else one_line(error)[:120]
        raise WeightsError(f"{path} holds no VQGAN of a known layout ({missing}): give --vqgan another file") from None
    diffusers_config.compare(architecture, said, path, beside)
    _check_config(architecture, path, config)
    if not architecture.encoder:
        tensors = {name: value for name, value in tensors.items() if not name.startswith(("encoder.", "quant_conv."))}
    return architecture, {name: value.float() for name, value in tensors.items()}


def _told(config: Path | None) -> dict[str, Any]:
    """Return what a config that was given tells of an architecture and tensors do not."""
    if config is None:
        return {}
    if config.suffix == ".json":
        return diffusers_config.read(config)
    target = read_model_yaml(config, {*_TARGETS, *_BUNDLES}).get("target")
    quantizer = _TARGETS.get(str(target), "")
    return {"quantizer": quantizer} if quantizer in ("dot", "none") else {}


def _check_config(architecture: VQGANArchitecture, path: Path, config: Path | None) -> None:
    """Raise WeightsError if a config that was given describes another network than was found."""
    if config is None:
        return
    if config.suffix == ".json":
        diffusers_config.compare(architecture, diffusers_config.read(config), path, config)
    else:
        _compare(architecture, read_model_yaml(config, {*_TARGETS, *_BUNDLES}), path, config)


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
