"""Runs that begin with what a prior proposes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.command_line import CommandLine
from support.pictures import photo, sha
from support.runs import small

import vqclip
from vqclip import config as configs
from vqclip import seeding
from vqclip.errors import UsageError
from vqclip.generation import initial, resolve
from vqclip.generation.interventions.remask import Remask
from vqclip.generation.models import Models
from vqclip.generation.prepare import prepare
from vqclip.guidance import Guidance
from vqclip.models import openclip
from vqclip.models.prior import PriorArchitecture, build
from vqclip.types import MASKED
from vqclip.weights import files
from vqclip.weights.load import load_clip, load_vqgan


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a small prior of random weights that fits the bundled models."""
    return write(tmp_path_factory.mktemp("prior") / "prior.safetensors")


def write(path: Path, clip: str | None = None, shift: float = 0.0) -> Path:
    codebook = load_vqgan("tiny")[0].codebook + shift
    torch.manual_seed(0)
    architecture = PriorArchitecture(*codebook.shape, 256, clip or load_clip("tiny")[1], 8, width=32, layers=2, heads=2)
    prior = build(architecture)
    prior.codebook.copy_(codebook)
    return files.save(path, "prior", architecture.to_json(), prior.state_dict(), {})


def config_of(weights: Path, **values: object) -> vqclip.Config:
    asked = {"models": {"prior": str(weights)}, "prior": {"steps": 2}, "steps": 0}
    init = {"candidates": 1} | values.pop("init", {})
    return small("a red cat", init=init, **(asked | values))


def test_a_prior_that_fits_begins_the_run_and_the_seed_decides(weights: Path) -> None:
    config = config_of(weights)
    models = Models.load(config)
    assert models.resolve(config).init.kind == "prior"
    pictures = [vqclip.generate(config_of(weights, seed=seed), models) for seed in (7, 7, 8)]
    assert sha(pictures[0].image) == sha(pictures[1].image) != sha(pictures[2].image)
    assert pictures[0].config.init.kind == "prior"
    assert "prior:prior.safetensors" in pictures[0].pictures[0].record["weights"]


def test_the_candidate_that_fits_best_is_taken(weights: Path) -> None:
    config = config_of(weights, init={"candidates": 20})
    models = Models.load(config)
    ready = prepare(models.resolve(config), models)
    empty = torch.full((8, 8), MASKED)
    every = torch.cat([ready.proposer.fill(empty, [seeding.derive(7, "candidate", number)]) for number in range(20)])
    pictures = models.vqgan.decode(models.vqgan.codes(every))
    confusion = ready.guidance.confusion(pictures)
    assert (
        confusion.std() > 0
        and not prepare(models.resolve(config_of(weights)), models).guidance.confusion(pictures).any()
    )
    scores = ready.guidance.score(pictures, [7] * 20, 2) + config.init.rivals * confusion
    found = initial.candidates(ready, 7)
    assert torch.allclose(found.scores, scores.sort().values, atol=1e-5)
    assert torch.equal(found.codes[0], every[int(scores.argmin())])
    assert torch.equal(models.vqgan.quantize(initial.first_pictures(ready, (7,))[0].z)[1][0], found.codes[0])


def test_the_best_that_are_kept_are_each_a_picture_that_can_be_drawn_again(weights: Path) -> None:
    config = config_of(weights, init={"candidates": 5, "keep": 3})
    models = Models.load(config)
    result = vqclip.generate(config, models)
    assert len(result.pictures) == 3 == len({sha(image) for image in result.images})
    alone = vqclip.generate(config_of(weights, init={"candidates": 5}), models).image
    assert np.abs(np.asarray(result.image, int) - np.asarray(alone, int)).mean() < 1  # rounded otherwise in a batch
    again = configs.from_dict(result.pictures[1].record["config"], {"models": {"prior": str(weights)}})
    assert [sha(image) for image in vqclip.generate(again, models).images] == [sha(result.images[1])]


@pytest.mark.parametrize(
    "values",
    [
        {"init": {"keep": 2, "candidates": 1}},
        {"init": {"keep": 2, "candidates": 4}, "count": 2},
        {"init": {"keep": 2, "candidates": 4}, "only": 2},
    ],
)
def test_more_than_there_is_cannot_be_kept(values: dict) -> None:
    with pytest.raises(UsageError):
        small("a cat", **values)


def test_more_steps_from_what_a_prior_proposed_are_smaller_ones(weights: Path) -> None:
    """Else 500 steps take apart what 30 at the same rate make clearer (docs/quality.md)."""
    models = Models.load(config_of(weights))

    def rate(steps: int, **values: object) -> float:
        config = config_of(weights, steps=steps, optimizer={"lr": None}, **values)
        return models.resolve(config).optimizer.lr

    assert rate(1) == rate(30) == 0.01
    assert rate(60) == pytest.approx(0.005) and rate(300) == pytest.approx(0.001)
    assert rate(300, init={"kind": "random"}) == 0.1
    assert models.resolve(config_of(weights, steps=300, optimizer={"lr": 0.2})).optimizer.lr == 0.2


def test_many_small_steps_have_fewer_views_each(weights: Path) -> None:
    models = Models.load(config_of(weights))

    def views(steps: int, **values: object) -> int:
        config = config_of(weights, **{"steps": steps, "views": {"count": None}, "optimizer": {"lr": None}} | values)
        return models.resolve(config).views.count

    assert views(0) == views(60) == 2 * views(61) == 2 * views(500) == 16
    assert views(500, init={"kind": "random"}) == 16
    assert views(500, views={"count": 13}) == 13
    assert views(500, optimizer={"lr": 0.01}) == 16, "steps that are not small"
    public = openclip.pretrained("ViT-B-32", "openai").architecture
    config = config_of(weights, steps=500, views={"count": None})
    both = resolve.resolve(config, models.vqgan.architecture, [models.clips[0].architecture, public])
    assert both.init.kind == "random" and both.views.count == 32


