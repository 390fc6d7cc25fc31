"""The precision that networks compute in."""

from __future__ import annotations

import contextlib

import torch


def autocast(device_type: str, precision: str) -> contextlib.AbstractContextManager[object]:
    """Return the context in which networks compute in a resolved precision; fp32 leaves everything as it is."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device_type, {"bf16": torch.bfloat16, "fp16": torch.float16}[precision])
