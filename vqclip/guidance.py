"""From an image to its losses: views are cut, embedded and compared with the prompts, chunk by chunk."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from vqclip import cutouts, schedules
from vqclip.config_schema import ContrastConfig, ViewsConfig
from vqclip.cutouts import ViewPlan, Views
from vqclip.errors import UsageError
from vqclip.losses.prompt import Rivals, Targets, contrast_loss, prompt_loss
from vqclip.prompts import Prompt, split_long
from vqclip.types import Notice, Perceptor

_HELD_OUT = ("noise", "erase", "grayscale")
# by which cosines are multiplied where candidates are compared: far below a CLIP's own, or near rivals alone decide
_CONFUSION = 10.0


def encode_prompts(
    perceptor: Perceptor, parsed: Sequence[Prompt], template: str = "{}"
) -> tuple[list[Tensor], list[Notice]]:
    """Return the embedding (D,) of each prompt; one that exceeds the context is split, averaged, and told of.

    In what is embedded the prompt, or each of its parts, stands for `{}` in the template; prompts of negative weight
    are embedded as they are. Raises UsageError for a template that leaves no room in the context.
    """
    if perceptor.count_tokens(template) > perceptor.context_length // 2:
        raise UsageError(
            f"views.detail_prompt has {perceptor.count_tokens(template)} tokens: give at most "
            f"{perceptor.context_length // 2}, or leave it out"
        )
    embeddings, notices = [], []
    for prompt in parsed:
        own = partial(str.replace, template if prompt.weight > 0 else "{}", "{}")

        def count(text: str, own: Callable[[str], str] = own) -> int:
            return perceptor.count_tokens(own(text))

        parts = split_long(prompt.text, perceptor.context_length, count)
        if len(parts) > 1:
            notices.append(
                Notice(
                    f"the prompt has {perceptor.count_tokens(prompt.text)} tokens and CLIP reads "
                    f"{perceptor.context_length}: it was split into {len(parts)} parts, whose meanings are averaged"
                )
            )
        with torch.no_grad():
            mean = perceptor.encode_text([own(part) for part in parts]).mean(0)
        embeddings.append(torch.nn.functional.normalize(mean, dim=0))
    return embeddings, notices


def encode_picture(perceptor: Perceptor, image: Tensor, precision: str) -> Tensor:
    """Return the embedding (D,) of an image prompt (1, 3, H, W): its whole and eight mild crops, averaged."""
    plan = ViewPlan(count=9, overview=0.34, smallest=0.7, largest=0.95, overshoot=0.0)
    aspect = aspect_of(image)
    views = [cutouts.draw(plan, 0, 0, aspect, perceptor.image_size)]
    with torch.no_grad():
        cuts = cutouts.render(image, views, perceptor.image_size)
        with autocast(image.device.type, precision):
            mean = perceptor.encode_image(cuts).float().mean(0)
    return torch.nn.functional.normalize(mean, dim=0)


def targets_of(
    embeddings: Sequence[Tensor],
    prompts: Sequence[Prompt],
    rivals: Sequence[Rivals] = (),
    details: Sequence[Tensor] = (),
) -> Targets:
    """Return the targets of one CLIP: prompts with their embeddings (D,), rivals, and embeddings of their details."""
    stacked = torch.stack(list(embeddings))
    weights, stops = (stacked.new_tensor([getattr(p, name) for p in prompts]) for name in ("weight", "stop"))
    return Targets(stacked, weights, stops, rivals, torch.stack(list(details)) if details else None)


def aspect_of(image: Tensor) -> tuple[float, float]:
    """Return width and height of an image (B, 3, H, W) in short sides."""
    height, width = image.shape[-2:]
    short = min(height, width)
    return width / short, height / short


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
        self.precision = precision

    def apart(self) -> Guidance:
        """Return one with the same CLIPs and targets, and views of its own, which trouble in one run may change."""
        other = copy.copy(self)
        other.config = dataclasses.replace(self.config)
        return other

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
                cutouts.draw(self.plan(progress), seed, step, aspect_of(image), perceptor.image_size) for seed in seeds
            ]
            chunk = self.config.chunk or self.config.count
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
            drawn = [cutouts.draw(plan, seed, -1, aspect_of(image), perceptor.image_size) for seed in seeds]
            chunk = self.config.chunk or views
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
                views = cutouts.render(image, [cutouts.whole()] * len(image), perceptor.image_size)
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
        cuts = cutouts.render(image, views, perceptor.image_size)
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


def autocast(device_type: str, precision: str) -> contextlib.AbstractContextManager:
    """Return the context in which networks compute in a resolved precision; fp32 leaves everything as it is."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device_type, {"bf16": torch.bfloat16, "fp16": torch.float16}[precision])
