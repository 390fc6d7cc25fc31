"""Checkpoints in the layouts that people have: each gives the network that was put into it, or is told what it is."""

from __future__ import annotations

import gzip
import json
import re
import sys
import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from support.networks import SMALL_VQ
from torch import Tensor

from vqclip.cli.main import run
from vqclip.errors import WeightsError
from vqclip.models.vqgan import TamingNetwork
from vqclip.types import VQGANArchitecture
from vqclip.weights import collected, load
from vqclip.weights.convert import convert_vqgan
from vqclip.weights.foreign import read_vqgan

# three levels, one of them wider, attention on the last: nothing that could be mixed up is of one shape
SHAPE = VQGANArchitecture(
    ch=32, ch_mult=(1, 2, 2), num_res_blocks=1, attn_levels=(2,), z_channels=8, embed_dim=4, n_embed=16
)


@pytest.fixture(scope="module")
def held() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    state = TamingNetwork(SHAPE).state_dict()
    return {name: torch.randn(value.shape, generator=generator) for name, value in state.items()}


def same(path: Path, held: Mapping[str, Tensor], shape: VQGANArchitecture = SHAPE) -> None:
    """Check that a checkpoint holds these tensors and no others, and builds a network."""
    architecture, tensors = read_vqgan(path)
    assert architecture == shape
    assert tensors.keys() == held.keys()
    assert all(torch.equal(tensors[name], held[name]) for name in held)
    vqgan, digest = load.load_vqgan(f"{path}/" if path.is_dir() else str(path))
    assert len(digest) == 64 and torch.equal(vqgan.codebook, held["quantize.embedding.weight"])


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load.load_vqgan(f"{path}/" if path.is_dir() else str(path))
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def under(prefix: str, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in held.items()}


# wrappers and prefixes

WRAPPED: dict[str, Callable[[Any], Any]] = {
    "bare": lambda h: h,
    "model": lambda h: {"model": h, "optimizer": {"state": {0: {"exp_avg": torch.zeros(9)}}, "param_groups": [{}]}},
    "ema": lambda h: {"ema": h, "step": 5},
    "params": lambda h: {"params": h},
    "generator": lambda h: {"generator": h, "discriminator": {"conv_in.weight": torch.zeros(3)}},
    "state_dict in model": lambda h: {"state_dict": {"model": h}},
    "ordered": lambda h: OrderedDict(state_dict=OrderedDict(h), epoch=3),
    "four deep": lambda h: {"a": {"b": {"c": {"d": h}}}},
}  # fmt: skip
PREFIXES = ["module.", "module.model.", "_orig_mod.", "_forward_module.", "vae.", "generator.", "first_stage_model.",
            "model.first_stage_model.", "net._orig_mod.module.", "something.of_ones.own."]  # fmt: skip


