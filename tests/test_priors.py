"""Sampling codes from a prior: seeds, masks, guidance, windows."""

from __future__ import annotations

import itertools

import pytest
import torch

from vqclip import seeding
from vqclip.models.prior import AutoregressivePrior, FlowPrior, MaskedPrior, PriorArchitecture, build
from vqclip.priors import Sampling, guided, sample, windowed
from vqclip.priors import sampling as priors
from vqclip.types import MASKED


def small(**changes: object) -> MaskedPrior | AutoregressivePrior | FlowPrior:
    torch.manual_seed(0)
    sizes = {"codes": 40, "channels": 4, "condition": 6, "side": 8, "width": 32, "layers": 2, "heads": 2}
    made = build(PriorArchitecture(**(sizes | changes))).eval()
    made.codebook.copy_(torch.randn(40, 4))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.requires_grad_(False)


@pytest.fixture(scope="module")
def prior() -> MaskedPrior:
    return small()


@pytest.fixture(scope="module")
def twin() -> AutoregressivePrior:
    return small(kind="causal")


CONDITIONS = torch.nn.functional.normalize(torch.randn(2, 6, generator=torch.Generator().manual_seed(1)), dim=1)
EMPTY = torch.full((8, 8), MASKED)


def test_a_seed_draws_the_same_codes_alone_or_beside_others(prior: MaskedPrior) -> None:
    both = sample(prior, CONDITIONS[:1], torch.ones(1), EMPTY, (3, 4), Sampling(steps=4))
    alone = sample(prior, CONDITIONS[:1], torch.ones(1), EMPTY, (4,), Sampling(steps=4))
    assert (both >= 0).all() and (both < 40).all()
    assert torch.equal(both[1], alone[0])
    assert not torch.equal(both[0], both[1])


def test_known_codes_stay_and_the_others_are_drawn(prior: MaskedPrior) -> None:
    grid = torch.where(torch.arange(64).view(8, 8) % 3 == 0, 7, MASKED)
    found = sample(prior, CONDITIONS[:1], torch.ones(1), grid, (3,), Sampling(steps=3))[0]
    assert (found[grid == 7] == 7).all() and (found >= 0).all()


def test_fewer_codes_are_masked_at_every_step(prior: MaskedPrior) -> None:
    seen = []
    with prior.register_forward_pre_hook(lambda _, given: seen.append(int((given[0] == MASKED).sum()))):
        sample(prior, CONDITIONS[:1], torch.ones(1), EMPTY, (3,), Sampling(steps=6, guidance=1.0))
    assert seen[0] == 64 and len(seen) == 6
    assert all(a > b for a, b in itertools.pairwise(seen))
    assert seen[1] == 61  # floor(64 cos(pi / 12))


def test_the_likelihood_of_codes_is_that_given_others(prior: MaskedPrior, twin: AutoregressivePrior) -> None:
    codes = torch.randint(40, (2, 8, 8), generator=torch.Generator().manual_seed(2))
    found = priors.likelihood(prior, codes, CONDITIONS[:1], torch.ones(1), (3, 4), 1.0)
    dealt = torch.randperm(64, generator=seeding.generator(3, "hidden")).view(8, 8) % 4
    for part in range(4):
        hidden = dealt == part
        logits = prior(codes[:1].masked_fill(hidden, MASKED), CONDITIONS[:1])
        own = logits.log_softmax(-1).gather(-1, codes[:1, ..., None])[..., 0]
        assert torch.allclose(found[:1][hidden[None]], own[hidden[None]], atol=1e-4)
    written = priors.likelihood(twin, codes, CONDITIONS[:1], torch.ones(1), (3, 4), 1.0)
    own = twin(codes, CONDITIONS[:1].expand(2, -1)).log_softmax(-1).gather(-1, codes[..., None])[..., 0]
    assert torch.allclose(written, own, atol=1e-4)


def test_guidance_of_one_is_the_prompt_alone_and_none_is_no_prompt(prior: MaskedPrior) -> None:
    codes = EMPTY[None]
    own = windowed(prior, codes, CONDITIONS[:1], 8)
    nothing = windowed(prior, codes, prior.unconditional[None], 8)
    assert torch.allclose(guided(prior, codes, CONDITIONS[:1], torch.ones(1), 1.0), own)
    assert torch.allclose(guided(prior, codes, CONDITIONS[:1], torch.ones(1), 0.0), nothing, atol=1e-5)
    further = guided(prior, codes, CONDITIONS[:1], torch.ones(1), 3.0)
    assert torch.allclose(further, nothing + 3 * (own - nothing), atol=1e-4)


def test_prompts_share_by_weight_and_negative_ones_push_away(prior: MaskedPrior) -> None:
    codes = EMPTY[None]
    first, second = (windowed(prior, codes, CONDITIONS[i : i + 1], 8) for i in range(2))
    nothing = windowed(prior, codes, prior.unconditional[None], 8)
    both = guided(prior, codes, CONDITIONS, torch.tensor([3.0, 1.0]), 2.0)
    assert torch.allclose(both, nothing + 2 * (0.75 * first + 0.25 * second - nothing), atol=1e-4)
    away = guided(prior, codes, CONDITIONS, torch.tensor([1.0, -0.5]), 2.0)
    assert torch.allclose(away, nothing + 2 * (first - nothing) - (second - nothing), atol=1e-4)


