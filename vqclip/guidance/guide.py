"""From an image to its losses: views are cut, embedded and compared with the prompts, chunk by chunk."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from vqclip import schedules
from vqclip.config.resolved import ResolvedViews
from vqclip.drawables.protocol import Moment
from vqclip.guidance import tokens
from vqclip.guidance.losses.build import Term
from vqclip.guidance.losses.prompt import contrast_loss
from vqclip.guidance.losses.protocol import Rivals, ViewInputs, total
from vqclip.guidance.targets import Targets
from vqclip.guidance.views import ViewPlan, Views, aspect_of, cut_views, sample_views, whole
from vqclip.precision import autocast
from vqclip.types import Perceptor

_HELD_OUT = ("noise", "erase", "grayscale")
# by which cosines are multiplied where candidates are compared: far below a CLIP's own, or near rivals alone decide
_CONFUSION = 10.0
# the step of views that are held out of guidance: the same at every step
_FIXED = -1


@dataclasses.dataclass(frozen=True)
class Guided:
    """What one backward pass through CLIP found: the losses (B,) by name, and those of each view, (B, n)."""

    losses: dict[str, Tensor]
    views: dict[str, Tensor]


class Guidance:
    """The CLIPs of a run with what they are to see; knows nothing of what is optimized.

    `targets[k]` and `rivals[k]` belong to CLIP k; `terms` are the losses of views, whose weighted sum guides.
    """

    def __init__(
        self,
        perceptors: Sequence[Perceptor],
        targets: Sequence[Targets],
        terms: Sequence[Term],
        config: ResolvedViews,
        precision: str,
        rivals: Sequence[Sequence[Rivals]] = (),
    ) -> None:
        if len(perceptors) != len(targets):
            raise ValueError(f"{len(perceptors)} CLIPs and {len(targets)} targets: give one for each")
        self.perceptors, self.targets, self.terms = list(perceptors), list(targets), list(terms)
        self.rivals = list(rivals) or [()] * len(self.perceptors)
        self.config, self.precision = config, precision
        # what scores in place of these, if a CLIP is held out
        self.judging: Guidance | None = None
        # views that go through CLIP at a time; 0: all
        self.chunk = config.chunk

    def apart(self) -> Guidance:
        """Return one with the same CLIPs and targets, of which trouble in one run may lower the `chunk`."""
        return copy.copy(self)

    def plan(self, progress: float) -> ViewPlan:
        """Return how views are drawn at `progress` in [0, 1] of the run."""
        c = self.config
        overview = schedules.between(c.overview[0], c.overview[1], progress)
        count = c.count if c.last is None else round(schedules.between(c.count, min(c.last, c.count), progress))
        return ViewPlan(count, overview, c.smallest, c.largest, c.overshoot, c.augmentations)

    def backward(self, image: Tensor, moment: Moment) -> Guided:
        """Add the gradient of the losses of views to `image.grad` and return them.

        `image` (B, 3, H, W) must be a leaf. CLIP sees `chunk` views of each picture at a time, so that memory does not
        grow with their number; the sum over the chunks is the whole.
        """
        if not self.terms:
            return Guided({}, {})
        plan = self.plan(moment.progress)
        count = plan.count
        seeing = range(len(self.perceptors))
        places = [moment.step % len(self.perceptors)] if self.config.alternate else seeing
        chunks: dict[str, list[Tensor]] = {term.name: [] for term in self.terms}
        for place in places:
            drawn = self._leave_out(self._sample(plan, place, image, moment), place, moment)
            chunk = self.chunk or count
            for start in range(0, count, chunk):
                losses = self._view_losses(place, image, [v.part(start, start + chunk) for v in drawn], moment)
                loss = total(list(losses.values())).sum(1) / (count * len(places))
                loss.sum().backward()
                for name, value in losses.items():
                    chunks[name].append(value.detach())
        scale = count * len(places)
        sums = {name: total([value.sum(1) / scale for value in values]) for name, values in chunks.items()}
        return Guided(sums, {name: torch.cat(values, 1) for name, values in chunks.items()})

    @torch.no_grad()
    def score(self, image: Tensor, seeds: Sequence[int], views: int, progress: float = 1.0) -> Tensor:
        """Return the loss (B,) by fixed held-out views without noise: the same at every step, so steps compare."""
        kept = {name: value for name, value in self.config.augmentations.items() if name not in _HELD_OUT}
        c, moment = self.config, Moment(tuple(seeds), _FIXED, progress)
        plan = ViewPlan(views, 0.5, c.smallest, c.largest, c.overshoot, kept)
        score = image.new_zeros(len(image))
        for place in range(len(self.perceptors)) if self.terms else ():
            drawn = self._sample(plan, place, image, moment)
            chunk = self.chunk or views
            for start in range(0, views, chunk):
                losses = self._view_losses(place, image, [v.part(start, start + chunk) for v in drawn], moment)
                score += total(list(losses.values())).sum(1) / (views * len(self.perceptors))
        return score

    def judge(self, image: Tensor, seeds: Sequence[int], views: int) -> Tensor:
        """Return the loss (B,) by which the best step is chosen: of the CLIP held out, or without one `score`."""
        if self.judging is None:
            return self.score(image, seeds, views)
        judging = self.judging.apart()
        judging.chunk = self.chunk
        return judging.score(image, seeds, views)

    @torch.no_grad()
    def confusion(self, image: Tensor) -> Tensor:
        """Return how easily (B,) whole pictures are taken for what the prompts do not say; 0 where that is unknown.

        It tells candidates apart that fit the prompts alike: one that looks as much like a rival is worth less.
        """
        confusion = image.new_zeros(len(image))
        for perceptor, rivals in zip(self.perceptors, self.rivals, strict=True):
            if rivals:
                views = cut_views(image, [whole()] * len(image), perceptor.image_size)
                with autocast(image.device.type, self.precision):
                    embeddings = perceptor.encode_image(views)
                confusion += contrast_loss(embeddings.float(), rivals, _CONFUSION) / len(self.perceptors)
        return confusion

    def _sample(self, plan: ViewPlan, place: int, image: Tensor, moment: Moment) -> list[Views]:
        """Return the views of each picture that one CLIP is to see."""
        side, aspect = self.perceptors[place].image_size, aspect_of(image)
        return [sample_views(plan, seed, moment.step, aspect, side) for seed in moment.seeds]

    def _leave_out(self, drawn: list[Views], place: int, moment: Moment) -> list[Views]:
        """Return the views of each picture with the patches of them that one CLIP is to see, if not all."""
        share = self.config.tokens
        if share == 1:
            return drawn
        patches = cast("tokens.PatchPerceptor", self.perceptors[place]).patches
        kept = [
            tokens.sample(len(v), patches, share, s, moment.step, place)
            for v, s in zip(drawn, moment.seeds, strict=True)
        ]
        return [dataclasses.replace(v, kept=k) for v, k in zip(drawn, kept, strict=True)]

    def _view_losses(self, place: int, image: Tensor, views: list[Views], moment: Moment) -> dict[str, Tensor]:
        """Return the weighted losses of each view, (B, n), by name."""
        perceptor = self.perceptors[place]
        cuts = cut_views(image, views, perceptor.image_size)
        kept = [v.kept for v in views if v.kept is not None]
        with autocast(image.device.type, self.precision):
            if kept:
                embeddings = cast("tokens.PatchPerceptor", perceptor).encode_patches(cuts, torch.cat(kept))
            else:
                embeddings = perceptor.encode_image(cuts)
        embeddings = embeddings.float()
        inputs = ViewInputs(embeddings, views, self.targets[place].at(moment, views), moment, place)
        values = {term.name: term(inputs, len(embeddings), [embeddings]) for term in self.terms}
        return {name: value.view(len(views), -1) for name, value in values.items()}