@pytest.mark.parametrize("wrapper", WRAPPED)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_wrappers(wrapper: str, legacy: bool, held: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save(WRAPPED[wrapper](held), path, _use_new_zipfile_serialization=not legacy)
    same(path, held)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes(prefix: str, held: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": under(prefix, held) | {"loss.logvar": torch.zeros(1)}}, tmp_path / "a.ckpt")
    same(tmp_path / "a.ckpt", held)
    safetensors.torch.save_file(under(prefix, held), tmp_path / "a.safetensors")
    same(tmp_path / "a.safetensors", held)


def test_a_wrapper_between_the_names(held: dict[str, Tensor], tmp_path: Path) -> None:
    """As torch.compile leaves it where it compiled the decoder, and DataParallel the encoder."""
    names = {n: n.replace("decoder.", "decoder._orig_mod.").replace("encoder.", "encoder.module.") for n in held}
    torch.save({names[name]: value for name, value in held.items()}, tmp_path / "a.ckpt")
    same(tmp_path / "a.ckpt", held)


def test_of_several_the_average_with_a_codebook_is_taken(held: dict[str, Tensor], tmp_path: Path) -> None:
    other = {name: value + 1 for name, value in held.items()}
    condition = {name: value for name, value in other.items() if not name.startswith("quantize")}
    content = {"model": other, "ema": held, "cond_stage_model": other, "discriminator": condition}
    torch.save(content, tmp_path / "a.ckpt")
    same(tmp_path / "a.ckpt", held)
    torch.save(under("first_stage_model.", held) | under("cond_stage_model.", other), tmp_path / "b.ckpt")
    same(tmp_path / "b.ckpt", held)
    torch.save({"model": held, "ema": condition}, tmp_path / "c.ckpt")
    same(tmp_path / "c.ckpt", held)


# what frameworks leave beside the weights


def foreign_class(module: str, name: str, base: type, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a class that is there while a checkpoint is written, and gone when it is read."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        above = ".".join(parts[:count])
        monkeypatch.setitem(sys.modules, above, types.ModuleType(above))
    made = type(name, (base,), {"__module__": module})
    setattr(sys.modules[module], name, made)
    return made


def test_hyper_parameters_of_lightning(
    held: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapping = foreign_class("pytorch_lightning.utilities.parsing", "AttributeDict", dict, monkeypatch)
    listing = foreign_class("omegaconf.listconfig", "ListConfig", list, monkeypatch)
    value = foreign_class("hydra.of", "Settings", object, monkeypatch)()
    value.lr = 0.1
    content = {
        "state_dict": held,
        "hyper_parameters": mapping(lr=0.1, layers=listing([1, 2]), deep=mapping(a=1, b=2), rest=value),
        "counts": defaultdict(int, {"steps": 3}),
        "lists": defaultdict(list, {"a": [1], "b": [2]}),
        "callbacks": {"path": Path("/tmp")},
    }
    torch.save(content, tmp_path / "a.ckpt")
    torch.save(content, tmp_path / "b.ckpt", _use_new_zipfile_serialization=False)
    monkeypatch.undo()
    same(tmp_path / "a.ckpt", held)
    same(tmp_path / "b.ckpt", held)


def test_a_name_of_no_framework_is_still_refused(
    held: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapping = foreign_class("subprocess_like", "Popen", dict, monkeypatch)
    torch.save({"state_dict": held, "x": mapping(a=1)}, tmp_path / "a.ckpt")
    assert "nothing was run" in refusal(tmp_path / "a.ckpt")


# quantizers

_BOOK = "quantize.embedding.weight"
BOOKS: dict[str, Callable[[Tensor], dict[str, Tensor]]] = {
    "taming's average": lambda b: {_BOOK: b, "quantize.embedding.cluster_size": torch.ones(16),
                                   "quantize.embedding.embed_avg": b + 1},
    "remapped": lambda b: {_BOOK: b, "quantize.used": torch.arange(16)},
    "columns": lambda b: {"quantize.embed": b.t().contiguous(), "quantize.cluster_size": torch.ones(16),
                          "quantize.embed_avg": b.t() + 1},
    "one head": lambda b: {"quantize._codebook.embed": b[None], "quantize._codebook.embed_avg": b[None] + 1,
                           "quantize._codebook.cluster_size": torch.ones(1, 16),
                           "quantize._codebook.initted": torch.ones(1)},
    "quantizer": lambda b: {"quantizer.embedding.weight": b, "quantizer.usage": torch.zeros(16)},
}  # fmt: skip


@pytest.mark.parametrize("book", BOOKS)
def test_codebooks_of_other_quantizers(book: str, held: dict[str, Tensor], tmp_path: Path) -> None:
    rest = {name: value for name, value in held.items() if name != _BOOK}
    torch.save({"state_dict": rest | BOOKS[book](held[_BOOK])}, tmp_path / "a.ckpt")
    same(tmp_path / "a.ckpt", held)


def test_as_many_codes_as_dimensions(tmp_path: Path) -> None:
    shape = VQGANArchitecture(**vars(SMALL_VQ) | {"n_embed": 4, "resolution": VQGANArchitecture.resolution})
    held = {n: torch.randn(v.shape) for n, v in TamingNetwork(shape).state_dict().items()}
    rest = {name: value for name, value in held.items() if name != _BOOK}
    for name, book in (
        ("quantize.embed", held[_BOOK].t().contiguous()),
        ("quantize._codebook.embed", held[_BOOK][None]),
    ):
        torch.save(rest | {name: book}, tmp_path / "a.ckpt")
        same(tmp_path / "a.ckpt", held, shape)


def test_several_codebooks_are_named(held: dict[str, Tensor], tmp_path: Path) -> None:
    rest = {name: value for name, value in held.items() if name != _BOOK}
    torch.save(rest | {"quantize._codebook.embed": torch.randn(2, 16, 4)}, tmp_path / "a.ckpt")
    assert "several codebooks" in refusal(tmp_path / "a.ckpt")


# several files, packed files, folders


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_shards_are_read_by_index_by_any_part_and_by_their_folder(
    ending: str, held: dict[str, Tensor], tmp_path: Path
) -> None:
    names = [f"model-{number:05}-of-00003.{ending}" for number in (1, 2, 3)]
    for place, name in enumerate(names):
        part = dict(list(held.items())[place::3])
        if ending == "bin":
            torch.save(part, tmp_path / name)
        else:
            safetensors.torch.save_file(part, tmp_path / name)
    same(tmp_path / names[1], held)
    same(tmp_path, held)
    places = {tensor: names[place % 3] for place, tensor in enumerate(held)}
    index = tmp_path / f"model.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    same(index, held)
    digest = collected.sha256(index)
    assert digest == collected.sha256(tmp_path / names[0]) == load.load_vqgan(str(index))[1]
    (tmp_path / names[2]).unlink()
    with pytest.raises(WeightsError, match=f"{names[2]} is missing"):
        read_vqgan(index)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"weight_map": {"a": "../secret.safetensors"}}', '{"weight_map": {"a": "/etc/passwd"}}',
             '{"weight_map": {"a": ".."}}', '{"weight_map": {"a": 3}}', " " * (9 << 20)],
    ids=lambda text: text[:40].strip() or "long",
)  # fmt: skip
def test_an_index_names_only_files_beside_it(text: str, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    refusal(index)


def test_a_packed_checkpoint(held: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": held}, tmp_path / "a.ckpt")
    packed = tmp_path / "last.ckpt.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.ckpt").read_bytes(), 1))
    same(packed, held)
    (tmp_path / "half.ckpt.gz").write_bytes(packed.read_bytes()[:-999])
    assert "cannot be unpacked" in refusal(tmp_path / "half.ckpt.gz")
    (tmp_path / "page.gz").write_bytes(gzip.compress(b"<!doctype html>"))
    assert "a web page" in refusal(tmp_path / "page.gz")


def test_a_folder_with_nothing_or_too_much_says_what_it_holds(tmp_path: Path) -> None:
    assert "no weight file" in refusal(tmp_path)
    for name in ("a.ckpt", "b.ckpt"):
        (tmp_path / name).touch()
    assert "holds a.ckpt, b.ckpt" in refusal(tmp_path)


def to_diffusers(held: Mapping[str, Tensor], old: bool = False) -> dict[str, Tensor]:
    """Return the tensors under the names of diffusers' VQModel; `old` are those of its first versions."""
    attention = dict(zip(("norm", "q", "k", "v", "proj_out"), ("group_norm", "query", "key", "value", "proj_attn")
                         if old else ("group_norm", "to_q", "to_k", "to_v", "to_out.0"), strict=True))  # fmt: skip

    def rename(name: str) -> str:
        level = re.match(r"(encoder|decoder)\.(down|up)\.(\d)\.", name)
        if level:
            number = int(level[3]) if level[2] == "down" else 2 - int(level[3])
            name = f"{level[1]}.{level[2]}_blocks.{number}." + name[level.end() :]
        name = name.replace("downsample.", "downsamplers.0.").replace("upsample.", "upsamplers.0.")
        name = re.sub(r"\.block\.(\d)", r".resnets.\1", name).replace("nin_shortcut", "conv_shortcut")
        name = re.sub(r"mid\.block_(\d)", lambda m: f"mid_block.resnets.{int(m[1]) - 1}", name)
        name = re.sub(r"\.attn\.(\d)", r".attentions.\1", name).replace("mid.attn_1", "mid_block.attentions.0")
        if ".attentions." in name:
            head, part, tail = name.rsplit(".", 2)
            name = f"{head}.{attention[part]}.{tail}"
        return name.replace("norm_out", "conv_norm_out") if ".norm_out." in name else name

    renamed = {rename(name): value for name, value in held.items()}
    return {n: v[:, :, 0, 0] if "attentions" in n and v.dim() == 4 else v for n, v in renamed.items()}


@pytest.mark.parametrize("old", [False, True])
def test_a_folder_of_diffusers_vqmodel(old: bool, held: dict[str, Tensor], tmp_path: Path) -> None:
    folder = tmp_path / "pipeline" / "vqvae"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"_class_name": "VQModel"}')
    torch.save({}, tmp_path / "pipeline" / "scheduler.bin")
    there = {n: v.clone() for n, v in to_diffusers(held, old).items()}
    assert "decoder.up_blocks.0.attentions.1." + ("query.weight" if old else "to_q.weight") in there
    safetensors.torch.save_file(there, folder / "diffusion_pytorch_model.safetensors")
    same(folder, held)
    same(folder.parent, held)


