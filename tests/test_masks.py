"""Pictures of which only a part may change: `--init-image` with `--mask`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from support.command_line import CommandLine
from support.pictures import photo
from support.runs import draw, run_of, small

from vqclip.errors import UsageError


def disc(path: Path, size: tuple[int, int] = (64, 64), inside: int = 255, outside: int = 0) -> Path:
    """Write a mask: a disc in the middle."""
    image = Image.new("L", size, outside)
    middle, radius = (size[0] / 2, size[1] / 2), min(size) / 4
    ImageDraw.Draw(image).circle(middle, radius, fill=inside)
    image.save(path)
    return path


@pytest.fixture
def given(tmp_path: Path) -> dict[str, str]:
    """An init image and a mask of 64 pixels, as the config names them."""
    return {"image": str(photo(tmp_path / "photo.png")), "mask": str(disc(tmp_path / "mask.png"))}


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize(("size", "suffix"), [((64, 64), "png"), ((70, 52), "png"), ((70, 52), "webp")])
def test_pixels_outside_are_exactly_the_inputs(
    size: tuple[int, int], suffix: str, tmp_path: Path, cli: CommandLine
) -> None:
    image, mask = photo(tmp_path / "photo.png", size), disc(tmp_path / "mask.png", size)
    flags = ("--steps", "3", "--seed", "7", "--views", "4", "--precision", "fp32", "--set", "best.views=2")
    files = ("--init-image", image, "--mask", mask, "-o", tmp_path / f"out.{suffix}")
    told = cli("a red cat", *files, "--init", "image", *flags)
    assert told.code == 0 and not told.complaints, told.err
    before, after = pixels(image), pixels(told.files[0])
    outside = np.asarray(Image.open(mask)) == 0
    assert after.shape == before.shape == (size[1], size[0], 3)
    assert (after[outside] == before[outside]).all()
    assert np.abs(after[~outside] - before[~outside]).mean() > 2


def test_only_cells_that_the_mask_touches_move(given: dict[str, str]) -> None:
    run = run_of(small(init={"kind": "image", "strength": 0.5, **given}, latent={"noise": 0.5}))
    start = run.state.drawable.z.detach().clone()
    for _ in range(3):
        run.step()
    cells = run.state.drawable.cells()["z"].expand_as(start)
    assert 0 < cells.float().mean() < 1
    assert torch.equal(run.state.drawable.z[~cells], start[~cells])
    assert not torch.isclose(run.state.drawable.z[cells], start[cells]).all()


def test_the_outside_begins_as_the_image_whatever_is_inside(given: dict[str, str]) -> None:
    run = run_of(small(init={"kind": "random", **given}))
    other = run_of(small(init={"kind": "image", "strength": 0.0, **given}))
    cells = run.state.drawable.cells()["z"].expand_as(run.state.drawable.z)
    assert torch.equal(run.state.drawable.z[~cells], other.state.drawable.z[~cells])
    assert not torch.equal(run.state.drawable.z[cells], other.state.drawable.z[cells])


def test_a_coarse_stage_keeps_the_outside_too(given: dict[str, str], tmp_path: Path) -> None:
    config = small(init={"kind": "image", **given}, stages=["32:0.5", "full:0.5"], steps=4)
    found, before = np.asarray(draw(config).image).astype(int), pixels(given["image"])
    outside = np.asarray(Image.open(given["mask"])) == 0
    assert (found[outside] == before[outside]).all()


def test_gray_blends_old_and_new(given: dict[str, str], tmp_path: Path) -> None:
    gray = {"mask": str(disc(tmp_path / "gray.png", inside=128))}
    half, white = (
        np.asarray(draw(small(init={"kind": "image", **given, **changes}, steps=0)).image).astype(int)
        for changes in (gray, {})
    )
    before = pixels(given["image"])
    assert np.abs(half - (before + (white - before) * 128 / 255)).max() <= 2
    assert np.abs(half - white).max() > 4


def test_resampling_is_told(given: dict[str, str], tmp_path: Path, cli: CommandLine) -> None:
    other = disc(tmp_path / "other.png", (32, 32))
    told = cli.draw("a red cat", "--init-image", given["image"], "--mask", other, "-o", tmp_path / "a.png")
    assert told.code == 0 and any("mask has 32x32 pixels, the init image 64x64" in line for line in told.complaints)
    told = cli.draw("a red cat", "--init-image", given["image"], "--mask", given["mask"], "--size", "48",
                    "-o", tmp_path / "b.png")  # fmt: skip
    assert told.code == 0 and any("resampled from 64x64 to 48x48" in line for line in told.complaints)


def test_a_mask_of_everything_is_told_and_one_of_nothing_refused(
    given: dict[str, str], tmp_path: Path, cli: CommandLine
) -> None:
    image = ("--init-image", given["image"], "-o", tmp_path / "a.png")
    told = cli.draw("a red cat", *image, "--mask", disc(tmp_path / "full.png", outside=255))
    assert told.code == 0 and any("covers the whole picture" in line for line in told.complaints)
    told = cli.draw("a red cat", *image, "--mask", disc(tmp_path / "empty.png", inside=0))
    assert told.code == 2 and "paint white what is to be drawn" in told.complaints[0] and len(told.complaints) == 1


def test_a_mask_needs_an_image(given: dict[str, str], cli: CommandLine) -> None:
    told = cli.draw("a red cat", "--mask", given["mask"])
    assert told.code == 2 and "--init-image" in told.complaints[0]
    with pytest.raises(UsageError, match="does not exist"):
        draw(small(init={"kind": "image", "image": given["image"], "mask": "no.png"}))


def test_jpeg_tells_that_it_changes_pixels(given: dict[str, str], tmp_path: Path, cli: CommandLine) -> None:
    told = cli.draw("a red cat", "--init-image", given["image"], "--mask", given["mask"], "-o", tmp_path / "a.jpg")
    assert told.code == 0 and any("save as PNG" in line for line in told.complaints)


def test_drawing_again_asks_for_the_mask(given: dict[str, str], tmp_path: Path, cli: CommandLine) -> None:
    image = ("--init-image", given["image"])
    told = cli.draw("a red cat", *image, "--mask", given["mask"], "-o", tmp_path / "a.png")
    again = cli("--from", told.files[0], *image)
    assert again.code == 2 and "--mask" in again.complaints[0]
    other = disc(tmp_path / "other.png", inside=200)
    assert "another sha256" in cli("--from", told.files[0], *image, "--mask", other).complaints[0]
    again = cli("--from", told.files[0], *image, "--mask", given["mask"], "-o", tmp_path / "b.png")
    assert again.code == 0 and (pixels(again.files[0]) == pixels(told.files[0])).all()
