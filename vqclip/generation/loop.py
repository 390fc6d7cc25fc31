"""The loop of the program: prompts to pictures, a snapshot a step."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from torch import Tensor

from vqclip.config import Config, Resolved
from vqclip.generation import recover
from vqclip.generation.determinism import exact
from vqclip.generation.models import Models
from vqclip.generation.prepare import Prepared, prepare
from vqclip.generation.run import Run
from vqclip.generation.stages import work
from vqclip.registry.outside import blamed
from vqclip.types import PackedState, Snapshot


def generate_stream(config: Config, models: Models | None = None) -> Iterator[Snapshot]:
    """Yield a snapshot of every step of a run, from 0 (the initial grid) to `config.total_steps`.

    The last one comes earlier where `best.patience` ends the run. With more pictures than `batch_size` the batches come
    one after the other; each snapshot names its seeds. Raises UsageError, WeightsError, MemoryBudgetError, and
    NumericError if the loss stops being finite.
    """
    models = Models.given(config, models)
    yield from stream(prepare(models.resolve(config), models))


def stream(prepared: Prepared, begin: tuple[int, PackedState | None] | None = None) -> Generator[Snapshot, None, None]:
    """Yield the snapshots of all batches of a prepared run.

    `begin`, the number of a batch and a packed state of it, goes on from there: the snapshot of that state comes first,
    marked as `resumed`. Without a state that batch is drawn from its first grid. Between its pieces the work asks
    `prepared.control`: it waits while that is paused, and raises Stopped if it is to end.
    """
    notices = list(prepared.notices)
    first, packed = begin or (0, None)
    for seeds in batches(prepared.config)[first:]:
        prepared.control.checkpoint()
        with blamed(), exact(prepared.config):
            run = prepared.run(seeds) if packed is None else prepared.resumed(seeds, packed)
            image = run.render(run.state.output)
        run.notices[:0] = notices
        yield _snapshot(run, image, resumed=packed is not None)
        notices, packed = [], None
        while not run.ended:
            prepared.control.checkpoint()
            with blamed(), exact(prepared.config):
                image = recover.step(run)
            yield _snapshot(run, image)


def batches(config: Resolved) -> list[tuple[int, ...]]:
    """Return the seeds of each batch: `count` seeds counted up from `seed`, `batch_size` at a time.

    Several candidates that are kept are one batch of one seed.
    """
    if config.init.kind == "prior" and config.init.keep > 1:
        return [(config.seed,) * config.init.keep]
    seeds = [config.seed + k for k in range(config.count)]
    return [tuple(seeds[i : i + config.batch_size]) for i in range(0, config.count, config.batch_size)]


def _snapshot(run: Run, image: Tensor, resumed: bool = False) -> Snapshot:
    best, config = run.state.shown or run.state.best, run.config
    notices, run.notices = tuple(run.notices), []
    candidates, run.candidates = run.candidates, {}
    return Snapshot(
        step=run.state.step,
        steps=run.state.step if run.ended else config.total_steps,
        seeds=run.seeds,
        size=(config.size[0], config.size[1]),
        image=image.detach(),
        losses=dict(run.state.losses),
        lr=run.state.optimizer.param_groups[0]["lr"],
        best=None if best is None else best.image,
        best_step=0 if best is None else best.step,
        best_score=None if best is None else best.score,
        work=1.0 if run.ended else work(run.stages, run.state.step),
        notices=notices,
        candidates=candidates,
        packed=run.packed,
        resumed=resumed,
        chunks=dict(run.state.chunks),
        rates={step: config.optimizer.lr * factor for step, factor in run.state.slowings.items()},
    )