def test_a_kl_autoencoder_is_read_and_a_movq_is_named(held: dict[str, Tensor], tmp_path: Path) -> None:
    rest = {name: value for name, value in held.items() if name != _BOOK}
    kl = rest | {"encoder.conv_out.weight": torch.zeros(16, 64, 3, 3), "encoder.conv_out.bias": torch.zeros(16)}
    kl |= {"quant_conv.weight": torch.zeros(8, 16, 1, 1), "quant_conv.bias": torch.zeros(8)}
    safetensors.torch.save_file(under("first_stage_model.", kl), tmp_path / "kl.safetensors")
    safetensors.torch.save_file({n: v.clone() for n, v in to_diffusers(kl).items()}, tmp_path / "sd.safetensors")
    for name in ("kl", "sd"):
        architecture, tensors = read_vqgan(tmp_path / f"{name}.safetensors")
        assert architecture.quantizer == "none" and architecture.embed_dim == 4
        assert tensors.keys() == kl.keys() and all(torch.equal(tensors[n], kl[n]) for n in kl)
        load.load_vqgan(str(tmp_path / f"{name}.safetensors"))
    safetensors.torch.save_file(held | {"decoder.norm_out.conv_y.weight": torch.zeros(2)}, tmp_path / "m.safetensors")
    assert "MoVQ" in refusal(tmp_path / "m.safetensors")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.qint8])
