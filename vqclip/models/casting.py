"""Weights kept in the precision that steps compute in.

Autocast turns the float32 weights of every product into bfloat16 or float16 again in every step, because it remembers
those alone that are learned. Frozen ones can stay as they are wanted: the results are the same bits, and both the time
and half of the memory are saved.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_PRODUCTS = (nn.Linear, nn.modules.conv._ConvNd, nn.MultiheadAttention)


def hold(vqgan: Any, clips: Iterable[Any], precision: str) -> None:
    """Turn the weights of all products of a step, in a VQGAN's decoder and CLIPs' image towers, into `precision`.

    They then run under autocast to that precision alone. Encoders and text towers stay as they are.
    """
    dtype = DTYPES.get(precision)
    if dtype is None:
        return
    parts = {vqgan: [vqgan.network.decoder, vqgan.network.post_quant_conv]}
    parts |= {clip: [clip.network.visual] for clip in clips}
    for owner, networks in parts.items():
        owner.held = dtype
        for module in (module for network in networks for module in network.modules()):
            if isinstance(module, _PRODUCTS):
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.to(dtype)


def under(held: torch.dtype | None, x: torch.Tensor) -> contextlib.AbstractContextManager[Any]:
    """Return the autocast that weights `held` in a precision need to meet x, if it is not on already."""
    kind = x.device.type
    if held is None or torch.is_autocast_enabled(kind):
        return contextlib.nullcontext()
    return torch.autocast(kind, held)
