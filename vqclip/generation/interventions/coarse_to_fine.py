"""Begin on a small grid, where one view sees the whole picture and a step is cheap; finish on the full one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from vqclip.generation.run import Run


class CoarseToFine:
    """Moves the run to the next stage's grid when its step has come.

    The picture, not the latents, is enlarged and encoded again: a code stands for a patch of fixed size in pixels, so
    an enlarged grid of codes would show enlarged patches.
    """

    def __call__(self, run: Run) -> None:
        """Change the grid if the step that comes now belongs to the next stage."""
        state = run.state
        following = state.stage + 1
        if following >= len(run.stages) or state.step < run.stages[following].start:
            return
        stage, factor = run.stages[following], run.vqgan.factor
        with torch.no_grad():
            image = run.decode(state.output)
            side = (stage.height * factor, stage.width * factor)
            larger = interpolate(image, side, mode="bicubic", antialias=True).clamp(0, 1)
            z = run.encode(run.composite(larger))
        state.stage = following
        state.restart(run.on_codebook_scale(z), run.config)
