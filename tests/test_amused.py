"""aMUSEd as a prior: its networks and its mask schedule are diffusers' own, and it draws through pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from support.command_line import CommandLine
from support.networks import assert_equal
from support.pictures import sha
from support.runs import small
from torch import Tensor, nn

import vqclip
from vqclip import seeding
from vqclip.errors import WeightsError
from vqclip.generation.models import Models
from vqclip.models.amused import Amused, AmusedArchitecture, FullPrecision, Transformer
from vqclip.models.clip_text import TextArchitecture, TextEncoder
from vqclip.priors import Sampling, sample
from vqclip.priors.drawing import gumbel, sample_codes
from vqclip.types import MASKED, VQGANArchitecture
from vqclip.weights.load import load_prior

_TEXT = TextArchitecture(width=32, layers=3, heads=2, inner=48, projected=24)
_SIZES = AmusedArchitecture(
    _TEXT, width=64, heads=4, layers=2, inner=80, channels=48, block_heads=3, blocks=2, embedded=40, tokens=56,
    codes=50, micro=16, side=4,
)  # fmt: skip
_VQ = VQGANArchitecture(
    ch=32, ch_mult=(1, 2), num_res_blocks=1, attn_levels=(), z_channels=8, embed_dim=8, n_embed=50, mid_attention=False,
    pixels="unit",
)  # fmt: skip


def stirred(network: nn.Module, size: float = 0.2) -> Any:
    """Return a network with all of its weights moved off what it begins with."""
    generator = torch.Generator().manual_seed(5)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.add_(size * torch.randn(value.shape, generator=generator))
    return network.eval().requires_grad_(False)


def amused(folder: Path) -> Path:
    """Write a folder as diffusers saves its pipeline, in the layout of the public one, of small sizes."""
    torch.manual_seed(0)
    parts: dict[str, tuple[nn.Module, str, dict[str, Any]]] = {
        "transformer": (
            Transformer(_SIZES),
            "diffusion_pytorch_model.safetensors",
            {"_class_name": "UVit2DModel", "hidden_size": 64, "num_attention_heads": 4, "block_num_heads": 3,
             "sample_size": 4, "codebook_size": 50, "vocab_size": 56, "layer_norm_eps": 1e-6},
        ),
        "text_encoder": (
            TextEncoder(_TEXT), "model.safetensors",
            {"hidden_size": 32, "num_attention_heads": 2, "hidden_act": "quick_gelu", "projection_dim": 24},
        ),
        "vqvae": (FullPrecision(_VQ).network, "diffusion_pytorch_model.safetensors", {}),
    }  # fmt: skip
    for name, (network, file, config) in parts.items():
        (folder / name).mkdir(parents=True)
        held = {
            key: value.half() if name == "transformer" else value
            for key, value in stirred(network).state_dict().items()
        }
        if name == "text_encoder":
            held["text_model.embeddings.position_ids"] = torch.arange(77)[None]
        safetensors.torch.save_file({key: value.contiguous() for key, value in held.items()}, folder / name / file)
        if config:
            (folder / name / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<|endoftext|>"}))
    return folder


def inputs(height: int = 4, width: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(50, (2, height, width), generator=generator)
    tokens[:, 1:3] = 55
    states, pooled = torch.randn(2, 77, 32, generator=generator), torch.randn(2, 24, generator=generator)
    return tokens, states, pooled, torch.tensor([[256.0, 192, 0, 0, 6], [512, 512, 3, 4, 5]])


@pytest.mark.parametrize("channels", [48, 64], ids=["narrower blocks", "blocks as wide"])
def test_the_transformer_is_diffusers_own(channels: int) -> None:
    diffusers = pytest.importorskip("diffusers")
    heads = channels // 16
    theirs = stirred(
        diffusers.UVit2DModel(
            hidden_size=64, cond_embed_dim=24, micro_cond_encode_dim=16, micro_cond_embed_dim=80,
            encoder_hidden_size=32, vocab_size=56, codebook_size=50, in_channels=40, num_res_blocks=2,
            block_out_channels=channels,
            block_num_heads=heads, num_hidden_layers=2, num_attention_heads=4, intermediate_size=80, sample_size=4,
        )
    )  # fmt: skip
    ours = Transformer(AmusedArchitecture(**(vars(_SIZES) | {"channels": channels, "block_heads": heads}))).eval()
    ours.load_state_dict(theirs.state_dict())
    tokens, states, pooled, micro = inputs(3, 5)
    with torch.no_grad():
        expected = theirs(tokens, states, pooled, micro).permute(0, 2, 3, 1)
        assert expected.std() > 0.1
        assert_equal(ours(tokens, states, pooled, micro), expected)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_the_text_tower_is_transformers_own(activation: str) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPTextConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=48, projection_dim=24,
        hidden_act=activation,
    )  # fmt: skip
    theirs = stirred(transformers.CLIPTextModelWithProjection(config))
    a = TextArchitecture(**(vars(_TEXT) | {"activation": activation}))
    ours = TextEncoder(a).eval()
    held = {name: value for name, value in theirs.state_dict().items() if not name.endswith("position_ids")}
    ours.load_state_dict(held)
    tokens = torch.tensor([a.tokens("a cat in Van Gogh style"), a.tokens(""), a.tokens("cat " * 100)])
    assert tokens.shape == (3, 77) and tokens[1].tolist() == [49406] + [49407] * 76
    with torch.no_grad():
        found = theirs(tokens, output_hidden_states=True)
        pooled, states = ours(tokens)
    assert_equal(pooled, found.text_embeds)
    assert_equal(states, found.hidden_states[-2])


class Undecided:
    """A prior that finds codes likely by their places and by what is known beside them."""

    kind, side = "annealed", 16

    def __init__(self, side: int) -> None:
        self.side = side
        generator = torch.Generator().manual_seed(3)
        self.logits = 3 * torch.randn(side, side, 50, generator=generator)
        self.unconditional = torch.zeros(1)

    def __call__(self, indices: Tensor, condition: Tensor) -> Tensor:
        share = (indices == MASKED).float().mean((1, 2))[:, None, None, None]
        return self.logits * (1 + share) + condition[:, :, None, None] * self.logits.roll(1, -1)


@pytest.mark.parametrize(("side", "steps"), [(4, 12), (16, 12), (8, 5), (3, 1)])
def test_masks_are_those_of_diffusers_scheduler_on_the_same_noise(
    side: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("diffusers")
    from diffusers.schedulers import scheduling_amused

    prior, seeds, mask = Undecided(side), (7, 8), 55
    theirs = scheduling_amused.AmusedScheduler(mask_token_id=mask)
    theirs.set_timesteps(steps, (2, 0))
    codes = torch.full((2, side, side), mask)
    seen = []
    for step, timestep in enumerate(theirs.timesteps):
        masked = codes.masked_fill(codes == mask, MASKED)
        seen.append((masked == MASKED).flatten(1).sum(1).tolist())
        zero, one = (prior(masked, torch.full((2, 1), value)) for value in (0.0, 1.0))
        logits = zero + 10 * (one - zero)
        noise = [seeding.generator(seed, "prior", step) for seed in seeds]
        drawn = sample_codes(logits, noise, Sampling(temperature=1.0))[0]
        # its multinomial draws by another way from the same probabilities; what follows is its own
        monkeypatch.setattr(torch, "multinomial", lambda *args, drawn=drawn, **options: drawn.view(-1, 1))
        monkeypatch.setattr(
            scheduling_amused, "gumbel_noise",
            lambda t, generator=None, noise=noise: gumbel(torch.Size((side, side)), noise).view_as(t),
        )  # fmt: skip
        codes = theirs.step(logits.permute(0, 3, 1, 2), timestep, codes).prev_sample
    ours = []
    real = prior.__call__

    def watched(indices: Tensor, condition: Tensor) -> Tensor:
        if not condition.any():
            ours.append((indices == MASKED).flatten(1).sum(1).tolist())
        return real(indices, condition)

    monkeypatch.setattr(Undecided, "__call__", lambda self, indices, condition: watched(indices, condition))
    sampling = Sampling(steps=steps, guidance=10.0, choice=2.0)
    found = sample(prior, torch.ones(1, 1), torch.ones(1), torch.full((side, side), MASKED), seeds, sampling)
    assert ours == seen
    assert torch.equal(found, codes) and int(found.max()) < 50


def test_it_draws_from_a_folder_of_diffusers(tmp_path: Path) -> None:
    folder = amused(tmp_path / "amused")
    values: dict[str, Any] = {"models": {"prior": f"{folder}/"}, "init": {"kind": "prior", "candidates": 3}, "steps": 0}
    models = Models.load(small("a cat", **values))
    first, again, other = (vqclip.generate(small(text, **values), models) for text in ("a cat", "a cat", "a dog"))
    assert sha(first.image) == sha(again.image) != sha(other.image)
    used = first.config.prior
    assert (used.guidance, used.steps, used.top_k) == (10, 12, 0) and first.image.size == (64, 64)
    wide = vqclip.generate(small("a cat", **values, size="96x40"), models)
    assert wide.image.size == (96, 40)


def test_pictures_are_told_their_size_and_half_precision_draws_them_in_full(tmp_path: Path) -> None:
    prior, digest = load_prior(str(amused(tmp_path / "amused")))
    assert isinstance(prior, Amused) and len(digest) == 64 and prior.side == 4
    condition = prior.conditions(["a cat"])
    codes = torch.full((1, 4, 4), MASKED)
    told = []
    real = prior.transformer.forward
    prior.transformer.forward = lambda *args: told.append(args) or real(*args)
    logits = prior(codes, condition)
    assert logits.shape == (1, 4, 4, 50) and told[0][3].tolist() == [[8, 8, 0, 0, 6]]
    assert bool((told[0][0] == 55).all())
    z = 3 * torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(2))
    full = prior.detokenizer.decode(z)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(prior.detokenizer.decode(z), full)


def test_a_run_that_it_begins_is_drawn_again_from_its_metadata(tmp_path: Path, cli: CommandLine) -> None:
    folder = amused(tmp_path / "amused")
    flags = ("--size", "64", "--seed", "7", "--device", "cpu", "--precision", "fp32", "--views", "4")
    first = cli.draw("a cat", "--prior", f"{folder}/", "--init", "prior", "--candidates", "2", "--steps", "2", *flags,
                     "-o", tmp_path / "a.png")  # fmt: skip
    assert first.code == 0 and not first.complaints, first.err
    record = vqclip.writers.metadata.read(first.files[0])["record"]
    assert record["config"]["models"]["prior"] == "amused/" and "prior:amused/" in record["weights"]
    again = cli("--from", first.files[0], "--prior", f"{folder}/", "-o", tmp_path / "b.png")
    assert again.code == 0, again.err
    assert sha(first.files[0]) == sha(again.files[0])


_WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


def _edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _cut(file: Path, name: str) -> None:
    held = safetensors.torch.load_file(file)
    del held[name]
    safetensors.torch.save_file(held, file)


def _add(file: Path, name: str) -> None:
    safetensors.torch.save_file(safetensors.torch.load_file(file) | {name: torch.ones(3)}, file)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: shutil.rmtree(f / "vqvae"), "has no vqvae/"),
        (lambda f: shutil.rmtree(f / "text_encoder"), "has no text_encoder/"),
        (lambda f: (f / "transformer" / "config.json").write_text("{"), "cannot read"),
        (lambda f: _edit(f / "transformer" / "config.json", hidden_size=32), "tells hidden_size 32, its tensors 64"),
        (lambda f: _edit(f / "transformer" / "config.json", _class_name="UNet2DModel"), "is a UNet2DModel"),
        (lambda f: _edit(f / "transformer" / "config.json", num_attention_heads=5), "heads that do not fit"),
        (lambda f: _edit(f / "transformer" / "config.json", sample_size=10**6), "sample_size"),
        (lambda f: _edit(f / "transformer" / "config.json", num_attention_heads=float("inf")), "infinity"),
        (lambda f: _edit(f / "transformer" / "config.json", num_attention_heads=[3]), "no aMUSEd"),
        (lambda f: _edit(f / "transformer" / "config.json", layer_norm_eps=float("nan")), "layer_norm_eps is nan"),
        (lambda f: _add(f / _WEIGHTS, "transformer_layers.999999999.norm1.norm.weight"), "not numbered"),
        (lambda f: _add(f / _WEIGHTS, "transformer_layers.x.norm1.norm.weight"), "no aMUSEd"),
        (lambda f: _edit(f / "text_encoder" / "config.json", hidden_act="relu"), "activation 'relu'"),
        (lambda f: _edit(f / "tokenizer" / "tokenizer_config.json", pad_token="[PAD]"), "pads with '[PAD]'"),
        (lambda f: _cut(f / "text_encoder" / "model.safetensors", "text_projection.weight"), "text_projection"),
        (lambda f: _cut(f / _WEIGHTS, "embed.conv.weight"), "1 tensors missing"),
        (lambda f: _add(f / _WEIGHTS, "down_block.downsample.norm.weight"), "give amused-256's"),
        (lambda f: (f / "vqvae" / "diffusion_pytorch_model.safetensors").write_bytes(b"x" * 100), "vqvae"),
    ],
)  # fmt: skip
def test_a_damaged_folder_is_one_line(
    damage: Callable[[Path], Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = amused(tmp_path / "amused")
    damage(folder)
    with pytest.raises(WeightsError) as error:
        load_prior(str(folder))
    assert words in str(error.value) and "\n" not in str(error.value)
