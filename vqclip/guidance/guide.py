"""From an image to its losses: views are cut, embedded and compared with the prompts, chunk by chunk."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from vqclip import schedules
from vqclip.config.schema import ContrastConfig, ViewsConfig
from vqclip.guidance.losses.prompt import Targets, contrast_loss, prompt_loss
from vqclip.guidance.precision import autocast
from vqclip.guidance.views import ViewPlan, Views, aspect_of, cut_views, sample_views, whole
from vqclip.types import Perceptor

_HELD_OUT = ("noise", "erase", "grayscale")
# by which cosines are multiplied where candidates are compared: far below a CLIP's own, or near rivals alone decide
_CONFUSION = 10.0


class Guidance:
    """The CLIPs of a run with what they are to see; knows nothing of latents.

    `own` says of a CLIP, by its place, what the picture of a seed is compared with, if every picture has targets of its
    own.
    """

    def __init__(
        self,
        perceptors: Sequence[Perceptor],
        targets: Sequence[Targets],
        config: ViewsConfig,
        precision: str,
        contrast: ContrastConfig | None = None,
        own: Mapping[int, Callable[[int], Targets]] | None = None,
    ) -> None:
        self.own = own or {}
        self.pairs = list(zip(perceptors, targets, strict=True))
        self.contrast = contrast or ContrastConfig()
        self.config = config
        # views that go through CLIP at a time; 0: all
        self.chunk = config.chunk
        self.precision = precision

    def apart(self) -> Guidance:
        """Return one with the same CLIPs and targets, of which trouble in one run may lower the `chunk`."""
        return copy.copy(self)

    def plan(self, progress: float) -> ViewPlan:
        """Return how views are drawn at `progress` in [0, 1] of the run."""
        c = self.config
        overview = schedules.between(c.overview[0], c.overview[1], progress)
        return ViewPlan(c.count, overview, c.smallest, c.largest, c.overshoot, c.augmentations)

    def backward(self, image: Tensor, seeds: Sequence[int], step: int, progress: float) -> Tensor:
        """Add the gradient of the prompt loss to `image.grad` and return the loss (B,).

        `image` (B, 3, H, W) must be a leaf. CLIP sees `chunk` views of each picture at a time, so that memory does not
        grow with their number; the sum over the chunks is the whole.
        """
        total = image.new_zeros(len(image))
        places = [step % len(self.pairs)] if self.config.alternate else range(len(self.pairs))
        for place in places:
            perceptor, _ = self.pairs[place]
            targets = self._targets(place, seeds)
            views = [
                sample_views(self.plan(progress), seed, step, aspect_of(image), perceptor.image_size) for seed in seeds
            ]
            chunk = self.chunk or self.config.count
            for start in range(0, self.config.count, chunk):
                part = [v.part(start, start + chunk) for v in views]
                loss = self._view_losses(perceptor, targets, image, part).sum(1)
                loss = loss / (self.config.count * len(places))
                loss.sum().backward()
                total += loss.detach()
        return total

    @torch.no_grad()
    def score(self, image: Tensor, seeds: Sequence[int], views: int) -> Tensor:
        """Return the loss (B,) by fixed held-out views without noise: the same at every step, so steps compare."""
        kept = {name: value for name, value in self.config.augmentations.items() if name not in _HELD_OUT}
        c = self.config
        plan = ViewPlan(views, 0.5, c.smallest, c.largest, c.overshoot, kept)
        total = image.new_zeros(len(image))
        for place, (perceptor, _) in enumerate(self.pairs):
            targets = self._targets(place, seeds)
            drawn = [sample_views(plan, seed, -1, aspect_of(image), perceptor.image_size) for seed in seeds]
            chunk = self.chunk or views
            for start in range(0, views, chunk):
                part = [v.part(start, start + chunk) for v in drawn]
                total += self._view_losses(perceptor, targets, image, part).sum(1) / (views * len(self.pairs))
        return total

    @torch.no_grad()
    def confusion(self, image: Tensor) -> Tensor:
        """Return how easily (B,) whole pictures are taken for what the prompts do not say; 0 where that is unknown.

        It tells candidates apart that fit the prompts alike: one that looks as much like a rival is worth less.
        """
        total = image.new_zeros(len(image))
        for perceptor, targets in self.pairs:
            if targets.rivals:
                views = cut_views(image, [whole()] * len(image), perceptor.image_size)
                with autocast(image.device.type, self.precision):
                    embeddings = perceptor.encode_image(views)
                total += contrast_loss(embeddings.float(), targets.rivals, _CONFUSION) / len(self.pairs)
        return total

    def _targets(self, place: int, seeds: Sequence[int]) -> list[Targets]:
        """Return what the picture of each seed is compared with, one for all or one for each."""
        if place in self.own:
            return [self.own[place](seed) for seed in seeds]
        return [self.pairs[place][1]]

    def _view_losses(
        self, perceptor: Perceptor, targets: Sequence[Targets], image: Tensor, views: list[Views]
    ) -> Tensor:
        """Return the loss of each view, (B, n), by one target for all pictures or one for each."""
        cuts = cut_views(image, views, perceptor.image_size)
        with autocast(image.device.type, self.precision):
            embeddings = perceptor.encode_image(cuts)
        detail = torch.cat([v.side for v in views]).to(image.device) < self.config.detail_below
        parts = zip(targets, embeddings.float().chunk(len(targets)), detail.chunk(len(targets)), strict=True)
        return torch.cat([self._loss(*part) for part in parts]).view(len(views), -1)

    def _loss(self, targets: Targets, embeddings: Tensor, detail: Tensor) -> Tensor:
        """Return the loss (N,) of view embeddings (N, D), of which some show a `detail` (N,)."""
        loss = prompt_loss(embeddings, targets, detail)
        if self.contrast.weight:
            contrast = contrast_loss(embeddings, targets.rivals, self.contrast.scale)
            if targets.details is not None:
                contrast = contrast * ~detail  # rivals are rivals of the whole
            loss = loss + self.contrast.weight * contrast
        return loss
