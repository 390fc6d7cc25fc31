"""Decoders beside taming's: each equals the program it comes from, and draws as any other does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from PIL import Image
from support import decoders
from support.checkpoints import record
from support.command_line import CommandLine
from support.networks import assert_equal
from support.pictures import photo, sha
from support.runs import models, small
from support.serving import Server
from torch import Tensor, nn
from torch.nn.functional import normalize

from vqclip.drawables.spaces import Normal, space_of
from vqclip.errors import UsageError, WeightsError
from vqclip.generation import resolve
from vqclip.models.vqgan import VQGAN
from vqclip.types import VQGANArchitecture
from vqclip.weights import catalog, memory
from vqclip.weights.convert import convert_vqgan
from vqclip.weights.foreign import read_vqgan
from vqclip.weights.load import load_vqgan

LAYOUTS: dict[str, Callable[[], decoders.Layout]] = {
    "llamagen": decoders.llamagen, "maskgit": decoders.maskgit, "magvit2": decoders.magvit2, "taesd": decoders.taesd,
}  # fmt: skip
# What the published definitions return on these weights, every sixth part of it: encoded `signed` or `unit` pictures,
# decoded codes of `latents()` (of TAESD the latents), and the places of the first codes. Measured by running them.
MEASURED: dict[str, dict[str, Any]] = {
    "llamagen": {
        "encoded": [0.33748, 0.14898, 0.46625, 0.44458, -0.54875, -0.21393],
        "decoded": [-0.14382, 0.30876, -0.2541, 0.30411, -0.06008, -0.04394],
        "places": [21, 12, 7, 9, 39, 14, 19, 5, 6, 12, 17, 13],
    },
    "maskgit": {
        "encoded": [-0.16067, 1.05669, 0.48432, 0.34846, 1.31774, -0.31393],
        "decoded": [0.27485, 0.48217, -0.04901, 0.05244, 0.35501, 0.11885],
        "places": [19, 36, 7, 9, 39, 14, 19, 5, 15, 26, 37, 7],
    },
    "magvit2": {
        "encoded": [0.16236, -0.02906, 0.66137, 0.49911, 0.40681, 0.1178],
        "decoded": [0.05024, -0.11098, 0.0885, -0.24731, -0.14068, 0.02524],
        "places": [230, 229, 50, 205, 137, 24, 36, 121, 58, 196, 35, 91],
    },
    "taesd": {
        "encoded": [-0.1464, 0.18814, 0.16538, 0.14206, 0.16204, -0.67108],
        "decoded": [-0.60973, -0.62783, -0.05224, -0.04882, 0.09947, -0.37701],
    },
}
# of the largest product, as IBQ chooses among MaskGIT's codes here
PRODUCTS = [21, 12, 13, 9, 6, 6, 30, 1, 6, 12, 17, 13]


def saved(family: str, folder: Path) -> Path:
    """Return a checkpoint of a family in its own layout."""
    held = decoders.weights(LAYOUTS[family]())
    path = folder / f"{family}.pt"
    torch.save({"model": held} if family == "llamagen" else held, path)
    return path


def sampled(value: Tensor) -> Tensor:
    return value.flatten()[:: value.numel() // 6][:6]


def latents(channels: int = 8, height: int = 8, width: int = 12) -> Tensor:
    z = torch.randn(1, 8, 8, 12, generator=torch.Generator().manual_seed(4))
    return z[:, :channels, :height, :width]


def stirred(network: nn.Module, seed: int = 5) -> nn.Module:
    """Return a network with every weight moved off its initial value, evaluating."""
    generator = torch.Generator().manual_seed(seed)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.add_(0.05 * torch.randn(value.shape, generator=generator))
    return network.eval().requires_grad_(False)


def picture(height: int = 40, width: int = 24) -> Tensor:
    """Return a picture (1, 3, H, W) in [0, 1] that is not square."""
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("family", LAYOUTS)
def test_a_family_equals_its_published_definition(family: str, tmp_path: Path) -> None:
    vqgan, wanted = load_vqgan(str(saved(family, tmp_path)))[0], MEASURED[family]
    a = vqgan.architecture
    assert a.pixels == ("unit" if family in ("maskgit", "taesd") else "signed")
    x = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(3))
    z = vqgan.network.quant_conv(vqgan.network.encoder(x if a.pixels == "unit" else x * 2 - 1))
    assert torch.allclose(sampled(z), torch.tensor(wanted["encoded"]), atol=1e-4)
    assert_equal(vqgan.encode(x), normalize(z, dim=1) if family == "llamagen" else z)
    if family == "taesd":
        codes = latents(4, 4, 6)
    else:
        codes, places = vqgan.quantize(latents())
        assert places.flatten()[:12].tolist() == wanted["places"]
        assert torch.equal(vqgan.codes(places), codes) and torch.equal(vqgan.quantize(codes)[1], places)
    shown = vqgan.network.decoder(vqgan.network.post_quant_conv(codes))
    assert shown.shape == (1, 3, 32, 48)
    assert torch.allclose(sampled(shown), torch.tensor(wanted["decoded"]), atol=1e-4)
    assert torch.equal(vqgan.decode(codes), ((shown + 1) / 2 if a.pixels == "signed" else shown).clamp(0, 1))


def test_ibq_is_told_by_its_record_or_its_yaml_and_takes_the_largest_product(tmp_path: Path) -> None:
    path = saved("maskgit", tmp_path)
    architecture, tensors = read_vqgan(path, known={"quantizer": "dot"})
    assert architecture.quantizer == "dot" and read_vqgan(path)[0].quantizer == "vq"
    vqgan = VQGAN(architecture)
    vqgan.network.load_state_dict(tensors)
    assert vqgan.quantize(latents())[1].flatten()[:12].tolist() == PRODUCTS
    assert vqgan.space == "box"


def test_the_yaml_of_ibq_and_of_open_magvit2_is_compared(tmp_path: Path) -> None:
    ddconfig = {"ch": 32, "ch_mult": [1, 1, 2], "num_res_blocks": 1, "z_channels": 12}
    target = "src.IBQ.models.ibqgan.IBQ"
    values = {"class_path": target, "init_args": {"ddconfig": ddconfig, "n_embed": 64, "embed_dim": 8}}
    (tmp_path / "ibq.yaml").write_text(json.dumps({"model": values}))
    a = VQGANArchitecture(
        ch=32, ch_mult=(1, 1, 2), num_res_blocks=1, attn_levels=(2,), z_channels=12, embed_dim=8, n_embed=64
    )
    state = {name: value.clone() for name, value in VQGAN(a).network.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "ibq.safetensors")
    vqgan = load_vqgan(str(tmp_path / "ibq.safetensors"), str(tmp_path / "ibq.yaml"))[0]
    assert vqgan.architecture == replace(a, quantizer="dot")
    values["init_args"]["n_embed"] = 65
    (tmp_path / "ibq.yaml").write_text(json.dumps({"model": values}))
    with pytest.raises(WeightsError, match="n_embed is 65 there and 64 in the weights"):
        read_vqgan(tmp_path / "ibq.safetensors", tmp_path / "ibq.yaml")
    values = {"class_path": "src.Open_MAGVIT2.models.lfqgan.VQModel", "init_args": {"ddconfig": ddconfig}}
    (tmp_path / "ibq.yaml").write_text(json.dumps({"model": values}))
    with pytest.raises(WeightsError, match="quantizer is bits there and vq in the weights"):
        read_vqgan(tmp_path / "ibq.safetensors", tmp_path / "ibq.yaml")


def test_averages_that_publishers_measured_are_taken(tmp_path: Path) -> None:
    held = decoders.weights(decoders.magvit2())
    torch.save({"state_dict": decoders.with_averages(held)}, tmp_path / "a.ckpt")
    tensors = read_vqgan(tmp_path / "a.ckpt")[1]
    assert tensors.keys() == held.keys() and all(torch.equal(tensors[name], held[name]) for name in held)
    books = decoders.weights(decoders.maskgit())
    torch.save({"state_dict": decoders.with_averages(books)}, tmp_path / "b.ckpt")
    assert torch.equal(read_vqgan(tmp_path / "b.ckpt", known={"quantizer": "dot"})[1]["decoder.conv_in.bias"],
                       books["decoder.conv_in.bias"])  # fmt: skip
    assert not torch.equal(read_vqgan(tmp_path / "b.ckpt")[1]["decoder.conv_in.bias"], books["decoder.conv_in.bias"])


@pytest.mark.parametrize("channels", [4, 16])
def test_taesd_is_read_as_diffusers_and_as_its_author_save_it(channels: int, tmp_path: Path) -> None:
    held = decoders.weights(decoders.taesd(channels))
    safetensors.torch.save_file(held, tmp_path / "diffusion_pytorch_model.safetensors")
    both = load_vqgan(str(tmp_path / "diffusion_pytorch_model.safetensors"))[0]
    torch.save(decoders.numbered(held, "decoder"), tmp_path / "taesd_decoder.pth")
    half = load_vqgan(str(tmp_path / "taesd_decoder.pth"))[0]
    assert half.architecture == replace(both.architecture, encoder=False) and half.refusal and not both.refusal
    assert torch.equal(half.decode(latents(4).repeat(1, channels // 4, 1, 1)),
                       both.decode(latents(4).repeat(1, channels // 4, 1, 1)))  # fmt: skip
    torch.save(decoders.numbered(held, "encoder"), tmp_path / "taesd_encoder.pth")
    with pytest.raises(WeightsError, match="holds the encoder of a TAESD alone"):
        load_vqgan(str(tmp_path / "taesd_encoder.pth"))
    with pytest.raises(ValueError, match="have no codes"):
        both.quantize(latents(channels))


def folder_of(network: nn.Module, folder: Path) -> VQGAN:
    """Return what vqclip makes of a network that diffusers saved."""
    network.save_pretrained(folder)
    return load_vqgan(f"{folder}/")[0]


def test_amuseds_vq_equals_diffusers(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    levels = 3
    theirs = stirred(
        diffusers.VQModel(
            block_out_channels=(32, 64, 96), down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels, layers_per_block=2, latent_channels=16, vq_embed_dim=16,
            num_vq_embeddings=60, mid_block_add_attention=False, lookup_from_codebook=True, force_upcast=True,
        )
    )  # fmt: skip
    theirs.quantize.embedding.weight.normal_(generator=torch.Generator().manual_seed(4))
    ours = folder_of(theirs, tmp_path / "vqvae")
    assert ours.architecture.pixels == "unit" and not ours.architecture.mid_attention
    z = theirs.encode(picture()).latents  # pictures in [0, 1]: its pipeline does not normalize them
    assert_equal(ours.encode(picture()), z)
    codes, indices = ours.quantize(z)
    quantized, _, (_, _, chosen) = theirs.quantize(z)
    assert torch.equal(indices.flatten(), chosen.flatten())
    assert_equal(codes, quantized)
    shape = (1, *indices.shape[1:], 16)
    shown = theirs.decode(indices, force_not_quantize=True, shape=shape).sample
    assert float(shown.max()) > 1 > 0 > float(shown.min()), "clamping would not be seen"
    assert_equal(ours.decode(codes), shown.clamp(0, 1))


def test_a_distilled_autoencoder_equals_diffusers(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs = stirred(diffusers.AutoencoderTiny())
    ours = folder_of(theirs, tmp_path / "vae")
    assert ours.architecture.family == "tiny" and ours.factor == 8
    assert_equal(ours.encode(picture()), theirs.encode(picture() * 2 - 1).latents)
    z = latents(4)
    assert_equal(ours.network.decoder(z), (theirs.decode(z).sample + 1) / 2)


@pytest.mark.parametrize(
    ("scaling", "shift", "convs"), [(0.18215, None, True), (0.13025, None, True), (1.5, 0.06, False)]
)
def test_a_kl_autoencoder_equals_diffusers(scaling: float, shift: float | None, convs: bool, tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs = stirred(
        diffusers.AutoencoderKL(
            block_out_channels=(32, 64, 64), down_block_types=("DownEncoderBlock2D",) * 3, norm_num_groups=8,
            up_block_types=("UpDecoderBlock2D",) * 3, layers_per_block=2, latent_channels=4, scaling_factor=scaling,
            shift_factor=shift, use_quant_conv=convs, use_post_quant_conv=convs,
        )
    )  # fmt: skip
    ours = folder_of(theirs, tmp_path / "vae")
    a = ours.architecture
    assert (a.quantizer, a.norm_groups, a.scale, a.shift) == ("none", 8, scaling, shift or 0.0)
    mean = theirs.encode(picture() * 2 - 1).latent_dist.mode()
    assert_equal(ours.encode(picture()), (mean - (shift or 0)) * scaling)
    shown = theirs.decode(mean).sample
    assert_equal(ours.decode(ours.encode(picture())), ((shown + 1) / 2).clamp(0, 1))
    # without its config the usual scale of such latents
    safetensors.torch.save_file({name: value.contiguous() for name, value in theirs.state_dict().items()},
                                tmp_path / "a.safetensors")  # fmt: skip
    assert read_vqgan(tmp_path / "a.safetensors")[0].scale == 0.18215


# a run


def drawable(family: str, folder: Path) -> Path:
    """Return a converted decoder of a family; of Stable Diffusion's kind in taming's layout."""
    target = folder / f"{family}.safetensors"
    if family != "kl":
        convert_vqgan(saved(family, folder), target)
        return target
    a = VQGANArchitecture(
        ch=32, ch_mult=(1, 2), num_res_blocks=1, attn_levels=(), z_channels=4, embed_dim=4, n_embed=1, quantizer="none"
    )
    state = decoders.weights({n: tuple(v.shape) for n, v in VQGAN(a).network.state_dict().items()})
    torch.save({"first_stage_model." + name: value for name, value in state.items()}, folder / "kl.ckpt")
    convert_vqgan(folder / "kl.ckpt", target)
    return target


@pytest.mark.parametrize("family", [*LAYOUTS, "kl"])
def test_every_family_draws_by_stages_again_and_goes_on(
    family: str, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = drawable(family, tmp_path)
    flags = ("a red cat", "--vqgan", path, "--size", "32", "--views", "2", "--set", "init.kind=random")
    drawn = cli.draw(*flags, "--stages", "16:0.5,full:0.5", "--steps", "4", "-o", "a.png", "--keep-run")
    assert drawn.code == 0, drawn.err
    again = cli("generate", "--from", "a.png", "--vqgan", path, "-o", "b.png", "--device", "cpu")
    assert again.code == 0 and sha("a.png") == sha("b.png")
    longer = cli("resume", "a.run", "--steps", "6")
    assert longer.code == 0 and "step 6/6" in longer.err
    shown = cli("info", "b.png", "--json")
    record = json.loads(shown.out)
    assert record["config"]["canvas"]["name"] == ("latents" if family in ("taesd", "kl") else "vqgan")
    assert any(name.startswith("vqgan:") for name in record["weights"])


@pytest.mark.parametrize("family", [*LAYOUTS, "kl"])
def test_every_family_begins_with_a_picture(family: str, cli: CommandLine, tmp_path: Path) -> None:
    photo(tmp_path / "in.png")
    path = drawable(family, tmp_path)
    flags = ("a red cat", "--vqgan", path, "--size", "32", "--views", "2", "--init-image", tmp_path / "in.png")
    told = cli.draw(*flags, "-o", tmp_path / "a.png", "--steps", "2", "--strength", "0.3")
    assert told.code == 0, told.err


def test_latents_stay_in_their_space_whatever_a_step_does(tmp_path: Path) -> None:
    sphere = space_of(load_vqgan(str(saved("llamagen", tmp_path)))[0])
    z = 3 * torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(sphere.settled(z).norm(dim=1), torch.ones(2, 4, 4))
    assert torch.allclose(sphere.mixed(z, -z.flip(0), 0.4).norm(dim=1), torch.ones(2, 4, 4))
    assert torch.allclose(sphere.random((1, 2), 4, 4).norm(dim=1), torch.ones(2, 4, 4))
    assert sphere.spread == pytest.approx(8**-0.5)
    assert torch.allclose(sphere.within(z).norm(dim=1), torch.ones(2, 4, 4))
    signs = space_of(load_vqgan(str(saved("magvit2", tmp_path)))[0])
    assert set(signs.random((1,), 4, 4).unique().tolist()) == {-1.0, 1.0} and float(signs.settled(z).abs().max()) == 1
    normal = space_of(load_vqgan(str(saved("taesd", tmp_path)))[0])
    assert isinstance(normal, Normal)
    z = z[:, :4]
    settled = normal.settled(z)
    sizes = settled.square().mean((1, 2, 3)).sqrt()
    before = z.clamp(-4, 4).square().mean((1, 2, 3)).sqrt()
    assert bool((before > 1.5).all()) and torch.allclose(sizes, before + 0.2 * (1 - before))
    assert torch.equal(normal.settled(z / 100), z / 100), "what is small is let be"
    assert float(replace(normal, pull=0.0).settled(100 * z).abs().max()) == 4


def test_latents_of_a_vqgan_with_codes_are_drawn_without_choosing_them(cli: CommandLine, tmp_path: Path) -> None:
    path = drawable("llamagen", tmp_path)
    flags = ("a cat", "--vqgan", path, "--canvas", "latents", "--size", "32", "--set", "latent.ema=0.8")
    told = cli.draw(*flags, "--set", "latent.noise=0.5", "--set", "init.kind=random", "-o", tmp_path / "a.png")
    assert told.code == 0, told.err
    again = cli("generate", "--from", tmp_path / "a.png", "--vqgan", path, "-o", tmp_path / "b.png", "--device", "cpu")
    assert again.code == 0 and sha(tmp_path / "a.png") == sha(tmp_path / "b.png")


def test_cells_that_a_mask_keeps_stay_when_latents_are_settled(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "in.png")
    mask = Image.new("L", (32, 32), 0)
    mask.paste(255, (8, 8, 24, 24))
    mask.save("mask.png")
    for family in ("taesd", "llamagen"):
        flags = ("a cat", "--vqgan", drawable(family, tmp_path), "--init-image", "in.png", "--mask", "mask.png")
        told = cli.draw(*flags, "--size", "32", "--views", "2", "-o", f"{family}.png")
        assert told.code == 0, told.err
        inside = Image.open(f"{family}.png").crop((0, 0, 32, 8)).tobytes()
        given = Image.open("in.png").resize((32, 32))
        assert inside != given.crop((8, 8, 24, 24)).tobytes()


def kept_for_the_gradient(name: str) -> float:
    """Return the estimate of decoding 64 pixels by a narrow network as a share of what is kept for the gradient."""
    fields = {n: tuple(v) if isinstance(v, list) else v for n, v in catalog.find("vqgan", name).architecture.items()}
    few = {} if fields.get("quantizer") in ("bits", "none") else {"n_embed": 16}
    vqgan = VQGAN(VQGANArchitecture(**fields | {"ch": 32} | few)).eval().requires_grad_(False)
    kept: dict[int, tuple[int, Tensor]] = {}

    def remember(value: Tensor) -> Tensor:
        kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes(), value
        return value

    z = torch.randn(1, vqgan.channels, 64 // vqgan.factor, 64 // vqgan.factor).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(remember, lambda value: value):
        vqgan.decode(z)
    weights = {value.untyped_storage().data_ptr() for value in vqgan.parameters()}
    total = sum(size for place, (size, _) in kept.items() if place not in weights)
    return memory.decoder_bytes(vqgan.architecture, 64, 64) / total


@pytest.mark.parametrize("name", ["llamagen_f8", "maskgit_vq", "amused_vq", "open_magvit2", "taesd", "sd_vae"])
def test_the_estimate_of_memory_knows_every_family(name: str) -> None:
    """It was fitted to peaks of taming's; of the others it is as large beside what they keep."""
    assert 0.75 < kept_for_the_gradient(name) / kept_for_the_gradient("imagenet_f16_1024") < 1.9


