"""Muon for the matrices of a transformer and AdamW for everything else, behind the face of one optimizer.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks": the momentum of a matrix is made
orthogonal before it is applied. Its step is as large as AdamW's (Liu et al. 2025, "Muon is scalable for LLM training").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


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
        self.muon = torch.optim.Muon([matrix_group], lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        groups = [
            {"params": [p for p in others if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.96))

    @classmethod
    def of(cls, network: nn.Module, lr: float) -> MuonAdamW:
        """Return the optimizer of a network whose `blocks` hold the matrices for Muon."""
        matrices = [p for p in network.blocks.parameters() if p.ndim == 2]
        own = {id(p) for p in matrices}
        return cls(matrices, [p for p in network.parameters() if id(p) not in own], lr)

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
