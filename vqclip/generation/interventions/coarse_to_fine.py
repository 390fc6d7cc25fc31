"""Begin on a small grid, where one view sees the whole picture and a step is cheap; finish on the full one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from vqclip.generation.run import Run


class CoarseToFine:
    """Moves the run to the next stage's grid when its step has come; `vqclip.generation.scaler` tells how."""

    def __call__(self, run: Run) -> None:
        """Change the grid if the step that comes now belongs to the next stage."""
        state = run.state
        following = state.stage + 1
        if following >= len(run.stages) or state.step < run.stages[following].start:
            return
        stage = run.stages[following]
        grids = []
        for part in run.parts():
            _, codes = run.vqgan.quantize(state.output[part])
            grids.append(run.scaler.to_grid(codes, stage.height, stage.width, run.seeds[part]))
        state.stage = following
        state.restart(torch.cat(grids), run.config)
