"""The first grid of a run: random codes, an encoded picture, or the best of what a prior proposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vqclip import images, seeding
from vqclip.drawables import latents
from vqclip.errors import UsageError, WeightsError
from vqclip.generation.canvas import padded
from vqclip.guidance import autocast
from vqclip.types import MASKED, Candidates

if TYPE_CHECKING:
    from vqclip.generation.prepare import Prepared

# candidates that are drawn and judged together
_TOGETHER = 16


@torch.no_grad()
def first_grid(prepared: Prepared, seeds: tuple[int, ...]) -> tuple[Tensor, dict[int, Candidates]]:
    """Return the latents (B, C, h, w) of the first stage, and a prior's candidates by seed if they are to be shown.

    Where a mask lets nothing change, the latents are those of the init image.
    """
    config, vqgan, stage = prepared.config, prepared.models.vqgan, prepared.stages[0]
    if config.init.kind == "prior":
        if prepared.proposer is None:
            raise WeightsError("there is no prior: give --prior NAME or FILE, or --init random, image or auto")
        found = {seed: candidates(prepared, seed) for seed in dict.fromkeys(seeds)}
        grids = [_to_stage(prepared, found[seed].codes[: seeds.count(seed)], seed) for seed in found]
        return _outside_kept(prepared, torch.cat(grids)), found if config.output.save_candidates else {}
    if config.init.kind == "sketch":
        factor, device = vqgan.factor, vqgan.codebook.device
        plain = [padded(prepared.sketcher.picture(seed, plain=True), factor).to(device) for seed in seeds]
        # one by one, so that a picture is the same beside others
        codes = torch.cat([prepared.scaler.encode(one, stage.height, stage.width) for one in plain])
        return _outside_kept(prepared, codes), {}
    codes = latents.random_grid(vqgan.live_codebook, seeds, stage.height, stage.width)
    if config.init.kind == "image":
        if prepared.canvas is None:
            raise UsageError("--init image needs a picture: give --init-image FILE")
        codes = latents.blend(_encoded(prepared, stage.height, stage.width), codes, config.init.strength)
    return _outside_kept(prepared, codes), {}


def candidates(prepared: Prepared, seed: int) -> Candidates:
    """Return what the prior proposes for a picture, the candidate that fits the prompts best first.

    Candidates are of the size that the prior was trained on; views held out of guidance judge them, and what else they
    could be taken for. Each is drawn from seed and number alone. Raises Stopped between groups of them.
    """
    init, shown = prepared.config.init, prepared.config.output.save_candidates
    every, scores, pictures = [], [], []
    together = _together(prepared)
    for start in range(0, init.candidates, together):
        prepared.control.checkpoint()
        every.append(_draw(prepared, seed, range(start, min(start + together, init.candidates))))
        if init.candidates > 1 or shown:
            image = _picture(prepared, every[-1])
            fit = prepared.guidance.score(image, [seed] * len(image), prepared.config.best.views)
            scores.append(fit + init.rivals * prepared.guidance.confusion(image))
            if shown:
                pictures.append(image)
    codes = torch.cat(every)
    if not scores:
        return Candidates(codes)
    score = torch.cat(scores)
    order = score.argsort(stable=True)
    return Candidates(codes[order], score[order], torch.cat(pictures)[order] if shown else None)


def _together(prepared: Prepared) -> int:
    """Return how many candidates are drawn at a time: fewer of grids larger than the prior's own."""
    side, stage = prepared.proposer.prior.side, prepared.stages[0]
    height, width = prepared.proposer.natural(stage.height, stage.width)
    return max(_TOGETHER * side**2 // (height * width), 1)


def _draw(prepared: Prepared, seed: int, numbers: Sequence[int]) -> Tensor:
    """Return the codes (n, h, w) of some candidates; what a mask keeps is that of the init image."""
    proposer, stage = prepared.proposer, prepared.stages[0]
    height, width = proposer.natural(stage.height, stage.width)
    grid = prepared.scaler.known(height, width) if proposer.tokenizer is None else None
    if grid is None:
        grid = torch.full((height, width), MASKED, device=prepared.models.vqgan.codebook.device)
    return proposer.fill(grid, [seeding.derive(seed, "candidate", number) for number in numbers])


def _to_stage(prepared: Prepared, codes: Tensor, seed: int) -> Tensor:
    """Return the latents of codes (n, h, w) at the first stage."""
    scaler, stage = prepared.scaler, prepared.stages[0]
    if prepared.proposer.tokenizer is None:
        return scaler.to_grid(codes, stage.height, stage.width, [seed] * len(codes))
    return scaler.encode(_picture(prepared, codes), stage.height, stage.width)


def _picture(prepared: Prepared, codes: Tensor) -> Tensor:
    """Return the pictures (n, 3, H, W) of candidates, what a mask keeps as it is.

    Those of a prior with a tokenizer of its own cover the first stage, and their overhang is cut off.
    """
    tokenizer, stage, factor = prepared.proposer.tokenizer, prepared.stages[0], prepared.models.vqgan.factor
    if tokenizer is None:
        return prepared.scaler.decode(codes)
    with autocast(codes.device.type, prepared.config.run.precision):
        image = tokenizer.decode(tokenizer.codes(codes))
    height, width = stage.height * factor, stage.width * factor
    scale = max(height / image.shape[-2], width / image.shape[-1])
    side = (max(round(image.shape[-2] * scale), height), max(round(image.shape[-1] * scale), width))
    larger = interpolate(image, side, mode="bicubic", antialias=True).clamp(0, 1)
    image = images.crop_center(larger, width, height)
    return image if prepared.canvas is None else prepared.canvas.composite(image)


def _outside_kept(prepared: Prepared, z: Tensor) -> Tensor:
    """Return latents (B, C, h, w) with those of the init image where a mask lets nothing change."""
    cells = None if prepared.canvas is None else prepared.canvas.cells(*z.shape[-2:])
    if cells is None:
        return z
    return torch.where(cells, z, _encoded(prepared, *z.shape[-2:]))


def _encoded(prepared: Prepared, height: int, width: int) -> Tensor:
    """Return the codes (1, C, height, width) of the init image."""
    vqgan = prepared.models.vqgan
    image = prepared.canvas.at(height * vqgan.factor, width * vqgan.factor)
    return vqgan.quantize(vqgan.encode(image))[0]
