"""Training of the bundled models: deterministic, resumable, and its weight files load with the program's own code."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from vqclip.errors import OutputError, UsageError
from vqclip.training.batches import Captioner, grouped_batch
from vqclip.training.clip import CLIPTask
from vqclip.training.runner import TrainOptions, train
from vqclip.training.scenes import SceneSet, sample
from vqclip.training.vqgan import VQGANTask, isotropy, multiscale_l1
from vqclip.weights import files
from vqclip.weights.load import load_clip, load_vqgan
from vqclip.world import find_font

try:
    find_font()
except UsageError:
    pytestmark = pytest.mark.skip(reason="the Noto Color Emoji font is not installed")

TASKS = {"vqgan": (VQGANTask, 2), "clip": (CLIPTask, 16)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("train")


def options(folder, batch, **changes):
    values = {"folder": folder, "steps": 3, "batch": batch, "scenes": 48, "compile": False, "restart": True}
    return TrainOptions(**(values | changes))


def trained(kind, folder, output, **changes):
    task, batch = TASKS[kind]
    settings = options(folder, batch, output=output, **changes)
    info = train(task(settings), settings)
    return info, files.read(output, kind).tensors


@pytest.mark.parametrize("kind", TASKS)
def test_training_resumed_equals_training_at_one_go(kind, folder, tmp_path):
    info, straight = trained(kind, folder, tmp_path / "a.safetensors")
    task, batch = TASKS[kind]
    settings = options(folder, batch)
    interrupted = task(settings)
    steps_done = []
    step = interrupted.step

    def stop_after_two(index, progress):
        if len(steps_done) == 2:
            raise KeyboardInterrupt
        steps_done.append(index)
        return step(index, progress)

    interrupted.step = stop_after_two
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, settings)
    assert json.loads((folder / kind / "plan.json").read_text())["index"] == 2
    _, resumed = trained(kind, folder, tmp_path / "b.safetensors", restart=False)
    assert info["steps"] == 3
    assert straight.keys() == resumed.keys()
    for name, value in straight.items():
        assert torch.equal(value, resumed[name]), name


@pytest.mark.parametrize(("kind", "load"), [("vqgan", load_vqgan), ("clip", load_clip)])
def test_a_trained_file_loads_and_says_how_it_was_made(kind, load, folder, tmp_path):
    output = tmp_path / "weights.safetensors"
    info, _ = trained(kind, folder, output, steps=1)
    network, digest = load(str(output))
    assert not network.training
    assert digest == files.sha256(output)
    assert files.read(output, kind).info["scores"] == info["scores"]
    assert all(np.isfinite(value) for value in info["scores"].values())
    assert (folder / kind / "validation.png").stat().st_size > 1000


def test_scenes_on_disk_are_those_of_their_seed(folder):
    scenes = SceneSet(folder, 5, 6, 64).render()
    from vqclip.world import Renderer

    assert np.array_equal(scenes.images[3], Renderer().render(sample(5, 3), 64))
    assert scenes.scenes[3] == sample(5, 3)


def test_too_little_disk_for_the_renders_is_said_before_rendering(folder, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(OutputError, match="are free"):
        SceneSet(folder, 6, 1000, 64).render()


def test_a_caption_is_wrong_only_for_pictures_it_does_not_fit():
    captioner = Captioner([sample(0, index) for index in range(300)])
    rng = np.random.default_rng(0)
    chosen = grouped_batch(captioner.attributes, 32, rng)
    texts, wrong = captioner.captions(chosen, rng)
    assert len(texts) == len(chosen) == 32
    assert not wrong.diagonal().any()
    same = (captioner.attributes[chosen][:, None] == captioner.attributes[chosen][None]).all(-1)
    assert not wrong[torch.from_numpy(same)].any()
    assert wrong.float().mean() > 0.5


def test_isotropy_is_least_on_an_even_sphere_and_large_in_a_cone():
    generator = torch.Generator().manual_seed(0)
    even = torch.nn.functional.normalize(torch.randn(4000, 8, generator=generator), dim=1)
    cone = torch.nn.functional.normalize(even * 0.1 + torch.eye(8)[0], dim=1)
    assert isotropy(even) < 0.01
    assert isotropy(cone) > 0.5


def test_the_reconstruction_loss_is_zero_only_for_the_same_picture():
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert multiscale_l1(x, x) == 0
    assert multiscale_l1(x + 0.1, x) > 0.1


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"minutes": 0.0}, {"scenes": 0}, {"batch": 0}, {"workers": 0}])
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError, match="give a number"):
        TrainOptions(**wrong)
