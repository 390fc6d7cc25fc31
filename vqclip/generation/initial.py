"""The first grid of a run: random codes, an encoded picture, or the best of what a prior proposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vqclip import latents, priors, seeding
from vqclip.errors import UsageError, WeightsError
from vqclip.guidance import autocast
from vqclip.types import MASKED

if TYPE_CHECKING:
    from vqclip.generation.prepare import Prepared

# candidates that are drawn and judged together
_TOGETHER = 16


def first_grid(prepared: Prepared, seeds: tuple[int, ...]) -> Tensor:
    """Return the latents (B, C, h, w) of the first stage: of the prior, random, or of the init image."""
    config, vqgan, stage = prepared.config, prepared.models.vqgan, prepared.stages[0]
    if config.init.kind == "prior":
        if prepared.models.prior is None:
            raise WeightsError("there is no prior: give --prior NAME or FILE, or --init random, image or auto")
        return torch.cat([best(prepared, seed, seeds.count(seed)) for seed in dict.fromkeys(seeds)])
    codes = latents.random_grid(vqgan.codebook, seeds, stage.height, stage.width)
    if config.init.kind == "random":
        return codes
    if prepared.init_image is None:
        raise UsageError("--init image needs a picture: give --init-image FILE")
    side = (stage.height * vqgan.factor, stage.width * vqgan.factor)
    image = interpolate(prepared.init_image, side, mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        z, _ = vqgan.quantize(vqgan.encode(image))
    return latents.blend(z, codes, config.init.strength)


@torch.no_grad()
def best(prepared: Prepared, seed: int, keep: int = 1) -> Tensor:
    """Return the latents (keep, C, h, w) of the candidates that fit the prompts best, by views held out of guidance.

    Candidates are of the size that the prior was trained on: for another grid the picture is scaled and encoded.
    """
    config, vqgan, stage = prepared.config, prepared.models.vqgan, prepared.stages[0]
    every, scores = [], []
    for start in range(0, config.init.candidates, _TOGETHER):
        numbers = range(start, min(start + _TOGETHER, config.init.candidates))
        every.append(candidates(prepared, seed, numbers))
        if config.init.candidates > 1:
            pictures = _decode(prepared, every[-1])
            scores.append(prepared.guidance.score(pictures, [seed] * len(pictures), config.best.views))
    codes = torch.cat(every)
    if scores:
        codes = codes[torch.cat(scores).argsort(stable=True)[:keep]]
    if codes.shape[1:] == (stage.height, stage.width):
        return vqgan.codes(codes)
    side = (stage.height * vqgan.factor, stage.width * vqgan.factor)
    image = interpolate(_decode(prepared, codes), side, mode="bicubic", antialias=True).clamp(0, 1)
    return vqgan.quantize(vqgan.encode(image))[0]


@torch.no_grad()
def candidates(prepared: Prepared, seed: int, numbers: Sequence[int]) -> Tensor:
    """Return the codes (n, h, w) of some candidates of a picture; each depends on seed and number alone."""
    models, c = prepared.models, prepared.config.prior
    _, targets = prepared.guidance.pairs[models.teller]
    empty = torch.full(_grid(prepared), MASKED, device=targets.embeddings.device)
    how = priors.Sampling(c.steps, c.guidance, c.temperature, c.top_k, c.choice)
    seeds = [seeding.derive(seed, "candidate", number) for number in numbers]
    with autocast(empty.device.type, prepared.config.run.precision):
        return priors.sample(models.prior, targets.embeddings, targets.weights, empty, seeds, how)


def _grid(prepared: Prepared) -> tuple[int, int]:
    """Return height and width, in codes, of the grid of the run's proportions that the prior knows best."""
    architecture, stage = prepared.models.prior.architecture, prepared.stages[0]
    scale = architecture.side / min(stage.height, stage.width) / architecture.patch
    height, width = (architecture.patch * max(round(side * scale), 1) for side in (stage.height, stage.width))
    return height, width


def _decode(prepared: Prepared, codes: Tensor) -> Tensor:
    vqgan = prepared.models.vqgan
    with autocast(codes.device.type, prepared.config.run.precision):
        return vqgan.decode(vqgan.codes(codes))
