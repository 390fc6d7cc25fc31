"""The state of a run between two steps: everything that a later step depends on."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from vqclip import latents, optim
from vqclip.config import Config

# names of the first moment in torch's optimizers
_MOMENTA = ("exp_avg", "momentum_buffer")


@dataclass
class Best:
    """The best iterate of the current stage: scores (B,) and latents (B, C, h, w)."""

    score: Tensor
    z: Tensor
    image: Tensor
    step: int

    def update(self, score: Tensor, z: Tensor, image: Tensor, step: int) -> None:
        """Keep, picture by picture, what scores lower."""
        better = score < self.score
        if bool(better.any()):
            chosen = better.view(-1, 1, 1, 1)
            self.score = torch.where(better, score, self.score)
            self.z = torch.where(chosen, z, self.z)
            self.image = torch.where(chosen, image, self.image)
            self.step = step


@dataclass
class State:
    """Latents (B, C, h, w), their optimizer and moving average, the best iterate, and the next step's number."""

    z: Tensor
    optimizer: torch.optim.Optimizer
    average: latents.Average | None
    step: int = 0
    stage: int = 0
    best: Best | None = None
    losses: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def start(cls, z: Tensor, config: Config) -> State:
        """Return the state before the first step of a run, or of a stage, that begins from `z`."""
        z = z.detach().clone().requires_grad_()
        average = latents.Average(config.latent.ema, z) if config.latent.ema else None
        return cls(z, optim.build(config.optimizer, z), average)

    def restart(self, z: Tensor, config: Config) -> None:
        """Go on from other latents, of another grid perhaps: moments, average and best iterate begin anew."""
        fresh = State.start(z, config)
        self.z, self.optimizer, self.average, self.best = fresh.z, fresh.optimizer, fresh.average, None

    def put(self, part: slice, where: Tensor, values: Tensor) -> None:
        """Replace the latents of some pictures where a mask (b, 1, h, w) says so.

        The momentum there is forgotten and the average moves there. Second moments stay: without them the next steps
        would be many times too large.
        """
        momenta = self.optimizer.state.get(self.z, {})
        grids = [self.z, *(momenta[name] for name in _MOMENTA if momenta.get(name) is not None)]
        for grid in grids:
            new = values if grid is self.z else torch.zeros_like(values)
            grid.data[part] = torch.where(where, new, grid.data[part])
        if self.average is not None:
            total = self.average.total
            total[part] = torch.where(where, values * self.average.weight, total[part])

    @property
    def output(self) -> Tensor:
        """The latents that are shown and scored: the moving average if there is one."""
        if self.average is None or not self.average.weight:
            return self.z.detach()
        return self.average.value
