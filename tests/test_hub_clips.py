"""CLIPs of any repository of the Hub: fetched from one commit, converted with their tokenizers, refused in one line."""

from __future__ import annotations

import json
import logging
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import open_clip
import pytest
import safetensors.torch
import torch
from support.command_line import CommandLine
from support.pictures import sha
from support.published_clips import MODEL, PREPROCESS, TEXT, VISION, open_clip_folder, tokenizer_folder
from support.serving import Server
from torch import nn

from vqclip.cli.main import run
from vqclip.models import openclip, tokenizing
from vqclip.weights import cache, catalog, clips, files, get, load

_TOKEN = "hf_" + "s3cret" * 5
_NAME = "hf-hub:someone/clip"
_SIGLIP_TEXT = {
    "context_length": 16, "vocab_size": 60, "width": 32, "heads": 2, "layers": 1, "no_causal_mask": True,
    "proj_bias": True, "pool_type": "last",
}  # fmt: skip
_READING = {"hf_tokenizer_name": "else/words", "tokenizer_kwargs": {"clean": "canonicalize"}}


def put(server: Server, repository: str, folder: Path) -> None:
    server.tree |= {f"{repository}/{file.name}": file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.fixture
def hub(server: Server, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A Hub on this machine with a small CLIP of open_clip's form in someone/clip, written to tmp_path/clip too."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    open_clip_folder(tmp_path / "clip")
    put(server, "someone/clip", tmp_path / "clip")
    return server


def test_a_clip_of_the_hub_is_got_once_and_guides(hub: Server, tmp_path: Path, cli: CommandLine) -> None:
    told = cli.draw("a cat", "--clip", _NAME)
    assert told.code == 3 and told.complaints == [
        f"vqclip: the clip '{_NAME}' is not here yet: run 'vqclip models get {_NAME}'"
    ]
    assert run(["models", "get", _NAME]) == 0
    assert {path.split("/")[4] for path in hub.paths} == {hub.commit}
    info = files.read(cache.weights_file("clip", _NAME), "clip").info
    assert info["origin"] == f"someone/clip/open_clip_model.safetensors@{hub.commit}" and info["name"] == _NAME
    assert not list((cache.home() / "downloads").iterdir())
    direct, _ = load.load_clip(str(tmp_path / "clip"))
    kept, digest = load.load_clip(_NAME)
    views = torch.rand(1, 3, 64, 64)
    assert torch.equal(direct.encode_image(views), kept.encode_image(views))
    hub.refusal = (500, "")
    told = cli.draw("a cat", "--clip", _NAME, "-o", tmp_path / "a.png")
    assert told.code == 0, told.err
    told = cli("generate", "--from", tmp_path / "a.png", "-o", tmp_path / "b.png")
    assert told.code == 0 and sha(tmp_path / "a.png") == sha(tmp_path / "b.png"), told.err
    assert cli("models", "verify", _NAME).out.split()[:3] == ["clip", _NAME, "good"]
    listed = cli("models", "verify").out
    assert f"clip      {_NAME}" in listed and digest in listed
    assert cli("models", "where", _NAME).out.strip() == str(cache.weights_file("clip", _NAME))
    assert cli("models", "rm", _NAME).code == 0 and not cache.weights_file("clip", _NAME).exists()


def test_a_revision_is_asked_for_and_the_first_commit_ever_after(hub: Server) -> None:
    get.get("clip", f"{_NAME}@{hub.commit}")
    assert all(f"/resolve/{hub.commit}/" in path for path, _ in hub.looked_up)
    kept, first = get.get("clip", _NAME), hub.commit
    kept.unlink()
    hub.looked_up.clear()
    hub.commit = "d" * 40
    assert run(["models", "get", _NAME]) == 3
    assert f"/resolve/{first}/" in hub.looked_up[0][0]


def test_a_tokenizer_comes_along_from_where_the_configuration_says(hub: Server, tmp_path: Path) -> None:
    model = MODEL | {"custom_text": True, "init_logit_bias": -10, "text_cfg": _SIGLIP_TEXT | _READING}
    network: Any = open_clip_folder(tmp_path / "siglip", model, "open_clip_pytorch_model.bin")
    tokenizer_folder(tmp_path / "words", "pieces")
    put(hub, "someone/siglip", tmp_path / "siglip")
    put(hub, "else/words", tmp_path / "words")
    get.get("clip", "hf-hub:someone/siglip")
    clip, _ = load.load_clip("hf-hub:someone/siglip")
    rows = clip.tokenizer(["a red cat"])
    assert rows[0, :4].tolist() == [4, 7, 5, 1]
    theirs = nn.functional.normalize(network.encode_text(rows), dim=-1)
    assert torch.allclose(clip.encode_text(["a red cat"]), theirs, atol=1e-5)
    shutil.copytree(tmp_path / "words", tmp_path / "siglip", dirs_exist_ok=True)
    hub.tree = {name: body for name, body in hub.tree.items() if not name.startswith("else/")}
    put(hub, "someone/own", tmp_path / "siglip")
    get.get("clip", "hf-hub:someone/own")
    assert torch.equal(load.load_clip("hf-hub:someone/own")[0].tokenizer(["a red cat"]), rows)


def test_a_clip_of_transformers_in_parts_is_got(hub: Server, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from support.published_clips import transformers_folder

    sizes = {"num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    vision = sizes | {"hidden_size": 64, "image_size": 64, "patch_size": 16}
    transformers_folder(tmp_path / "theirs", "clip", sizes | {"hidden_size": 32}, vision, projection_dim=24)
    held = safetensors.torch.load_file(tmp_path / "theirs" / "model.safetensors")
    (tmp_path / "theirs" / "model.safetensors").unlink()
    names = sorted(held)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for part, inside in parts.items():
        safetensors.torch.save_file({name: held[name] for name in inside}, tmp_path / "theirs" / part)
    index = {"weight_map": {name: part for part, inside in parts.items() for name in inside}}
    (tmp_path / "theirs" / "model.safetensors.index.json").write_text(json.dumps(index))
    put(hub, "someone/parts", tmp_path / "theirs")
    get.get("clip", "hf-hub:someone/parts")
    direct, _ = load.load_clip(str(tmp_path / "theirs"))
    kept, _ = load.load_clip("hf-hub:someone/parts")
    assert torch.equal(direct.encode_text(["a cat"]), kept.encode_text(["a cat"])) and kept.image_size == 64


@pytest.mark.parametrize(
    "record", [r for r in catalog.records() if r.kind == "clip" and not r.file], ids=lambda r: r.name
)
def test_the_robust_clips_of_the_catalog_are_got_with_the_network_they_began_as(
    record: catalog.Weights, hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    like = record.architecture["like"]
    real = openclip.pretrained(*like.split("/"))
    assert bool(real.architecture.model["quick_gelu"]) == (like == "ViT-L-14/openai")
    narrow = openclip.architecture_of(MODEL, *(PREPROCESS[name] for name in ("mean", "std")))
    monkeypatch.setattr(openclip, "pretrained", lambda arch, tag: openclip.PretrainedTag(narrow))
    # the second name that open_clip writes
    held = safetensors.torch.load_file(tmp_path / "clip" / "open_clip_model.safetensors")
    torch.save(held, tmp_path / "c.bin")
    hub.tree = {f"{record.sources[1].hub}/{record.sources[1].file}": (tmp_path / "c.bin").read_bytes()}
    assert run(["models", "get", record.name]) == 0
    kept, _ = load.load_clip(record.name)
    assert kept.image_size == 64 and len(kept.encode_text(["a cat"])[0]) == 24


def test_one_of_open_clips_models_with_a_tokenizer_is_got_with_it(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CommandLine
) -> None:
    model = {
        "embed_dim": 24,
        "custom_text": True,
        "init_logit_bias": -10,
        "vision_cfg": VISION,
        "text_cfg": _SIGLIP_TEXT,
    }
    open_clip_folder(tmp_path / "siglip", model)
    tokenizer_folder(tmp_path / "words", "pieces")
    real = openclip.pretrained("ViT-B-16-SigLIP", "webli")
    assert real.hub == real.tokenizer == "timm/ViT-B-16-SigLIP" and real.architecture.mean == (0.5, 0.5, 0.5)
    narrow = openclip.architecture_of(model, (0.5,) * 3, (0.5,) * 3)
    tag = openclip.PretrainedTag(narrow, real.hub, real.file, "", real.reading)
    monkeypatch.setattr(openclip, "pretrained", lambda arch, tag_: tag)
    put(hub, "timm/ViT-B-16-SigLIP", tmp_path / "siglip")
    assert run(["models", "get", "ViT-B-16-SigLIP/webli"]) == 3
    assert not cache.weights_file("clip", "ViT-B-16-SigLIP/webli").exists()
    put(hub, "timm/ViT-B-16-SigLIP", tmp_path / "words")
    assert run(["models", "get", "ViT-B-16-SigLIP/webli"]) == 0
    told = cli.draw("a red cat", "--clip", "ViT-B-16-SigLIP/webli", "-o", tmp_path / "a.png")
    assert told.code == 0, told.err


def _without(server: Server, *names: str) -> None:
    for name in names:
        del server.tree[f"someone/clip/{name}"]


def _config(server: Server, **changes: Any) -> None:
    content = json.loads(server.tree["someone/clip/open_clip_config.json"])
    content["model_cfg"] |= changes
    server.tree["someone/clip/open_clip_config.json"] = json.dumps(content).encode()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda s: _without(s, "open_clip_config.json"), "holds neither open_clip_config.json nor config.json"),
        (lambda s: _without(s, "open_clip_model.safetensors"), "it holds no weights: none of open_clip_model"),
        (lambda s: _config(s, vision_cfg=VISION | {"width": 128}), "holds another network than its open_clip_config"),
        (lambda s: _config(s, text_cfg=TEXT | {"layers": 7}), "tensors missing"),
        (lambda s: _config(s, text_cfg=TEXT | {"hf_tokenizer_name": "nobody/x"}), "has no tokenizer.json"),
        (lambda s: _config(s, text_cfg=TEXT | {"hf_tokenizer_name": "../../x"}), "has no tokenizer.json"),
        (lambda s: _config(s, text_cfg={"hf_model_name": "nobody/x"}), "its text tower is 'nobody/x'"),
        (lambda s: setattr(s, "refusal", (401, "GatedRepo")), "it is gated: accept its terms"),
        (lambda s: setattr(s, "refusal", (404, "RepoNotFound")), "or it is private"),
        (lambda s: setattr(s, "refusal", (404, "RevisionNotFound")), "its revision main is gone"),
        (lambda s: setattr(s, "refusal", (503, "")), "answer 503"),
        (lambda s: s.tree.update({"someone/clip/open_clip_config.json": b"<html>"}), "cannot read"),
        (lambda s: s.tree.update({"someone/clip/open_clip_model.safetensors": b"x" * 99}), "damaged"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line_and_leaves_nothing(
    spoil: Any, reason: str, hub: Server, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", _TOKEN)
    caplog.set_level(logging.DEBUG)
    spoil(hub)
    assert run(["models", "get", _NAME]) == 3
    said = capsys.readouterr()
    assert reason in said.err and said.err.count("vqclip: ") == 1 and f"vqclip: cannot get {_NAME}: " in said.err
    assert not [path for path in (cache.home() / "weights").iterdir() if path.suffix != ".lock"]
    assert _TOKEN not in said.err + said.out + caplog.text


def test_an_absent_package_is_said_before_anything_large_is_fetched(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer_folder(tmp_path / "words", "pieces")
    put(hub, "someone/clip", tmp_path / "words")
    _config(hub, text_cfg=_SIGLIP_TEXT | _READING)
    monkeypatch.setattr(tokenizing, "find_spec", lambda name: None)
    for name in (_NAME, "ViT-B-16-SigLIP/webli"):
        assert run(["models", "get", name]) == 3
        assert "pip install 'vqclip[clips]'" in capsys.readouterr().err
    assert not any("open_clip_model" in path for path in hub.paths)


def test_a_disk_without_room_and_a_forbidden_network_are_said(
    hub: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "get", _NAME, "--offline"]) == 3
    assert "offline" in capsys.readouterr().err and not hub.looked_up
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 2000))
    assert run(["models", "get", _NAME]) == 3
    assert "are free: make room" in capsys.readouterr().err


def test_what_does_not_belong_to_a_clip_is_a_mistake_of_typing(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert run(["models", "get", "hf-hub:someone"]) == 2
    assert run(["models", "get", "--kind", "vqgan", _NAME]) == 2
    assert run(["models", "get", "local-dir:x"]) == 2
    assert capsys.readouterr().err.count("vqclip: ") == 3
    assert clips.KNOWN_WRONG.keys() == {"fare2-clip", "fare4-clip", "tecoa2-clip", "tecoa4-clip"}
    assert open_clip.get_model_config("ViT-L-14").get("quick_gelu") is None
