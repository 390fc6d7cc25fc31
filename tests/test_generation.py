"""The invariants of a run: the same seed draws the same picture, and what is computed in parts equals the whole."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.command_line import start_cli
from support.pictures import photo, relative, sha
from support.runs import SMALL_FLAGS, draw, models, prepared, run_of, small, snapshots, threads
from support.sessions import carry_out

from vqclip import images
from vqclip.config import Config
from vqclip.drawables import Moment, latents
from vqclip.errors import NumericError, UsageError, WeightsError
from vqclip.generation import determinism
from vqclip.generation.initial import first_pictures
from vqclip.generation.models import Models
from vqclip.guidance import Guidance, guide
from vqclip.guidance.guide import Guided
from vqclip.guidance.views import Views

COARSE = {"size": 128, "stages": ["64:0.5", "full:0.5"], "steps": 4}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with threads(1):
        yield


def gradient(config: Config, seeds: tuple[int, ...] = (7,), precision: str = "fp32") -> torch.Tensor:
    """Return the gradient of the first step at the grid (B, C, h, w)."""
    config.run.precision = precision
    run = run_of(config, seeds)
    run.step()
    return run.state.drawable.z.grad


def drawn_views(config: Config, seeds: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> list[list[torch.Tensor]]:
    """Return everything drawn for the views of the first step of each picture, put together from its chunks."""
    seen: list[list[Views]] = []
    cut = guide.cut_views
    with monkeypatch.context() as patch:
        patch.setattr(guide, "cut_views", lambda image, views, side: seen.append(views) or cut(image, views, side))
        run = run_of(config, seeds)
        run.guidance.backward(torch.rand(len(seeds), 3, 64, 64).requires_grad_(), Moment(seeds, 0, 0.0))
    pictures = zip(*seen, strict=True)
    return [[torch.cat([getattr(v, name) for v in picture]) for name in ("homography", "color", "noise")]
            for picture in pictures]  # fmt: skip


def equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# --- the same seed, the same picture ---------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [{}, COARSE, {"latent": {"noise": 0.3}}], ids=["plain", "stages", "latent noise"])
def test_same_seed_gives_the_same_picture_whatever_the_global_generators_did(values: dict[str, Any]) -> None:
    config = small(**values)
    first = draw(config).image
    torch.manual_seed(99), random.seed(99), np.random.seed(99)
    assert sha(draw(config).image) == sha(first)


def test_another_seed_gives_another_picture() -> None:
    assert sha(draw(small(seed=8)).image) != sha(draw(small()).image)


def test_a_seed_can_be_a_word_and_is_recorded_as_a_number() -> None:
    result = draw(small(seed="fox", steps=0))
    assert result.seed == result.config.seed == small(seed="fox").seed > 0


def test_a_missing_seed_is_drawn_and_draws_the_same_picture_again() -> None:
    result = draw(small(seed=-1, steps=1))
    assert result.seed >= 0
    assert sha(draw(result.config).image) == sha(result.image)


def test_another_process_with_video_and_preview_draws_the_same_picture(tmp_path: Path) -> None:
    process = start_cli("a red cat", *SMALL_FLAGS, "-o", "cat.png", "--video", "film.mp4", "-se", "1", cwd=tmp_path)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert sha(tmp_path / "cat.png") == sha(draw(small()).image)


def test_video_and_preview_change_nothing(tmp_path: Path) -> None:
    bare = small(output={"file": str(tmp_path / "bare.png"), "save_every": 0})
    rich = small(output={"file": str(tmp_path / "rich.png"), "save_every": 1, "video": str(tmp_path / "film.mp4")})
    files = [carry_out(config).pictures[0] for config in (bare, rich)]
    assert sha(files[0]) == sha(files[1]) == sha(draw(small()).image)


def test_a_run_leaves_the_global_generators_alone() -> None:
    models()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    draw(small(latent={"noise": 0.1}, **COARSE))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]


def test_loading_models_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    Models.load(small())
    assert torch.equal(torch.get_rng_state(), before)


# --- in parts as in whole --------------------------------------------------------------------------------------------


def test_a_batch_draws_what_its_pictures_draw_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    both = drawn_views(small(), (7, 8), monkeypatch)
    for index, seed in enumerate((7, 8)):
        assert equal(both[index], drawn_views(small(), (seed,), monkeypatch)[0])
    together, alone = (first_pictures(prepared(small()), seeds)[0] for seeds in ((7, 8), (8,)))
    assert torch.equal(together.z[1:], alone.z)


@pytest.mark.parametrize("values", [{}, {"optimizer": {"clip_norm": 1e-4}}, {"losses": {"tv": 1.0, "latent": 0.1}}],
                         ids=["plain", "clipped", "regularized"])  # fmt: skip
def test_the_gradient_of_a_batch_is_that_of_its_pictures(values: dict[str, Any]) -> None:
    both = gradient(small(**values), (7, 8))
    for index, seed in enumerate((7, 8)):
        assert relative(both[index], gradient(small(**values), (seed,))[0]) < 1e-4


@pytest.mark.parametrize("values", [{}, COARSE, {"optimizer": {"clip_norm": 1e-4}}], ids=["plain", "stages", "clipped"])
def test_deterministic_pictures_of_a_batch_are_bit_equal_to_those_alone(values: dict[str, Any]) -> None:
    config = small(count=2, batch_size=2, run={"deterministic": True}, **values)
    together = [sha(image) for image in draw(config).images]
    assert together == [sha(draw(small(seed=seed, **values)).image) for seed in (7, 8)]


@pytest.mark.parametrize("chunk", [1, 3, 4])
def test_the_view_chunk_changes_neither_draws_nor_gradient(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = small(views={"count": 7}), small(views={"count": 7, "chunk": chunk})
    assert equal(drawn_views(parts, (7,), monkeypatch)[0], drawn_views(whole, (7,), monkeypatch)[0])
    assert relative(gradient(parts), gradient(whole)) < 1e-4


def test_the_loss_in_chunks_is_the_loss_of_the_whole() -> None:
    runs = [run_of(small(views={"count": 7, "chunk": chunk})) for chunk in (1, 3, 7)]
    losses = [run.step() is not None and float(run.state.losses["prompt"]) for run in runs]
    assert losses == pytest.approx([losses[-1]] * 3, rel=1e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.05)])
def test_the_number_of_threads_changes_neither_draws_nor_gradient(
    precision: str, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for count in (1, 2):
        with threads(count):
            found.append((drawn_views(small(), (7,), monkeypatch)[0], gradient(small(), precision=precision)))
    assert equal(found[0][0], found[1][0])
    assert relative(found[0][1], found[1][1]) < tolerance


def test_several_clips_share_the_guidance_evenly() -> None:
    double = small(models={"clip": ["tiny", "tiny"]})
    twice = Models(models().vqgan, models().clips * 2, models().hashes, models().clip_hashes * 2)
    from vqclip.generation.prepare import prepare

    run = prepare(twice.resolve(double), twice).run((7,))
    run.step()
    assert relative(run.state.drawable.z.grad, gradient(small())) < 1e-4


# --- steps, sizes and stages -----------------------------------------------------------------------------------------


def test_a_stream_has_a_snapshot_for_the_grid_and_one_for_each_step() -> None:
    found = snapshots(small(count=2))
    assert [s.step for s in found] == [0, 1, 2, 3] * 2
    assert [s.seeds for s in found] == [(7,)] * 4 + [(8,)] * 4
    assert all(s.last == (s.step == 3) and s.steps == 3 for s in found)
    assert math.isnan(found[0].loss)
    assert all(math.isfinite(s.loss) for s in found if s.step)


def test_no_step_at_all_gives_the_picture_of_the_initial_grid() -> None:
    vqgan = models().vqgan
    side = 64 // vqgan.factor
    grid = latents.random_grid(vqgan.codebook, (7,), side, side)
    with torch.no_grad():
        expected = images.to_pil(vqgan.decode(grid))
    assert sha(draw(small(steps=0)).image) == sha(expected)


@pytest.mark.parametrize("size", ["70x50", "64x128", "5x5", "65x64"])
def test_sizes_that_are_no_multiple_are_drawn_on_the_next_grid_and_cropped(size: str) -> None:
    config = small(size=size, steps=1)
    last, factor = snapshots(config)[-1], models().vqgan.factor
    grid = [math.ceil(side / factor) * factor for side in config.size]
    assert [last.image.shape[-1], last.image.shape[-2]] == grid
    width, height = config.size
    result = draw(config).image
    assert result.size == (width, height)
    assert sha(result) == sha(images.to_pil(images.crop_center(last.best, width, height)))


def test_coarse_stages_come_first_and_the_last_picture_is_full() -> None:
    found = snapshots(small(**COARSE))
    assert [s.image.shape[-1] for s in found] == [64, 64, 64, 128, 128]
    assert {picture.size for s in found for picture in s.pictures()} == {(128, 128)}
    assert found[-1].best is not None
    assert found[-1].best.shape[-1] == 128


# --- the best iterate ------------------------------------------------------------------------------------------------


def test_the_result_is_the_iterate_with_the_lowest_held_out_score() -> None:
    config = small(steps=6, optimizer={"lr": 1.0}, latent={"ema": 0.0}, best={"every": 1})
    run = run_of(config)
    scores, pictures = [], []
    for _ in range(config.steps):
        run.step()
        picture = run.render(run.state.output)
        scores.append(float(run.guidance.score(picture, (7,), 2)))
        pictures.append(images.to_pil(picture))
    result = draw(config)
    assert result.pictures[0].score == pytest.approx(min(scores), rel=1e-6)
    assert sha(result.image) == sha(pictures[scores.index(min(scores))])


# --- init image, image prompts, notices ------------------------------------------------------------------------------


def test_an_init_image_of_strength_0_gives_its_reconstruction(tmp_path: Path) -> None:
    file = str(photo(tmp_path / "in.png"))
    vqgan = models().vqgan
    with torch.no_grad():
        z, _ = vqgan.quantize(vqgan.encode(images.to_tensor(images.read_image(file))))
        expected = vqgan.decode(z)
    found = snapshots(small(steps=0, init={"image": file, "strength": 0.0}))[0].image
    assert torch.allclose(found, expected, atol=1e-4)
    random_ones = snapshots(small(steps=0, init={"image": file, "strength": 1.0}))[0].image
    assert torch.equal(random_ones, snapshots(small(steps=0))[0].image)


def test_the_init_weight_pulls_towards_the_image(tmp_path: Path) -> None:
    init = {"kind": "random", "image": str(photo(tmp_path / "in.png"))}
    target = images.to_tensor(images.read_image(init["image"]))

    def distance(weight: float) -> float:
        last = snapshots(small(steps=8, init=init | {"weight": weight}, latent={"ema": 0.0}))[-1]
        return float((last.image - target).square().mean())

    assert distance(100.0) < 0.9 * distance(0.0)


def test_an_init_image_is_asked_for_and_a_prior_refused() -> None:
    with pytest.raises(UsageError, match="--init-image"):
        draw(small(init={"kind": "image"}))
    with pytest.raises(WeightsError, match="prior"):
        draw(small(init={"kind": "prior"}))


def test_a_picture_can_be_the_prompt(tmp_path: Path) -> None:
    file = str(photo(tmp_path / "in.png"))
    run = run_of(small(prompts=[], image_prompts=[file, f"{file}:-0.5:0.1"]))
    targets = run.guidance.targets[0]
    assert torch.allclose(targets.embeddings.norm(dim=1), torch.ones(2), atol=1e-5)
    assert (targets.weights.tolist(), targets.stops.tolist()) == ([1.0, -0.5], [-math.inf, pytest.approx(0.1)])
    picture = images.to_tensor(images.read_image(file))
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    positive = run_of(small(prompts=[], image_prompts=[file])).guidance
    assert float(positive.score(picture, (7,), 8)) < float(positive.score(noise, (7,), 8))


def test_an_image_prompt_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    for name in (str(tmp_path / "missing.png"), f"{tmp_path}/missing.png:0.5", "x" * 300):
        with pytest.raises(UsageError):
            draw(small(image_prompts=[name]))


def test_long_prompts_and_unknown_words_are_told_of_once() -> None:
    long = ", ".join(["a red cat under a zeppelin"] * 40)
    found = snapshots(small(long, "a zeppelin", count=2, steps=1))
    notices = [notice.text for snapshot in found for notice in snapshot.notices]
    assert len(notices) == 2
    assert any("split" in text for text in notices)
    assert sum("'zeppelin'" in text for text in notices) == 1


def test_known_words_are_no_news() -> None:
    assert not snapshots(small("a red cat", steps=0))[0].notices


# --- when the numbers break ------------------------------------------------------------------------------------------


def break_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the loss of one step be NaN."""
    sound = Guidance.backward

    def broken(self: Guidance, image: torch.Tensor, moment: Moment) -> Guided:
        guided = sound(self, image, moment)
        nan = {name: loss * math.nan for name, loss in guided.losses.items()}
        return Guided(nan, guided.views) if moment.step == step else guided

    monkeypatch.setattr(Guidance, "backward", broken)