@pytest.mark.parametrize(
    ("family", "fields"),
    [("llamagen", {"quantizer": "cosine"}), ("maskgit", {"quantizer": "dot", "family": "maskgit"}),
     ("taesd", {"family": "tiny", "scale": 1.0})],
)  # fmt: skip
def test_a_record_is_got_converted_verified_and_listed(
    family: str, fields: dict[str, Any], home: Path, served: Server, cli: CommandLine, tmp_path: Path
) -> None:
    served.body = saved(family, tmp_path).read_bytes()
    record(home, served, architecture=fields)
    assert cli("models", "get", "mine", "--decoder-only", "--dtype", "fp16").code == 0
    architecture = load_vqgan("mine")[0].architecture
    assert not architecture.encoder and {name: getattr(architecture, name) for name in fields} == fields
    assert cli("models", "get", "mine").code == 0
    assert not load_vqgan("mine")[0].refusal
    assert cli("models", "verify", "mine").code == 0
    assert "mine" in cli("models", "list").out
    record(home, served, name="other", architecture=fields | {"embed_dim": 5})
    told = cli("models", "get", "other")
    assert told.code == 3 and "holds another VQGAN than its name says" in told.complaints[0]


# bad input


def refused(cli: CommandLine, *args: str | Path, code: int = 3) -> str:
    """Return the one line that a refused run says."""
    told = cli.draw("a cat", *args, "--size", "32", "--views", "2")
    assert told.code == code, (told.code, told.err)
    assert len(told.complaints) == 1, told.err
    return told.complaints[0]


