"""Runs that begin with what a prior proposes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import CommandLine, sha, small

import vqclip
from vqclip import config as configs
from vqclip.errors import UsageError
from vqclip.generation import initial
from vqclip.generation.models import Models
from vqclip.generation.prepare import prepare
from vqclip.models.prior import PriorArchitecture, build
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
    return small("a red cat", **(asked | values))


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
    every = torch.cat([initial.candidates(ready, 7, [number]) for number in range(20)])
    assert torch.equal(every, initial.candidates(ready, 7, range(20)))
    scores = ready.guidance.score(models.vqgan.decode(models.vqgan.codes(every)), [7] * 20, 2)
    chosen = models.vqgan.quantize(initial.first_grid(ready, (7,)))[1]
    assert torch.equal(chosen[0], every[int(scores.argmin())])


def test_the_best_that_are_kept_are_each_a_picture_that_can_be_drawn_again(weights: Path) -> None:
    config = config_of(weights, init={"candidates": 5, "keep": 3})
    models = Models.load(config)
    result = vqclip.generate(config, models)
    assert len(result.pictures) == 3 == len({sha(image) for image in result.images})
    alone = vqclip.generate(config_of(weights, init={"candidates": 5}), models).image
    assert np.abs(np.asarray(result.image, int) - np.asarray(alone, int)).mean() < 1  # rounded otherwise in a batch
    again = configs.from_dict(result.pictures[1].record["config"], {"models": {"prior": str(weights)}})
    assert [sha(image) for image in vqclip.generate(again, models).images] == [sha(result.images[1])]


@pytest.mark.parametrize("values", [{"init": {"keep": 2}}, {"init": {"keep": 2, "candidates": 4}, "count": 2},
                                    {"init": {"keep": 2, "candidates": 4}, "only": 2}])  # fmt: skip
def test_more_than_there_is_cannot_be_kept(values: dict) -> None:
    with pytest.raises(UsageError):
        small("a cat", **values)


def test_another_size_is_drawn_at_the_priors_own_and_scaled(weights: Path) -> None:
    config = config_of(weights, size="128x64")
    models = Models.load(config)
    ready = prepare(models.resolve(config), models)
    assert initial.candidates(ready, 7, [0]).shape == (1, 8, 16)
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
    assert drawn.code == 0


def test_a_prior_that_is_not_there_is_said(cli: CommandLine, tmp_path: Path) -> None:
    assert cli.draw("a cat", "--init", "prior").code == 3
    assert cli.draw("a cat", "--init", "prior", "--prior", tmp_path / "none.safetensors").code == 3
