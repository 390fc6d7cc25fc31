"""Wide 3x3 convolutions in fp32 on a CPU by minimal filtering (Lavin and Gray 2016, "Fast Algorithms for CNNs").

Tiles of 8x8 give 6x6 results with 64 products a channel where the definition takes 324; NNPACK, which torch carries,
has that. It pays where many channels meet many tiles, which is where a public decoder spends its time: measured in
docs/performance.md. The result differs from the direct one by about 4e-6 of its norm.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch import Tensor, nn

# from how many channels on both sides, and from how many pixels; fixed by measurement on processors of this kind, so
# that a picture does not depend on timing
_CHANNELS, _PIXELS = 128, 64 * 64
_MEASURED = platform.machine() in ("x86_64", "AMD64")


class Conv2d(nn.Conv2d):
    """torch's convolution, its parameters and result, by minimal filtering where that is faster."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution (B, C', H', W') of x (B, C, H, W)."""
        return _Minimal.apply(x, self.weight, self.bias) if filterable(self, x) else super().forward(x)


def filterable(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether minimal filtering is faster and can be had: frozen wide 3x3 kernels, large pictures, fp32, a CPU."""
    if not _MEASURED or x.device.type != "cpu" or x.dtype != torch.float32 or torch.compiler.is_compiling():
        return False
    if conv.weight.dtype != torch.float32 or conv.weight.requires_grad or torch.is_autocast_enabled("cpu"):
        return False
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
    if shape != ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros"):
        return False
    wide = min(conv.in_channels, conv.out_channels) >= _CHANNELS and x.shape[-2] * x.shape[-1] >= _PIXELS
    return wide and torch.backends.nnpack.is_available()  # asking also sets NNPACK up


class _Minimal(torch.autograd.Function):
    """The convolution of each picture by itself, and of its gradient with the kernels turned around."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.weight = weight
        return _each(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _each(grad, ctx.weight.transpose(0, 1).flip(2, 3), None), None, None


def _each(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the convolution of every picture; NNPACK is slower with several at once."""
    weight = weight.contiguous()
    every = [torch._nnpack_spatial_convolution(one, weight, bias, [1, 1], [1, 1]) for one in x.split(1)]
    return every[0] if len(every) == 1 else torch.cat(every)