def test_a_decoder_alone_begins_with_no_picture_and_says_so(cli: CommandLine, tmp_path: Path) -> None:
    photo(tmp_path / "in.png")
    held = decoders.weights(decoders.taesd())
    torch.save(decoders.numbered(held, "decoder"), tmp_path / "taesd_decoder.pth")
    said = refused(cli, "--vqgan", tmp_path / "taesd_decoder.pth", "--init-image", tmp_path / "in.png")
    assert "holds no encoder" in said and "get it whole" in said
    flags = ("--vqgan", tmp_path / "taesd_decoder.pth", "--stages", "16:0.5,full:0.5", "--set", "init.kind=random")
    assert "--stages full:1" in refused(cli, *flags)
    told = cli.draw("a cat", "--vqgan", tmp_path / "taesd_decoder.pth", "--size", "32", "-o", tmp_path / "a.png")
    assert told.code == 0, told.err


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"latent_channels": 16}, "latent_channels is 16 there and 4 in the weights"),
        ({"_class_name": "UNet2DModel"}, "describes a UNet2DModel"),
        ({"scaling_factor": "wide"}, "scaling_factor"),
        ({"_class_name": "VQModel", "latent_channels": None, "norm_num_groups": 0}, "whole numbers from 1"),
        ({"_class_name": "VQModel", "norm_type": "spatial"}, "MoVQ"),
        ({"_class_name": "AutoencoderKL", "latents_mean": [0.0]}, "that is not drawn with"),
        (None, "cannot read"),
    ],
)
def test_a_config_that_disagrees_with_the_tensors(
    change: dict[str, Any] | None, word: str, cli: CommandLine, tmp_path: Path
) -> None:
    folder = tmp_path / "vae"
    folder.mkdir()
    held = decoders.weights(decoders.taesd())
    safetensors.torch.save_file(held, folder / "diffusion_pytorch_model.safetensors")
    config = {"_class_name": "AutoencoderTiny", "latent_channels": 4} | (change or {})
    (folder / "config.json").write_text(json.dumps(config) if change else "{")
    assert word in refused(cli, "--vqgan", f"{folder}/")
    assert word in refused(cli, "--vqgan", folder / "diffusion_pytorch_model.safetensors")


