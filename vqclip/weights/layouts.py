"""Which tensors of a file make up a VQGAN, and what taming calls them: prefixes, codebooks, diffusers' names.

Wherever it stands in a file, a decoder begins with a tensor whose name ends in `decoder.conv_in.weight`; what stands
before that is the prefix of the whole network. Networks that are none are told by what they lack or have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vqclip.errors import WeightsError
from vqclip.weights.renaming import averaged, from_diffusers, from_llamagen, from_numbered, is_diffusers, is_llamagen

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
# of TAESD, whose layers are numbered
TINY_ANCHOR = "decoder.layers.0.weight"
# of Open-MAGVIT2 alone: what scales a level by the codes
LOOKUP_FREE = "decoder.adaptive.0.gamma.weight"
# whose publishers measured the moving average that is in the same file
_AVERAGED_KINDS = ("dot", "bits")


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


def find_vqgan(
    held: Mapping[str, Tensor], path: Path, known: Mapping[str, Any] | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of the VQGAN alone, under the names of its network here, and what their names tell of it.

    What they tell, and `known`, are fields of its architecture. Nothing is returned where there is no VQGAN. Raises
    WeightsError for what looks like one and is another network, or is quantized.
    """
    known, tells = known or {}, {}
    tensors = under(held, ANCHOR)
    if not tensors:
        tensors = under(held, TINY_ANCHOR) or from_numbered(held)
        _check_numbered(tensors, path)
    elif any(".conv_y." in name for name in tensors):
        raise WeightsError(f"{path} holds a MoVQ (its norms see the codes), which is not drawn with: give a VQGAN")
    if is_llamagen(tensors):
        tensors, tells = from_llamagen(tensors), {"quantizer": "cosine"}
    elif is_diffusers(tensors):
        tensors = from_diffusers(tensors)
    elif known.get("quantizer") in _AVERAGED_KINDS or LOOKUP_FREE in tensors:
        tensors = averaged(tensors)
    kept = {name: value for name, value in tensors.items() if name.startswith(_PARTS)}
    kept |= _codebook(tensors, path)
    for name, value in kept.items():
        if value.is_quantized or not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            raise WeightsError(f"{path} holds quantized weights ({name} is {kind}): give it in fp32, fp16 or bf16")
    return kept, tells


def _check_numbered(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise WeightsError for a distilled autoencoder's encoder alone."""
    if tensors and TINY_ANCHOR not in tensors:
        raise WeightsError(
            f"{path} holds the encoder of a TAESD alone: give that of its decoder, or the file with both"
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
