"""The parts of the loop, one by one: latents, losses, optimizers, schedules, stages, interventions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.pictures import photo, relative, sha
from support.runs import draw, models, prepared, run_of, small, threads
from torch import Tensor
from torch.nn.functional import normalize

from vqclip import images, optim, schedules
from vqclip.config.schema import OptimizerConfig
from vqclip.drawables import InitImage, Moment, latents
from vqclip.drawables.init_image import Beginning
from vqclip.drawables.latent_grid import LatentGrid
from vqclip.errors import UsageError
from vqclip.generation import stages
from vqclip.generation.stages import Stage
from vqclip.guidance.losses.build import build_terms, check_terms
from vqclip.guidance.losses.prompt import PromptLoss, contrast_loss, great_circle, prompt_loss
from vqclip.guidance.losses.protocol import LossContext, LossInputs, Rivals, ViewInputs
from vqclip.guidance.targets import PromptTargets, Target
from vqclip.guidance.views import Views
from vqclip.prompts import NO_STOP
from vqclip.registry import INTERVENTIONS, LOSSES, OPTIMIZERS, SCHEDULES


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with threads(1):
        yield


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def unit(n: int, d: int = 16, seed: int = 0) -> Tensor:
    return normalize(rand(n, d, seed=seed) - 0.5, dim=1)


# --- latents ---------------------------------------------------------------------------------------------------------


def test_the_gradient_goes_straight_through_the_quantization() -> None:
    z, codes, pull = rand(1, 2, 3, 3).requires_grad_(), rand(1, 2, 3, 3, seed=1), rand(1, 2, 3, 3, seed=2)
    passed = latents.straight_through(z, codes)
    (passed * pull).sum().backward()
    assert torch.allclose(passed, codes)
    assert torch.equal(z.grad, pull)


def test_the_grid_stays_within_the_bounds_of_the_codebook_only_if_clamped() -> None:
    low, high = latents.bounds(models().vqgan.codebook)
    outside = {}
    for clamp in (True, False):
        run = run_of(small(optimizer={"lr": 50.0}, latent={"clamp": clamp}))
        run.step()
        outside[clamp] = bool(((run.state.drawable.z < low) | (run.state.drawable.z > high)).any())
    assert outside == {True: False, False: True}


def test_bounds_are_the_extremes_of_each_channel() -> None:
    low, high = latents.bounds(torch.tensor([[0.0, 5.0], [-1.0, 7.0], [2.0, 6.0]]))
    assert (low.flatten().tolist(), high.flatten().tolist()) == ([-1.0, 5.0], [2.0, 7.0])
    assert low.shape == high.shape == (1, 2, 1, 1)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.99])
def test_the_average_is_the_weighted_mean_of_all_grids(decay: float) -> None:
    grids = [rand(1, 2, 2, 2, seed=k) for k in range(6)]
    average = optim.Average(decay, {"z": grids[0]})
    for count, grid in enumerate(grids, 1):
        average.update({"z": grid})
        weights = [decay ** (count - 1 - k) for k in range(count)]
        naive = sum(w * g for w, g in zip(weights, grids[:count], strict=True)) / sum(weights)
        assert torch.allclose(average.values["z"], naive, atol=1e-6)


def test_the_shown_grid_is_the_average_where_there_is_one() -> None:
    for decay in (0.0, 0.8):
        run, seen = run_of(small(latent={"ema": decay})), []
        for _ in range(3):
            run.step()
            seen.append(run.state.drawable.z.detach().clone())
        weights = torch.tensor([decay**k for k in (2, 1, 0)])
        expected = sum(w * z for w, z in zip(weights / weights.sum(), seen, strict=True))
        assert torch.allclose(run.state.output.z, expected, atol=1e-5)


def test_a_random_grid_is_made_of_the_codes_that_are_given() -> None:
    codebook = rand(3, 4) + 1
    grid = latents.random_grid(codebook, (1, 2), 8, 9)
    assert grid.shape == (2, 4, 8, 9)
    assert {tuple(cell) for cell in grid.permute(0, 2, 3, 1).reshape(-1, 4).tolist()} == {
        *map(tuple, codebook.tolist())
    }


def test_a_grid_of_live_codes_is_made_of_codes_and_uses_many() -> None:
    vqgan = models().vqgan
    grid = latents.random_grid(vqgan.codebook, (1,), 16, 16)
    codes, indices = vqgan.quantize(grid)
    assert torch.allclose(codes, grid)
    assert len(indices.unique()) > 100


def test_latent_noise_fades_to_nothing_before_the_end() -> None:
    moved = []
    for noise in (0.0, 0.5):
        run = run_of(small(steps=3, latent={"noise": noise, "ema": 0.0}))
        run.state.step = 2
        run.step()
        moved.append(run.state.drawable.z.detach())
    assert torch.equal(*moved)


# --- losses ----------------------------------------------------------------------------------------------------------


def test_the_distance_is_the_squared_great_circle() -> None:
    a, b = unit(200), unit(5, seed=1)
    chord = (a[:, None].double() - b[None].double()).norm(dim=2)
    assert torch.allclose(great_circle(a, b).double(), 2 * (chord / 2).asin().square(), rtol=1e-5, atol=1e-6)


def test_the_distance_of_equal_and_opposite_directions_is_finite_with_its_gradient() -> None:
    a = unit(1)
    for other in (a, -a):
        leaf = a.clone().requires_grad_()
        great_circle(leaf, other).sum().backward()
        assert bool(leaf.grad.isfinite().all())
    assert float(great_circle(a, a)) < 1e-5
    assert float(great_circle(a, -a)) == pytest.approx(math.pi**2 / 2, rel=2e-3)


def target(embeddings: Tensor, weights: Tensor, stops: Tensor, views: int) -> Target:
    return Target(embeddings, weights.expand(views, -1), stops)


def loss_and_gradient(views: Tensor, embeddings: Tensor, weights: list[float], stops: list[float]) -> tuple:
    leaf = views.clone().requires_grad_()
    loss = prompt_loss(leaf, target(embeddings, torch.tensor(weights), torch.tensor(stops), len(views)))
    loss.sum().backward()
    return loss.detach(), leaf.grad


def test_the_contrast_is_the_cross_entropy_of_naming_the_prompt() -> None:
    views, own, others = unit(6), unit(1, seed=1)[0], unit(9, seed=2)
    leaf = views.clone().requires_grad_()
    loss = contrast_loss(leaf, [Rivals(own, others, 2.0), Rivals(others[0], own[None], 1.0)], 10.0)
    naming = torch.nn.functional.cross_entropy(
        10 * views @ torch.cat([own[None], others]).t(), torch.zeros(6, dtype=torch.long), reduction="none"
    )
    pair = torch.nn.functional.softplus(10 * (views @ own - views @ others[0]))
    assert torch.allclose(loss, 2 * naming + pair, atol=1e-5)
    loss.sum().backward()
    nearer = leaf.detach() - 0.01 * leaf.grad
    assert (contrast_loss(nearer, [Rivals(own, others, 1.0)], 10.0) < naming).all()
    assert torch.equal(contrast_loss(views, [], 10.0), torch.zeros(6))


def test_a_contrast_changes_pictures_of_known_things_only() -> None:
    for prompt, changed in (("a red circle", True), ("a quasar", False)):
        plain, held = (draw(small(prompt, contrast={"weight": w})).image for w in (0.0, 5.0))
        assert (sha(plain) != sha(held)) is changed


def test_detail_views_are_compared_with_the_detail_prompt() -> None:
    views, prompts, details = unit(6), unit(2, seed=1), unit(2, seed=2)
    weights, stops = torch.tensor([1.0, -0.5]), torch.full((2,), NO_STOP)
    side = torch.tensor([0.9, 0.3, 0.65, 0.2, 0.5, 0.7])
    shown = [Views(torch.eye(3).expand(6, 3, 3), side, torch.eye(3, 4).expand(6, 3, 4))]
    targets = PromptTargets(prompts, weights, stops, details, below=0.65)
    inputs = ViewInputs(views, shown, targets.at(Moment((7,), 0, 0.0), shown), Moment((7,), 0, 0.0))
    loss = PromptLoss(PromptLoss.Options(), LossContext(small()))(inputs)
    whole, detail = (prompt_loss(views, target(t, weights, stops, 6)) for t in (prompts, details))
    assert torch.equal(loss, torch.where(side < 0.65, detail, whole))


def test_a_detail_prompt_changes_pictures_with_small_views_only() -> None:
    def picture(template: str, smallest: float) -> str:
        views = {"smallest": smallest, "largest": 0.95, "overview": [0.5, 0.5], "detail_prompt": template}
        return sha(draw(small(views=views)).image)

    assert picture("", 0.2) != picture("a detail of {}", 0.2)
    assert picture("{}", 0.2) == picture("", 0.2)
    assert picture("", 0.7) == picture("a detail of {}", 0.7)


def test_a_negative_weight_turns_the_pull_round() -> None:
    plus = loss_and_gradient(unit(6), unit(1, seed=1), [1.0], [NO_STOP])
    minus = loss_and_gradient(unit(6), unit(1, seed=1), [-1.0], [NO_STOP])
    assert torch.allclose(plus[0], -minus[0])
    assert torch.allclose(plus[1], -minus[1])


def test_weights_scale_and_prompts_add_up() -> None:
    targets = unit(2, seed=1)
    both = loss_and_gradient(unit(6), targets, [2.0, -0.5], [NO_STOP, NO_STOP])
    first = loss_and_gradient(unit(6), targets[:1], [1.0], [NO_STOP])
    second = loss_and_gradient(unit(6), targets[1:], [-1.0], [NO_STOP])
    for whole, one, other in zip(both, first, second, strict=True):
        assert torch.allclose(whole, 2 * one + 0.5 * other, atol=1e-6)


@pytest.mark.parametrize("weight", [1.0, -1.0])
def test_a_stop_cuts_the_gradient_view_by_view_and_keeps_the_value(weight: float) -> None:
    views, target = unit(20), unit(1, seed=1)
    free = loss_and_gradient(views, target, [weight], [NO_STOP])
    stop = float(free[0].median())
    gated = loss_and_gradient(views, target, [weight], [stop])
    assert torch.equal(gated[0], free[0])
    reached = free[0] <= stop
    assert 0 < int(reached.sum()) < 20
    assert not gated[1][reached].any()
    assert torch.equal(gated[1][~reached], free[1][~reached])


# of pictures; those of views are compared with what is written out above
OF_PICTURES = [name for name in LOSSES if "views" not in getattr(LOSSES.load(name), "needs", ())]


def picture_loss(name: str, init: Tensor, painted: Tensor) -> Any:
    """Return a loss of pictures as a run builds it, of weight 1."""
    blank = models_blank()
    beginning = Beginning(init, torch.ones(1, 1, 32, 32))
    init_image = InitImage(image=init)
    context = LossContext(small(), blank=blank, init_image=init_image, painted=painted, beginning=beginning)
    (term,) = build_terms({name: 1.0}, context)
    return term.loss


def models_blank() -> LatentGrid:
    """Return the drawable of no pictures that runs of the bundled models have."""
    return run_of(small()).blank


@pytest.mark.parametrize("name", OF_PICTURES)
def test_every_loss_of_pictures_gives_one_finite_value_a_picture_alone_as_in_a_batch(name: str) -> None:
    channels = models().vqgan.codebook.shape[1]
    image, init, painted = rand(2, 3, 32, 32), rand(1, 3, 32, 32, seed=2), rand(2, 3, 32, 32, seed=3)
    z, codes = rand(2, channels, 2, 2), rand(2, channels, 2, 2, seed=1)
    image = (image * 1.2 - 0.1).clamp(0, 1).requires_grad_()
    z.requires_grad_()
    loss, moment = picture_loss(name, init, painted), Moment((7, 8), 0, 0.0)
    value = loss(LossInputs(image, moment, slice(0, 2), {"z": z}, codes))
    assert value.shape == (2,)
    assert bool((value > 0).all() & value.isfinite().all())
    for b in range(2):
        one = slice(b, b + 1)
        alone = loss(LossInputs(image[one], moment.part(one), one, {"z": z[one]}, codes[one]))
        assert torch.allclose(alone, value[b : b + 1])
    value.sum().backward()
    assert any(leaf.grad is not None and leaf.grad.any() for leaf in (image, z))


def weighed(name: str, weight: float, begin: dict[str, object]) -> dict[str, object]:
    """Return the settings that give a loss its weight."""
    if name == "painted":
        return {"init": begin | {"paint": weight}}
    return {"init": begin, "losses": {name: weight} if weight else {}}


@pytest.mark.parametrize("name", OF_PICTURES)
def test_every_loss_of_pictures_counts_by_its_weight_and_reaches_the_grid(name: str, tmp_path: Path) -> None:
    weight = 4e5 if name == "painted" else 1e7  # init.paint has a bound
    begin = {"kind": "random", "image": str(photo(tmp_path / "in.png"))}
    prompt = "a red cat, watercolor" if name == "painted" else "a red cat"
    given = {"models": {"prior": "", "upsampler": "", "memory": "tiny" if name == "painted" else ""}}
    if name == "beginning":  # films weigh it, frame by frame
        frame, whole = images.to_tensor(images.read_image(tmp_path / "in.png")), torch.ones(1, 1, 64, 64)
        film = prepared(small(prompt, **given))
        runs = [film.begun(Beginning(frame, whole, w)).run((7,)) for w in (0.0, weight, 2 * weight)]
    else:
        runs = [run_of(small(prompt, **given, **weighed(name, w, begin))) for w in (0.0, weight, 2 * weight)]
    # white and black bars, so that no loss is content
    bars = (torch.arange(64) // 16 % 2).float().expand(1, 3, 64, 64)
    for run in runs:
        with torch.no_grad():
            z = run.state.drawable.z
            z.copy_(models().vqgan.encode(bars) + 0.1 * rand(*z.shape, seed=3))
    z = runs[0].state.drawable.z.detach().clone().requires_grad_()
    codes, _ = models().vqgan.quantize(z)
    image = models().vqgan.decode(latents.straight_through(z, codes))
    inputs = LossInputs(image, Moment((7,), 0, 0.0), slice(0, 1), {"z": z}, codes)
    (term,) = runs[1].terms
    value = term.loss(inputs)
    value.sum().backward()
    for run in runs:
        run.step()
    assert set(runs[0].state.losses) == {"prompt"}
    for run, factor in zip(runs[1:], (weight, 2 * weight), strict=True):
        assert torch.allclose(run.state.losses[name], factor * value.detach(), rtol=1e-4)
        # the prompt pulls too, but next to nothing
        assert relative(run.state.drawable.z.grad, factor * z.grad) < 2e-2


def test_a_picture_to_go_on_from_lies_where_the_grid_shows_it() -> None:
    """Of a size that the grid only covers, its edges are repeated: it is not stretched."""
    frame, rest = rand(1, 3, 44, 60), torch.ones(1, 1, 44, 60)
    begun = prepared(small(size=[60, 44])).begun(Beginning(frame, rest, 1.0, frame))
    assert begun.beginning is not None
    assert begun.beginning.painted is not None
    for shown in (begun.beginning.image, begun.beginning.painted):
        assert shown.shape[-2:] == (48, 64)
        assert torch.equal(shown[..., 2:46, 2:62], frame)


def test_a_loss_of_a_given_picture_needs_one() -> None:
    context = LossContext(small(), blank=models_blank())
    with pytest.raises(UsageError, match="--init-image"):
        check_terms({"init_image": 1.0}, context)
    with pytest.raises(UsageError, match="--init-image"):
        draw(small(losses={"init_image": 0.5}))


def test_a_loss_may_be_given_as_a_mapping_of_its_options(tmp_path: Path) -> None:
    plain, mapped = (draw(small(losses={"tv": value})).image for value in (3.0, {"weight": 3.0}))
    assert sha(plain) == sha(mapped)
    for wrong, word in (({"wieght": 3.0}, "weight"), ("many", "losses.tv"), ({"weight": "x"}, "weight")):
        with pytest.raises(UsageError, match=word):
            draw(small(losses={"tv": wrong}))


def test_the_weight_of_the_prompt_loss_scales_it() -> None:
    once, twice = (run_of(small(losses={"prompt": weight})) for weight in (1.0, 2.0))
    for run in (once, twice):
        run.step()
    assert torch.allclose(twice.state.losses["prompt"], 2 * once.state.losses["prompt"])
    assert torch.allclose(twice.state.drawable.z.grad, 2 * once.state.drawable.z.grad, rtol=1e-4, atol=1e-9)


# --- optimizers and schedules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_optimizer_descends_a_bowl(name: str) -> None:
    z = torch.full((1, 2, 2, 2), 3.0, requires_grad=True)
    optimizer = optim.build(OptimizerConfig(name=name, lr=0.1), [z])
    for _ in range(30):
        optimizer.zero_grad()
        z.square().sum().backward()
        optimizer.step()
    assert 0 <= float(z.detach().square().sum()) < 0.95 * 72


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_optimizer_goes_where_torchs_own_goes(name: str) -> None:
    config = OptimizerConfig(name=name, lr=0.1)
    grids = [torch.linspace(-1, 1, 8).requires_grad_() for _ in range(2)]
    ours = optim.build(config, [grids[0]])
    same = {key: ours.defaults[key] for key in ("lr", "momentum", "weight_decay") if key in ours.defaults}
    theirs = OPTIMIZERS.load(name)([grids[1]], **same)
    for _ in range(4):
        for z, optimizer in zip(grids, (ours, theirs), strict=True):
            optimizer.zero_grad()
            (z - 0.3).square().sum().backward()
            optimizer.step()
        assert torch.equal(*grids)
    assert ours.state_dict().keys() == theirs.state_dict().keys()


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_optimizer_moves_a_run(name: str) -> None:
    run = run_of(small(optimizer={"name": name, "weight_decay": 0.01}, views={"count": 2}))
    before = run.state.drawable.z.detach().clone()
    for _ in range(3):
        run.step()
    after = run.state.drawable.z.detach()
    assert bool(after.isfinite().all())
    assert not torch.equal(after, before)


def test_normalized_steps_have_one_length_for_each_picture() -> None:
    """Two pictures of two layers each, one with a gradient a thousand times as steep, one with none at all."""
    layers = [torch.zeros(3, 2, 4, 4, requires_grad=True), torch.zeros(3, 2, 2, 2, requires_grad=True)]
    steepness = torch.tensor([1.0, 1000.0, 0.0]).view(3, 1, 1, 1)
    sum((steepness * layer).sum() for layer in layers).backward()
    optim.build(OptimizerConfig(name="normalized", lr=0.2), layers).step()
    moved = torch.cat([layer.detach().flatten(1) for layer in layers], 1)
    assert torch.allclose(moved.square().mean(1).sqrt(), torch.tensor([0.2, 0.2, 0.0]))
    assert bool((moved[:2] < 0).all())


def test_optimizers_get_their_settings() -> None:
    config = OptimizerConfig(name="adamw", lr=0.3, betas=[0.5, 0.6], weight_decay=0.7)
    group = optim.build(config, [torch.zeros(1, requires_grad=True)]).param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.3, (0.5, 0.6), 0.7)
    sgd = optim.build(OptimizerConfig(name="sgd", lr=0.1), [torch.zeros(1, requires_grad=True)])
    assert sgd.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_every_schedule_falls_from_1_and_stays_above_0(name: str) -> None:
    factors = [schedules.factor(name, step, 100) for step in range(101)]
    assert factors[0] == 1.0
    assert all(0 < late <= early for early, late in itertools.pairwise(factors))
    assert schedules.factor(name, 0, 0) > 0


def test_a_warm_up_rises_evenly_to_the_schedule() -> None:
    factors = [schedules.factor("constant", step, 100, 4) for step in range(6)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


def test_the_learning_rate_of_a_run_follows_the_schedule() -> None:
    run, seen = run_of(small(steps=4, optimizer={"lr": 0.2, "schedule": "linear"})), []
    for _ in range(4):
        run.step()
        seen.append(run.state.optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([0.2 * f for f in (1.0, 0.775, 0.55, 0.325)])


def test_a_gradient_is_clipped_to_its_norm() -> None:
    plain = {"name": "sgd", "betas": [0.0, 0.0], "lr": 1.0, "clip_norm": 1e-3}
    run = run_of(small(optimizer=plain, latent={"clamp": False}))
    before = run.state.drawable.z.detach().clone()
    run.step()
    assert float((run.state.drawable.z.detach() - before).norm()) == pytest.approx(1e-3, rel=1e-2)


# --- stages and interventions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "steps", "size", "expected"),
    [
        (["full:1"], 10, (64, 64), [Stage(0, 10, 4, 4)]),
        (["full"], 10, (64, 64), [Stage(0, 10, 4, 4)]),
        (["128:0.8", "full:0.2"], 10, (256, 256), [Stage(0, 8, 8, 8), Stage(8, 10, 16, 16)]),
        (["128:0.8", "full:0.2"], 10, (512, 256), [Stage(0, 8, 8, 16), Stage(8, 10, 16, 32)]),
        (["128:0.8", "full:0.2"], 10, (256, 384), [Stage(0, 8, 12, 8), Stage(8, 10, 24, 16)]),
        # shares count in proportion
        (["128:4", "full:1"], 10, (256, 256), [Stage(0, 8, 8, 8), Stage(8, 10, 16, 16)]),
        # not coarser than the picture: left out
        (["128:0.8", "full:0.2"], 10, (128, 128), [Stage(0, 10, 8, 8)]),
        (["256:0.8", "full:0.2"], 10, (128, 512), [Stage(0, 10, 32, 8)]),
        # its share goes to the other coarse ones
        (["64:0.4", "300:0.4", "full:0.2"], 10, (256, 256), [Stage(0, 8, 4, 4), Stage(8, 10, 16, 16)]),
        # in any order, coarse comes first
        (["full:0.2", "128:0.4", "64:0.4"], 10, (256, 256),
         [Stage(0, 4, 4, 4), Stage(4, 8, 8, 8), Stage(8, 10, 16, 16)]),
        # sides that are no multiple are covered
        (["full:1"], 3, (70, 50), [Stage(0, 3, 4, 5)]),
        (["64:0.5", "full:0.5"], 4, (100, 130), [Stage(0, 2, 6, 4), Stage(2, 4, 9, 7)]),
        (["full:1"], 3, (1, 1), [Stage(0, 3, 1, 1)]),
        # too few steps for all stages: the picture's own grid is the one that stays
        (["128:0.85", "full:0.15"], 0, (256, 256), [Stage(0, 0, 16, 16)]),
    ],
)  # fmt: skip
def test_stages_share_the_steps(texts: list[str], steps: int, size: tuple[int, int], expected: list[Stage]) -> None:
    assert stages.plan(texts, steps, size, 16) == expected


@pytest.mark.parametrize("texts", [["64:0.3", "128:0.4", "full:0.3"], ["128:0.85", "full:0.15"], ["full:1"]])
@pytest.mark.parametrize("size", [(256, 256), (100, 300), (129, 131)])
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 7, 500])
def test_stages_cover_all_steps_and_end_on_the_full_grid(texts: list[str], steps: int, size: tuple[int, int]) -> None:
    planned = stages.plan(texts, steps, size, 16)
    assert (planned[0].start, planned[-1].stop) == (0, steps)
    assert all(early.stop == late.start for early, late in itertools.pairwise(planned))
    assert all(early.height <= late.height and early.width <= late.width for early, late in itertools.pairwise(planned))
    full = (math.ceil(size[1] / 16), math.ceil(size[0] / 16))
    assert (planned[-1].height, planned[-1].width) == full


@pytest.mark.parametrize("texts", [["128:1"], [], ["x:1", "full:1"], ["full:0"], ["full:-1"], ["0:1", "full:1"],
                                   ["128:nan", "full:1"], ["128:inf", "full:1"], ["128:0.5:2", "full:1"]])  # fmt: skip
def test_stages_that_make_no_sense_are_usage_errors(texts: list[str]) -> None:
    with pytest.raises(UsageError):
        stages.plan(texts, 10, (256, 256), 16)


@pytest.mark.parametrize("name", list(INTERVENTIONS))
def test_every_intervention_leaves_a_run_of_one_stage_as_it_is(name: str) -> None:
    run = run_of(small())
    z, optimizer = run.state.drawable.z, run.state.optimizer
    INTERVENTIONS.load(name)(run)(run)
    assert run.state.drawable.z is z
    assert run.state.optimizer is optimizer


def test_a_new_stage_goes_on_from_the_picture_of_the_last() -> None:
    run = run_of(small(size=128, stages=["64:0.5", "full:0.5"], steps=4))
    for _ in range(2):
        run.step()
    coarse = run.render(run.state.output)
    run.step()
    fine = run.render(run.state.drawable)
    assert (run.state.stage, fine.shape[-1], run.state.best) == (1, 128, None)
    small_again = torch.nn.functional.interpolate(fine, coarse.shape[-2:], mode="bilinear", antialias=True)
    away = torch.nn.functional.interpolate(run_of(small(seed=8)).render(run.state.drawable).flip(-1), 64)
    assert (small_again - coarse).square().mean() < (away - coarse).square().mean()
