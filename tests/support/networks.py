"""taming's networks, as it puts them together itself, and small architectures."""

from __future__ import annotations

import torch
from taming.modules.diffusionmodules.model import Decoder, Encoder
from taming.modules.vqvae.quantize import GumbelQuantize, VectorQuantizer2
from torch import Tensor, nn

from vqclip.types import VQGANArchitecture

SMALL_VQ = VQGANArchitecture(
    ch=32, ch_mult=(1, 1), num_res_blocks=1, attn_levels=(1,), resolution=16, z_channels=8, embed_dim=4, n_embed=16
)


class Reference(nn.Module):
    """A `VQModel` or `GumbelVQ` put together from taming's modules as taming's `vqgan.py` does."""

    def __init__(self, a: VQGANArchitecture) -> None:
        super().__init__()
        options = {
            "ch": a.ch, "out_ch": 3, "ch_mult": a.ch_mult, "num_res_blocks": a.num_res_blocks, "in_channels": 3,
            "attn_resolutions": [a.resolution // 2**level for level in a.attn_levels], "resolution": a.resolution,
            "z_channels": a.z_channels, "double_z": False,
        }  # fmt: skip
        self.encoder, self.decoder = Encoder(**options), Decoder(**options)
        if a.quantizer == "gumbel":
            self.quantize = GumbelQuantize(a.z_channels, a.embed_dim, n_embed=a.n_embed)
        else:
            self.quantize = VectorQuantizer2(a.n_embed, a.embed_dim, beta=0.25)
        self.quant_conv = nn.Conv2d(a.z_channels, a.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(a.embed_dim, a.z_channels, 1)


def assert_equal(ours: Tensor, theirs: Tensor, relative: float = 1e-5) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= relative * float(theirs.abs().max())


def randomize(network: nn.Module) -> None:
    """Move every weight off its initial value (norms start as identities) and draw codebooks from N(0, 1)."""
    generator = torch.Generator().manual_seed(5)
    for name, value in network.state_dict().items():
        if name in ("quantize.embedding.weight", "quantize.embed.weight"):
            value.copy_(torch.randn(value.shape, generator=generator))
        elif value.is_floating_point():
            value.add_(0.05 * torch.randn(value.shape, generator=generator))