def test_a_loss_that_is_no_number_ends_the_run_with_the_latents_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    break_at(2, monkeypatch)
    run = run_of(small(steps=5))
    run.step(), run.step()
    before = run.state.drawable.z.detach().clone()
    with pytest.raises(NumericError, match="step 3"):
        run.step()
    assert torch.equal(run.state.drawable.z, before)


def test_the_picture_before_the_broken_step_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of the last of the tries, each at half the learning rate of the one before."""
    slow = snapshots(small(steps=5, best={"every": 1}, optimizer={"lr": 0.1 / 8}))
    break_at(2, monkeypatch)
    config = small(steps=5, best={"every": 1}, output={"file": str(tmp_path / "kept.png")})
    with pytest.raises(NumericError):
        carry_out(config)
    assert sha(tmp_path / "kept.png") == sha(images.to_pil(slow[2].best))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kept.png", "kept.run"]


@pytest.mark.parametrize(
    ("device", "wanted", "ordered"), [("cuda:0", True, True), ("cuda", False, False), ("cpu", True, False)]
)
def test_operations_are_deterministic_for_as_long_as_a_step_takes(device: str, wanted: bool, ordered: bool) -> None:
    config = small(run={"deterministic": wanted})
    config.run.device = device
    torch.use_deterministic_algorithms(False)

    with pytest.raises(RuntimeError, match="in the midst of it"), determinism.exact(config):
        assert torch.are_deterministic_algorithms_enabled() is ordered
        assert torch.backends.cudnn.deterministic is ordered
        raise RuntimeError("in the midst of it")

    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic


def test_torch_is_as_it_was_between_the_steps_of_a_deterministic_run() -> None:
    for _ in snapshots(small(steps=2, run={"deterministic": True})):
        assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.gpu
def test_a_deterministic_run_is_bit_equal_on_a_gpu() -> None:
    config = small(steps=3, run={"device": "cuda", "deterministic": True})
    first, second = (snapshots(config)[-1].image for _ in range(2))

    assert torch.equal(first, second)


def test_a_compiler_that_does_not_work_is_told_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: Any) -> Any:
        raise RuntimeError("no C++ compiler\nwas found")

    monkeypatch.setattr(torch, "compile", broken)

    with pytest.raises(UsageError, match=r"--compile on: .*\(no C\+\+ compiler was found\): leave it out"):
        Models.load(small(run={"compile": "on"}))
