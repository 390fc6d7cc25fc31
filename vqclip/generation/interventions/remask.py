"""Let the prior draw again, now and then, what it finds least likely in the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vqclip import seeding
from vqclip.drawables.latent_grid import LatentGrid
from vqclip.drawables.protocol import part_of
from vqclip.types import MASKED

if TYPE_CHECKING:
    from vqclip.generation.proposer import Proposer
    from vqclip.generation.run import Run

# steps in which the few hidden codes are drawn
_STEPS = 4


class Remask:
    """Hides the least likely codes from the prior and takes what it draws there if the held-out views do not mind.

    As in MaskGIT's decoding (Chang et al. 2022), applied to a picture on its way. Only on grids of the side that the
    prior was trained on: on finer ones everything is larger than it knows.
    """

    def __init__(self, run: Run) -> None:
        del run

    def __call__(self, run: Run) -> None:
        """Draw codes again if the step that comes now is one of those."""
        interval, step = run.config.prior.remask_every, run.state.step
        if not interval or not step or step % interval or run.proposer is None:
            return
        output = run.state.output
        if not isinstance(output, LatentGrid) or not run.proposer.judges(*output.size):
            return
        for part in run.parts():
            self._draw_again(run, run.proposer, part_of(output, part), part)

    @torch.no_grad()
    def _draw_again(self, run: Run, proposer: Proposer, shown: LatentGrid, part: slice) -> None:
        state, config = run.state, run.config
        vqgan = shown.medium.vqgan
        before, codes = vqgan.quantize(shown.z)
        seeds = [seeding.derive(seed, "remask", state.step) for seed in run.seeds[part]]
        hidden = self._least_likely(run, proposer, codes, seeds)
        drawn = proposer.fill(codes.masked_fill(hidden, MASKED), seeds, _STEPS)
        after = vqgan.codes(drawn)
        pictures = (shown.decode(grid) for grid in (before, after))
        was, becomes = (run.guidance.score(p, run.seeds[part], config.best.views) for p in pictures)
        changed = (hidden & (drawn != codes))[:, None] & (becomes <= was).view(-1, 1, 1, 1)
        state.put("z", part, changed, after)

    def _least_likely(self, run: Run, proposer: Proposer, codes: torch.Tensor, seeds: list[int]) -> torch.Tensor:
        """Return which codes (B, h, w) to hide: of those that may change, the share that the prior likes least."""
        likelihood = proposer.likelihood(codes, seeds)
        cells = run.state.drawable.cells()
        if cells:
            likelihood = likelihood.masked_fill(~cells["z"][:, 0], torch.inf)
        free = int(likelihood[0].isfinite().sum())
        count = round(run.config.prior.remask_share * free)
        order = likelihood.flatten(1).argsort(dim=1, stable=True).argsort(dim=1).view_as(codes)
        return order < count
