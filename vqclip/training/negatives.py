"""Self-negatives: pictures that the CLIP in training is made to optimize, so that it unlearns what fools it.

A picture optimized against a CLIP shows what that CLIP takes for its caption. Shown to it as a negative of that very
caption, beside a real picture, the tricks of the optimizer stop paying (Ganz and Elad 2024, "CLIP-JEM"; persistent
chains of samples as in Du and Mordatch 2019). The gradient that teaches the weights also moves the pictures, as it
does the adversary's, so a chain costs no pass of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# moves are longest (L2, for pixels in [0, 1]) where a chain is young
_LONGEST, _SHORTEST = 1.5, 0.3


class Chains(nn.Module):
    """`count` pictures (3, side, side) in optimization, each `visits` times before it begins anew.

    Which of them step `index` takes, what they are to show, and where they begin follows from seed and index; the
    pictures themselves are a buffer and belong to the state of the training.
    """

    pictures: Tensor
    begun: Tensor

    def __init__(self, count: int, taken: int, side: int, visits: int = 40) -> None:
        super().__init__()
        self.taken, self.visits = taken, visits
        self.register_buffer("pictures", torch.zeros(count, 3, side, side))
        self.register_buffer("begun", torch.zeros(count, dtype=torch.bool))

    def slots(self, index: int) -> Tensor:
        """Return the places (taken,) of the pictures that step `index` moves."""
        return (index * self.taken + torch.arange(self.taken)) % len(self.pictures)

    def generation(self, index: int) -> tuple[Tensor, Tensor]:
        """Return which life each taken picture is in, and how often it was visited in it, both (taken,)."""
        slots = self.slots(index)
        visit = (index * self.taken + torch.arange(self.taken)) // len(self.pictures)
        visit += slots  # staggered, so that all ages are seen
        return visit // self.visits, visit % self.visits

    def scenes(self, index: int, seed: int, count: int) -> list[int]:
        """Return the scene, of `count`, whose caption each taken picture is to show."""
        lives, _ = self.generation(index)
        pairs = zip(self.slots(index).tolist(), lives.tolist(), strict=True)
        return [
            int(torch.randint(count, (), generator=torch.Generator().manual_seed(seed + 7919 * slot + 104_729 * life)))
            for slot, life in pairs
        ]

    def take(self, index: int, others: Tensor) -> Tensor:
        """Return the pictures (taken, 3, side, side) of a step; new ones begin as noise, one of four as `others`.

        `others` (taken, 3, side, side) are real views of whatever else.
        """
        slots = self.slots(index).to(self.pictures.device)
        ages = self.generation(index)[1].to(self.pictures.device)
        new = (ages == 0) | ~self.begun[slots]
        if new.any():
            noise = _noise(self.taken, self.pictures.shape[-1], index).to(self.pictures)
            real = (torch.arange(self.taken, device=new.device) % 4 == 0).view(-1, 1, 1, 1)
            first = torch.where(real, others, noise)
            self.pictures[slots[new]] = first[new].clamp(0, 1)
            self.begun[slots[new]] = True
        return self.pictures[slots]

    @torch.no_grad()
    def moved(self, index: int, x: Tensor, gradient: Tensor) -> Tensor:
        """Return pictures moved up the gradient; two of three along its blurred form, as a decoder would move them."""
        # where a fake is far from fooling, the logistic loss leaves gradients whose squares are nothing in float32
        largest = gradient.abs().amax((1, 2, 3), keepdim=True)
        gradient = gradient / largest.clamp(min=torch.finfo(gradient.dtype).tiny)
        for remainder, kernel in ((1, 3), (2, 5)):
            rows = gradient[remainder::3]
            for _ in range(2):
                rows = nn.functional.avg_pool2d(rows, kernel, 1, kernel // 2)
            gradient[remainder::3] = rows
        age = (self.generation(index)[1] / self.visits).to(x).view(-1, 1, 1, 1)
        length = _LONGEST + (_SHORTEST - _LONGEST) * age
        norm = gradient.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
        out: Tensor = (x + length * gradient / norm).clamp(0, 1)
        return out

    def keep(self, index: int, x: Tensor) -> None:
        """Store the pictures of a step after their moves."""
        self.pictures[self.slots(index).to(x.device)] = x


def _noise(count: int, side: int, index: int) -> Tensor:
    """Return noise pictures (count, 3, side, side) with power spectra 1/f^0 to 1/f^4, around random colors."""
    generator = torch.Generator().manual_seed(index)
    steepness = torch.rand(count, 1, 1, 1, generator=generator) * 2
    ruler = torch.fft.fftfreq(side)
    frequency = (ruler[:, None] ** 2 + ruler[None, : side // 2 + 1] ** 2).sqrt().clamp(min=1 / side)
    white = torch.fft.rfft2(torch.randn(count, 3, side, side, generator=generator))
    field = torch.fft.irfft2(white * frequency**-steepness, s=(side, side))
    field = field / field.std((1, 2, 3), keepdim=True)
    strength = 0.05 + 0.25 * torch.rand(count, 1, 1, 1, generator=generator)
    out: Tensor = 0.2 + 0.6 * torch.rand(count, 3, 1, 1, generator=generator) + strength * field
    return out
