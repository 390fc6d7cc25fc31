"""The VQGAN (Esser et al. 2021, "Taming Transformers for High-Resolution Image Synthesis").

The networks are taming-transformers' own `Encoder`, `Decoder` and quantizers under taming's own parameter names, so
that its checkpoints load unchanged. Nothing else of that package is touched: its model classes no longer import.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable
from typing import Any

import torch
from taming.modules.diffusionmodules.model import AttnBlock, Decoder, Encoder, ResnetBlock
from taming.modules.vqvae.quantize import GumbelQuantize, VectorQuantizer2
from torch import Tensor, nn

from vqclip.errors import WeightsError
from vqclip.models import casting
from vqclip.models.attention import attend
from vqclip.models.convolution import Conv2d
from vqclip.models.convolutional import MAGVIT2Network, MaskGITNetwork
from vqclip.models.normalization import GroupNorm, norm_silu
from vqclip.models.quantizers import QUANTIZERS
from vqclip.models.tiny_autoencoder import TinyNetwork
from vqclip.types import VQGANArchitecture

_LIVE_NORM = 1e-2  # least norm of a code that is ever chosen
NO_ENCODER = "holds no encoder, so that it begins with no picture: give --stages full:1, or get it whole"


class TamingNetwork(nn.Module):
    """The modules of a taming `VQModel` or `GumbelVQ`, without its training losses; its names are the checkpoint's."""

    def __init__(self, architecture: VQGANArchitecture) -> None:
        super().__init__()
        a = architecture
        ddconfig: dict[str, Any] = {
            "ch": a.ch,
            "out_ch": 3,
            "ch_mult": a.ch_mult,
            "num_res_blocks": a.num_res_blocks,
            "attn_resolutions": [a.factor // 2**level for level in a.attn_levels],
            "in_channels": 3,
            # only places attention: a power of two keeps encoder and decoder on the same levels
            "resolution": a.factor,
            "z_channels": a.z_channels,
            # of continuous latents the encoder tells mean and variance
            "double_z": a.quantizer == "none",
        }
        with contextlib.redirect_stdout(io.StringIO()):  # the Decoder prints its latent shape
            self.encoder = Encoder(**ddconfig)
            self.decoder = Decoder(**ddconfig)
        for module in [*self.encoder.modules(), *self.decoder.modules()]:
            if type(module) in _FASTER:
                module.__class__ = _FASTER[type(module)]
            if isinstance(module, nn.GroupNorm):
                if module.num_channels % a.norm_groups:
                    raise ValueError(f"{module.num_channels} channels do not fall into {a.norm_groups} groups")
                module.num_groups = a.norm_groups
        if not a.mid_attention:
            self.encoder.mid.attn_1 = self.decoder.mid.attn_1 = nn.Identity()
        self._add_quantizer(a)
        if not a.encoder:
            del self.encoder, self.quant_conv

    def _add_quantizer(self, a: VQGANArchitecture) -> None:
        """Add the codes, if there are any, and the convolutions around them."""
        doubled = 1
        if a.quantizer == "gumbel":
            self.quantize = GumbelQuantize(a.z_channels, a.embed_dim, n_embed=a.n_embed, kl_weight=1e-8)
        elif a.quantizer == "none":
            doubled = 2
        else:
            self.quantize = VectorQuantizer2(a.n_embed, a.embed_dim, beta=0.25, legacy=False)
        self.quant_conv: nn.Module = nn.Identity()
        self.post_quant_conv: nn.Module = nn.Identity()
        if a.quant_convs:
            self.quant_conv = nn.Conv2d(doubled * a.z_channels, doubled * a.embed_dim, 1)
            self.post_quant_conv = nn.Conv2d(a.embed_dim, a.z_channels, 1)


class _ResnetBlock(ResnetBlock):
    """taming's block, its parameters and result; norm and activation are one operation (`normalization`).

    taming's product x * sigmoid(x) reads and writes every activation twice, forward and back: a third of a decoder's
    time.
    """

    def forward(self, x: Tensor, temb: None = None) -> Tensor:
        """Return x (B, C, h, w) plus its two activated convolutions; the VQGAN has no time embedding."""
        h = self.conv1(norm_silu(self.norm1, x))
        h = self.conv2(self.dropout(norm_silu(self.norm2, h)))
        if self.in_channels != self.out_channels:
            x = self.conv_shortcut(x) if self.use_conv_shortcut else self.nin_shortcut(x)
        out: Tensor = x + h
        return out


class _AttnBlock(AttnBlock):
    """taming's attention over all places, its parameters and result, by the fastest products of the device."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, C, h, w) plus what each place finds in all others."""
        h = self.norm(x)
        q, k, v = (part(h).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v))
        out: Tensor = x + self.proj_out(attend(q, k, v).transpose(1, 2).reshape(x.shape))
        return out


class _Decoder(Decoder):
    """taming's decoder, its parameters and result, but for the last norm and activation, which are one operation."""

    def forward(self, z: Tensor) -> Tensor:
        """Return the picture (B, 3, f h, f w) of latents (B, C, h, w)."""
        h = self.mid.block_2(self.mid.attn_1(self.mid.block_1(self.conv_in(z))))
        for number, level in reversed(list(enumerate(self.up))):
            for place, block in enumerate(level.block):
                h = block(h)
                if len(level.attn):
                    h = level.attn[place](h)
            if number:
                h = level.upsample(h)
        out: Tensor = self.conv_out(norm_silu(self.norm_out, h))
        return out


_FASTER: dict[type, type] = {
    ResnetBlock: _ResnetBlock, AttnBlock: _AttnBlock, Decoder: _Decoder, nn.GroupNorm: GroupNorm, nn.Conv2d: Conv2d
}  # fmt: skip