def test_a_canvas_that_does_not_fit_the_latents(cli: CommandLine, tmp_path: Path) -> None:
    path = drawable("taesd", tmp_path)
    said = refused(cli, "--vqgan", path, "--set", "losses.commitment=1", code=2)
    assert "needs codes" in said
    assert "0.1 to 100" in refused(cli, "--vqgan", path, "--set", "canvas.options.bound=0", code=2)
    assert "0 to 1" in refused(cli, "--vqgan", path, "--set", "canvas.options.pull=2", code=2)
    flags = ("--canvas", "latents", "--set", "canvas.options.bound=2")
    assert "the codes of this VQGAN do" in refused(cli, *flags, code=2)
    told = refused(cli, "--vqgan", path, "--prior", "tiny", "--init", "prior")
    assert "draws codes, and this VQGAN has none" in told


def test_fp16_is_refused_where_numbers_would_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "precision", lambda *_: "fp16")
    vqgan, clips = models().vqgan.architecture, [clip.architecture for clip in models().clips]
    resolve.resolve(small(), vqgan, clips)
    with pytest.raises(UsageError, match="too large for fp16: give --precision bf16 or fp32"):
        resolve.resolve(small(), replace(vqgan, fp16=False), clips)


def test_another_network_is_no_decoder(tmp_path: Path) -> None:
    held = decoders.weights(decoders.maskgit())
    del held["quantize.embedding.weight"]
    torch.save(held, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"quantize.embedding.weight is missing.*give --vqgan another file"):
        load_vqgan(str(tmp_path / "a.pt"))
    wrong = decoders.weights(decoders.taesd()) | {"decoder.layers.0.weight": torch.zeros(32, 4, 3, 3)}
    torch.save(wrong, tmp_path / "b.pt")
    with pytest.raises(WeightsError, match=r"b\.pt"):
        load_vqgan(str(tmp_path / "b.pt"))
