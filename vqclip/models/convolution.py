"""Convolutions and products in fp32 on a CPU, each by the library that is fastest at it.

Wide 3x3 convolutions go by minimal filtering (Lavin and Gray 2016, "Fast Algorithms for CNNs").
Tiles of 8x8 give 6x6 results with 64 products a channel where the definition takes 324; NNPACK, which torch carries,
has that. It pays where many channels meet many tiles, which is where a public decoder spends its time: measured in
docs/performance.md. The result differs from the direct one by about 4e-6 of its norm. Products of matrices go as 1x1
convolutions, convolutions whose patches do not overlap as products.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch import Tensor, nn

# from how many channels on both sides, and from how many pixels; fixed by measurement on processors of this kind, so
# that a picture does not depend on timing
_CHANNELS, _PIXELS, _ROWS = 128, 64 * 64, 256
_MEASURED = platform.machine() in ("x86_64", "AMD64")


class Conv2d(nn.Conv2d):
    """torch's convolution, its parameters and result, by minimal filtering where that is faster."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution (B, C', H', W') of x (B, C, H, W)."""
        return _Minimal.apply(x, self.weight, self.bias) if filterable(self, x) else super().forward(x)


def filterable(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether minimal filtering is faster and can be had: frozen wide 3x3 kernels, large pictures, fp32, a CPU."""
    if not _MEASURED or conv.weight.requires_grad or not _plain(x, conv.weight):
        return False
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
    if shape != ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros"):
        return False
    wide = min(conv.in_channels, conv.out_channels) >= _CHANNELS and x.shape[-2] * x.shape[-1] >= _PIXELS
    return wide and torch.backends.nnpack.is_available()  # asking also sets NNPACK up


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x (..., K) times weight (N, K), plus bias (N,), where that is faster by a 1x1 convolution.

    In fp32 on a CPU torch's products go through another library than its convolutions, which on AMD's reaches three
    quarters of their speed (docs/performance.md).
    """
    rows = x.numel() // max(x.shape[-1], 1)
    fit = rows >= _ROWS and not weight.requires_grad and torch.backends.mkldnn.is_available()
    if not _MEASURED or not fit or not _plain(x, weight):
        return nn.functional.linear(x, weight, bias)
    pixels = x.reshape(1, rows, 1, x.shape[-1]).permute(0, 3, 1, 2)
    return nn.functional.conv2d(pixels, weight[:, :, None, None], bias).permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


def _plain(x: Tensor, weight: Tensor) -> bool:
    """Whether both are computed in fp32 on a CPU, operation by operation."""
    if x.device.type != "cpu" or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    return x.dtype == weight.dtype == torch.float32


class PatchConv2d(nn.Conv2d):
    """torch's convolution whose patches do not overlap, its parameters and result, as a product of matrices.

    The gradient of a vision transformer's first layer, few channels and large patches, takes several times as long on a
    CPU otherwise (docs/performance.md).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution (B, C', H', W') of x (B, C, H, W)."""
        (high, wide), (rows, columns) = (
            self.kernel_size,
            (n // k for n, k in zip(x.shape[2:], self.kernel_size, strict=True)),
        )
        x = x[:, :, : rows * high, : columns * wide]
        patches = x.unflatten(3, (columns, wide)).unflatten(2, (rows, high)).permute(0, 2, 4, 1, 3, 5).flatten(3)
        return linear(patches, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def patchwise(conv: nn.Module) -> bool:
    """Whether a module is a convolution of pictures whose patches do not overlap."""
    if type(conv) is not nn.Conv2d or conv.kernel_size != conv.stride or max(conv.kernel_size) == 1:
        return False
    if conv.in_channels > 4:
        return False
    return (conv.padding, conv.dilation, conv.groups) == ((0, 0), (1, 1), 1)


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
    convolved = [torch._nnpack_spatial_convolution(one, weight, bias, [1, 1], [1, 1]) for one in x.split(1)]
    return convolved[0] if len(convolved) == 1 else torch.cat(convolved)
