"""Checkpoints of other programs: read safely, converted, loaded, drawn with; known names, and getting them."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from support.checkpoints import NARROW, lightning, model_yaml, record, reference, theirs
from support.command_line import CommandLine
from support.networks import assert_equal
from support.pictures import photo, sha
from support.runs import small
from support.serving import Server

import vqclip
from vqclip import resources
from vqclip.cli.main import run
from vqclip.errors import UsageError, WeightsError
from vqclip.generation.models import Models
from vqclip.models import openclip
from vqclip.models.clip import CLIP
from vqclip.types import CLIPArchitecture, VQGANArchitecture
from vqclip.weights import cache, catalog, files, get, load
from vqclip.weights.convert import convert_vqgan
from vqclip.weights.foreign import read_vqgan
from vqclip.writers import metadata

pytestmark = pytest.mark.usefixtures("home")

# what else stands in a transformer's bundle
_BESIDE = {
    "cond_stage_model.quantize.embedding.weight": torch.ones(5, 3),
    "cond_stage_model.encoder.conv_in.weight": torch.ones(2),
    "transformer.tok_emb.weight": torch.ones(4),
    "first_stage_model.loss.discriminator.main.0.weight": torch.ones(3),
}


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("way", ["zip", "legacy", "bundle", "safetensors"])
def test_networks_equal_tamings_own_through_the_whole_path(name: str, way: str, tmp_path: Path) -> None:
    a, network = VQGANArchitecture(**NARROW[name]), theirs(name)
    source = tmp_path / "last.ckpt"
    if way == "safetensors":
        safetensors.torch.save_file({n: v.contiguous() for n, v in network.state_dict().items()}, source)
    else:
        bundle = {**_BESIDE, "cond_stage_model.decoder.conv_in.weight": torch.zeros(3, 3)} if way == "bundle" else {}
        lightning(source, network, "first_stage_model." if way == "bundle" else "", way == "legacy", **bundle)
    found = convert_vqgan(source, tmp_path / "a.safetensors", expected={"n_embed": 40, "ch_mult": list(a.ch_mult)})
    assert found == a
    vqgan, _ = load.load_vqgan(str(tmp_path / "a.safetensors"))
    picture = torch.rand(2, 3, 4 * a.factor, 4 * a.factor, generator=torch.Generator().manual_seed(1))
    h = network.quant_conv(network.encoder(picture * 2 - 1))
    if a.quantizer == "gumbel":
        indices = network.quantize.proj(h).argmax(1)
        assert torch.equal(vqgan.quantize(vqgan.encode(picture))[1], indices)
        codes = network.quantize.embed(indices).permute(0, 3, 1, 2)
    else:
        assert_equal(vqgan.encode(picture), h)
        codes, _, (_, _, indices) = network.quantize(h)
        indices = indices.view(2, 4, 4)
        assert torch.equal(vqgan.quantize(h)[1], indices)
    assert_equal(vqgan.codes(indices), codes)
    inside = (network.decoder(network.post_quant_conv(codes)) + 1) / 2
    assert_equal(vqgan.decode(codes), inside.clamp(0, 1))


@pytest.mark.parametrize("name", NARROW)
def test_a_file_of_ones_own_is_drawn_with_as_it_is(name: str, tmp_path: Path, cli: CommandLine) -> None:
    a = VQGANArchitecture(**NARROW[name])
    source = lightning(tmp_path / "mine.ckpt", theirs(name))
    config = model_yaml(tmp_path / "mine.yaml", a)
    told = cli.draw("a cat", "--vqgan", source, "--vqgan-config", config, "--steps", "2", "-o", tmp_path / "a.png")
    assert told.code == 0, told.err
    again = cli.draw("a cat", "--vqgan", source, "--steps", "2", "-o", tmp_path / "b.png")
    assert sha(again.files[0]) == sha(tmp_path / "a.png")


def test_what_only_training_needs_is_left_out_and_fp16_halves_the_rest(tmp_path: Path) -> None:
    source = lightning(tmp_path / "a.ckpt", theirs("f16"), extra=torch.zeros(1 << 20))
    sizes = {}
    for kept, options in {"full": {}, "decoder": {"decoder_only": True}, "half": {"dtype": "fp16"}}.items():
        convert_vqgan(source, tmp_path / f"{kept}.safetensors", **options)
        sizes[kept] = (tmp_path / f"{kept}.safetensors").stat().st_size
    assert sizes["full"] < source.stat().st_size - (4 << 20)
    assert sizes["decoder"] < 0.75 * sizes["full"] and sizes["half"] < 0.51 * sizes["full"]
    info = files.read(tmp_path / "full.safetensors", "vqgan").info
    assert info["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest() and info["conversion"] == 1


def test_a_decoder_alone_draws_on_one_grid_and_says_what_it_lacks(tmp_path: Path, cli: CommandLine) -> None:
    source = lightning(tmp_path / "a.ckpt", theirs("f16"))
    alone = tmp_path / "alone.safetensors"
    convert_vqgan(source, alone, decoder_only=True)
    a, b = (cli.draw("a cat", "--vqgan", path, "-o", tmp_path / f"{path.stem}.png") for path in (source, alone))
    assert a.code == b.code == 0 and sha(a.files[0]) == sha(b.files[0])
    for flags in (("--init-image", photo(tmp_path / "p.png")), ("--stages", "32:0.5,full:0.5")):
        told = cli.draw("a cat", "--vqgan", alone, *flags)
        assert told.code == 3 and "no encoder" in told.complaints[0] and len(told.complaints) == 1


def test_dead_codes_are_never_chosen(tmp_path: Path) -> None:
    network = theirs("f16")
    held = dict(network.state_dict())
    held["quantize.embedding.weight"] = torch.cat([network.quantize.embedding.weight, torch.full((20, 32), 1e-4)])
    safetensors.torch.save_file(held, tmp_path / "a.safetensors")
    vqgan, _ = load.load_vqgan(str(tmp_path / "a.safetensors"))
    near_nothing = torch.zeros(1, 32, 3, 3)
    codes, indices = vqgan.quantize(near_nothing)
    norms = network.quantize.embedding.weight.square().sum(1)
    assert (indices == norms.argmin()).all() and torch.equal(codes, vqgan.codes(indices))
    assert len(vqgan.codebook) == 60 and len(vqgan.live_codebook) == 40


def test_dead_codes_change_no_bit(tmp_path: Path) -> None:
    network = theirs("f16")
    pictures = []
    for name, size in (("live", 40), ("dead", 60)):
        book = torch.cat([network.quantize.embedding.weight, torch.full((size - 40, 32), 1e-4)])
        held = {n: v for n, v in network.state_dict().items() if "embedding" not in n}
        path = tmp_path / f"{name}.safetensors"
        safetensors.torch.save_file({**held, "quantize.embedding.weight": book}, path)
        config = small("a cat", models={"vqgan": str(path), "prior": "", "upsampler": ""})
        pictures.append(vqclip.generate(config, Models.load(config)).image)
    assert sha(pictures[0]) == sha(pictures[1])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"params": {"n_embed": 41, "ddconfig": {}}}, "n_embed is 41 there and 40 in the weights"),
        ({"params": {"n_embed": 40, "ddconfig": {"ch": 64}}}, "ch is 64 there and 32"),
        ({"params": {"n_embed": 40, "ddconfig": {"ch_mult": [1, 2]}}}, "ch_mult is"),
        ({"target": "taming.models.vqgan.GumbelVQ", "params": {"ddconfig": {}}}, "quantizer is gumbel"),
        ({"target": "os.system"}, "names the target 'os.system'"),
        ({"params": {"ddconfig": {"deep": [{"target": "subprocess.Popen"}]}}}, "names the target 'subprocess.Popen'"),
        ({"target": "taming.models.vqgan.Other"}, "describes a taming.models.vqgan.Other"),
        ({"params": 3}, "no model.params"),
    ],
)
def test_a_yaml_that_does_not_fit_or_names_foreign_things_is_refused(change: dict, reason: str, tmp_path: Path) -> None:
    source = lightning(tmp_path / "a.ckpt", theirs("f16"))
    config = model_yaml(tmp_path / "a.yaml", VQGANArchitecture(**NARROW["f16"]), **change)
    with pytest.raises(WeightsError, match=reason) as caught:
        read_vqgan(source, config)
    assert "\n" not in str(caught.value)


_MANY = {i: ", ".join([f"*x{i - 1}"] * 9) for i in range(1, 30)}
_LISTS = "\n".join(["x0: &x0 [1]", *(f"x{i}: &x{i} [{many}]" for i, many in _MANY.items())])
_MERGES = "\n".join(["x0: &x0 {a: 1}", *(f"x{i}: &x{i} {{<<: [{many}]}}" for i, many in _MANY.items())])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "cannot be read"),
        ("model: 1", "no model.params"),
        ("", "no model.params"),
        ("model: {params: {}}\n" + "# x\n" * (1 << 18), "over 1 MB"),
        ("\x00", "cannot be read"),
        (f"{_LISTS}\nmodel: {{target: *x29, params: {{}}}}", "aliases"),
        (f"{_MERGES}\nmodel: {{params: *x29}}", "aliases"),
    ],
    ids=lambda value: value[:12],
)
def test_a_yaml_that_is_none_or_explodes_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    source = lightning(tmp_path / "a.ckpt", theirs("f16"))
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(WeightsError, match=reason) as told:
        read_vqgan(source, tmp_path / "a.yaml")
    assert "\n" not in str(told.value) and told.value.exit_code == 3


class Evil:
    """Writes a marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("name", ["a.ckpt", "a.safetensors", "a.pt"])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_runs_code_runs_none(name: str, legacy: bool, tmp_path: Path, cli: CommandLine) -> None:
    marker = tmp_path / "marker"
    held = OrderedDict(theirs("f16").state_dict())
    torch.save({"state_dict": held, "x": Evil(marker)}, tmp_path / name, _use_new_zipfile_serialization=not legacy)
    told = cli.draw("a cat", "--vqgan", tmp_path / name)
    assert told.code == 3 and len(told.complaints) == 1 and not marker.exists()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda held: held.pop("post_quant_conv.weight"), "post_quant_conv.weight is missing"),
        (lambda held: held.pop("decoder.norm_out.weight"), "1 tensors missing"),
        (lambda held: held.pop("encoder.conv_in.weight"), "encoder.conv_in.weight is missing"),
        (lambda held: held.pop("quantize.embedding.weight"), "quantize.embedding.weight is missing"),
        (lambda held: held["decoder.conv_in.bias"].fill_(float("nan")), "not finite"),
        (lambda held: [held.pop(name) for name in list(held) if name.startswith("decoder.")], "holds no VQGAN"),
    ],
)
def test_a_checkpoint_that_lacks_something_is_refused(
    spoil: Any, reason: str, tmp_path: Path, cli: CommandLine
) -> None:
    held = OrderedDict((name, value.clone()) for name, value in theirs("f16").state_dict().items())
    spoil(held)
    torch.save({"state_dict": held}, tmp_path / "a.ckpt")
    told = cli.draw("a cat", "--vqgan", tmp_path / "a.ckpt")
    assert told.code == 3 and reason in told.complaints[0] and len(told.complaints) == 1


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1\n", b"x" * 99]
)
@pytest.mark.parametrize("name", ["a.ckpt", "a.safetensors"])
def test_what_is_no_checkpoint_is_refused(content: bytes, name: str, tmp_path: Path, cli: CommandLine) -> None:
    (tmp_path / name).write_bytes(content)
    told = cli.draw("a cat", "--vqgan", tmp_path / name)
    assert told.code == 3 and len(told.complaints) == 1