@pytest.mark.parametrize("shape", [(8, 8), (4, 8), (12, 20)])
def test_grids_of_other_sizes_go_through_windows(prior: MaskedPrior, shape: tuple[int, int]) -> None:
    grid = torch.full(shape, MASKED)
    found = sample(prior, CONDITIONS[:1], torch.ones(1), grid, (3,), Sampling(steps=2))
    assert found.shape == (1, *shape) and (found >= 0).all()


def test_the_twin_writes_the_same_with_and_without_its_cache(twin: AutoregressivePrior) -> None:
    codes = torch.randint(40, (2, 8, 8), generator=torch.Generator().manual_seed(2))
    condition = CONDITIONS[:1].expand(2, -1)
    whole = twin(codes, condition).flatten(1, 2)
    caches: list[list[torch.Tensor]] = [[] for _ in twin.blocks]
    for place in range(64):
        step = twin.following(codes.flatten(1)[:, :place], condition, 8, caches)
        assert torch.allclose(step, whole[:, place], atol=1e-4), place


def test_the_twin_sees_no_later_code(twin: AutoregressivePrior) -> None:
    codes = torch.randint(40, (1, 8, 8), generator=torch.Generator().manual_seed(2))
    other = codes.clone()
    other[0, 4:] = (other[0, 4:] + 1) % 40
    a, b = (twin(c, CONDITIONS[:1]) for c in (codes, other))
    assert torch.allclose(a[0, :4], b[0, :4], atol=1e-5)
    assert torch.allclose(a[0, 4, 0], b[0, 4, 0], atol=1e-5) and not torch.allclose(a[0, 5], b[0, 5], atol=1e-3)


def test_the_twin_draws_by_seed_and_keeps_what_is_known(twin: AutoregressivePrior) -> None:
    grid = torch.where(torch.arange(64).view(8, 8) % 5 == 0, 7, MASKED)
    both = sample(twin, CONDITIONS, torch.tensor([1.0, -0.5]), grid, (3, 4), Sampling())
    alone = sample(twin, CONDITIONS, torch.tensor([1.0, -0.5]), grid, (4,), Sampling())
    assert torch.equal(both[1], alone[0]) and not torch.equal(both[0], both[1])
    assert (both[:, grid == 7] == 7).all() and (both >= 0).all()
    larger = sample(twin, CONDITIONS[:1], torch.ones(1), torch.full((9, 11), MASKED), (3,), Sampling())
    assert larger.shape == (1, 9, 11) and (larger >= 0).all()


@pytest.fixture(scope="module")
def flow() -> FlowPrior:
    return small(kind="flow")


def test_a_flow_draws_by_seed_alone_or_beside_others_and_keeps_what_is_known(flow: FlowPrior) -> None:
    grid = torch.where(torch.arange(64).view(8, 8) % 3 == 0, 7, MASKED)
    both = sample(flow, CONDITIONS, torch.tensor([1.0, -0.5]), grid, (3, 4), Sampling(steps=4))
    alone = sample(flow, CONDITIONS, torch.tensor([1.0, -0.5]), grid, (4,), Sampling(steps=4))
    assert torch.equal(both[1], alone[0]) and not torch.equal(both[0], both[1])
    assert (both[:, grid == 7] == 7).all() and (both >= 0).all() and (both < 40).all()
    wide = sample(flow, CONDITIONS[:1], torch.ones(1), torch.full((12, 20), MASKED), (3,), Sampling(steps=2))
    assert wide.shape == (1, 12, 20)


def test_a_flow_that_knows_the_picture_arrives_there(flow: FlowPrior, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = torch.randint(40, (1, 8, 8), generator=torch.Generator().manual_seed(5))
    clean = flow.latents(wanted)
    monkeypatch.setattr(
        flow, "forward", lambda noisy, time, condition: (clean - noisy) / (1 - time[:, None, None, None])
    )
    assert torch.equal(flow.nearest(clean), wanted)
    found = sample(flow, CONDITIONS[:1], torch.ones(1), EMPTY, (3, 4), Sampling(steps=5))
    assert torch.equal(found, wanted.expand(2, -1, -1))
    other = (wanted + (torch.arange(64).view(1, 8, 8) < 5)) % 40
    far = priors.likelihood(flow, other, CONDITIONS[:1], torch.ones(1), (3,), 1.0)
    assert set(far.flatten().argsort()[:5].tolist()) == set(range(5))


def test_a_flows_latents_are_centred_codes(flow: FlowPrior) -> None:
    codes = torch.arange(40).view(1, 5, 8)
    assert torch.equal(flow.nearest(flow.latents(codes)), codes)


def test_an_unknown_kind_of_prior_is_refused() -> None:
    with pytest.raises(ValueError, match="known are masked, causal, flow"):
        PriorArchitecture(4, 4, 4, kind="other")