def test_a_number_of_views_that_a_rule_chose_is_kept_with_the_picture(weights: Path) -> None:
    config = config_of(weights, steps=61, views={"count": None}, optimizer={"lr": None})
    result = vqclip.generate(config, Models.load(config))
    record = result.pictures[0].record["config"]
    assert record["views"]["count"] == 8
    again = configs.from_dict(record, {"models": {"prior": str(weights)}, "steps": 20, "stages": ["full:1"]})
    assert Models.load(again).resolve(again).views.count == 8


def test_another_size_is_drawn_at_the_priors_own_and_scaled(weights: Path) -> None:
    config = config_of(weights, size="128x64")
    models = Models.load(config)
    ready = prepare(models.resolve(config), models)
    assert initial.candidates(ready, 7).codes.shape == (1, 8, 16)
    assert vqclip.generate(config_of(weights, size="96x40"), models).image.size == (96, 40)


@pytest.mark.parametrize(("change", "reason"), [({"shift": 0.5}, "codes of another VQGAN"),
                                                ({"clip": "0" * 64}, "another CLIP")])  # fmt: skip
def test_a_prior_that_does_not_fit_is_named_or_with_auto_left_out(
    change: dict, reason: str, tmp_path: Path, cli: CommandLine
) -> None:
    other = write(tmp_path / "other.safetensors", **change)
    told = cli.draw("a cat", "--init", "prior", "--prior", other)
    assert told.code == 3 and reason in told.complaints[0] and len(told.complaints) == 1
    drawn = cli.draw("a cat", "--prior", other, "--steps", "1")
    assert drawn.code == 0 and any("without the prior" in line and reason in line for line in drawn.complaints)


def test_a_prior_that_is_not_there_is_said(cli: CommandLine, tmp_path: Path) -> None:
    assert cli.draw("a cat", "--init", "prior").code == 3
    absent = tmp_path / "none.safetensors"
    assert cli.draw("a cat", "--init", "prior", "--prior", absent).code == 3
    drawn = cli.draw("a cat", "--prior", absent, "--steps", "1")
    assert drawn.code == 0 and any("without the prior" in line for line in drawn.complaints)


def test_candidates_are_shown_on_a_sheet_beside_the_picture(weights: Path, cli: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "cat.png"
    told = cli.draw("a cat", "--prior", weights, "--candidates", "5", "--save-candidates", "-o", out, "--steps", "0")
    assert told.code == 0 and any("candidates.png" in line for line in told.complaints)
    with Image.open(tmp_path / "cat.candidates.png") as sheet:
        assert sheet.width > 3 * 128 and sheet.height > 2 * 128
    plain = cli.draw("a cat", "--prior", weights, "--candidates", "5", "-o", tmp_path / "b.png", "--steps", "0")
    assert sha(plain.files[0]) == sha(out) and not (tmp_path / "b.candidates.png").exists()


def test_the_prior_fills_what_a_mask_leaves_open(weights: Path, tmp_path: Path) -> None:
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (16, 16, 48, 48))
    mask.save(tmp_path / "mask.png")
    init = {"image": str(photo(tmp_path / "photo.png")), "mask": str(tmp_path / "mask.png")}
    config = config_of(weights, init=init)
    models = Models.load(config)
    ready = prepare(models.resolve(config), models)
    assert ready.config.init.kind == "prior"
    codes = initial.candidates(ready, 7).codes[0]
    known = models.vqgan.quantize(models.vqgan.encode(ready.init_image.at(64, 64)))[1][0]
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[2:6, 2:6] = True
    assert torch.equal(codes[~inside], known[~inside]) and not torch.equal(codes[inside], known[inside])
    pictures = vqclip.generate(config, models).image, Image.open(init["image"])
    drawn, before = (np.asarray(picture).astype(int) for picture in pictures)
    outside = np.asarray(mask) == 0
    assert (drawn[outside] == before[outside]).all() and np.abs(drawn - before)[~outside].mean() > 2


def test_unlikely_codes_are_drawn_again_if_the_views_do_not_mind(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(weights, steps=2, prior={"steps": 2, "remask_every": 1, "remask_share": 0.25})
    models = Models.load(config)
    ready = prepare(models.resolve(config), models)
    scores = iter([1.0, 0.5, 0.5, 1.0])
    for better in (True, False):
        run = ready.run((7,))
        run.state.step = 1
        before = run.state.drawable.z.detach().clone()
        monkeypatch.setattr(run.guidance, "score", lambda *a: torch.tensor([next(scores)]))
        Remask(run)(run)
        changed = (run.state.drawable.z != before).any(1)
        monkeypatch.undo()
        assert (0 < int(changed.sum()) <= 16) if better else not changed.any()
    assert len(list(vqclip.generate_stream(config, models))) == 3


def test_runs_with_remasking_repeat_to_the_bit(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guidance, "score", lambda self, image, seeds, views: image.new_zeros(len(image)))
    values = {"steps": 4, "prior": {"steps": 2, "remask_every": 2, "remask_share": 0.5}}
    models = Models.load(config_of(weights))
    first, again, without = (
        vqclip.generate(config_of(weights, **values | changes), models).image
        for changes in ({}, {}, {"prior": {"steps": 2}})
    )
    assert sha(first) == sha(again)
    batch = vqclip.generate(config_of(weights, count=2, batch_size=2, run={"deterministic": True}, **values), models)
    assert sha(batch.images[0]) == sha(first)
    assert sha(without) != sha(first)
