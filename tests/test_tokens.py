"""Vision transformers that see some patches of each view, and views that become fewer."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from support.runs import prepared, small
from torch import Tensor

from vqclip.cli.main import run
from vqclip.drawables import Moment
from vqclip.errors import UsageError
from vqclip.generation.models import Models
from vqclip.generation.prepare import prepare
from vqclip.generation.run import Run
from vqclip.guidance import tokens
from vqclip.models.clip import CLIP
from vqclip.types import CLIPArchitecture
from vqclip.weights.load import load_vqgan

_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
_VIT = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
_TIMM = {"image_size": 32, "timm_model_pretrained": False, "timm_proj": "none"}


def clip(embed_dim: int = 24, **vision: Any) -> CLIP:
    torch.manual_seed(0)
    model = {"embed_dim": embed_dim, "vision_cfg": vision or _VIT, "text_cfg": _TEXT}
    return CLIP(CLIPArchitecture(model)).eval().requires_grad_(False)


def views(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_all_patches_are_what_the_tower_sees_anyway() -> None:
    network = clip()
    before = network.encode_image(views())
    assert network.patches == 16
    everything = torch.arange(16).expand(3, -1)
    assert torch.equal(network.encode_patches(views(), everything), before)
    assert torch.equal(network.encode_image(views()), before)


def test_what_is_kept_goes_through_the_transformer_with_its_positions() -> None:
    network, kept = clip(), torch.tensor([[0, 5, 15], [1, 2, 3], [4, 9, 10]])
    visual = network.network.visual
    x = visual.conv1((views() - network.mean) / network.std).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(3, 1, -1), x], 1) + visual.positional_embedding
    rows = torch.cat([torch.zeros(3, 1, dtype=torch.long), kept + 1], 1)
    x = torch.stack([row[places] for row, places in zip(x, rows, strict=True)])
    x = visual.ln_post(visual.transformer(visual.ln_pre(x)))[:, 0] @ visual.proj
    wanted = torch.nn.functional.normalize(x, dim=-1)
    assert torch.allclose(network.encode_patches(views(), kept), wanted, atol=1e-6)
    assert not torch.allclose(network.encode_image(views()), wanted, atol=1e-3)


def test_timms_transformers_pool_what_is_kept() -> None:
    network = clip(
        embed_dim=192, **_TIMM | {"image_size": 224}, timm_model_name="vit_tiny_patch16_224", timm_pool="avg"
    )
    assert network.patches == 196
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    whole, kept = network.encode_image(image), torch.arange(196)[None]
    assert torch.equal(network.encode_patches(image, kept), whole)
    assert not torch.allclose(network.encode_patches(image, kept[:, :100]), whole, atol=1e-4)


@pytest.mark.parametrize(
    "vision",
    [{"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
     _TIMM | {"timm_model_name": "convnext_atto", "timm_pool": "avg", "timm_proj": "linear"}],
    ids=["ResNet", "ConvNeXt"],
)  # fmt: skip
def test_towers_without_patch_tokens_are_refused(vision: dict[str, Any]) -> None:
    network = clip(**vision)
    assert network.patches == 0
    with pytest.raises(UsageError, match=r"views.tokens is 0.5: the CLIP 'mine' has no patch tokens"):
        tokens.check([network], ["mine"], 0.5)
    tokens.check([network], ["mine"], 1.0)
    with pytest.raises(ValueError, match="no patch tokens"):
        network.encode_patches(views(), torch.zeros(3, 1, dtype=torch.long))


@pytest.mark.parametrize(("value", "words"), [("0.5", "no patch tokens"), ("0", "from 0.02 to 1"), ("1.5", "to 1")])
def test_the_command_line_refuses_in_one_line(value: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["a red cat", "--steps", "1", "--set", f"views.tokens={value}"]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("vqclip: ") == 1 and "Traceback" not in err


def test_which_patches_are_kept_depends_on_seed_step_and_clip_only() -> None:
    first = tokens.sample(4, 49, 0.5, 7, 3, 0)
    assert first.shape == (4, 24) and torch.equal(first, tokens.sample(4, 49, 0.5, 7, 3, 0))
    assert bool((first.diff() > 0).all()) and first.max() < 49
    for other in ((8, 3, 0), (7, 4, 0), (7, 3, 1)):
        assert not torch.equal(first, tokens.sample(4, 49, 0.5, *other))
    assert tokens.sample(2, 4, 0.02, 7, 0, 0).shape == (2, 1)


def run_with(**of_views: Any) -> Run:
    """Return a run of the bundled VQGAN that a random ViT guides."""
    models = Models(vqgan=load_vqgan("tiny")[0], clips=[clip()])
    config = small(views={"count": 4, **of_views}, models={"vqgan": "tiny", "prior": "", "upsampler": "", "memory": ""})
    return prepare(models.resolve(config), models).run((7,))


def gradient(running: Run, step: int = 0) -> Tensor:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    running.guidance.backward(image, Moment((7,), step, 0.0))
    assert image.grad is not None
    return image.grad


def test_without_leaving_out_nothing_is_touched() -> None:
    running = run_with()
    running.step()
    visual = running.guidance.perceptors[0].network.visual
    assert type(visual.patch_dropout) is torch.nn.Identity


def test_chunks_and_steps_see_the_patches_that_are_theirs() -> None:
    running = run_with(tokens=0.5)
    whole = gradient(running)
    running.guidance.chunk = 3
    assert torch.allclose(gradient(running), whole, rtol=1e-4, atol=1e-8)
    assert not torch.allclose(gradient(run_with()), whole, rtol=1e-2)
    assert not torch.allclose(gradient(running, 1), whole, rtol=1e-2)


def test_scores_see_all_patches() -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    part, whole = (each.guidance.score(image, [7], 4) for each in (run_with(tokens=0.25), run_with()))
    assert torch.equal(part, whole)


def test_late_steps_have_fewer_views() -> None:
    running = prepared(small(views={"count": 8, "last": 2}, steps=4)).run((7,))
    counts = []
    running.callbacks.append(lambda report: counts.append(report.views["prompt"].shape[1]))
    for _ in range(4):
        running.step()
    assert counts == [8, 6, 5, 4]
    config = dataclasses.replace(running.guidance.config, last=None)
    assert [running.guidance.__class__([], [], [], config, "fp32").plan(p).count for p in (0.0, 1.0)] == [8, 8]
