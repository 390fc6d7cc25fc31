"""The networks equal the originals (DESIGN section 3, invariant 5): taming's own modules, open_clip's own CLIP."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip import CLIP as OpenCLIP
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.tokenizer import SimpleTokenizer
from support import timm_tower  # noqa: F401 - open_clip finds the bundled tower by its name
from support.networks import Reference, assert_equal, randomize
from support.paths import ROOT
from torch import Tensor, nn

from vqclip.models.clip import CLIP, build_tokenizer
from vqclip.models.vqgan import VQGAN
from vqclip.training import clip as clip_recipe
from vqclip.types import CLIPArchitecture, VQGANArchitecture

VQ = VQGANArchitecture(
    ch=32,
    ch_mult=(1, 1, 2),
    num_res_blocks=1,
    attn_levels=(1, 2),
    resolution=32,
    z_channels=12,
    embed_dim=8,
    n_embed=64,
)
# taming's GumbelVQ works only where both widths are equal
GUMBEL = replace(VQ, quantizer="gumbel", embed_dim=12)
VIT = CLIPArchitecture(
    {
        "embed_dim": 24,
        "vision_cfg": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
)
TEXTS = ["a cat", "A fox, in the style of Van Gogh!", "\u00fcber 12 caf\u00e9s"]


@pytest.fixture(scope="module", params=[VQ, GUMBEL], ids=["vq", "gumbel"])
def pair(request: pytest.FixtureRequest) -> tuple[VQGAN, Reference]:
    torch.manual_seed(1)
    ours, theirs = VQGAN(request.param).eval(), Reference(request.param).eval()
    randomize(theirs)
    ours.network.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


@pytest.fixture
def image() -> Tensor:
    """Neither square nor of the nominal size."""
    return torch.rand(2, 3, 24, 40, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def test_encode_equals_taming(pair: tuple[VQGAN, Reference], image: Tensor) -> None:
    ours, theirs = pair
    h = theirs.quant_conv(theirs.encoder(2 * image - 1))
    if ours.architecture.quantizer == "gumbel":
        indices = theirs.quantize.proj(h).argmax(1)
        h = theirs.quantize.get_codebook_entry(indices.flatten(), (2, 6, 10, 12))
    assert_equal(ours.encode(image), h)


@torch.no_grad()
def test_decode_equals_taming(pair: tuple[VQGAN, Reference]) -> None:
    ours, theirs = pair
    z = 2 * torch.randn(2, ours.codebook.shape[1], 6, 10, generator=torch.Generator().manual_seed(3))
    expected = (theirs.decoder(theirs.post_quant_conv(z)) + 1) / 2
    beyond = ((expected < 0) | (expected > 1)).float().mean()
    assert 0.05 < beyond < 0.95, "the test sees both what is cut off and what is not"
    assert_equal(ours.decode(z), expected.clamp(0, 1))
    assert expected.shape == (2, 3, 24, 40)


def test_a_wide_decoder_equals_taming_forward_and_back() -> None:
    """Of the width of the public ones, on a picture that minimal filtering is for (`models.convolution`)."""
    torch.manual_seed(1)
    wide = replace(VQ, ch=128, ch_mult=(1, 1), num_res_blocks=1, attn_levels=(), norm_groups=32)
    ours, theirs = VQGAN(wide).eval().requires_grad_(False), Reference(wide).eval().requires_grad_(False)
    theirs.load_state_dict(ours.network.state_dict(), strict=True)
    found = []
    for network in (ours.network, theirs):
        z = torch.randn(1, ours.codebook.shape[1], 36, 40, generator=torch.Generator().manual_seed(3)).requires_grad_()
        image = network.decoder(network.post_quant_conv(z))
        (image * torch.linspace(-1, 1, image.numel()).view_as(image)).sum().backward()
        found.append((image.detach(), z.grad))
    assert_equal(found[0][0], found[1][0])
    assert float((found[0][1] - found[1][1]).norm()) <= 1e-4 * float(found[1][1].norm())


@torch.no_grad()
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_quantize_equals_taming_wherever_the_nearest_code_is_clear(pair: tuple[VQGAN, Reference], scale: float) -> None:
    ours, theirs = pair
    codebook = ours.codebook
    z = scale * torch.randn(2, codebook.shape[1], 16, 20, generator=torch.Generator().manual_seed(4))
    z_q, indices = ours.quantize(z)
    assert indices.shape == (2, 16, 20)
    assert torch.equal(z_q, codebook[indices].permute(0, 3, 1, 2))
    flat = z.permute(0, 2, 3, 1).reshape(-1, codebook.shape[1]).double()
    best = torch.cdist(flat, codebook.double()).square().topk(2, largest=False)
    clear = best.values[:, 1] - best.values[:, 0] > 1e-5 * max(1.0, scale**2)
    assert clear.float().mean() > 0.99
    assert torch.equal(indices.flatten()[clear], best.indices[clear, 0])
    if ours.architecture.quantizer == "vq":
        expected, _, (_, _, chosen) = theirs.quantize(z)
        assert torch.equal(indices.flatten()[clear], chosen[clear])
        assert_equal(z_q.permute(0, 2, 3, 1).reshape(-1, 8)[clear], expected.permute(0, 2, 3, 1).reshape(-1, 8)[clear])
    else:
        assert_equal(z_q, theirs.quantize.get_codebook_entry(indices.flatten(), (2, 16, 20, 12)))


def test_parameters_have_the_names_of_tamings_checkpoints(pair: tuple[VQGAN, Reference]) -> None:
    names = set(pair[0].network.state_dict())
    codebook = {
        "vq": {"quantize.embedding.weight"},
        "gumbel": {"quantize.embed.weight", "quantize.proj.weight", "quantize.proj.bias"},
    }[pair[0].architecture.quantizer]
    others = {f"{conv}.{kind}" for conv in ("quant_conv", "post_quant_conv") for kind in ("weight", "bias")}
    assert names >= codebook | others | {"encoder.conv_in.weight", "decoder.up.2.block.1.conv2.bias"}
    assert {n for n in names if not n.startswith(("encoder.", "decoder."))} == codebook | others


@pytest.mark.parametrize("resolution", [256, 32, 200, 50, 7])
@pytest.mark.parametrize("levels", [(), (1,), (0, 2)])
def test_attention_sits_on_its_levels_whatever_the_nominal_size(resolution: int, levels: tuple[int, ...]) -> None:
    network = VQGAN(replace(VQ, resolution=resolution, attn_levels=levels, num_res_blocks=1)).network
    expected = [int(level in levels) for level in range(3)]
    assert [len(level.attn) for level in network.encoder.down] == expected
    assert [len(level.attn) for level in network.decoder.up] == [2 * n for n in expected]


@pytest.mark.parametrize(("levels", "factor"), [(1, 1), (4, 8), (5, 16)])
def test_each_further_level_doubles_the_pixels_of_a_cell(levels: int, factor: int) -> None:
    assert VQGANArchitecture(ch_mult=(1,) * levels).factor == factor


def test_pictures_that_the_factor_does_not_divide_are_refused(pair: tuple[VQGAN, Reference]) -> None:
    assert pair[0].factor == 4
    for shape in ((24, 38), (23, 40)):
        with pytest.raises(ValueError, match="multiples of 4"):
            pair[0].encode(torch.zeros(1, 3, *shape))


def test_beyond_the_range_gradients_pass_only_if_they_lead_back_inside() -> None:
    vqgan = VQGAN(VQ)
    vqgan.network.decoder = vqgan.network.post_quant_conv = nn.Identity()
    # pixel values in [0, 1], and the sign of the gradient: descending goes the other way
    pixels = torch.tensor([1.5, 1.5, -0.5, -0.5, 0.3, 0.3, 1.0, 0.0, 1.0, 0.0])
    pulls = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0])
    passed = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    z = (2 * pixels - 1).view(1, 1, 1, -1).requires_grad_()
    out = vqgan.decode(z)
    assert torch.allclose(out.flatten(), pixels.clamp(0, 1))
    (out.flatten() * pulls).sum().backward()
    assert z.grad is not None
    assert torch.equal(z.grad.flatten(), passed * pulls / 2)


@pytest.fixture(scope="module", params=["vit", "resnet"])
def clip(request: pytest.FixtureRequest) -> CLIP:
    torch.manual_seed(6)
    clip = CLIP(VIT if request.param == "vit" else clip_recipe.architecture()).eval()
    randomize(clip.network)
    return clip


@torch.no_grad()
def test_a_clip_goes_to_other_processes(clip: CLIP) -> None:
    views = torch.rand(1, 3, clip.image_size, clip.image_size)
    other = pickle.loads(pickle.dumps(clip))
    assert torch.equal(other.encode_image(views), clip.encode_image(views))
    assert torch.equal(other.encode_text(TEXTS), clip.encode_text(TEXTS))


@pytest.mark.parametrize(("part", "more"), [("vision_cfg", {"timm_drop": 0.1}), ("text_cfg", {"mlp_ratio": 2.0})])
def test_a_bundled_network_of_other_parts_is_refused(part: str, more: dict[str, float]) -> None:
    model = dict(clip_recipe.architecture().model)
    model[part] = model[part] | more
    with pytest.raises(ValueError, match="goes with"):
        CLIP(CLIPArchitecture(model, merges=4096))


def test_the_published_loop_draws_with_the_bundled_models() -> None:
    """The yardstick of `benchmarks/` takes our weights; alone, as timm knows the bundled tower in this process only."""
    code = (
        "from benchmarks.reference import Reference; from vqclip.generation.models import Models; "
        "from vqclip.weights.load import load_clip, load_vqgan; "
        "models = Models(load_vqgan('tiny')[0], [load_clip('tiny', folded=False)[0]], {}, ['']); "
        "loop = Reference(models, 64, 2); before = loop.z.detach().clone(); loop.step(); "
        "assert loop.z.isfinite().all() and not loop.z.equal(before)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]


@torch.no_grad()
def test_clip_equals_open_clip(clip: CLIP) -> None:
    theirs = OpenCLIP(**clip.architecture.model).eval()
    theirs.load_state_dict(clip.network.state_dict(), strict=True)
    views = torch.rand(3, 3, clip.image_size, clip.image_size, generator=torch.Generator().manual_seed(7))
    channels = zip(views.unbind(1), OPENAI_DATASET_MEAN, OPENAI_DATASET_STD, strict=True)
    prepared = torch.stack([(channel - mean) / std for channel, mean, std in channels], 1)
    images, texts = clip.encode_image(views), clip.encode_text(TEXTS)
    assert_equal(images, theirs.encode_image(prepared, normalize=True))
    assert_equal(texts, theirs.encode_text(clip.tokenizer(TEXTS), normalize=True))
    for embedding in (images, texts):
        assert torch.allclose(embedding.norm(dim=1), torch.ones(3), atol=1e-5)
        assert (embedding[0] - embedding[1]).norm() > 1e-3, "different things, different embeddings"


def test_a_text_beyond_the_context_is_refused_not_cut(clip: CLIP) -> None:
    room = clip.context_length - 2
    fits = "a " * room
    assert clip.count_tokens(fits) == clip.context_length
    assert clip.encode_text([fits]).shape[0] == 1
    with pytest.raises(ValueError, match=f"context holds {clip.context_length}"):
        clip.encode_text(["a cat", fits + "a"])


def test_the_full_tokenizer_is_clips_own() -> None:
    ours, theirs = build_tokenizer(None, 16), SimpleTokenizer(context_length=16)
    assert ours.vocab_size == 49408
    assert torch.equal(ours(TEXTS), theirs(TEXTS))


@pytest.mark.parametrize("merges", [0, 1, 300, 4096])
def test_a_tokenizer_of_n_merges_has_n_plus_514_tokens(merges: int) -> None:
    tokenizer = build_tokenizer(merges, 40)
    assert len(tokenizer.encoder) == tokenizer.vocab_size == merges + 514
    assert tokenizer.eot_token_id == merges + 513, "CLIP finds the end of a text as its largest token"
    assert tokenizer(TEXTS).max() == merges + 513


@pytest.fixture(scope="module")
def tokenizers() -> tuple[SimpleTokenizer, SimpleTokenizer]:
    return build_tokenizer(300, 40), SimpleTokenizer()


@given(st.text(max_size=30))
def test_the_short_vocabulary_spells_what_the_full_one_spells(
    tokenizers: tuple[SimpleTokenizer, SimpleTokenizer], text: str
) -> None:
    short, full = tokenizers
    tokens = short.encode(text)
    assert all(token < 812 for token in tokens)
    assert short.decode(tokens) == full.decode(full.encode(text))


def test_building_networks_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    VQGAN(VQ)
    VQGAN(GUMBEL)
    CLIP(VIT)
    CLIP(clip_recipe.architecture())
    assert capfd.readouterr() == ("", "")


@pytest.mark.gpu
@torch.no_grad()
def test_the_networks_agree_between_gpu_and_cpu() -> None:
    torch.manual_seed(8)
    vqgan, clip = VQGAN(VQ).eval(), CLIP(VIT).eval()
    z, views = torch.randn(1, 8, 6, 6), torch.rand(2, 3, 32, 32)
    cpu = vqgan.decode(z), clip.encode_image(views), clip.encode_text(TEXTS)
    vqgan, clip = vqgan.cuda(), clip.cuda()
    gpu = vqgan.decode(z.cuda()), clip.encode_image(views.cuda()), clip.encode_text(TEXTS)
    for ours, other in zip(gpu, cpu, strict=True):
        assert torch.allclose(ours.cpu(), other, atol=2e-3)
