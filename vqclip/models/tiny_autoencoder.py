"""The distilled autoencoders for Stable Diffusion's latents (TAESD, TAESDXL and TAEF1, by madebyollin).

Parameters have the names of diffusers' `AutoencoderTiny`; the author's own files count the decoder's layers from one.
Continuous latents of about unit variance, pictures in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqclip.architecture import VQGANArchitecture
from vqclip.models.convolution import Conv2d

# latents reach so far in a tanh before the first layer
_REACH = 3.0


class TinyNetwork(nn.Module):
    """Encoder and decoder of plain convolutions with ReLU, without norms."""

    def __init__(self, architecture: VQGANArchitecture) -> None:
        super().__init__()
        a = architecture
        self.decoder = TinyDecoder(a)
        self.post_quant_conv = nn.Identity()
        if a.encoder:
            self.encoder = TinyEncoder(a)
            self.quant_conv = nn.Identity()


class TinyEncoder(nn.Module):
    """Pictures (B, 3, f h, f w) in [0, 1] to latents (B, C, h, w)."""

    def __init__(self, a: VQGANArchitecture) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, a.ch), _Block(a.ch)]
        for _ in a.ch_mult[1:]:
            layers += [Conv2d(a.ch, a.ch, 3, stride=2, padding=1, bias=False)]
            layers += [_Block(a.ch) for _ in range(a.num_res_blocks)]
        self.layers = nn.Sequential(*layers, _conv(a.ch, a.z_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the latents of pictures."""
        out: Tensor = self.layers(x)
        return out


class TinyDecoder(nn.Module):
    """Latents (B, C, h, w) to pictures (B, 3, f h, f w) in about [0, 1]."""

    def __init__(self, a: VQGANArchitecture) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(a.z_channels, a.ch), nn.ReLU()]
        for _ in a.ch_mult[1:]:
            layers += [_Block(a.ch) for _ in range(a.num_res_blocks)]
            layers += [nn.Upsample(scale_factor=2), _conv(a.ch, a.ch, bias=False)]
        self.layers = nn.Sequential(*layers, _Block(a.ch), _conv(a.ch, 3))

    def forward(self, z: Tensor) -> Tensor:
        """Return the pictures of latents."""
        out: Tensor = self.layers(torch.tanh(z / _REACH) * _REACH)
        return out


class _Block(nn.Module):
    """Three convolutions beside what goes past them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers = [_conv(width, width), nn.ReLU(), _conv(width, width), nn.ReLU(), _conv(width, width)]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated sum of x (B, C, h, w) and its convolutions."""
        return nn.functional.relu(self.conv(x) + x)


def _conv(before: int, after: int, bias: bool = True) -> Conv2d:
    return Conv2d(before, after, 3, padding=1, bias=bias)
