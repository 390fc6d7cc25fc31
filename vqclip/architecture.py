"""What a VQGAN's network looks like, as a plain record; importing it does not import torch."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from vqclip.errors import WeightsError

_SIZES = ("ch", "num_res_blocks", "resolution", "z_channels", "embed_dim", "n_embed", "norm_groups")
# what values of a VQGAN's architecture may be, beside its sizes
_CHOICES = {
    "quantizer": ("vq", "gumbel", "cosine", "dot", "bits", "none"),
    "family": ("taming", "maskgit", "magvit2", "tiny"),
    "pixels": ("signed", "unit"),
}
# fields that files of version 0.1 lack: written only where they say something
_NOTHING = object()
_LATER = ("family", "pixels", "mid_attention", "quant_convs", "scale", "shift", "fp16")


@dataclass(frozen=True)
class VQGANArchitecture:
    """Sizes of a VQGAN (Esser et al. 2021), or of another network that turns a grid of latents into a picture.

    `family` names the graph: `taming`, taming-transformers' own; `maskgit` (Chang et al. 2022) and `magvit2` (Luo et
    al. 2024), convolutions only; `tiny`, the distilled autoencoders for Stable Diffusion (TAESD).

    `quantizer` says how latents become codes: `vq` the nearest, `cosine` the nearest by angle (codes and latents have
    length 1), `dot` the one of the largest product (IBQ), `gumbel` by a projection, `bits` the sign of every channel
    (lookup-free), `none` not at all: the latents are continuous. Those have about unit variance, which `(z - shift) *
    scale` of the encoder's gives them.

    `resolution` is the nominal training side in pixels; taming places attention by resolution, so levels are recorded
    here (0 = full side) and turned into resolutions when the network is built. `mid_attention` says whether there is
    attention in the middle, `quant_convs` whether there are convolutions of one pixel around the codes.

    `norm_groups` is 32 in taming. A narrow network needs fewer: where a group is a single channel, the norm before the
    last convolution erases the mean of every channel, and with it the color of the picture. Without an `encoder` it
    draws, but begins with no picture. `pixels` is the range of its pictures: `signed` [-1, 1], `unit` [0, 1]. `fp16`
    says whether the decoder's activations fit into half precision.
    """

    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    attn_levels: tuple[int, ...] = (4,)
    resolution: int = 256
    z_channels: int = 256
    embed_dim: int = 256
    n_embed: int = 1024
    quantizer: str = "vq"
    norm_groups: int = 32
    encoder: bool = True
    family: str = "taming"
    pixels: str = "signed"
    mid_attention: bool = True
    quant_convs: bool = True
    scale: float = 1.0
    shift: float = 0.0
    fp16: bool = True

    def __post_init__(self) -> None:
        sizes = [getattr(self, name) for name in _SIZES]
        if not all(type(n) is int and 0 < n <= 1 << 20 for n in (*sizes, *self.ch_mult)) or not self.ch_mult:
            raise ValueError("sizes must be whole numbers from 1 to 2**20")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}: known are {', '.join(sorted(known))}")
        for name in ("encoder", "mid_attention", "quant_convs", "fp16"):
            if type(getattr(self, name)) is not bool:
                raise ValueError(f"{name} must be true or false")
        numbers = (self.scale, self.shift)
        if not all(type(n) in (int, float) and math.isfinite(n) for n in numbers) or self.scale <= 0:
            raise ValueError("scale must be a number above 0, shift a number")
        if self.quantizer == "bits" and (self.embed_dim > 20 or self.n_embed != 2**self.embed_dim):
            raise ValueError(f"{self.n_embed} codes are not 2**{self.embed_dim}: each channel is a bit, of at most 20")

    @property
    def factor(self) -> int:
        """Pixels per latent cell along a side."""
        factor: int = 2 ** (len(self.ch_mult) - 1)
        return factor

    @property
    def canvas(self) -> str:
        """The canvas of its latents, by its registered name."""
        return "latents" if self.quantizer == "none" else "vqgan"

    def to_json(self) -> str:
        """Return the record as JSON, the form it has in a weight file's metadata."""
        usual = {field.name: field.default for field in fields(self) if field.name in _LATER}
        return json.dumps({name: value for name, value in asdict(self).items() if usual.get(name, _NOTHING) != value})

    @classmethod
    def from_json(cls, text: str) -> VQGANArchitecture:
        """Read the record back; raise WeightsError if it is damaged."""
        values = json_object(text, "VQGAN architecture")
        try:
            values |= {name: tuple(int(v) for v in values[name]) for name in ("ch_mult", "attn_levels")}
            return cls(**values)
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise WeightsError(
                f"damaged VQGAN architecture in the weight file: {error}; fetch the file again"
            ) from None


def json_object(text: str, what: str) -> dict[str, Any]:
    """Return a JSON object of a weight file; WeightsError for other JSON, and for what is none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"damaged {what} in the weight file: {error}; fetch the file again") from None
    if not isinstance(values, dict):
        raise WeightsError(f"damaged {what} in the weight file: not an object; fetch the file again")
    return values
