"""What a run begins with: nothing, an encoded picture, a sketch, or the best of what a prior proposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vqclip import images, seeding
from vqclip.drawables import Drawable
from vqclip.drawables.init_image import padded
from vqclip.drawables.protocol import joined
from vqclip.errors import UsageError, WeightsError
from vqclip.precision import autocast
from vqclip.types import MASKED, Candidates

if TYPE_CHECKING:
    from vqclip.generation.prepare import Prepared
    from vqclip.generation.proposer import Proposer

# candidates that are drawn and judged together
_TOGETHER = 16


@torch.no_grad()
def first_pictures(prepared: Prepared, seeds: tuple[int, ...]) -> tuple[Drawable, dict[int, Candidates]]:
    """Return what the first stage begins with, and a prior's candidates by seed if they are to be shown.

    Where a mask lets nothing change, it is as the init image has it.
    """
    config, blank, stage = prepared.config, prepared.blank, prepared.stages[0]
    grid = (stage.height, stage.width)
    if prepared.beginning is not None:
        return blank.encode(prepared.beginning.image.expand(len(seeds), -1, -1, -1), *grid).keep_outside(), {}
    if config.init.kind == "prior":
        proposed = {seed: candidates(prepared, seed) for seed in dict.fromkeys(seeds)}
        parts = [_to_stage(prepared, proposed[seed].codes[: seeds.count(seed)], seed) for seed in proposed]
        return joined(parts).keep_outside(), proposed if config.output.save_candidates else {}
    if prepared.sketcher is not None:
        plain = [padded(prepared.sketcher.picture(seed, plain=True), blank.factor) for seed in seeds]
        return blank.encode(torch.cat(plain).to(prepared.device), *grid).keep_outside(), {}
    nothing = blank.random(seeds, *grid)
    if config.init.kind == "image":
        if prepared.init_image.image is None:
            raise UsageError("--init image needs a picture: give --init-image FILE")
        image = prepared.init_image.image.expand(len(seeds), -1, -1, -1)
        return blank.encode(image, *grid).mix(nothing, config.init.strength).keep_outside(), {}
    return nothing.keep_outside(), {}


def candidates(prepared: Prepared, seed: int) -> Candidates:
    """Return what the prior proposes for a picture, the candidate that fits the prompts best first.

    Candidates are of the size that the prior was trained on; views held out of guidance judge them, and what else they
    could be taken for. Each is drawn from seed and number alone. Raises Stopped between groups of them.
    """
    init, shown = prepared.config.init, prepared.config.output.save_candidates
    codes, scores, pictures = [], [], []
    together = _together(prepared)
    for start in range(0, init.candidates, together):
        prepared.control.checkpoint()
        codes.append(_sample(prepared, seed, range(start, min(start + together, init.candidates))))
        if init.candidates > 1 or shown:
            image = _picture(prepared, codes[-1])
            fit = prepared.guidance.score(image, [seed] * len(image), prepared.config.best.views)
            scores.append(fit + init.rivals * prepared.guidance.confusion(image))
            if shown:
                pictures.append(image)
    if not scores:
        return Candidates(torch.cat(codes))
    score = torch.cat(scores)
    order = score.argsort(stable=True)
    return Candidates(torch.cat(codes)[order], score[order], torch.cat(pictures)[order] if shown else None)


def _proposer(prepared: Prepared) -> Proposer:
    """Return the prior of a run that begins with what one proposes; WeightsError if there is none."""
    if prepared.proposer is None:
        raise WeightsError("there is no prior: give --prior NAME or FILE, or --init random, image or auto")
    return prepared.proposer


def _together(prepared: Prepared) -> int:
    """Return how many candidates are drawn at a time: fewer of grids larger than the prior's own."""
    proposer, stage = _proposer(prepared), prepared.stages[0]
    side = proposer.prior.side
    height, width = proposer.natural(stage.height, stage.width)
    return max(_TOGETHER * side**2 // (height * width), 1)


def _sample(prepared: Prepared, seed: int, numbers: Sequence[int]) -> Tensor:
    """Return the codes (n, h, w) of some candidates; what a mask keeps is that of the init image."""
    proposer, stage = _proposer(prepared), prepared.stages[0]
    height, width = proposer.natural(stage.height, stage.width)
    grid = prepared.scaler.known(height, width) if proposer.tokenizer is None else None
    if grid is None:
        grid = torch.full((height, width), MASKED, device=prepared.device)
    return proposer.fill(grid, [seeding.derive(seed, "candidate", number) for number in numbers])


def _to_stage(prepared: Prepared, codes: Tensor, seed: int) -> Drawable:
    """Return the pictures of codes (n, h, w) at the first stage."""
    blank, stage = prepared.blank, prepared.stages[0]
    if _proposer(prepared).tokenizer is None:
        return blank.from_codes(codes, stage.height, stage.width, [seed] * len(codes))
    return blank.encode(_picture(prepared, codes), stage.height, stage.width)


def _picture(prepared: Prepared, codes: Tensor) -> Tensor:
    """Return the pictures (n, 3, H, W) of candidates, what a mask keeps as it is.

    Those of a prior with a tokenizer of its own cover the first stage, and their overhang is cut off.
    """
    tokenizer, stage, factor = _proposer(prepared).tokenizer, prepared.stages[0], prepared.blank.factor
    if tokenizer is None:
        return prepared.scaler.decode(codes)
    with autocast(codes.device.type, prepared.config.run.precision):
        image = tokenizer.decode(tokenizer.codes(codes))
    height, width = stage.height * factor, stage.width * factor
    scale = max(height / image.shape[-2], width / image.shape[-1])
    side = (max(round(image.shape[-2] * scale), height), max(round(image.shape[-1] * scale), width))
    larger = interpolate(image, side, mode="bicubic", antialias=True).clamp(0, 1)
    return prepared.init_image.composite(images.crop_center(larger, width, height))
