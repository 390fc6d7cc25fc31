"""Frozen weights as steps want them: in their precision, with norms folded in."""

from __future__ import annotations

import copy
import dataclasses
import shutil

import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer
from support.pictures import photo
from support.runs import small
from support.timm_tower import vqclip_resnet_s

import vqclip
from vqclip.errors import WeightsError
from vqclip.generation.models import Models
from vqclip.models import casting
from vqclip.models.faster import QuickGELU
from vqclip.models.folding import fold, fold_norms
from vqclip.models.small_clip import SmallResNet


def drawn(models: Models, **run: str) -> torch.Tensor:
    config = small(steps=2, seed=3, run={"device": "cpu"} | run, init={"kind": "random"})
    return list(vqclip.generate_stream(config, models))[-1].image


def loaded(**changes: object) -> Models:
    return Models.load(small(**{"init": {"kind": "random"}} | changes))


@pytest.fixture(scope="module")
def held() -> Models:
    return loaded(run={"device": "cpu", "precision": "bf16"})


def test_weights_of_products_take_half_the_bytes_and_draw_the_same_bits(held: Models) -> None:
    full = loaded(run={"device": "cpu", "precision": "fp32"})
    assert full.vqgan.held is None and held.vqgan.held is held.clips[0].held is torch.bfloat16
    for network in (held.vqgan.network.decoder, held.clips[0].network.visual):
        kinds = {p.dtype for m in network.modules() if isinstance(m, torch.nn.Conv2d) for p in m.parameters(False)}
        assert kinds == {torch.bfloat16}
    assert held.vqgan.network.encoder.conv_in.weight.dtype == held.clips[0].mean.dtype == torch.float32
    assert torch.equal(drawn(full, precision="bf16"), drawn(held, precision="bf16"))


def test_steps_in_another_precision_take_all_of_the_weights_again(held: Models) -> None:
    full, own = loaded(run={"device": "cpu", "precision": "fp32"}), dataclasses.replace(held)
    assert torch.equal(drawn(own, precision="fp32"), drawn(full, precision="fp32"))
    assert own.vqgan.held is own.clips[0].held is None and own.clip_hashes == full.clip_hashes and len(own.clips) == 1
    for network in (own.vqgan.network.decoder, own.clips[0].network.visual):
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    # what was loaded first is as it was
    assert held.vqgan.network.decoder.conv_in.weight.dtype == torch.bfloat16


def test_the_networks_work_by_themselves_too(held: Models) -> None:
    vqgan, clip = held.vqgan, held.clips[0]
    codes = vqgan.codes(torch.zeros(1, 8, 8, dtype=torch.long))
    with torch.no_grad():
        picture = vqgan.decode(codes)
        alone = clip.encode_image(picture)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(vqgan.decode(codes), picture)
            assert torch.equal(clip.encode_image(picture), alone)
    assert picture.dtype == alone.dtype == torch.float32


@pytest.mark.parametrize("what", ["image prompt", "init image", "prior"])
def test_all_that_begins_a_run_knows_held_weights(held: Models, tmp_path, what: str) -> None:
    file = str(photo(tmp_path / "in.png"))
    values = {"image prompt": {"image_prompts": [file]}, "init image": {"init": {"kind": "image", "image": file}},
              "prior": {"init": {"kind": "prior", "candidates": 2}, "models": {"prior": "tiny"}}}[what]  # fmt: skip
    full = {"run": {"device": "cpu", "precision": "bf16"}, "steps": 1, "seed": 3}
    config = small(**({"init": {"kind": "random"}} | full | values))
    models, whole = Models.load(config), loaded(run={"device": "cpu", "precision": "fp32"})
    assert models.vqgan.held is torch.bfloat16
    whole = dataclasses.replace(models, vqgan=whole.vqgan, clips=whole.clips)
    assert torch.equal(*(list(vqclip.generate_stream(config, each))[-1].image for each in (models, whole)))


def test_weights_that_changed_on_the_disk_are_not_taken_again(tmp_path) -> None:
    from vqclip.weights import catalog

    file = tmp_path / "own.safetensors"
    shutil.copy(catalog.place(catalog.find("vqgan", "tiny")), file)
    config = small(run={"device": "cpu", "precision": "bf16"}, init={"kind": "random"}, models={"vqgan": str(file)})
    models = Models.load(config)
    models.hashes["vqgan", str(file)] = "0" * 64
    config.run.precision = "fp32"
    with pytest.raises(WeightsError, match="no longer those that were loaded"):
        models.resolve(config)


def test_an_attention_is_held_and_its_norms_are_not(held: Models) -> None:
    clip = copy.deepcopy(held.clips[0])
    clip.network.visual = torch.nn.Sequential(torch.nn.MultiheadAttention(8, 2), torch.nn.LayerNorm(8))
    casting.hold(held.vqgan, [clip], "bf16")
    attention, norm = clip.network.visual
    assert {p.dtype for p in attention.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in norm.parameters()} == {torch.float32}


@pytest.mark.parametrize("tower", ["bundled", "timm", "open_clip"])
def test_norms_are_folded_into_the_convolutions_before_them(tower: str) -> None:
    torch.manual_seed(0)
    if tower == "bundled":
        network = SmallResNet()
    elif tower == "timm":
        network = vqclip_resnet_s(num_classes=0)
    else:
        network = ModifiedResNet((1, 2, 1, 1), 64, 4, image_size=64, width=16)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean):
                torch.nn.init.normal_(values, 0.5, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    network.eval().requires_grad_(False)
    x = torch.rand(2, 3, 64, 64)
    before = network(x)
    fold_norms(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    assert torch.allclose(network(x), before, rtol=1e-4, atol=1e-4 * float(before.abs().max()))


def test_factors_of_an_activation_are_folded_into_the_layers_around_it() -> None:
    torch.manual_seed(0)
    size = {"image_size": 32, "patch_size": 8, "width": 24, "layers": 2, "heads": 3, "mlp_ratio": 4.0}
    tower = VisionTransformer(**size, output_dim=16, act_layer=QuickGELU).eval().requires_grad_(False)
    x = torch.rand(2, 3, 32, 32)
    before = tower(x)
    fold(tower)
    assert not any(isinstance(module, QuickGELU) for module in tower.modules())
    assert torch.allclose(tower(x), before, atol=1e-5)


def test_norms_that_come_first_stay() -> None:
    norm_first = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 4, 1)).eval()
    kinds = [type(module) for module in norm_first]
    fold_norms(norm_first)
    assert [type(module) for module in norm_first] == kinds
