"""Codes from a prior: parallel decoding with guidance (Chang et al. 2022, "MaskGIT"; Chang et al. 2023, "Muse").

Everything is masked at first. At every step all masked codes are drawn at once, the likeliest of them stay, fewer and
fewer are masked again. Guidance moves the logits away from those of a prior without a condition (Ho and Salimans
2022), by several prompts at once, and away from negative ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from vqclip import seeding
from vqclip.priors import annealed
from vqclip.priors.drawing import gumbel, sample_codes
from vqclip.types import MASKED, CausalCodePrior, CodePrior, CodeUpsampler, FlowCodePrior, SampledPrior

# number of parts in which codes are hidden to ask how likely they are
_HIDDEN = 4
# codes to a side of the tiles in which large grids are upsampled, and how many of them tiles share; both even
_TILE, _OVERLAP = 64, 16
# the time of the flow (0 noise, 1 latents) at which codes are asked how likely they are
_ASKED_AT = 0.5


@dataclass(frozen=True)
class Sampling:
    """How codes are drawn: in `steps`, by `guidance` (1: unguided), with `temperature`.

    Of the codes only the `top_k` likeliest count (0: all), and of these only as many as have the share `top_p` of the
    probability (Holtzman et al. 2020). `choice` is how much chance decides which codes stay, at first; it fades.
    """

    steps: int = 12
    guidance: float = 3.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    choice: float = 2.0


def sample(
    prior: SampledPrior, conditioning: Tensor, weights: Tensor, grid: Tensor, seeds: Sequence[int], sampling: Sampling
) -> Tensor:
    """Return codes (n, h, w), one grid for each seed; what is not MASKED in `grid`, (h, w) or (n, h, w), stays.

    `conditioning` (P, D) are the conditions, `weights` (P,) what each counts, negative ones to be avoided.
    """
    samplers: dict[str, Callable[..., Tensor]] = {
        "masked": _sample_masked,
        "annealed": _sample_annealed,
        "causal": _sample_causal,
        "flow": _sample_flow,
    }
    return samplers[prior.kind](prior, conditioning, weights, grid, seeds, sampling)


def upsample(
    network: CodeUpsampler,
    coarse: Tensor,
    conditioning: Tensor,
    weights: Tensor,
    grid: Tensor | None,
    seeds: Sequence[int],
    sampling: Sampling,
) -> Tensor:
    """Return codes (n, 2h, 2w) for coarse ones (n, h, w), one grid for each seed, drawn as a masked prior draws.

    What is not MASKED in `grid`, (2h, 2w) or (n, 2h, 2w), stays; without it everything is drawn. Large grids are drawn
    in tiles, each knowing what of it belongs to earlier ones.
    """
    conditions = _conditions(network, conditioning, weights, sampling.guidance)
    size = (2 * coarse.shape[1], 2 * coarse.shape[2])
    if grid is None:
        grid = torch.full(size, MASKED, device=coarse.device)
    grid = grid.expand(len(seeds), -1, -1).clone()
    corners = itertools.product(*(_starts(length, _TILE, _TILE - _OVERLAP) for length in size))
    for number, (top, left) in enumerate(corners):
        part = (slice(None), slice(top, top + _TILE), slice(left, left + _TILE))
        above = coarse[:, top // 2 : (top + _TILE) // 2, left // 2 : (left + _TILE) // 2]

        def logits(codes: Tensor, above: Tensor = above) -> Tensor:
            outputs = [network(codes, above, c.expand(len(codes), -1)).float() for c in conditions]
            return mixed(torch.stack(outputs), weights, sampling.guidance)

        tile_seeds = seeds if not number else [seeding.derive(seed, "tile", number) for seed in seeds]
        grid[part] = _decode(logits, grid[part], tile_seeds, sampling)
    return grid


def _sample_masked(
    prior: CodePrior, conditioning: Tensor, weights: Tensor, grid: Tensor, seeds: Sequence[int], sampling: Sampling
) -> Tensor:
    return _decode(lambda codes: guided(prior, codes, conditioning, weights, sampling.guidance), grid, seeds, sampling)


def _sample_annealed(
    prior: CodePrior, conditioning: Tensor, weights: Tensor, grid: Tensor, seeds: Sequence[int], sampling: Sampling
) -> Tensor:
    return annealed.decode(
        lambda codes: guided(prior, codes, conditioning, weights, sampling.guidance), grid, seeds, sampling
    )


def _decode(logits_of: Callable[[Tensor], Tensor], grid: Tensor, seeds: Sequence[int], sampling: Sampling) -> Tensor:
    """Return codes (n, h, w), the masked ones of the grid drawn in parallel, the surest first, as MaskGIT does."""
    codes = grid.expand(len(seeds), -1, -1).clone()
    total = (codes == MASKED).flatten(1).sum(1)
    for step in range(sampling.steps):
        masked = codes == MASKED
        noise = [seeding.generator(seed, "prior", step) for seed in seeds]
        drawn, confidence = sample_codes(logits_of(codes), noise, sampling)
        share = math.cos(math.pi / 2 * (step + 1) / sampling.steps) if step + 1 < sampling.steps else 0.0
        left = (total * share).floor().view(-1, 1, 1)
        chance = sampling.choice * (1 - (step + 1) / sampling.steps)
        confidence = confidence + chance * gumbel(confidence[0].shape, noise).to(confidence)
        confidence = confidence.masked_fill(~masked, math.inf).flatten(1)
        order = confidence.argsort(dim=1, stable=True).argsort(dim=1).view_as(codes)
        codes = torch.where(masked, drawn, codes)
        codes = codes.masked_fill(order < left, MASKED)
    return codes


def _sample_causal(
    prior: CausalCodePrior,
    conditioning: Tensor,
    weights: Tensor,
    grid: Tensor,
    seeds: Sequence[int],
    sampling: Sampling,
) -> Tensor:
    """Write codes row by row, each knowing those before it; keys and values of these are kept.

    On a grid larger than the prior's the codes before are those in a window around the place (Esser et al. 2021), and
    everything is computed anew at every place, since the window moves.
    """
    codes = grid.expand(len(seeds), -1, -1).clone()
    height, width = codes.shape[1:]
    rows, columns = min(height, prior.side), min(width, prior.side)
    conditions = _conditions(prior, conditioning, weights, sampling.guidance)
    all_conditions = conditions.repeat_interleave(len(seeds), 0)
    caches: list[list[Tensor]] = [[] for _ in prior.blocks]
    for place in range(height * width):
        i, j = divmod(place, width)
        top, left = _window(i, height, rows), _window(j, width, columns)
        if (rows, columns) != (height, width):
            caches = [[] for _ in prior.blocks]
        before = codes[:, top : top + rows, left : left + columns].flatten(1)[:, : (i - top) * columns + j - left]
        in_window = prior.conditions_in(all_conditions, width, top, left, rows, columns)
        outputs = prior.following(before.repeat(len(conditions), 1), in_window, columns, caches).float()
        logits = mixed(outputs.view(len(conditions), len(seeds), -1), weights, sampling.guidance)
        drawn, _ = sample_codes(logits, [seeding.generator(seed, "prior", place) for seed in seeds], sampling)
        codes[:, i, j] = torch.where(codes[:, i, j] == MASKED, drawn, codes[:, i, j])
    return codes


def _window(place: int, length: int, side: int) -> int:
    """Return where a window of `side` begins that holds a place in its middle, as far as the grid allows."""
    return min(max(place - side // 2, 0), length - side)


def _sample_flow(
    prior: FlowCodePrior, conditioning: Tensor, weights: Tensor, grid: Tensor, seeds: Sequence[int], sampling: Sampling
) -> Tensor:
    """Follow the flow from noise to latents, in steps, and take the nearest codes.

    Known codes are mixed with the same noise at every step, so that what is drawn goes with them (as in Lugmayr et al.
    2022, "RePaint"). `temperature` scales the noise.
    """
    codes = grid.expand(len(seeds), -1, -1)
    known = (codes != MASKED)[..., None]
    clean = prior.latents(codes.clamp(min=0))
    noise = torch.stack([torch.randn(clean.shape[1:], generator=seeding.generator(s, "prior")) for s in seeds])
    noise = noise.to(clean) * sampling.temperature
    x = noise
    for step in range(sampling.steps):
        now, then = step / sampling.steps, (step + 1) / sampling.steps
        x = x + (then - now) * _velocity(prior, x, now, conditioning, weights, sampling.guidance)
        x = torch.where(known, torch.lerp(noise, clean, then), x)
    return torch.where(codes == MASKED, prior.nearest(x), codes)


def _velocity(
    prior: FlowCodePrior, x: Tensor, time: float, conditioning: Tensor, weights: Tensor, scale: float
) -> Tensor:
    """Return the guided direction (n, h, w, C) at a time; grids larger than the prior's go through windows."""
    times = torch.full((len(x),), time, device=x.device)
    velocities = [
        windowed(lambda part, c: prior(part, times, c), x, c.expand(len(x), -1), prior.side)
        for c in _conditions(prior, conditioning, weights, scale)
    ]
    return mixed(torch.stack(velocities), weights, scale)


