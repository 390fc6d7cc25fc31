"""What every canvas can do, by existing: draw, be scaled, saved, masked, gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image
from support.command_line import CommandLine
from support.pictures import photo, sha
from support.runs import draw, prepared, run_of, small, threads

from vqclip import images
from vqclip.config import from_dict, make_config
from vqclip.drawables import Drawable, Moment, joined
from vqclip.drawables.protocol import part_of, rendered
from vqclip.errors import UsageError
from vqclip.generation.models import Models
from vqclip.registry import CANVASES

ALL = list(CANVASES)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    with threads(1):
        yield


def on(canvas: str, **values: Any) -> Any:
    return small(**({"canvas": {"name": canvas}} | values))


def blank(canvas: str) -> Drawable:
    return prepared(on(canvas)).blank


def picture(tmp_path: Path, side: int = 64) -> torch.Tensor:
    return images.to_tensor(images.read_image(photo(tmp_path / "in.png"))).expand(2, -1, -1, -1)[..., :side, :side]


@pytest.mark.parametrize("canvas", ALL)
def test_an_encoded_picture_shows_what_it_was_made_of(canvas: str, tmp_path: Path) -> None:
    image, empty = picture(tmp_path), blank(canvas)
    cells = 64 // empty.factor
    drawable = empty.encode(image, cells, cells)
    shown = rendered(drawable)
    assert shown.shape == image.shape and float(shown.min()) >= 0 and float(shown.max()) <= 1
    assert float((shown - image).abs().mean()) < 0.1
    assert drawable.size == (cells, cells)
    smaller = rendered(drawable.resize(cells // 2, cells // 2, (7, 8)))
    half = torch.nn.functional.avg_pool2d(image, 2)
    assert smaller.shape == half.shape and float((smaller - half).abs().mean()) < 0.15


@pytest.mark.parametrize("canvas", ALL)
def test_pictures_are_drawn_by_seed_and_parts_are_parts_of_the_whole(canvas: str) -> None:
    empty = blank(canvas)
    cells = 64 // empty.factor
    both, again = (empty.random((7, 8), cells, cells) for _ in range(2))
    shown = rendered(both)
    assert torch.equal(shown, rendered(again)) and not torch.equal(shown[0], shown[1])
    one = rendered(part_of(both, slice(1, 2)))
    assert torch.allclose(one, shown[1:], atol=1e-5)
    parts = joined([part_of(both, slice(b, b + 1)) for b in range(2)])
    assert all(torch.equal(value, both.parameters()[name]) for name, value in parts.parameters().items())


@pytest.mark.parametrize("canvas", ALL)
def test_a_packed_drawable_is_the_same_again(canvas: str) -> None:
    empty = blank(canvas)
    cells = 64 // empty.factor
    drawable = empty.random((7,), cells, cells)
    packed = {name: value.clone() for name, value in drawable.pack().items()}
    back = empty.unpack(packed)
    assert back.size == drawable.size and torch.equal(rendered(back), rendered(drawable))
    assert not {"score", "image"} & set(drawable.parameters()), "names that the best iterate takes"
    for wrong in ({}, {name: value[:, :1] for name, value in packed.items()}):
        with pytest.raises((KeyError, ValueError)):
            empty.unpack(wrong)


@pytest.mark.parametrize("canvas", ALL)
def test_gradients_of_a_step_reach_every_parameter_and_settling_bounds_them(canvas: str) -> None:
    run = run_of(on(canvas, init={"kind": "random"}))
    run.step()
    assert all(bool(p.grad.abs().sum() > 0) for p in run.state.parameters.values())
    with torch.no_grad():
        for parameter in run.state.parameters.values():
            parameter.add_(1e6)
        run.state.drawable.settle()
    assert all(float(p.abs().max()) < 1e3 for p in run.state.parameters.values())


@pytest.mark.parametrize("canvas", ALL)
def test_a_step_follows_the_prompt(canvas: str) -> None:
    config = on(canvas, steps=12, views={"count": 8}, init={"kind": "random"}, latent={"noise": 0.0, "ema": 0.0})
    run = run_of(config)
    before = float(run.guidance.score(run.render(run.state.output), (7,), 8))
    for _ in range(12):
        run.step()
    assert float(run.guidance.score(run.render(run.state.output), (7,), 8)) < before


@pytest.mark.parametrize("canvas", ALL)
@pytest.mark.parametrize("kind", ["random", "image"])
def test_outside_a_mask_nothing_changes(canvas: str, kind: str, tmp_path: Path) -> None:
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (16, 16, 48, 48))
    mask.save(tmp_path / "mask.png")
    init = {"kind": kind, "image": str(photo(tmp_path / "in.png")), "mask": str(tmp_path / "mask.png")}
    drawn = np.asarray(draw(on(canvas, init=init, optimizer={"lr": 0.3})).image).astype(int)
    given, outside = np.asarray(Image.open(init["image"])).astype(int), np.asarray(mask) == 0
    assert (drawn[outside] == given[outside]).all()
    assert np.abs(drawn - given)[~outside].mean() > 1


@pytest.mark.parametrize("canvas", ALL)
def test_the_command_line_draws_films_stages_and_goes_on(canvas: str, cli: CommandLine) -> None:
    flags = ("a red cat", "--canvas", canvas, "--set", "init.kind=random", "--stages", "32:0.5,full:0.5")
    told = cli.draw(*flags, "--steps", "6", "-o", "straight.png", "--video", "film.mp4", "--set", "latent.ema=0.8")
    assert told.code == 0 and imageio_ffmpeg.count_frames_and_secs("film.mp4")[0] == 6
    assert Image.open("straight.png").size == (64, 64)
    again = cli("generate", "--from", "straight.png", "-o", "again.png", "--device", "cpu")
    assert again.code == 0 and sha("again.png") == sha("straight.png")
    longer = cli.draw(*flags, "--steps", "6", "-o", "kept.png", "--keep-run", "--set", "latent.ema=0.8")
    assert longer.code == 0 and cli("resume", "kept.run", "--steps", "9").code == 0
    assert sha("kept.png") != sha("straight.png")


def test_a_pyramid_of_pixels_keeps_a_sketch_sharper_than_the_vqgan(tmp_path: Path) -> None:
    image = picture(tmp_path)
    errors = {}
    for canvas in ALL:
        empty = blank(canvas)
        cells = 64 // empty.factor
        errors[canvas] = float((rendered(empty.encode(image, cells, cells)) - image).square().mean())
    assert errors["pixels"] < errors["vqgan"] / 4


@pytest.mark.parametrize(
    ("options", "word"),
    [({"coarsest": 0}, "1 to 64"), ({"coarsest": 65}, "1 to 64"), ({"spread": -1}, "0 to 4"),
     ({"coarse": 4}, "did you mean"), ({"spread": "wide"}, "a number")],
)  # fmt: skip
def test_options_of_a_canvas_are_checked(options: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        draw(small(canvas={"name": "pixels", "options": options}))
    with pytest.raises(UsageError, match="has none"):
        draw(small(canvas={"name": "vqgan", "options": options}))


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (33, 64)])
def test_pyramids_have_any_size(size: tuple[int, int]) -> None:
    empty = blank("pixels")
    drawable = empty.random((7,), *size)
    assert rendered(drawable, Moment((7,), 0, 0.0)).shape == (1, 3, *size)
    assert drawable.encode(torch.rand(1, 3, 9, 9), *size).size == size


def test_losses_that_need_latents_say_so(cli: CommandLine) -> None:
    told = cli.draw("a cat", "--canvas", "pixels", "--set", "losses.commitment=1", "-o", "cat.png")
    assert told.code == 2 and len(told.complaints) == 1
    assert "losses.commitment needs codes" in told.complaints[0]


@pytest.mark.parametrize(
    ("init", "canvas", "paint"),
    [({"kind": "sketch"}, "pixels", 12), ({"kind": "random"}, "vqgan", 0), ({"kind": "prior"}, "vqgan", 0),
     ({"image": "in.png"}, "pixels", 3)],
)  # fmt: skip
def test_what_is_shown_already_is_optimized_as_pixels_with_the_bundled_models(
    init: dict[str, str], canvas: str, paint: float
) -> None:
    config = make_config("a cat", init=init, run={"device": "cpu"})
    resolved = Models.load(config).resolve(config)
    assert (resolved.canvas.name, resolved.init.paint) == (canvas, paint)
    named = make_config("a cat", init=init, canvas={"name": "vqgan"}, run={"device": "cpu"})
    assert Models.load(named).resolve(named).canvas.name == "vqgan"


def test_a_config_without_a_preset_of_its_own_canvas_is_of_latents() -> None:
    """Records of pictures that were drawn before there were canvases are drawn again on the one there was."""
    assert from_dict({"prompts": ["a cat"]}).canvas.name == "vqgan"


def test_a_picture_without_a_style_is_held_to_itself(tmp_path: Path) -> None:
    init = {"image": str(photo(tmp_path / "in.png"))}
    far = [
        np.abs(np.asarray(draw(on("pixels", init=init | paint, optimizer={"lr": 0.3}, steps=8)).image).astype(int)
               - np.asarray(Image.open(init["image"]))).mean()
        for paint in ({"paint": 0.0}, {})
    ]  # fmt: skip
    assert far[1] < far[0] / 2
