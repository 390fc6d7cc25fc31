"""taming's Net2NetTransformer bundles: the transformer, and the codes of its first stage, out of a Lightning file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vqclip.errors import WeightsError, one_line
from vqclip.models.gpt import GPTArchitecture, side_of
from vqclip.weights import collected
from vqclip.weights.layouts import under
from vqclip.weights.model_yaml import read_model_yaml

_ANCHOR = "transformer.tok_emb.weight"
_CODES = ("first_stage_model.quantize.embedding.weight", "first_stage_model.quantize.embed.weight")
_STAGES = {
    "taming.modules.util.Labelator": "class",
    "taming.modules.misc.coord.CoordStage": "coordinates",
    "taming.modules.util.SOSProvider": "none",
    "__is_unconditional__": "none",
}
_PERMUTER = "taming.modules.transformer.permuter.Identity"
# taming's public transformers have heads of 64 dimensions; its files do not say how many
_HEAD = 64


def read_net2net(path: Path) -> tuple[GPTArchitecture, dict[str, Tensor], Tensor | None]:
    """Return architecture, tensors and the codebook (K, C), if the file holds one, of a checkpoint in taming's layout.

    The YAML of the same name, or `model.yaml`, beside it says the number of heads and the condition; without one there
    are heads of 64 dimensions, and a block of twice a square means coordinates, another one classes. Raises
    WeightsError for a transformer that is conditioned on pictures, reorders its codes, or is none.
    """
    # the embedding of its tokens stands at the beginning of the transformer, whatever wrapped that
    held = under(collected.read_all(path), _ANCHOR)
    tensors = {
        name.removeprefix("transformer."): value.float()
        for name, value in held.items()
        if name.startswith("transformer.") and not name.endswith(".attn.mask")
    }
    if "tok_emb.weight" not in tensors or "pos_emb" not in tensors:
        raise WeightsError(f"{path} holds no transformer of taming's: give a Net2NetTransformer checkpoint")
    codebook = next((held[name].float() for name in _CODES if name in held), None)
    said = _said(path)
    if said is None and any(name.startswith("cond_stage_model.") for name in held):
        raise WeightsError(f"{path} {_PICTURES}")
    try:
        architecture = _architecture(tensors, codebook, said or {}, held.get("transformer.blocks.0.attn.mask"))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError) as error:
        raise WeightsError(f"{path} is no transformer that can be built: {one_line(error)[:150]}") from None
    return architecture, tensors, codebook


_PICTURES = "is conditioned by pictures (depth, segmentation): only classes, coordinates and none are supported"


def _said(path: Path) -> Mapping[str, Any] | None:
    """Return `model.params` of the YAML beside a checkpoint; None if there is none."""
    file = next((f for f in (path.with_suffix(".yaml"), path.with_name("model.yaml")) if f.is_file()), None)
    if file is None:
        return None
    params: Mapping[str, Any] = read_model_yaml(file)["params"]
    return params


def _architecture(
    tensors: Mapping[str, Tensor], codebook: Tensor | None, said: Mapping[str, Any], mask: Tensor | None
) -> GPTArchitecture:
    vocabulary, width = tensors["tok_emb.weight"].shape
    block = tensors["pos_emb"].shape[1]
    layers = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
    transformer = _params(said.get("transformer_config"))
    condition, stage = _condition(said, block)
    if said.get("permuter_config") and said["permuter_config"].get("target") != _PERMUTER:
        raise ValueError("it does not write its codes row by row (a permuter)")
    unmasked = transformer.get("n_unmasked", _unmasked(mask))
    return GPTArchitecture(
        vocabulary,
        vocabulary if codebook is None else len(codebook),
        block,
        layers,
        int(transformer.get("n_head", max(width // _HEAD, 1))),
        width,
        side_of(block, condition),
        int(unmasked),
        condition,
        int(stage.get("n_classes", vocabulary)) if condition == "class" else 0,
        int(said.get("sos_token", 0)),
    )


def _condition(said: Mapping[str, Any], block: int) -> tuple[str, Mapping[str, Any]]:
    """Return the kind of condition, and what the YAML says of it."""
    if not said:
        return ("coordinates" if block % 2 == 0 and side_of(block, "coordinates") ** 2 * 2 == block else "class"), {}
    stage: Any = said.get("cond_stage_config")
    if said.get("unconditional"):
        return "none", {}
    target = stage if isinstance(stage, str) else stage["target"]
    if target not in _STAGES:
        raise ValueError(f"it {_PICTURES}")
    return _STAGES[target], _params(stage)


def _params(config: Any) -> Mapping[str, Any]:
    params = config.get("params") if isinstance(config, Mapping) else None
    return params if isinstance(params, Mapping) else {}


def _unmasked(mask: Tensor | None) -> int:
    """Return how many of the first tokens see one another, as the attention mask (1, 1, n, n) of a file says."""
    if mask is None or mask.dim() != 4:
        return 0
    # row 0 sees token 0 alone, unless the first ones are unmasked
    first = int(mask[0, 0, 0].sum())
    return first if first > 1 else 0
