"""The loop of the program: prompts to pictures, a snapshot a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from vqclip.config import Config
from vqclip.generation.models import Models
from vqclip.generation.prepare import Prepared, prepare
from vqclip.generation.run import Run
from vqclip.generation.stages import work
from vqclip.types import Candidates, Notice, Snapshot


def generate_stream(config: Config, models: Models | None = None) -> Iterator[Snapshot]:
    """Yield a snapshot of every step of a run, from 0 (the initial grid) to `config.steps`.

    With more pictures than `batch_size` the batches come one after the other; each snapshot names its seeds. Raises
    UsageError, WeightsError, MemoryBudgetError, and NumericError if the loss stops being finite.
    """
    models = models or Models.load(config)
    yield from stream(prepare(models.resolve(config), models))


def stream(prepared: Prepared) -> Iterator[Snapshot]:
    """Yield the snapshots of all batches of a prepared run."""
    notices = tuple(prepared.notices)
    for seeds in batches(prepared.config):
        run = prepared.run(seeds)
        yield _snapshot(run, run.decode(run.state.output), notices, run.candidates)
        notices = ()
        while run.state.step < run.config.steps:
            image = run.step()
            yield _snapshot(run, image)


def batches(config: Config) -> list[tuple[int, ...]]:
    """Return the seeds of each batch: `count` seeds counted up from `seed`, `batch_size` at a time.

    Several candidates that are kept are one batch of one seed.
    """
    if config.init.kind == "prior" and config.init.keep > 1:
        return [(config.seed,) * config.init.keep]
    seeds = [config.seed + k for k in range(config.count)]
    return [tuple(seeds[i : i + config.batch_size]) for i in range(0, config.count, config.batch_size)]


def _snapshot(
    run: Run, image: Tensor, notices: tuple[Notice, ...] = (), candidates: Mapping[int, Candidates] | None = None
) -> Snapshot:
    best, config = run.state.best, run.config
    return Snapshot(
        step=run.state.step,
        steps=config.steps,
        seeds=run.seeds,
        size=(config.size[0], config.size[1]),
        image=image.detach(),
        losses=dict(run.state.losses),
        lr=run.state.optimizer.param_groups[0]["lr"],
        best=None if best is None else best.image,
        best_step=0 if best is None else best.step,
        best_score=None if best is None else best.score,
        work=work(run.stages, run.state.step),
        notices=notices,
        candidates=candidates or {},
    )
