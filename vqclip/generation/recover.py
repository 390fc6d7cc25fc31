"""What a run does about trouble: not a number, and not enough memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch

from vqclip.errors import MemoryBudgetError, NumericError, is_out_of_memory
from vqclip.generation.state import State
from vqclip.types import Notice

if TYPE_CHECKING:
    from vqclip.generation.run import Run

# steps between two states that a run can go back to, or be resumed from
EVERY = 5
_TRIES = 3  # times in a row that a run goes back before it gives up
_SLOWER = 0.5  # by which the learning rate is multiplied after numbers that are not finite
_T = TypeVar("_T")


def step(run: Run) -> torch.Tensor:
    """Do one step and return the picture (B, 3, H, W) it began with.

    Where loss, gradient or latents stop being finite the run goes back to the last good state and on at half the
    learning rate, three times before it has come past that place; then NumericError.
    """
    try:
        image = run.step()
    except NumericError as error:
        _go_back(run, error)
        return run.render(run.state.output)
    if run.state.step % EVERY == 0 or run.ended:
        keep(run)
    return image


def keep(run: Run) -> None:
    """Remember the state of now as the one to go back to."""
    run.packed = run.state.pack()
    if run.state.step > run.trouble_at:
        run.tries = 0


def _go_back(run: Run, error: NumericError) -> None:
    if run.tries == _TRIES or run.packed is None:
        raise error
    run.tries += 1
    failed, run.trouble_at = run.state.step + 1, max(run.trouble_at, run.state.step + 1)
    slowed, chunks, slowings = run.state.slowed * _SLOWER, run.state.chunks, run.state.slowings
    run.state = State.unpack(run.packed, run.config, run.blank, run.device)
    run.state.slowed, run.state.chunks = slowed, chunks
    run.state.slowings = slowings | {run.state.step + 1: slowed}
    rate = run.config.optimizer.lr * slowed
    run.notices.append(
        Notice(
            f"step {failed} was no finite number: going on from step {run.state.step} at a learning rate of {rate:g}"
        )
    )


def in_memory(run: Run, work: Callable[[], _T]) -> _T:
    """Return what `work` returns; where memory runs out, do it again with half as many views at a time.

    The draws are the same; sums of fewer views at a time round otherwise, so the state notes from which step. Other
    runs, and the config, keep what they have. Raises MemoryBudgetError at one view.
    """
    while True:
        try:
            return work()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            guidance, count = run.guidance, run.config.views.count
            chunk = min(guidance.chunk or count, count)
        if chunk == 1:
            raise MemoryBudgetError("out of memory with one view at a time: give a smaller --size, or smaller models")
        if run.device.type == "cuda":
            torch.cuda.empty_cache()
        guidance.chunk = run.state.chunks[run.state.step + 1] = (chunk + 1) // 2
        run.notices.append(
            Notice(f"out of memory at step {run.state.step + 1}: {guidance.chunk} views at a time from here")
        )
