"""Begin on a small grid, where one view sees the whole picture and a step is cheap; finish on the full one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqclip.drawables.protocol import joined, part_of

if TYPE_CHECKING:
    from vqclip.generation.run import Run


class CoarseToFine:
    """Moves the run to the next stage's grid when its step has come; the drawable knows how."""

    def __init__(self, run: Run) -> None:
        del run

    def __call__(self, run: Run) -> None:
        """Change the grid if the step that comes now belongs to the next stage."""
        state = run.state
        following = state.stage + 1
        if following >= len(run.stages) or state.step < run.stages[following].start:
            return
        stage = run.stages[following]
        output = state.output
        grids = [part_of(output, part).resize(stage.height, stage.width, run.seeds[part]) for part in run.parts()]
        state.stage = following
        state.restart(joined(grids), run.config)
