"""An intervention: now and then what is optimized is shaken.

vqclip "a boat" --plugin shake.py --set interventions.shake=true
--set "interventions.shake={every: 5, strength: 0.3}"
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

import vqclip
from vqclip import seeding
from vqclip.generation.run import Run


@vqclip.register.intervention("shake")
class Shake:
    @dataclass(frozen=True)
    class Options:
        every: int = 10
        strength: float = 0.2

    def __init__(self, options: Options, run: Run) -> None:
        self.options = options

    def __call__(self, run: Run) -> None:
        step = run.state.step
        if not step or step % self.options.every:
            return
        for name, parameter in run.state.parameters.items():
            # seeded by picture and step, so that the same run gives the same picture
            noise = [torch.randn(one.shape, generator=seeding.generator(seed, f"shake {name}", step))
                     for seed, one in zip(run.seeds, parameter, strict=True)]  # fmt: skip
            parameter.data.add_(self.options.strength * torch.stack(noise).to(parameter))
