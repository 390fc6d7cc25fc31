"""Decoders beside taming's: each equals the program it comes from, and draws as any other does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.networks import assert_equal
from torch import Tensor, nn

from vqclip.models.vqgan import VQGAN
from vqclip.weights.load import load_vqgan


def stirred(network: nn.Module, seed: int = 5) -> nn.Module:
    """Return a network with every weight moved off its initial value, evaluating."""
    generator = torch.Generator().manual_seed(seed)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.add_(0.05 * torch.randn(value.shape, generator=generator))
    return network.eval().requires_grad_(False)


def picture(height: int = 40, width: int = 24) -> Tensor:
    """Return a picture (1, 3, H, W) in [0, 1] that is not square."""
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(3))


def folder_of(network: nn.Module, folder: Path) -> VQGAN:
    """Return what vqclip makes of a network that diffusers saved."""
    network.save_pretrained(folder)
    return load_vqgan(f"{folder}/")[0]


def test_amuseds_vq_equals_diffusers(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    levels = 3
    theirs = stirred(
        diffusers.VQModel(
            block_out_channels=(32, 64, 96), down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels, layers_per_block=2, latent_channels=16, vq_embed_dim=16,
            num_vq_embeddings=60, mid_block_add_attention=False, lookup_from_codebook=True, force_upcast=True,
        )
    )  # fmt: skip
    theirs.quantize.embedding.weight.normal_(generator=torch.Generator().manual_seed(4))
    ours = folder_of(theirs, tmp_path / "vqvae")
    assert ours.architecture.pixels == "unit" and not ours.architecture.mid_attention
    z = theirs.encode(picture()).latents  # pictures in [0, 1]: its pipeline does not normalize them
    assert_equal(ours.encode(picture()), z)
    codes, indices = ours.quantize(z)
    quantized, _, (_, _, chosen) = theirs.quantize(z)
    assert torch.equal(indices.flatten(), chosen.flatten())
    assert_equal(codes, quantized)
    shape = (1, *indices.shape[1:], 16)
    shown = theirs.decode(indices, force_not_quantize=True, shape=shape).sample
    assert float(shown.max()) > 1 > 0 > float(shown.min()), "clamping would not be seen"
    assert_equal(ours.decode(codes), shown.clamp(0, 1))
