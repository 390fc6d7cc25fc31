"""Group normalization and the activation after it as one operation with a lean way back.

On a CPU torch's own way back through a group norm takes, in bf16, many times as long as its way there, and it learns
what frozen weights need not know. Here the way back is the closed form (Wu and He 2018, "Group Normalization", whose
gradient is that of Ioffe and Szegedy 2015), by sums over the pixels of each channel; the activation's input is
computed again instead of being kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def norm_silu(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """Return silu(norm(x)) of x (B, C, H, W)."""
    if not leaner(norm, x):
        return nn.functional.silu(norm(x))
    out: Tensor = _LeanNorm.apply(x, norm, True)
    return out


class GroupNorm(nn.GroupNorm):
    """torch's group norm, its parameters and result, with the lean way back where its weights are frozen."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, C, H, W) with mean 0 and variance 1 in each group of channels, scaled and shifted."""
        return _LeanNorm.apply(x, self, False) if leaner(self, x) else super().forward(x)


def leaner(norm: nn.GroupNorm, x: Tensor) -> bool:
    """Whether the way back here is taken: on a CPU, with frozen weights, with something to learn before.

    In bf16 it is faster and keeps less; in fp32 it keeps less and is a little slower (docs/performance.md).

    torch's compiler puts both together by itself.
    """
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        return False
    return x.requires_grad and torch.is_grad_enabled() and not norm.weight.requires_grad


class _LeanNorm(torch.autograd.Function):
    """Group norm, then maybe silu; only x and the groups' means and deviations are kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: nn.GroupNorm, silu: bool) -> Tensor:
        count, channels, height, width = x.shape
        y, mean, rstd = torch.native_group_norm(
            x, norm.weight, norm.bias, count, channels, height * width, norm.num_groups, norm.eps
        )
        ctx.save_for_backward(x, mean, rstd)
        ctx.norm, ctx.silu = norm, silu
        return nn.functional.silu(y, inplace=True) if silu else y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, mean, rstd = ctx.saved_tensors
        norm, (count, channels, height, width) = ctx.norm, x.shape
        groups, each = norm.num_groups, channels // norm.num_groups

        def channelwise(values: Tensor) -> Tensor:
            if values.shape[-1] == groups and each > 1:
                values = values.repeat_interleave(each, -1)
            return values.view(-1, channels, 1, 1).to(x.dtype)

        mean, rstd = mean.float(), rstd.float()
        normed = torch.addcmul(channelwise(-mean * rstd), x, channelwise(rstd))
        if ctx.silu:
            before = torch.addcmul(channelwise(norm.bias), normed, channelwise(norm.weight))
            grad = torch.ops.aten.silu_backward(grad.to(x.dtype), before)
        weight, size = norm.weight.float(), each * height * width
        shift, scale = (
            (_over_pixels(t) * weight).view(count, groups, each).sum(2) * rstd / -size for t in (grad, grad * normed)
        )
        out = torch.addcmul(channelwise(shift), normed, channelwise(scale))
        return out.addcmul_(grad, channelwise(rstd.repeat_interleave(each, 1) * weight)), None, None


def _over_pixels(x: Tensor) -> Tensor:
    """Return the sums (B, C) over the pixels of x (B, C, H, W), in float32."""
    rows = x.permute(0, 2, 3, 1).reshape(len(x), -1, x.shape[1])
    return rows.sum(1).float()
