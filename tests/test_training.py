"""Training of the bundled models: deterministic, resumable, and its weight files load with the program's own code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vqclip import world
from vqclip.cli.main import run
from vqclip.cli.train import SHARES
from vqclip.errors import OutputError, UsageError, VqclipError, WeightsError
from vqclip.training import runner
from vqclip.training.batches import Captioner, foil, grouped_batch
from vqclip.training.clip import CLIPTask
from vqclip.training.contrast import contrast, fooled
from vqclip.training.degradations import degrade
from vqclip.training.embedding import EmbeddingTask
from vqclip.training.judge import JudgeTask
from vqclip.training.negatives import Chains
from vqclip.training.prior import FlowTask, PriorTask, TwinTask
from vqclip.training.reconstruction import Perceptual, isotropy, multiscale_l1, texture_distance
from vqclip.training.runner import TrainOptions, feed, train
from vqclip.training.scenes import SceneSet
from vqclip.training.upsampler import UpsamplerTask
from vqclip.training.vqgan import VQGANTask
from vqclip.training.zero_shot import l2_step
from vqclip.weights import files
from vqclip.weights.load import load_clip, load_embedding, load_judge, load_prior, load_upsampler, load_vqgan
from vqclip.world import find_font

try:
    find_font()
except UsageError:
    pytestmark = pytest.mark.skip(reason="the Noto Color Emoji font is not installed")

TASKS = {
    "vqgan": (VQGANTask, 2),
    "clip": (CLIPTask, 16),
    "judge": (JudgeTask, 16),
    "prior": (PriorTask, 4),
    "twin": (TwinTask, 4),
    "flow": (FlowTask, 4),
    "upsampler": (UpsamplerTask, 4),
    "embedding": (EmbeddingTask, 16),
}
# what kind of weight file a training writes, if it is not its name
KINDS = {"twin": "prior", "flow": "prior"}


@pytest.fixture(autouse=True)
def few_drawn(monkeypatch):
    """Validate priors on few pictures: a twin writes a code at a time."""
    for task in ("prior", "upsampler"):
        monkeypatch.setattr(f"vqclip.training.{task}._VALIDATION_SCENES", 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        # pictures that a prior and an upsampler draw to be judged
        patched.setattr("vqclip.training.prior._VALIDATION_SCENES", 6)
        patched.setattr("vqclip.training.upsampler._VALIDATION_SCENES", 6)
        yield tmp_path_factory.mktemp("train")


def options(folder, batch, **changes):
    values = {"folder": folder, "steps": 3, "batch": batch, "scenes": 48, "compile": False, "restart": True}
    return TrainOptions(**(values | changes))


def trained(kind, folder, output, **changes):
    task, batch = TASKS[kind]
    settings = options(folder, batch, output=output, **changes)
    info = train(task(settings), settings)
    return info, files.read(output, KINDS.get(kind, kind)).tensors


@pytest.mark.nightly
@pytest.mark.parametrize(("kind", "steps"), [(kind, 4 if kind == "clip" else 3) for kind in TASKS])
def test_training_resumed_equals_training_at_one_go(kind, steps, folder, tmp_path, monkeypatch):
    # the pictures that a CLIP optimizes are part of its state: let it begin with them, and meet each again
    monkeypatch.setattr(CLIPTask, "chained", 0.0)
    monkeypatch.setattr("vqclip.training.clip.Chains", lambda count, taken, side: Chains(count=4, taken=2, side=side))
    info, straight = trained(kind, folder, tmp_path / "a.safetensors", steps=steps)
    task, batch = TASKS[kind]
    settings = options(folder, batch, steps=steps)
    interrupted = task(settings)
    steps_done = []
    step = interrupted.step

    def stop_on_the_way(index, progress, batch):
        if len(steps_done) == steps - 1:
            raise KeyboardInterrupt
        steps_done.append(index)
        return step(index, progress, batch)

    interrupted.step = stop_on_the_way
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, settings)
    assert json.loads((folder / kind / "plan.json").read_text())["index"] == steps - 1
    _, resumed = trained(kind, folder, tmp_path / "b.safetensors", steps=steps, restart=False)
    assert info["steps"] == steps
    assert straight.keys() == resumed.keys()
    for name, value in straight.items():
        assert torch.equal(value, resumed[name]), name


@pytest.mark.parametrize(
    ("kind", "load"),
    [
        ("vqgan", load_vqgan),
        ("clip", load_clip),
        ("judge", load_judge),
        ("prior", load_prior),
        ("twin", load_prior),
        ("flow", load_prior),
        ("upsampler", load_upsampler),
        ("embedding", load_embedding),
    ],
)
def test_a_trained_file_loads_and_says_how_it_was_made(kind, load, folder, tmp_path):
    output = tmp_path / "weights.safetensors"
    info, _ = trained(kind, folder, output, steps=1)
    network, digest = load(str(output))
    assert not network.training
    assert digest == files.sha256(output)
    assert files.read(output, KINDS.get(kind, kind)).info["scores"] == info["scores"]
    assert all(np.isfinite(value) for value in info["scores"].values())
    assert (folder / kind / "validation.png").stat().st_size > 1000


def test_framed_scenes_teach_what_draws_and_nothing_else(tmp_path, capsys):
    assert run(["train", "judge", "--framed", "--folder", str(tmp_path)]) == 2
    assert "--framed" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_weights_that_cannot_be_written_are_told_of_before_training(tmp_path, capsys):
    output = tmp_path / "judge.safetensors"
    output.mkdir()
    assert run(["train", "judge", "--output", str(output), "--folder", str(tmp_path / "x")]) == 1
    assert "judge.safetensors is a folder" in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_too_little_disk_for_the_renders_is_said_before_rendering(folder, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(OutputError, match="are free"):
        SceneSet(folder, 6, 1000, 64).render()


def test_a_caption_is_wrong_only_for_pictures_it_does_not_fit():
    captioner = Captioner(SceneSet(Path(), 0, 300, 64).scenes)
    rng = np.random.default_rng(0)
    chosen = grouped_batch(captioner.attributes, 32, rng)
    texts, wrong = captioner.captions(chosen, rng)
    assert len(texts) == len(chosen) == 32
    assert not wrong.diagonal().any()
    same = (captioner.attributes[chosen][:, None] == captioner.attributes[chosen][None]).all(-1)
    assert not wrong[torch.from_numpy(same)].any()
    assert wrong.float().mean() > 0.5


def test_a_rare_subject_is_a_group_by_itself() -> None:
    """With a thousand subjects one may be in no window of the series."""
    attributes = np.zeros((20_000, 6), int)
    attributes[:, 0] = np.arange(20_000)
    chosen = grouped_batch(attributes, 32, np.random.default_rng(0))
    assert len(chosen) == 32 and max(np.bincount(chosen)) >= 4


def test_a_foil_is_wrong_in_one_thing_and_a_details_foil_not_in_what_it_shows():
    rng = np.random.default_rng(0)
    changed = {False: set(), True: set()}
    for index in range(400):
        scene, detail = SceneSet(Path(), 0, 1, 64).scene(index), index % 2 == 0
        other = foil(scene, world.load_world(), rng, detail)
        keys = [key for key, value in vars(scene).items() if getattr(other, key) != value]
        assert len(keys) == 1, (scene, other)
        assert world.captions(other, world.load_world()) != world.captions(scene, world.load_world())
        changed[detail].update(keys)
    assert changed[False] == {"style", "background", "setting", "subject", "shape", "color"}
    assert changed[True] == {"style", "background", "setting"}


def test_a_picture_that_prefers_its_foil_costs_more():
    text = torch.eye(8)
    nothing_fits = ~torch.eye(8, dtype=torch.bool)
    tempted, firm = (float(contrast(torch.tensor(14.0), text, text, foils, nothing_fits)) for foils in (text, -text))
    assert tempted > firm + 0.1


def test_a_degraded_picture_is_another_but_alike_and_the_same_again():
    picture = world.Renderer(None).render(SceneSet(Path(), 0, 1, 128).scene(0), 128)
    changed = [degrade(picture, np.random.default_rng([7, index])) for index in range(40)]
    assert all(other.shape == picture.shape and other.dtype == np.uint8 for other in changed)
    distances = [np.abs(other.astype(float) - picture).mean() for other in changed]
    assert max(distances) < 40 and np.median(distances) > 1
    assert (degrade(picture, np.random.default_rng([7, 3])) == changed[3]).all()


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


def test_the_texture_distance_asks_for_as_much_detail_wherever_it_lies():
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(2, 3, 64, 64, generator=generator)
    moved, smooth = x.roll(1, -1), torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    assert texture_distance(x, x) == 0
    assert texture_distance(moved, x) < 0.3 * texture_distance(smooth, x)


def test_the_perceptual_distance_is_zero_only_for_the_same_picture_and_points_back_to_it():
    clip, _ = load_clip("tiny")
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    distance = Perceptual(clip)
    assert distance(x, x, (3, 5)) < 1e-3
    y = (x + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))).requires_grad_()
    away = distance(y, x, (3, 5))
    (gradient,) = torch.autograd.grad(away, y)
    assert distance(y - 0.3 * gradient / gradient.norm(), x, (3, 5)) < away
    assert all(p.grad is None for p in clip.parameters())


def test_the_discriminator_learns_only_late(folder):
    settings = options(folder, 2)
    task = VQGANTask(settings)
    before = [p.clone() for p in task.discriminator.parameters()]
    assert "gan" not in task.step(0, 0.1, task.batch_of(0))
    assert all(torch.equal(a, b) for a, b in zip(before, task.discriminator.parameters(), strict=True))
    assert "gan" in task.step(1, 0.3, task.batch_of(1))
    assert any(not torch.equal(a, b) for a, b in zip(before, task.discriminator.parameters(), strict=True))


def test_codes_that_are_kept_stay_while_the_decoder_learns(folder, tmp_path):
    with pytest.raises(UsageError, match="--start"):
        VQGANTask(options(folder, 2, keep_codes=True))
    path = tmp_path / "decoder.safetensors"
    trained("vqgan", folder, path, start=("tiny",), keep_codes=True)
    (before, _), (after, _) = load_vqgan("tiny"), load_vqgan(str(path))
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(before.codebook, after.codebook)
    assert torch.equal(before.encode(x), after.encode(x))
    z = before.codes(torch.arange(64).view(1, 8, 8))
    assert not torch.equal(before.decode(z), after.decode(z))


def test_the_adversary_grows_with_the_training_and_stays_in_its_ball(folder):
    task = CLIPTask(options(folder, 16))
    assert task.step(0, 0.0, task.batch_of(0)).keys() == {"clean", "eps"}
    assert task.step(1, 0.5, task.batch_of(1)).keys() == {"clean", "robust", "fooled", "eps"}
    assert task.step(1, 0.5, task.batch_of(1))["eps"] == pytest.approx(task.strongest * 0.75)
    generator = torch.Generator().manual_seed(3)
    delta = torch.zeros(4, 3, 8, 8)
    for _ in range(3):
        delta = l2_step(delta, torch.randn(delta.shape, generator=generator), 0.5, 0.4)
    assert (delta.flatten(1).norm(dim=1) <= 0.5 + 1e-5).all()
    assert (delta.flatten(1).norm(dim=1) > 0.45).all()


def test_a_quarter_of_a_batch_are_details_and_said_to_be(folder):
    task = CLIPTask(options(folder, 16))
    views, texts, wrong, labels = task.batch_of(5)
    near, foiled = torch.tensor([text.startswith("a detail of ") for text in texts]).chunk(2)
    assert torch.equal(near, foiled)
    assert views.shape == (16, 3, 64, 64)
    assert near.tolist() == [False] * 12 + [True] * 4
    assert wrong[:12, 12:].all() and wrong[12:, :12].all()
    assert (labels[near, :3] < 0).all() and (labels[~near] >= 0).all() and (labels[near, 3:] >= 0).all()
    assert set(world.caption_words(" ".join(texts))) <= set(task.clip.words)


def test_a_fake_that_fits_its_caption_better_than_the_real_picture_costs_more():
    text = torch.eye(4, 8)
    near, far = text.clone(), text.flip(1)
    seen_through, taken_for_real = (fooled(torch.tensor(14.0), *pair, text) for pair in ((near, far), (far, near)))
    assert float(seen_through) < 0.01 < 1 < float(taken_for_real)


def test_pictures_of_chains_move_up_their_own_loss_alone(folder, monkeypatch):
    monkeypatch.setattr(CLIPTask, "chained", 0.0)
    task = CLIPTask(options(folder, 16))
    batch = task.batch_of(0)
    chains = task.chains
    fake = chains.take(0, batch[0][-chains.taken :]).clone().requires_grad_()
    text, real = task.embed_text(batch[1])[: chains.taken], batch[0][: chains.taken]
    task.embed(batch[0])  # the step embeds its batch first, which moves the running statistics
    both = task.embed_alone(torch.cat([real, fake])).chunk(2)
    (gradient,) = torch.autograd.grad(fooled(task.scale, *both, text), fake)
    moved = chains.moved(0, fake.detach(), gradient) - fake.detach()
    fresh = CLIPTask(options(folder, 16))
    fresh.step(0, 0.0, batch)
    found = fresh.chains.pictures[chains.slots(0)] - fake.detach()
    alike = torch.nn.functional.cosine_similarity(found.flatten(1), moved.flatten(1))
    assert bool((alike > 0.99).all()), alike


def test_a_batch_too_small_for_contrast_is_refused(folder):
    with pytest.raises(UsageError, match="at least 8 scenes"):
        CLIPTask(options(folder, 4))


def test_a_robust_start_meets_the_adversary_at_once(folder, tmp_path):
    trained("clip", folder, tmp_path / "first.safetensors", steps=1)
    task = CLIPTask(options(folder, 16, start=(str(tmp_path / "first.safetensors"),)))
    assert task.step(0, 0.0, task.batch_of(0))["eps"] == pytest.approx(0.4 * task.strongest)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["judge", "clip"])
def test_minutes_are_a_number_of_steps(kind, folder, tmp_path, monkeypatch):
    for name, value in {"_PARTS": 2, "_PROBES": 2, "_IGNORED": 1}.items():
        monkeypatch.setattr(runner, name, value)
    info, by_time = trained(kind, folder, tmp_path / "a.safetensors", steps=None, minutes=0.001)
    assert info["steps"] >= 1
    again, by_steps = trained(kind, folder, tmp_path / "b.safetensors", steps=info["steps"])
    assert again["steps"] == info["steps"]
    for name, value in by_time.items():
        assert torch.equal(value, by_steps[name]), name


def test_training_begins_from_given_weights(folder, tmp_path):
    first = tmp_path / "first.safetensors"
    _, before = trained("judge", folder, first, steps=2)
    info, after = trained("judge", folder, tmp_path / "b.safetensors", steps=1, start=(str(first),))
    assert info["start"] == files.sha256(first)
    moved = (after["body.1.weight"] - before["body.1.weight"]).abs().max()
    assert 0 < moved < 1e-3
    with pytest.raises(VqclipError, match="began from other weights"):
        trained("judge", folder, tmp_path / "c.safetensors", steps=2, restart=False)
    with pytest.raises(WeightsError, match="is of kind judge"):
        trained("clip", folder, tmp_path / "d.safetensors", start=(str(first),))


@pytest.mark.nightly
def test_training_begins_from_the_mean_of_several_files(folder, tmp_path):
    paths = [tmp_path / f"{seed}.safetensors" for seed in (0, 1)]
    found = [trained("judge", folder, path, steps=1, seed=seed)[1] for seed, path in enumerate(paths)]
    task = JudgeTask(options(folder, 16, start=tuple(map(str, paths))))
    for name, value in task.judge.state_dict().items():
        assert torch.allclose(value, (found[0][name].float() + found[1][name].float()) / 2, atol=1e-6), name


def test_only_the_known_words_of_a_start_may_differ(folder, tmp_path):
    first, other = tmp_path / "first.safetensors", tmp_path / "other.safetensors"
    trained("clip", folder, first, steps=1)
    file = files.read(first, "clip")
    files.save(other, "clip", file.architecture.replace('"detail", ', ""), file.tensors, {})
    assert "detail" not in load_clip(str(other))[0].words
    assert "detail" in CLIPTask(options(folder, 16, start=(str(other),))).clip.words
    files.save(
        other, "clip", file.architecture.replace('"context_length": 40', '"context_length": 32'), file.tensors, {}
    )
    with pytest.raises(UsageError, match="architecture is not the one"):
        CLIPTask(options(folder, 16, start=(str(other),)))


def test_the_norms_of_a_finished_clip_are_those_of_scenes_as_they_are(folder, tmp_path):
    trained("clip", folder, tmp_path / "clip.safetensors", steps=2)
    task = CLIPTask(options(folder, 16, start=(str(tmp_path / "clip.safetensors"),)))
    kept = {name: value.clone() for name, value in task.clip.network.visual.named_buffers()}
    task.step(0, 0.0, task.batch_of(0))
    moved = {name: value.clone() for name, value in task.clip.network.visual.named_buffers()}
    assert any(not torch.equal(kept[name], moved[name]) for name in kept if "running" in name)
    task.clip.network.load_state_dict(files.read(tmp_path / "clip.safetensors", "clip").tensors)
    task.calibrate()
    for name, value in task.clip.network.visual.named_buffers():
        if "running" in name:
            assert torch.allclose(value, kept[name], rtol=0.02, atol=0.02), name


@pytest.mark.nightly
def test_all_models_are_trained_by_one_command(folder, tmp_path):
    common = ["--steps", "1", "--scenes", "48", "--batch", "8", "--folder", str(folder), "--no-compile", "--restart"]
    assert run(["train", "all", *common, "--output", str(tmp_path / "mine")]) == 0
    names = sorted(path.name for path in (tmp_path / "mine").iterdir())
    assert names == [f"tiny-{name}.safetensors" for name in sorted(SHARES)]
    assert run(["train", "all", "--output", "a.safetensors"]) == 2
    assert run(["train", "al"]) == 2


@pytest.mark.parametrize("kind", TASKS)
def test_worker_processes_feed_the_same_batches(kind, folder):
    task, batch = TASKS[kind]
    made = task(options(folder, batch))
    for alone, fed in zip(feed(made, range(2, 5), 0), feed(made, range(2, 5), 2), strict=True):
        for a, b in zip(alone, fed, strict=True):
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_less_than_an_epoch_is_said(folder, capsys):
    settings = options(folder, 16, steps=1)
    assert train(JudgeTask(settings), settings)["epochs"] < 1
    assert "less than one epoch (3)" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"minutes": 0.0}, {"scenes": 0}, {"batch": 0}, {"workers": 0}])
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError, match="give a number"):
        TrainOptions(**wrong)