def _closeness(
    prior: FlowCodePrior, codes: Tensor, conditioning: Tensor, weights: Tensor, seeds: Sequence[int], scale: float
) -> Tensor:
    """Return how near (n, h, w) each code is to what the flow makes of it after some noise: minus squared distances."""
    clean = prior.latents(codes)
    noise = torch.stack([torch.randn(clean.shape[1:], generator=seeding.generator(s, "hidden")) for s in seeds])
    x = torch.lerp(noise.to(clean), clean, _ASKED_AT)
    cleared = x + (1 - _ASKED_AT) * _velocity(prior, x, _ASKED_AT, conditioning, weights, scale)
    return -(cleared - clean).square().mean(-1)


def likelihood(
    prior: SampledPrior, codes: Tensor, conditioning: Tensor, weights: Tensor, seeds: Sequence[int], scale: float
) -> Tensor:
    """Return the log-probability (n, h, w) of each code (n, h, w) given others, under guidance of `scale`.

    A prior that writes gives those of each code after the ones before it. One that fills is asked `_HIDDEN` times: of
    the codes, dealt at random by the seeds, each time a part is hidden that the others must explain.
    """
    if prior.kind == "flow":
        return _closeness(cast("FlowCodePrior", prior), codes, conditioning, weights, seeds, scale)
    network = cast("CodePrior", prior)
    if prior.kind == "causal":
        conditions = _conditions(network, conditioning, weights, scale)
        outputs = torch.stack([network(codes, c.expand(len(codes), -1)).float() for c in conditions])
        return _chosen(mixed(outputs, weights, scale), codes)
    dealt = torch.stack([torch.randperm(codes[0].numel(), generator=seeding.generator(s, "hidden")) for s in seeds])
    part = (dealt % _HIDDEN).view_as(codes).to(codes.device)
    total = torch.zeros(codes.shape, device=codes.device)
    for number in range(_HIDDEN):
        hidden = part == number
        logits = guided(network, codes.masked_fill(hidden, MASKED), conditioning, weights, scale)
        total = torch.where(hidden, _chosen(logits, codes), total)
    return total


