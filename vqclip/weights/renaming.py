"""Names of the parameters of other programs' decoders, and what our networks call them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_BLOCKS = re.compile(
    r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)"
)
_MIDDLE = re.compile(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_RENAMED = {
    "conv_shortcut": "nin_shortcut", "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v",
    "to_out.0": "proj_out", "query": "q", "key": "k", "value": "v", "proj_attn": "proj_out",
}  # fmt: skip
_LLAMAGEN = re.compile(r"(encoder|decoder)\.conv_blocks\.(\d+)\.(res|attn|downsample|upsample)\.(.+)")
_LLAMAGEN_MIDDLE = re.compile(r"(encoder|decoder)\.mid\.([012])\.(.+)")
_IN_MIDDLE = ("block_1", "attn_1", "block_2")
# of the files that TAESD's author publishes: layers of a torch Sequential
_NUMBERED = re.compile(r"(\d+)\.((?:conv\.\d+\.)?(?:weight|bias))")


def is_diffusers(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors bear the names of diffusers' `VQModel` or `AutoencoderKL`."""
    return any(name.startswith(("decoder.up_blocks.", "decoder.mid_block.resnets.")) for name in tensors)


def from_diffusers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of diffusers' `VQModel` or `AutoencoderKL` under taming's names.

    The matrices of its attention are taming's kernels of one pixel.
    """
    levels = 1 + max((int(m[3]) for name in tensors if (m := _BLOCKS.fullmatch(name))), default=0)
    renamed = {}
    for name, value in tensors.items():
        taming_name = _taming_name(name, levels)
        product = value.dim() == 2 and ".attn" in taming_name and taming_name.endswith(".weight")
        renamed[taming_name] = value[:, :, None, None] if product else value
    return renamed


def is_llamagen(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors bear the names of LlamaGen's `VQModel`."""
    return any(name.startswith("decoder.conv_blocks.") for name in tensors)


def from_llamagen(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of LlamaGen's `VQModel` under taming's names: the decoder's levels count from the coarsest."""
    places = [int(m[2]) for name in tensors if (m := _LLAMAGEN.fullmatch(name)) and m[1] == "decoder"]
    last = max(places, default=0)

    def renamed(name: str) -> str:
        if middle := _LLAMAGEN_MIDDLE.fullmatch(name):
            return f"{middle[1]}.mid.{_IN_MIDDLE[int(middle[2])]}.{middle[3]}"
        if not (block := _LLAMAGEN.fullmatch(name)):
            return name
        side, number, kind, rest = block.groups()
        level = f"up.{last - int(number)}" if side == "decoder" else f"down.{number}"
        return f"{side}.{level}.{'block' if kind == 'res' else kind}.{rest}"

    return {renamed(name): value for name, value in tensors.items()}


def from_numbered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file of TAESD's author under diffusers' names; nothing if it is none.

    A file holds the decoder or the encoder. The decoder's first layer there is the bound of its latents, which has no
    parameters and no number here.
    """
    layers = [_NUMBERED.fullmatch(name) for name in tensors]
    if not layers or not all(layers):
        return {}
    matches = [match for match in layers if match]
    first = min(int(match[1]) for match in matches)
    if first not in (0, 1):
        return {}
    side = "decoder" if first else "encoder"
    return {f"{side}.layers.{int(match[1]) - first}.{match[2]}": tensors[match[0]] for match in matches}


def averaged(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors with those that a moving average followed replaced by it, as latent-diffusion keeps it.

    Its names are those of the weights without dots.
    """
    kept = {name: value for name, value in tensors.items() if not name.startswith("model_ema.")}
    return {name: tensors.get(f"model_ema.{name.replace('.', '')}", value) for name, value in kept.items()}


def _taming_name(name: str, levels: int) -> str:
    name = name.replace("conv_norm_out.", "norm_out.")
    middle, block = _MIDDLE.fullmatch(name), _BLOCKS.fullmatch(name)
    if middle:
        side, kind, place, rest = middle.groups()
        part = "attn" if kind == "attentions" else "block"
        return f"{side}.mid.{part}_{int(place) + 1}.{_renamed(rest)}"
    if block:
        side, way, level, kind, place, rest = block.groups()
        # taming counts both ways from the finest level
        number = int(level) if way == "down" else levels - 1 - int(level)
        if kind in ("downsamplers", "upsamplers"):
            return f"{side}.{way}.{number}.{way}sample.{rest}"
        return f"{side}.{way}.{number}.{'attn' if kind == 'attentions' else 'block'}.{place}.{_renamed(rest)}"
    return name


def _renamed(rest: str) -> str:
    module, _, tail = rest.rpartition(".")
    return f"{_RENAMED.get(module, module)}.{tail}"
