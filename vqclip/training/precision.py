"""The precision that trainings compute in: bf16 where the device has the instructions for it, else fp32."""

from __future__ import annotations

import contextlib
import functools

import torch

from vqclip import precision as precisions
from vqclip.generation.resolve import precision


def autocast(device: torch.device | str) -> contextlib.AbstractContextManager[object]:
    """Return the context of a training's passes; where bf16 would be emulated, which is far slower, none."""
    kind = torch.device(device).type
    return precisions.autocast(kind, _fast(kind))


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return the type in which products of matrices are fastest on a device, of bf16 and fp32."""
    return torch.bfloat16 if _fast(device.type) == "bf16" else torch.float32


@functools.cache
def _fast(kind: str) -> str:
    return precision("auto", kind)
