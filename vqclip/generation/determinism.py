"""The same bits every time on CUDA, for runs that ask for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from vqclip.config import Resolved


def order_sums() -> None:
    """Let cuBLAS add in one order: it reads its environment once, before its first product."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextlib.contextmanager
def exact(config: Resolved) -> Iterator[None]:
    """Compute by operations whose sums have an order while a `deterministic` run does a step on CUDA.

    Torch's settings, which hold for the whole process, are as before between steps. CPUs need nothing of it.
    """
    if not (config.run.deterministic and config.run.device.startswith("cuda")):
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn
    chosen = cudnn.deterministic, cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.deterministic, cudnn.benchmark = chosen
