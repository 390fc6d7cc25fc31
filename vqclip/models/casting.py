"""Weights kept in the precision that steps compute in.

Autocast turns the float32 weights of every product into bfloat16 or float16 again in every step, because it remembers
those alone that are learned. Frozen ones can stay as they are wanted: the results are the same bits, and both the time
and half of the memory are saved.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from vqclip.models.clip import CLIP
from vqclip.models.vqgan import VQGAN

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_PRODUCTS = (nn.Linear, nn.modules.conv._ConvNd, nn.MultiheadAttention)


def hold(vqgan: VQGAN, clips: Iterable[CLIP], precision: str) -> None:
    """Turn the weights of all products of a step, in decoder and image towers, into `precision`.

    They then run under autocast to that precision alone. Encoders and text towers stay as they are.
    """
    dtype = _DTYPES.get(precision)
    if dtype is None:
        return
    for network in (vqgan.network.decoder, vqgan.network.post_quant_conv, *(clip.network.visual for clip in clips)):
        for module in network.modules():
            if isinstance(module, _PRODUCTS):
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.to(dtype)
