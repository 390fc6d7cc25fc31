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
        return torch.cat([best(prepared, seed) for seed in seeds])
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


def best(prepared: Prepared, seed: int) -> Tensor:
    """Return the latents (1, C, h, w) of the candidate that fits the prompts best, by views held out of guidance."""
    config, vqgan = prepared.config, prepared.models.vqgan
    numbers = range(config.init.candidates)
    found: list[tuple[float, Tensor]] = []
    for start in range(0, len(numbers), _TOGETHER):
        codes = candidates(prepared, seed, numbers[start : start + _TOGETHER])
        if len(numbers) == 1:
            return vqgan.codes(codes)
        with torch.no_grad(), autocast(codes.device.type, config.run.precision):
            pictures = vqgan.decode(vqgan.codes(codes))
        scores = prepared.guidance.score(pictures, [seed] * len(codes), config.best.views)
        found.append((float(scores.min()), codes[int(scores.argmin())]))
    return vqgan.codes(min(found, key=lambda pair: pair[0])[1][None])


@torch.no_grad()
def candidates(prepared: Prepared, seed: int, numbers: Sequence[int]) -> Tensor:
    """Return the codes (n, h, w) of some candidates of a picture; each depends on seed and number alone."""
    models, stage, c = prepared.models, prepared.stages[0], prepared.config.prior
    _, targets = prepared.guidance.pairs[models.teller]
    patch = models.prior.architecture.patch
    height, width = (-(-side // patch) * patch for side in (stage.height, stage.width))
    empty = torch.full((height, width), MASKED, device=targets.embeddings.device)
    how = priors.Sampling(c.steps, c.guidance, c.temperature, c.top_k, c.choice)
    seeds = [seeding.derive(seed, "candidate", number) for number in numbers]
    with autocast(empty.device.type, prepared.config.run.precision):
        codes = priors.sample(models.prior, targets.embeddings, targets.weights, empty, seeds, how)
    return codes[:, : stage.height, : stage.width]
