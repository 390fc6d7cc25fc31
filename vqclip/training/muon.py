"""Muon for the matrices of a transformer and AdamW for everything else, behind the face of one optimizer.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks": the momentum of a matrix is made
orthogonal before it is applied. Its step is as large as AdamW's (Liu et al. 2025, "Muon is scalable for LLM training").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vqclip.training.precision import fast_dtype

_MOMENTUM, _ROUNDS = 0.95, 5  # the average of gradients; how often the polynomial is applied
# a polynomial of singular values that brings those in (0, 1] near 1 when it is applied a few times (Jordan et al. 2024)
_POLYNOMIAL = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Muon for matrices, as `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`, but in a precision that is fast.

    torch's computes in bf16 wherever it runs, which a CPU without the instructions must emulate (docs/performance.md).
    """

    def __init__(self, params: list[dict[str, Any]], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure: nothing is evaluated twice
        """Move all matrices that have a gradient."""
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                if not self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                buffer = self.state[p]["momentum_buffer"]
                buffer.lerp_(p.grad, 1 - _MOMENTUM)
                update = orthogonal(p.grad.lerp(buffer, _MOMENTUM))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * math.sqrt(max(p.shape)))


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a matrix (m, n) whose singular values are near 1, its singular vectors as they were."""
    x = matrix.to(fast_dtype(matrix.device))
    x = x.t() if x.shape[0] > x.shape[1] else x
    x = x / x.norm().clamp(min=1e-7)
    a, b, c = _POLYNOMIAL
    for _ in range(_ROUNDS):
        square = x @ x.t()
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.t() if matrix.shape[0] > matrix.shape[1] else x).to(matrix.dtype)


class MuonAdamW:
    """Two optimizers as one; `share` tells the runner how much of the learning rate a group of parameters gets."""

    def __init__(
        self,
        matrices: Sequence[nn.Parameter],
        others: Sequence[nn.Parameter],
        lr: float,
        share: float = 4.0,
        weight_decay: float = 0.045,
    ) -> None:
        matrix_group = {"params": list(matrices), "share": share}
        self.muon = Muon([matrix_group], lr, weight_decay)
        groups = [
            {"params": [p for p in others if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.96))

    @classmethod
    def of(cls, network: nn.Module, lr: float) -> MuonAdamW:
        """Return the optimizer of a network whose `blocks` hold the matrices for Muon."""
        blocks = network.get_submodule("blocks")
        matrices = [p for p in blocks.parameters() if p.ndim == 2]
        taken = {id(p) for p in matrices}
        return cls(matrices, [p for p in network.parameters() if id(p) not in taken], lr)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both."""
        return [*self.muon.param_groups, *self.adamw.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        for optimizer in (self.muon, self.adamw):
            optimizer.zero_grad(set_to_none)

    def step(self) -> None:
        """Move all parameters."""
        for optimizer in (self.muon, self.adamw):
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the states of both."""
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