# what builds the network of each family; all have `encoder`, `decoder` and convolutions around the codes
_FAMILIES: dict[str, Callable[[VQGANArchitecture], Any]] = {
    "taming": TamingNetwork,
    "maskgit": MaskGITNetwork,
    "magvit2": MAGVIT2Network,
    "tiny": TinyNetwork,
}


class VQGAN(nn.Module):
    """A VQGAN behind `encode`, `quantize`, `decode` and `codebook`; only it knows the range of its network's pictures.

    One of continuous latents, without codes, has `encode` and `decode`, and an empty codebook.
    """

    live: Tensor | None
    # the precision of the decoder's weights if it is not float32: see `casting`
    held: torch.dtype | None = None
    # torch's modules tell no types of their parts
    network: Any

    def __init__(self, architecture: VQGANArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.factor = architecture.factor
        self.quantizer = QUANTIZERS[architecture.quantizer]
        self.network = _FAMILIES[architecture.family](architecture)
        self.register_buffer("live", None, persistent=False)

    @property
    def codebook(self) -> Tensor:
        """Codes, (K, C); (0, 0) of continuous latents."""
        return self.quantizer.codebook(self.network)

    @property
    def channels(self) -> int:
        """Channels C of the latents."""
        return self.architecture.embed_dim

    @property
    def space(self) -> str:
        """The space that latents are kept in, by its name in `vqclip.drawables.spaces`."""
        return self.quantizer.space

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        out: torch.device = next(self.network.parameters()).device
        return out

    @property
    def refusal(self) -> str:
        """Why no picture can be encoded; empty if pictures can."""
        return "" if self.architecture.encoder else NO_ENCODER

    def leave_out_dead_codes(self) -> None:
        """Never choose the codes that training did not touch: they keep a norm of about 1e-3 and decode to nothing."""
        live = (self.codebook.norm(dim=1) > _LIVE_NORM).nonzero().flatten()
        self.live = live if 0 < len(live) < len(self.codebook) else None

    @property
    def live_codebook(self) -> Tensor:
        """The codes that are chosen from, (K', C)."""
        return self.codebook if self.live is None else self.codebook[self.live]

    def encode(self, image: Tensor) -> Tensor:
        """Encode images (B, 3, H, W) in [0, 1], sides multiples of `factor`, to latents (B, C, H/f, W/f).

        A Gumbel VQGAN has no continuous latents in the space of its codes: the codes themselves are returned, chosen
        by the argmax of its projection (taming's own forward pass draws noise even when evaluating). Continuous latents
        are the mean that the encoder tells, scaled to unit variance.
        """
        a = self.architecture
        if not a.encoder:
            raise WeightsError(f"this VQGAN's file {NO_ENCODER}")
        if image.shape[-1] % self.factor or image.shape[-2] % self.factor:
            raise ValueError(f"image sides must be multiples of {self.factor}, got {tuple(image.shape[-2:])}")
        x = image * 2 - 1 if a.pixels == "signed" else image
        h: Tensor = self.network.quant_conv(self.network.encoder(x.contiguous(memory_format=torch.channels_last)))
        if a.quantizer == "gumbel":
            return self.codes(self.network.quantize.proj(h).argmax(1))
        if self.space == "sphere":
            return nn.functional.normalize(h, dim=1)
        return (h[:, : a.embed_dim] - a.shift) * a.scale if a.quantizer == "none" else h

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes (B, C, h, w) of latents (B, C, h, w), and their indices (B, h, w)."""
        codebook = self.live_codebook.float()
        flat = z.detach().float().permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        with torch.autocast(z.device.type, enabled=False):  # near codes differ by less than bf16 tells
            nearest = self.quantizer.choose(codebook, flat)
        indices = (nearest if self.live is None else self.live[nearest]).view(z.shape[0], *z.shape[2:])
        return self.codes(indices), indices

    def codes(self, indices: Tensor) -> Tensor:
        """Return the codes (B, C, h, w) of indices (B, h, w)."""
        return nn.functional.embedding(indices, self.codebook).permute(0, 3, 1, 2)

    def decode(self, z_q: Tensor) -> Tensor:
        """Decode codes (B, C, h, w) to images (B, 3, f*h, f*w) in [0, 1].

        Beyond the range the gradient passes only where it leads back inside.
        """
        a = self.architecture
        z = z_q / a.scale + a.shift if a.quantizer == "none" else z_q
        with casting.under(self.held, z):
            h = self.network.post_quant_conv(z.contiguous(memory_format=torch.channels_last))
            picture = self.network.decoder(h).float()
        out: Tensor = _ClampWithGradient.apply((picture + 1) / 2 if a.pixels == "signed" else picture)
        return out


class Detokenizer(nn.Module):
    """The decoder and the codes of a VQGAN that was trained on images in [0, 1], such as DALL-E mini's."""

    def __init__(self, architecture: VQGANArchitecture) -> None:
        super().__init__()
        self.factor = architecture.factor
        self.network = TamingNetwork(dataclasses.replace(architecture, encoder=False))

    def codes(self, indices: Tensor) -> Tensor:
        """Return the codes (B, C, h, w) of indices (B, h, w)."""
        return nn.functional.embedding(indices, self.network.quantize.embedding.weight).permute(0, 3, 1, 2)

    def decode(self, z_q: Tensor) -> Tensor:
        """Decode codes (B, C, h, w) to images (B, 3, f*h, f*w) in [0, 1]."""
        out: Tensor = self.network.decoder(self.network.post_quant_conv(z_q)).float().clamp(0, 1)
        return out


class _ClampWithGradient(torch.autograd.Function):
    """Clamp to [0, 1] whose gradient survives where descending it moves the value back into the range."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        out: Tensor = grad * (grad * (x - x.clamp(0, 1)) >= 0)
        return out