def guided(prior: CodePrior, codes: Tensor, conditioning: Tensor, weights: Tensor, scale: float) -> Tensor:
    """Return logits (n, h, w, K): u + scale * (sum of w (c - u)) / (sum of positive w), u without a condition."""
    conditions = _conditions(prior, conditioning, weights, scale)
    return mixed(
        torch.stack([windowed(prior, codes, c.expand(len(codes), -1), prior.side) for c in conditions]), weights, scale
    )


def _conditions(
    prior: CodePrior | CodeUpsampler | FlowCodePrior, conditioning: Tensor, weights: Tensor, scale: float
) -> Tensor:
    """Return the conditions of guided sampling: that of no prompt, then the prompts'.

    A single wanted prompt without guidance needs no other.
    """
    alone = scale == 1 and len(conditioning) == 1 and weights[0] > 0
    return conditioning if alone else torch.cat([prior.unconditional[None], conditioning])


def mixed(outputs: Tensor, weights: Tensor, scale: float) -> Tensor:
    """Return guided logits of those (1 + P, ...) of nothing and of P prompts; one alone stays as it is.

    Without a wanted prompt, by the sum of the weights' sizes. No product of matrices, which autocast would round.
    """
    if len(outputs) == 1:
        return outputs[0]
    wanted = weights.clamp(min=0).sum()
    share = (weights / torch.where(wanted > 0, wanted, weights.abs().sum())).to(outputs)
    return outputs[0] + scale * (share.view(-1, *[1] * (outputs.dim() - 1)) * (outputs[1:] - outputs[0])).sum(0)


def windowed(network: Callable[[Tensor, Tensor], Tensor], grid: Tensor, condition: Tensor, side: int) -> Tensor:
    """Return what a network says (n, h, w, ...) of grids of any size: the mean over windows of the side it knows.

    Windows overlap by half (as in Bar-Tal et al. 2023, "MultiDiffusion").
    """
    height, width = grid.shape[1:3]
    total: Tensor | None = None
    count = grid.new_zeros(height, width, 1, dtype=torch.float32)
    for top, left in itertools.product(*(_starts(length, side, side // 2) for length in (height, width))):
        part = (slice(None), slice(top, top + side), slice(left, left + side))
        output = network(grid[part], condition).float()
        if total is None:
            total = output.new_zeros(len(grid), height, width, output.shape[-1])
        total[part] += output
        count[part[1:]] += 1
    return cast("Tensor", total) / count  # there is a window at least


def _starts(length: int, side: int, stride: int) -> list[int]:
    if length <= side:
        return [0]
    return [*range(0, length - side, stride), length - side]


def _chosen(logits: Tensor, codes: Tensor) -> Tensor:
    return logits.float().log_softmax(-1).gather(-1, codes[..., None])[..., 0]