def test_quantized_weights_are_refused_with_words(dtype: torch.dtype, held: dict[str, Tensor], tmp_path: Path) -> None:
    name = "decoder.conv_out.weight"
    value = torch.quantize_per_tensor(held[name], 0.1, 0, dtype) if dtype == torch.qint8 else held[name].to(dtype)
    torch.save({"state_dict": held | {name: value}}, tmp_path / "a.ckpt")
    told = refusal(tmp_path / "a.ckpt")
    assert "quantized weights" in told and "fp16" in told


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_read(dtype: torch.dtype, held: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": {name: value.to(dtype) for name, value in held.items()}}, tmp_path / "a.ckpt")
    same(tmp_path / "a.ckpt", {name: value.to(dtype).float() for name, value in held.items()})


def test_a_folder_is_converted_to_one_file(
    held: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "vqvae"
    folder.mkdir()
    safetensors.torch.save_file(
        {n: v.clone() for n, v in to_diffusers(held).items()}, folder / "diffusion_pytorch_model.safetensors"
    )
    assert run(["models", "convert", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "vqvae.safetensors")
    same(tmp_path / "vqvae.safetensors", held)
    assert convert_vqgan(folder, tmp_path / "b.safetensors") == SHAPE


@pytest.mark.parametrize(
    ("begin", "words"),
    [(b"GGUF\3\0\0\0", "GGUF"), (b"\xfd7zXZ\0\0\4", "xz"), (b"BZh91AY&", "bzip2"), (b"\x28\xb5\x2f\xfd", "zstd"),
     (b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a\7", "rar"), (b"\x89HDF\r\n\x1a\n", "HDF5"),
     (b"\x93NUMPY\1\0v\0", "numpy"), (b"\0" * 257 + b"ustar", "tar")],
)  # fmt: skip
def test_other_containers_are_named(begin: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(begin + bytes(300))
    assert words in refusal(tmp_path / "a.ckpt")
