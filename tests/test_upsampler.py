"""Finer grids that an upsampler draws: the network, its sampling, and what runs make of it."""

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
from vqclip import resources
from vqclip.drawables import Moment
from vqclip.drawables.latent_grid import LatentGrid
from vqclip.errors import WeightsError
from vqclip.generation.models import Models
from vqclip.generation.prepare import prepare
from vqclip.models.upsampler import Upsampler, UpsamplerArchitecture
from vqclip.priors import Sampling, upsample
from vqclip.types import MASKED
from vqclip.weights import files
from vqclip.weights.load import load_clip, load_vqgan

TOLD = torch.nn.functional.normalize(torch.randn(2, 6, generator=torch.Generator().manual_seed(1)), dim=1)
ONE = torch.ones(1)
COARSE = torch.randint(40, (2, 4, 6), generator=torch.Generator().manual_seed(2))


def network(codebook: torch.Tensor, condition: int, clip: str = "") -> Upsampler:
    torch.manual_seed(0)
    made = Upsampler(UpsamplerArchitecture(*codebook.shape, condition, clip, width=16, layers=2)).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    made.codebook.copy_(codebook)
    return made.requires_grad_(False)


@pytest.fixture(scope="module")
def upsampler() -> Upsampler:
    return network(torch.randn(40, 4, generator=torch.Generator().manual_seed(3)), 6)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a small upsampler of random weights that fits the bundled models."""
    return write(tmp_path_factory.mktemp("upsampler") / "upsampler.safetensors")


def write(path: Path, clip: str | None = None, shift: float = 0.0) -> Path:
    codebook = load_vqgan("tiny")[0].codebook + shift
    made = network(codebook, 256, clip or load_clip("tiny")[1])
    return files.save(path, "upsampler", made.architecture.to_json(), made.state_dict(), {})


def config_of(weights: Path, **values: object) -> vqclip.Config:
    asked = {"models": {"prior": "", "upsampler": str(weights)}, "upsampling": {"steps": 2}, "size": 128}
    return small("a red cat", **(asked | {"stages": ["64:0.5", "full:0.5"]} | values))


def test_logits_are_of_every_code_of_twice_the_grid(upsampler: Upsampler) -> None:
    fine = torch.full((2, 8, 12), MASKED)
    logits = upsampler(fine, COARSE, TOLD)
    assert logits.shape == (2, 8, 12, 40)
    assert not torch.allclose(logits, upsampler(fine, COARSE.flip(0), TOLD))
    assert not torch.allclose(logits, upsampler(fine, COARSE, TOLD.flip(0)))
    fine[0, 2, 3] = 5
    assert not torch.allclose(logits[0], upsampler(fine, COARSE, TOLD)[0])


def test_a_seed_draws_the_same_codes_alone_or_beside_others(upsampler: Upsampler) -> None:
    both = upsample(upsampler, COARSE, TOLD[:1], ONE, None, (3, 4), Sampling(steps=4))
    alone = upsample(upsampler, COARSE[1:], TOLD[:1], ONE, None, (4,), Sampling(steps=4))
    assert both.shape == (2, 8, 12) and int(both.min()) >= 0
    assert torch.equal(both[1], alone[0]) and not torch.equal(both[0], both[1])


def test_known_codes_stay(upsampler: Upsampler) -> None:
    grid = torch.where(torch.arange(96).view(8, 12) % 3 == 0, 7, MASKED)
    found = upsample(upsampler, COARSE, TOLD[:1], ONE, grid, (3, 4), Sampling(steps=3))
    assert (found[:, grid == 7] == 7).all() and int(found.min()) >= 0


def test_guidance_of_one_is_the_prompt_alone(upsampler: Upsampler) -> None:
    how = {"steps": 1, "temperature": 0.0, "choice": 0.0}
    fine = torch.full((2, 8, 12), MASKED)
    own = upsampler(fine, COARSE, TOLD[:1].expand(2, -1))
    nothing = upsampler(fine, COARSE, upsampler.unconditional.expand(2, -1))
    for scale in (1.0, 4.0):
        found = upsample(upsampler, COARSE, TOLD[:1], ONE, None, (3, 4), Sampling(guidance=scale, **how))
        logits = nothing + scale * (own - nothing)
        chosen = logits.gather(-1, found[..., None])[..., 0]
        # a temperature of 0 counts as 0.001: codes nearly as likely may be drawn
        assert bool((logits.amax(-1) - chosen < 0.02).all())
        assert float((found == logits.argmax(-1)).float().mean()) > 0.9


def test_large_grids_are_drawn_in_tiles_that_know_one_another(upsampler: Upsampler) -> None:
    coarse = torch.randint(40, (2, 2, 40), generator=torch.Generator().manual_seed(2))
    known, how = [], Sampling(steps=1, guidance=1.0)
    with upsampler.register_forward_pre_hook(lambda _, given: known.append((given[0] != MASKED).sum(2).tolist())):
        drawn = upsample(upsampler, coarse, TOLD[:1], ONE, None, (3, 4), how)
    # the second tile of 64 codes begins at the 16th: it is given what the first one drew there
    assert known == [[[0] * 4] * 2, [[48] * 4] * 2] and int(drawn.min()) >= 0
    first = upsample(upsampler, coarse[:, :, :32], TOLD[:1], ONE, None, (3, 4), how)
    assert torch.equal(drawn[:, :, :64], first)


def test_the_finer_stage_begins_with_what_the_upsampler_draws(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(weights, steps=2)
    models = Models.load(config)
    ready = prepare(models.resolve(config), models)
    run = ready.run((7,))
    run.step()
    coarse = models.vqgan.quantize(run.state.output.z)[1]
    expected = ready.scaler.to_grid(coarse, 16, 16, (7,))
    begun, render = [], LatentGrid.render

    def spy(self: LatentGrid, moment: Moment | None = None) -> torch.Tensor:
        begun.append(self.z.detach().clone())
        return render(self, moment)

    monkeypatch.setattr(LatentGrid, "render", spy)
    run.step()
    assert coarse.shape == (1, 8, 8) and torch.equal(begun[0], expected)
    scaled = ready.scaler.encode(ready.scaler.decode(coarse), 16, 16)
    assert not torch.allclose(expected, scaled)


def test_a_run_with_it_is_drawn_again_by_its_record(weights: Path) -> None:
    config = config_of(weights)
    models = Models.load(config)
    first = vqclip.generate(config, models)
    record = first.pictures[0].record
    assert record["config"]["models"]["upsampler"] == weights.name
    assert f"upsampler:{weights.name}" in record["weights"]
    again = configs.from_dict(record["config"], {"models": {"upsampler": str(weights)}})
    assert sha(vqclip.generate(again, models).image) == sha(first.image)
    other = vqclip.generate(config_of(weights, models={"prior": "", "upsampler": ""}), models)
    assert sha(other.image) != sha(first.image)
    assert other.pictures[0].record["config"]["models"]["upsampler"] == ""


@pytest.mark.parametrize("size", ["128x96", "100x60", "72"])
def test_sizes_that_are_no_double_are_covered_and_scaled(weights: Path, size: str) -> None:
    config = config_of(weights, size=size)
    picture = vqclip.generate(config, Models.load(config)).image
    assert picture.size == tuple(config.size)


def test_what_a_mask_keeps_is_the_init_images(weights: Path, tmp_path: Path) -> None:
    mask = Image.new("L", (128, 128), 0)
    mask.paste(255, (32, 32, 96, 96))
    mask.save(tmp_path / "mask.png")
    init = {"kind": "image", "image": str(photo(tmp_path / "a.png", (128, 128))), "mask": str(tmp_path / "mask.png")}
    config = config_of(weights, init=init)
    models = Models.load(config)
    ready = prepare(models.resolve(config), models)
    z = ready.scaler.to_grid(torch.zeros(1, 8, 8, dtype=torch.long), 16, 16, (7,))
    codes = models.vqgan.quantize(z)[1][0]
    known = models.vqgan.quantize(models.vqgan.encode(ready.init_image.at(128, 128)))[1][0]
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4:12, 4:12] = True
    assert torch.equal(codes[~inside], known[~inside]) and not torch.equal(codes[inside], known[inside])
    drawn = np.asarray(vqclip.generate(config, models).image)
    outside = np.asarray(mask) == 0
    assert np.array_equal(drawn[outside], np.asarray(Image.open(init["image"]))[outside])


@pytest.mark.parametrize(
    ("change", "reason"), [({"shift": 0.5}, "codes of another VQGAN"), ({"clip": "0" * 64}, "another CLIP")]
)
def test_one_that_does_not_fit_is_left_out_and_said(
    change: dict, reason: str, tmp_path: Path, cli: CommandLine
) -> None:
    other = write(tmp_path / "other.safetensors", **change)
    told = cli.draw("a cat", "--upsampler", other, "--steps", "1")
    assert told.code == 0 and any("without the upsampler" in line and reason in line for line in told.complaints)


def test_one_that_is_not_there_or_is_another_kind_is_an_error(cli: CommandLine, tmp_path: Path) -> None:
    assert cli.draw("a cat", "--upsampler", tmp_path / "none.safetensors").code == 3
    told = cli.draw("a cat", "--upsampler", resources.path("checkpoints/tiny-clip.safetensors"))
    assert told.code == 3 and "of kind clip, not upsampler" in told.complaints[0]
    assert cli.draw("a cat", "--upsampler", "nobody").code == 2


@pytest.mark.parametrize("damage", ['{"codes": 0}', "[]", '{"codes": 40, "channels": 4, "condition": 6, "width": 15}'])
def test_a_damaged_architecture_is_said(damage: str) -> None:
    with pytest.raises(WeightsError, match="damaged"):
        UpsamplerArchitecture.from_json(damage)