def test_a_folder_or_a_truncated_file_is_refused(tmp_path: Path, cli: CommandLine) -> None:
    source = lightning(tmp_path / "a.ckpt", theirs("f16"))
    (tmp_path / "half.ckpt").write_bytes(source.read_bytes()[:-5000])
    for path in (tmp_path / "half.ckpt", f"{tmp_path}/"):
        told = cli.draw("a cat", "--vqgan", path)
        assert told.code == 3 and len(told.complaints) == 1


# known names


def test_a_known_name_is_got_once_and_drawn_with(
    served: Server, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["a cat", "--vqgan", "mine", "--size", "64", "--steps", "1", "--views", "2", "--seed", "3"]
    assert run([*common, "-o", str(tmp_path / "a.png")]) == 3
    assert "run 'vqclip models get mine'" in capsys.readouterr().err
    assert run(["models", "get", "mine"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == home / "weights" / "vqgan-mine.safetensors" and path.exists()
    assert not list((home / "downloads").iterdir()) and len(served.asked) == 1
    assert run(["models", "get", "mine"]) == 0 and len(served.asked) == 1
    assert run([*common, "-o", str(tmp_path / "a.png")]) == 0
    assert run(["models", "verify", "mine"]) == 0
    capsys.readouterr()
    assert run(["models", "list"]) == 0
    listed = capsys.readouterr().out
    lines = {tuple(line.split()[:2]): line for line in listed.splitlines()}
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    assert all(told in lines["vqgan", "mine"] for told in (" here ", "none", "draws noise", size))
    assert all(
        told in lines["clip", "ViT-B-32/openai"] for told in ("605.1 MB", " to get ", "MIT", "draws any picture")
    )
    assert all(told in lines["vqgan", "tiny"] for told in (" bundled ", "186 subjects"))
    assert run(["models", "where", "mine"]) == 0 and capsys.readouterr().out.strip() == str(path)
    assert run(["models", "rm", "mine"]) == 0 and not path.exists()
    assert run(["models", "rm", "mine"]) == 2


def test_an_unknown_hash_is_recorded_and_checked_ever_after(served: Server, home: Path) -> None:
    get.get("vqgan", "mine")
    digest = hashlib.sha256(served.body).hexdigest()
    assert cache.known_digest("vqgan mine") == digest
    cache.weights_file("vqgan", "mine").unlink()
    served.body = served.body + b"x"
    with pytest.raises(WeightsError, match="another file"):
        get.get("vqgan", "mine")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sha256": "0" * 64}, "another file"),
        ({"size": 5}, "not 5"),
        ({"architecture": {"n_embed": 16384}}, "n_embed is 40, not 16384"),
    ],
)
def test_another_file_than_is_known_is_refused(changes: dict, reason: str, served: Server, home: Path) -> None:
    record(home, served, **changes)
    with pytest.raises(WeightsError, match=reason):
        get.get("vqgan", "mine")
    assert not cache.weights_file("vqgan", "mine").exists()


def test_after_a_damaged_file_the_whole_one_is_taken(served: Server, home: Path) -> None:
    whole = served.body
    served.body = whole[: len(whole) // 2]
    with pytest.raises(WeightsError, match="no pickled checkpoint that can be read safely"):
        get.get("vqgan", "mine")
    assert not list((home / "downloads").glob("*.ckpt")) and cache.known_digest("vqgan mine") is None
    served.body = whole
    assert get.get("vqgan", "mine").exists()


def test_a_kept_file_that_changed_is_not_verified(served: Server, capsys: pytest.CaptureFixture[str]) -> None:
    path = get.get("vqgan", "mine")
    assert run(["models", "verify", "mine"]) == 0
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    capsys.readouterr()
    assert run(["models", "verify", "mine"]) == 3
    assert "it is not what was kept" in capsys.readouterr().out


def test_a_prior_of_several_files_is_a_folder(home: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    parts = {name: {"url": server.url(name)} for name in ("encoder.pt", "vocab.json")}
    home.mkdir()
    (home / "catalog.yaml").write_text(yaml.safe_dump([{"kind": "prior", "name": "several", "parts": parts}]))
    folder = get.get("prior", "several")
    assert sorted(path.name for path in folder.iterdir()) == sorted(parts)
    assert load.locate("prior", "several") == folder
    assert run(["models", "rm", "several"]) == 0 and not folder.exists()


def test_ones_own_file_keeps_what_it_says_of_itself(tmp_path: Path) -> None:
    """The shapes of the bundled VQGAN do not tell how its norms are grouped."""
    source = resources.path("checkpoints/tiny-vqgan.safetensors")
    found = convert_vqgan(source, tmp_path / "a.safetensors", decoder_only=True)
    assert found.norm_groups == 8 and not found.encoder


def test_offline_and_absent_is_said_and_a_file_put_there_by_hand_is_taken(
    served: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="offline"):
        get.get("vqgan", "mine")
    (home / "downloads").mkdir(parents=True)
    (home / "downloads" / "vqgan-mine.ckpt").write_bytes(served.body)
    assert get.get("vqgan", "mine").exists() and not served.asked


def test_what_the_hubs_own_library_has_in_its_cache_is_used_if_it_is_the_file(
    served: Server, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    commit = "abc".ljust(40, "0")
    file = tmp_path / "hub" / "models--a--b" / "snapshots" / commit / "x.ckpt"
    file.parent.mkdir(parents=True)
    file.write_bytes(served.body)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    hub = {"hub": "a/b", "file": "x.ckpt", "revision": commit}
    record(home, served, sources=[hub], sha256=hashlib.sha256(served.body).hexdigest())
    kept = get.get("vqgan", "mine")
    assert file.exists() and files.read(kept, "vqgan").info["origin"] == f"a/b/x.ckpt@{commit}"
    kept.unlink()
    record(home, served, sources=[hub, {"url": served.url()}], sha256=hashlib.sha256(served.body).hexdigest())
    file.write_bytes(b"other")
    assert get.get("vqgan", "mine").exists() and len(served.asked) == 1


@pytest.mark.parametrize(
    "text",
    ["{", "a: 1", "- 3", "- {kind: vqgan}", "- {kind: x, name: y, sources: []}", "- {kind: vqgan, name: y, sources: 3}",
     "- {kind: vqgan, name: y, sources: [{hub: a}]}", "- {kind: vqgan, name: y, sources: [], sha256: 12}",
     "- {kind: vqgan, name: y, sources: [], size: big}", "- {kind: vqgan, name: y, sources: [], surplus: 1}",
     "- {kind: vqgan, name: a/b, sources: []}", "- {kind: vqgan, name: a.b, sources: []}",
     "- {kind: clip, name: y, sources: []}", "- {kind: prior, name: y, sources: []}",
     "- {kind: prior, name: y, parts: {../x: {url: z}}}"],
)  # fmt: skip
def test_a_damaged_own_catalog_is_named(text: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.mkdir()
    (home / "catalog.yaml").write_text(text)
    assert run(["models", "list"]) == 2
    error = capsys.readouterr().err
    assert "catalog.yaml" in error and error.count("\n") == 1


def test_every_public_vqgan_has_sources_and_an_architecture_that_builds() -> None:
    public = [r for r in catalog.records() if r.kind == "vqgan" and not r.file]
    assert len(public) >= 12
    for found in public:
        assert found.sources and found.licence and found.draws and found.citation, found.name
        fields = dict(found.architecture) | {"ch": 32}
        fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
        assert VQGANArchitecture(**fields).factor in (8, 16)
        assert all(len(s.revision) == 40 or not s.revision for s in found.sources)


# CLIPs of open_clip's


@pytest.mark.parametrize(
    ("quick", "names"),
    [
        (True, "RN50/openai RN101/openai ViT-B-32/openai ViT-B-16/openai ViT-L-14/openai RN50/yfcc15m RN50/cc12m "
               "RN101/yfcc15m ViT-B-32/laion400m_e31 ViT-B-32/laion400m_e32 ViT-B-16/metaclip_400m "
               "ViT-L-14/metaclip_fullcc ViT-B-16/dfn2b ViT-L-14/dfn2b ViT-H-14/dfn5b"),
        (False, "ViT-B-32/laion2b_s34b_b79k ViT-B-16/laion400m_e31 ViT-L-14/laion400m_e31 ViT-L-14/dfn2b_s39b "
                "ViT-B-32/datacomp_xl_s13b_b90k ViT-B-16/laion2b_s34b_b88k"),
    ],
)  # fmt: skip
def test_tags_that_were_trained_with_quickgelu_get_it_and_others_do_not(quick: bool, names: str) -> None:
    for name in names.split():
        assert openclip.pretrained(*name.split("/")).architecture.model["quick_gelu"] is quick, name


def test_what_open_clip_offers_and_can_be_built_is_listed() -> None:
    found = openclip.pretrained("ViT-B-32", "openai")
    assert found.hub.count("/") == 1 and found.architecture.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    names = openclip.pretrained_names()
    assert set(catalog.RECOMMENDED_CLIPS) <= set(names) and len(names) > 60


@pytest.mark.parametrize("name", ["ViT-B-32/nobody", "nobody/x", "ViT-B-3"])
def test_a_clip_that_cannot_be_used_is_said(name: str, cli: CommandLine) -> None:
    with pytest.raises(UsageError) as caught:
        get.get("clip", name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("ViT-B-32/opnai", 2, "did you mean 'openai'"),
        ("ViT-B-32", 3, "run 'vqclip models get ViT-B-32'"),
        ("RN50/openai", 3, "run 'vqclip models get RN50/openai'"),
        ("./" + "x" * 300, 3, "cannot read"),
    ],
)
def test_a_public_clip_that_is_not_here_is_named(name: str, code: int, words: str, cli: CommandLine) -> None:
    told = cli.draw("a cat", "--clip", name)
    assert told.code == code and words in told.complaints[0] and len(told.complaints) == 1


def test_an_architecture_alone_means_its_recommended_tag() -> None:
    assert catalog.public_clip("ViT-B-32") == "ViT-B-32/laion2b_s34b_b79k"
    assert catalog.public_clip("ViT-L-14").startswith("ViT-L-14/")
    assert catalog.public_clip("tiny") == catalog.public_clip("./a") == catalog.public_clip("a/") == ""


def test_a_public_clip_is_got_converted_and_guides_beside_another(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cli: CommandLine,
) -> None:
    tiny, _ = load.load_clip("tiny", folded=False)
    model = json.loads(json.dumps(dict(tiny.architecture.model)))
    known = openclip.PretrainedTag(
        type(tiny.architecture)(model, merges=tiny.architecture.merges), url=server.url("c.pt")
    )
    monkeypatch.setattr(openclip, "pretrained", lambda arch, tag: known)
    held = {f"module.{name}": value for name, value in tiny.network.state_dict().items()}
    torch.save(held, tmp_path / "c.pt")
    server.body = (tmp_path / "c.pt").read_bytes()
    assert cli.draw("a cat", "--clip", "ViT-B-32/openai").code == 3
    get.get("clip", "ViT-B-32/openai")
    told = cli.draw("a cat", "--clip", "ViT-B-32/openai", "--clip", "tiny", "-o", tmp_path / "a.png")
    assert told.code == 0, told.err
    told = cli("generate", "--from", tmp_path / "a.png", "-o", tmp_path / "b.png")
    assert told.code == 0 and sha(tmp_path / "a.png") == sha(tmp_path / "b.png"), told.err
    names = {name for name in metadata.read(tmp_path / "a.png")["record"]["weights"] if name.startswith("clip:")}
    assert names == {"clip:ViT-B-32/openai", "clip:tiny"}


def test_clips_that_alternate_have_a_step_each(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small("a cat", models={"clip": ["tiny", "tiny"]}, views={"alternate": True})
    models = Models.load(config)
    seen = []
    for number, clip in enumerate(models.clips):
        encode = clip.encode_image
        monkeypatch.setattr(clip, "encode_image", lambda v, n=number, e=encode: seen.append((n, len(v))) or e(v))
    for _ in vqclip.generate_stream(config, models):
        pass
    # four views of each step's CLIP; the held-out two are seen by both at the end
    assert seen == [(0, 4), (1, 4), (0, 4), (0, 2), (1, 2)]


def test_the_doctor_tells_what_there_is(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    told = capsys.readouterr().out
    for word in ("torch", "cores", "GB", "ffmpeg", "offline", str(home), "draws on"):
        assert word in told


# presets of public checkpoints


def _narrow_clip(path: Path) -> None:
    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 64}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    torch.manual_seed(1)
    clip = CLIP(CLIPArchitecture({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    files.save(path, "clip", clip.architecture.to_json(), clip.network.state_dict(), {})


def test_steps_of_one_length_draw_on_pixels() -> None:
    """The preset `ascent` has the bundled models, and any CLIP draws with it."""
    asked = {"size": 96, "steps": 6, "seed": 1, "views": {"count": 2}, "best": {"views": 2, "every": 6}}
    result = vqclip.generate(vqclip.make_config("a lighthouse", preset="ascent", **asked))
    config = result.config
    assert (config.canvas.name, config.optimizer.name, config.init.kind) == ("pixels", "normalized", "random")
    assert len(np.unique(np.asarray(result.image))) > 50


@pytest.mark.parametrize("preset", sorted(set(resources.presets()) - {"tiny", "tiny-random", "ascent"}))
def test_a_preset_draws_with_networks_of_its_checkpoints_classes(preset: str, home: Path) -> None:
    config = vqclip.make_config(
        "a lighthouse", preset=preset, size=64, steps=2, seed=1, views={"count": 2}, best={"views": 2}
    )
    known = catalog.find("vqgan", config.models.vqgan)
    fields = dict(known.architecture) | {"ch": 32, "n_embed": 40}
    if known.architecture.get("z_channels") is None:
        fields |= {"z_channels": 32, "embed_dim": 32}
    shape = VQGANArchitecture(**{n: tuple(v) if isinstance(v, list) else v for n, v in fields.items()})
    held = reference(shape).state_dict()
    files.save(cache.weights_file("vqgan", known.name), "vqgan", shape.to_json(), held, {}, torch.float32)
    for name in config.models.clip:
        assert name in openclip.pretrained_names() or name in catalog.names("clip")
        _narrow_clip(cache.weights_file("clip", name))
    result = vqclip.generate(config)
    assert result.image.size == (64, 64) and len(np.unique(np.asarray(result.image))) > 20
    assert f"vqgan:{known.name}" in result.pictures[0].record["weights"]


def test_a_prior_that_a_decoder_alone_cannot_take_up_is_left_out_and_said(tmp_path: Path, cli: CommandLine) -> None:
    """The bundled prior draws 16x16 codes: the upsampler doubles them, nothing scales them without an encoder."""
    alone = tmp_path / "alone.safetensors"
    convert_vqgan(resources.path("checkpoints/tiny-vqgan.safetensors"), alone, decoder_only=True)
    flags = ("--vqgan", alone, "--stages", "full:1", "--steps", "0", "--candidates", "1", "--seed", "7")
    taken = cli("a cat", *flags, "-o", tmp_path / "a.png")
    assert taken.code == 0 and "without the prior" not in taken.err, taken.err
    left = cli("a cat", *flags, "--upsampler", "", "-o", tmp_path / "b.png")
    assert left.code == 0 and "without the prior 'tiny'" in left.err and "no encoder" in left.err, left.err
    told = cli("a cat", *flags, "--upsampler", "", "--init", "prior")
    assert told.code == 3 and len(told.complaints) == 1 and "--init random" in told.complaints[0], told.err
