"""The depth network: equal to transformers' own, read in the layouts that people have, and got by its name."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from support.depth import SMALL, network

from vqclip.errors import WeightsError
from vqclip.models.depth import DepthArchitecture
from vqclip.weights import get
from vqclip.weights.load import load_depth


def image(height: int, width: int) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def as_the_authors_have_it(name: str, value: torch.Tensor, tensors: dict[str, torch.Tensor]) -> None:
    """Put a tensor under the name of the authors' files; queries, keys and values are one there."""
    rules = (
        (r"backbone\.embeddings\.cls_token", "pretrained.cls_token"),
        (r"backbone\.embeddings\.position_embeddings", "pretrained.pos_embed"),
        (r"backbone\.embeddings\.patch_embeddings\.projection", "pretrained.patch_embed.proj"),
        (r"backbone\.layernorm", "pretrained.norm"),
        (r"backbone\.encoder\.layer\.(\d+)\.attention\.output\.dense", r"pretrained.blocks.\1.attn.proj"),
        (r"backbone\.encoder\.layer\.(\d+)\.layer_scale(\d)\.lambda1", r"pretrained.blocks.\1.ls\2.gamma"),
        (r"backbone\.encoder\.layer\.", "pretrained.blocks."),
        (r"neck\.reassemble_stage\.layers\.(\d)\.projection", r"depth_head.projects.\1"),
        (r"neck\.reassemble_stage\.layers\.(\d)\.resize", r"depth_head.resize_layers.\1"),
        (r"head\.conv1\b", "depth_head.scratch.output_conv1"),
        (r"head\.conv2\b", "depth_head.scratch.output_conv2.0"),
        (r"head\.conv3\b", "depth_head.scratch.output_conv2.2"),
    )
    if match := re.match(r"backbone\.encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(\w+)", name):
        fused = f"pretrained.blocks.{match[1]}.attn.qkv.{match[3]}"
        before = tensors.get(fused)
        assert before is None or match[2] != "query"
        tensors[fused] = value if before is None else torch.cat([before, value])
        return
    if match := re.match(r"neck\.convs\.(\d)\.(\w+)", name):
        name = f"depth_head.scratch.layer{int(match[1]) + 1}_rn.{match[2]}"
    elif match := re.match(r"neck\.fusion_stage\.layers\.(\d)\.(\w+?)(\d?)\.(convolution(\d)\.)?(\w+)$", name):
        inner = f"resConfUnit{match[3]}.conv{match[5]}" if match[5] else "out_conv"
        name = f"depth_head.scratch.refinenet{4 - int(match[1])}.{inner}.{match[6]}"
    for pattern, replacement in rules:
        name = re.sub(rf"^{pattern}", replacement, name)
    tensors[name] = value


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Return a file in transformers' layout, with what it holds beside what inference needs."""
    tensors = dict(network().state_dict()) | {"backbone.embeddings.mask_token": torch.zeros(1, 64)}
    unused = "neck.fusion_stage.layers.0.residual_layer1.convolution1.bias"
    save_file(tensors | {unused: torch.zeros(16)}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("size", [(70, 70), (56, 84)])
def test_depth_is_that_of_transformers(size: tuple[int, int], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    backbone = transformers.Dinov2Config(
        hidden_size=64, num_attention_heads=1, num_hidden_layers=4, image_size=70, patch_size=14,
        out_indices=[1, 2, 3, 4], reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=64, neck_hidden_sizes=[8, 12, 16, 24], fusion_hidden_size=16,
        head_hidden_size=8,
    )  # fmt: skip
    theirs = transformers.DepthAnythingForDepthEstimation(config).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in theirs.parameters():
            spread = parameter.shape[1:].numel() ** -0.5 if parameter.ndim > 1 else 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
        theirs.save_pretrained(tmp_path)
        expected = theirs(image(*size)).predicted_depth[:, None]
    ours, _ = load_depth(str(tmp_path / "model.safetensors"))
    found = ours(image(*size))
    assert found.shape == (2, 1, *size) and expected.std() > 1e-2
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_both_layouts_are_read(published: Path, tmp_path: Path) -> None:
    tensors: dict[str, torch.Tensor] = {}
    for name, value in sorted(network().state_dict().items(), key=lambda item: item[0].replace("query", "a")):
        as_the_authors_have_it(name, value, tensors)
    assert all(name.startswith(("pretrained.", "depth_head.")) for name in tensors)
    torch.save(tensors, tmp_path / "authors.pth")
    expected = network()(image(56, 84))
    assert expected.std() > 1e-2
    for file in (published, tmp_path / "authors.pth"):
        read, digest = load_depth(str(file))
        assert read.architecture == SMALL and digest == hashlib.sha256(file.read_bytes()).hexdigest()
        assert torch.equal(read(image(56, 84)), expected)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (40, 40)])
def test_estimates_are_near_and_far(height: int, width: int) -> None:
    depth = network().estimate(image(height, width), side=56)
    assert depth.shape == (2, 1, height, width)
    assert depth.amin((1, 2, 3)).tolist() == [0, 0] and depth.amax((1, 2, 3)).tolist() == [1, 1]
    flat = network()
    flat.head.conv3.weight.zero_()
    assert torch.equal(flat.estimate(image(40, 40), side=28), torch.full((2, 1, 40, 40), 0.5))


def test_a_published_file_is_got_by_its_name(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("VQCLIP_HOME", str(home))
    (home / "downloads").mkdir(parents=True)
    published.rename(home / "downloads/depth-depth_anything_v2_small.safetensors")
    record = {
        "kind": "depth", "name": "depth_anything_v2_small", "licence": "Apache 2.0",
        "sources": [{"url": "https://nowhere.invalid/model.safetensors"}],
    }  # fmt: skip
    (home / "catalog.yaml").write_text(yaml.safe_dump([record]))
    path = get.get("depth", "depth_anything_v2_small")
    read, _ = load_depth("depth_anything_v2_small")
    assert path.is_relative_to(home) and torch.equal(read(image(28, 28)), network()(image(28, 28)))


@pytest.mark.parametrize("damage", ["lacks a tensor", "another network", "of another shape", "no file"])
def test_what_is_no_depth_network_is_one_line(damage: str, tmp_path: Path) -> None:
    tensors = dict(network().state_dict())
    if damage == "lacks a tensor":
        del tensors["neck.convs.0.weight"]
    elif damage == "of another shape":
        tensors["backbone.layernorm.weight"] = torch.ones(3)
    elif damage == "another network":
        tensors = {"weight": torch.ones(3)}
    file = tmp_path / "model.safetensors"
    if damage != "no file":
        save_file(tensors, file)
    with pytest.raises(WeightsError) as caught:
        load_depth(str(file))
    assert "\n" not in str(caught.value) and "model.safetensors" in str(caught.value)


def test_an_architecture_survives_its_file_and_damage_is_named() -> None:
    assert DepthArchitecture.from_json(SMALL.to_json()) == SMALL
    for text in ("{}x", '{"width": 0}', '{"taken": [1, 1, 2, 3]}', '{"neck": 3}', "[]"):
        with pytest.raises(WeightsError, match="damaged depth architecture"):
            DepthArchitecture.from_json(text)
