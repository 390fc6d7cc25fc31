"""Which tensors of a file make up a VQGAN, and what taming calls them: prefixes, codebooks, diffusers' names.

Wherever it stands in a file, a decoder begins with a tensor whose name ends in `decoder.conv_in.weight`; what stands
before that is the prefix of the whole network. Networks that are none are told by what they lack or have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from vqclip.errors import WeightsError

ANCHOR = "decoder.conv_in.weight"
CODEBOOKS = {"vq": "quantize.embedding.weight", "gumbel": "quantize.embed.weight"}
# what wrappers put between the names of modules, wherever they wrap one
_WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_forward_module|_fsdp_wrapped_module|module)\.")
_AVERAGED = re.compile(r"(?:^|[._])ema(?:[._]|$)")
_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "quantize.proj.")
# codebooks under other names: of quantizers that follow a moving average, or of other programs
_BOOK = re.compile(
    r"(?:quantize|quantizer)\.(?:embedding\.weight|embed\.weight|embedding|embed|_codebook\.embed"
    r"|codebook\.weight|codebook|weight)"
)
_BOOK_AT_END = re.compile(f"(?:(?<=\\.)|^){_BOOK.pattern}$")
_BLOCKS = re.compile(
    r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)"
)
_MIDDLE = re.compile(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_RENAMED = {
    "conv_shortcut": "nin_shortcut", "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v",
    "to_out.0": "proj_out", "query": "q", "key": "k", "value": "v", "proj_attn": "proj_out",
}  # fmt: skip


def under(held: Mapping[str, Tensor], anchor: str) -> dict[str, Tensor]:
    """Return the tensors beside the one whose name ends in `anchor`, by their names behind its prefix; {} without one.

    Of several such networks the one with a codebook counts before others, an average of weights before the weights,
    the shortest prefix first; what only tells a transformer its condition comes last.
    """
    plain = {_WRAPPERS.sub("", name): value for name, value in held.items()}
    prefixes = [name[: -len(anchor)] for name in plain if name.endswith(anchor)]
    prefixes = [prefix for prefix in prefixes if not prefix or prefix.endswith(".")]
    if not prefixes:
        return {}
    booked = {name[: match.start()] for name in plain if (match := _BOOK_AT_END.search(name))}
    best = min(prefixes, key=lambda p: (p not in booked, "cond_stage" in p, not _AVERAGED.search(p), len(p), p))
    return {name.removeprefix(best): value for name, value in plain.items() if name.startswith(best)}


def vqgan_tensors(held: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors of the VQGAN alone, under the names that its network has here; nothing if there is none.

    Raises WeightsError for what looks like one and is another network, or is quantized.
    """
    tensors = under(held, ANCHOR)
    if not tensors:
        return {}
    _name_others(tensors, path)
    if any(name.startswith(("decoder.up_blocks.", "decoder.mid_block.resnets.")) for name in tensors):
        tensors = _from_diffusers(tensors)
    kept = {name: value for name, value in tensors.items() if name.startswith(_PARTS)}
    kept |= _codebook(tensors, path)
    for name, value in kept.items():
        if value.is_quantized or not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            raise WeightsError(f"{path} holds quantized weights ({name} is {kind}): give it in fp32, fp16 or bf16")
    return kept


def _name_others(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise WeightsError for a network with the same decoder that is no VQGAN, by its name."""
    if any(".conv_y." in name for name in tensors):
        raise WeightsError(f"{path} holds a MoVQ (its norms see the codes), which is not drawn with: give a VQGAN")
    if any(_BOOK.fullmatch(name) for name in tensors):
        return
    last, first = tensors.get("encoder.conv_out.weight"), tensors[ANCHOR]
    if last is not None and first.dim() == 4 and len(last) == 2 * first.shape[1]:
        raise WeightsError(
            f"{path} holds a KL autoencoder (AutoencoderKL, as Stable Diffusion's), which has no codes: give a VQGAN"
        )


def _codebook(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the codebook (K, C) under taming's name, or nothing if there is none."""
    name = next((name for name in tensors if _BOOK.fullmatch(name)), None)
    if name is None:
        return {}
    if name == CODEBOOKS["gumbel"] and "quantize.proj.weight" in tensors:
        return {name: tensors[name]}
    book = tensors[name].squeeze(0) if tensors[name].dim() == 3 else tensors[name]
    after = tensors.get("post_quant_conv.weight")
    if book.dim() != 2:
        raise WeightsError(f"{path} holds several codebooks ({name} is {tuple(book.shape)}): give a VQGAN with one")
    wide = after.shape[1] if after is not None and after.dim() == 4 else book.shape[1]
    # quantizers that follow a moving average keep a code in a column
    columns = name.endswith(".embed") and "_codebook" not in name
    if wide != book.shape[1] or (columns and book.shape[0] == book.shape[1]):
        book = book.t().contiguous()
    return {CODEBOOKS["vq"]: book}


def _from_diffusers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of diffusers' VQModel under taming's names.

    The matrices of its attention are taming's kernels of one pixel.
    """
    levels = 1 + max((int(m[3]) for name in tensors if (m := _BLOCKS.fullmatch(name))), default=0)
    renamed = {}
    for name, value in tensors.items():
        taming_name = _taming_name(name, levels)
        product = value.dim() == 2 and ".attn" in taming_name and taming_name.endswith(".weight")
        renamed[taming_name] = value[:, :, None, None] if product else value
    return renamed


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
