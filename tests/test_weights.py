"""Weight files: what is written is read back; every damaged or hostile file is refused in one line."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from support.networks import SMALL_VQ
from support.published_clips import open_clip_folder
from torch import Tensor

from vqclip import resources
from vqclip.errors import UsageError, VqclipError, WeightsError
from vqclip.models.clip import CLIP
from vqclip.models.vqgan import VQGAN
from vqclip.types import CLIPArchitecture, VQGANArchitecture
from vqclip.weights import catalog, files, load

VIT = CLIPArchitecture(
    {
        "embed_dim": 8,
        "vision_cfg": {"layers": 1, "width": 16, "head_width": 8, "patch_size": 8, "image_size": 16},
        "text_cfg": {"context_length": 12, "vocab_size": 614, "width": 16, "heads": 2, "layers": 1},
    },
    merges=100,
    words=("a", "cat"),
)
INFO = {"steps": 3, "scores": {"clean": 0.5}}
ARCHITECTURE = {"vqgan": SMALL_VQ.to_json(), "clip": VIT.to_json()}
LOAD: dict[str, Callable[[str], tuple[Any, str]]] = {"vqgan": load.load_vqgan, "clip": load.load_clip}


@pytest.fixture(scope="module")
def tensors() -> dict[str, dict[str, Tensor]]:
    torch.manual_seed(1)
    networks = {"vqgan": VQGAN(SMALL_VQ).network, "clip": CLIP(VIT).network}
    return {kind: {n: v.detach().half().clone() for n, v in net.state_dict().items()} for kind, net in networks.items()}


@pytest.fixture
def write(tmp_path: Path, tensors: dict[str, dict[str, Tensor]]) -> Callable[..., str]:
    """Write a weight file, whole but for what the arguments replace, by safetensors alone; return its path."""

    def write(kind: str = "vqgan", values: dict[str, Tensor] | None = None, **metadata: Any) -> str:
        header = {"format": files.FORMAT, "kind": kind, "architecture": ARCHITECTURE[kind], "info": "{}", **metadata}
        header = {key: value for key, value in header.items() if value is not None}
        path = tmp_path / "weights.safetensors"
        safetensors.torch.save_file(tensors[kind] if values is None else values, path, header)
        return str(path)

    return write


def refusal(kind: str, path: str) -> str:
    """Return the message of the WeightsError that loading the file raises: one line that names the file."""
    with pytest.raises(WeightsError) as caught:
        LOAD[kind](path)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 500
    return message


# round trip


@pytest.mark.parametrize("kind", ["vqgan", "clip"])
def test_what_is_saved_is_read_back_in_half_precision(
    kind: str, tmp_path: Path, tensors: dict[str, dict[str, Tensor]]
) -> None:
    full = {name: value.float() + 1e-6 for name, value in tensors[kind].items()}
    full["counter"] = torch.tensor([3, 4])
    path = files.save(tmp_path / "deep" / "w.safetensors", kind, ARCHITECTURE[kind], full, INFO)
    file = files.read(path, kind)
    assert (file.kind, file.architecture, file.info) == (kind, ARCHITECTURE[kind], INFO)
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert set(file.tensors) == set(full)
    for name, value in full.items():
        assert torch.equal(file.tensors[name], value.half().float() if value.is_floating_point() else value)
        assert file.tensors[name].dtype == value.dtype


def test_views_of_shared_memory_can_be_saved(tmp_path: Path) -> None:
    shared = torch.arange(12.0).view(3, 4)
    path = files.save(tmp_path / "w.safetensors", "vqgan", "{}", {"a": shared.t(), "b": shared[1:]}, {})
    read = files.read(path, "vqgan").tensors
    assert torch.equal(read["a"], shared.t())
    assert torch.equal(read["b"], shared[1:])


def test_architectures_survive_their_json() -> None:
    assert VQGANArchitecture.from_json(SMALL_VQ.to_json()) == SMALL_VQ
    assert CLIPArchitecture.from_json(VIT.to_json()) == VIT


@pytest.mark.parametrize("kind", ["vqgan", "clip"])
def test_a_loaded_network_is_frozen_evaluating_and_float32(
    kind: str, write: Callable[..., str], tensors: dict[str, dict[str, Tensor]]
) -> None:
    network, sha256 = LOAD[kind](write(kind))
    assert len(sha256) == 64
    assert not any(module.training for module in network.modules())
    state = network.network.state_dict()
    assert not any(p.requires_grad for p in network.parameters())
    assert all(torch.equal(state[name], value.float()) for name, value in tensors[kind].items())
    assert {value.dtype for value in state.values()} == {torch.float32}


def test_loaded_networks_work(write: Callable[..., str]) -> None:
    vqgan, _ = load.load_vqgan(write("vqgan"))
    assert vqgan.decode(vqgan.quantize(torch.zeros(1, 4, 3, 3))[0]).shape == (1, 3, 6, 6)
    clip, _ = load.load_clip(write("clip"))
    assert clip.words == {"a", "cat"}
    assert clip.encode_text(["a cat"]).shape == (1, 8)


@pytest.mark.parametrize("padding", range(0, 264, 8))
def test_a_header_of_any_length_is_read(padding: int, write: Callable[..., str]) -> None:
    """The first byte of a safetensors file is its header's length modulo 256: it may look like a pickle's."""
    files.read(Path(write(values={"a": torch.zeros(1)}, info=json.dumps("x" * padding))), "vqgan")


# damage

NO_WEIGHTS: dict[str, tuple[bytes | None, str]] = {
    "absent": (None, "No such file"),
    "empty": (b"", "is empty"),
    "one byte": (b"\x01", "damaged"),
    "web page": (b"\n <!DOCTYPE html><html>404</html>", "web page"),
    "web page without doctype": (b"<HTML><body>", "web page"),
    "xml": (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "web page"),
    "git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
    "zipped pickle": (b"PK\x03\x04\x14\x00\x00\x00\x08\x00" + bytes(50), "pickled"),
    "pickle": (pickle.dumps({"state_dict": list(range(99))}), "pickled"),
    "hostile length": (struct.pack("<Q", 2**63) + b"{" + bytes(99), "damaged"),
    "length beyond the file": (struct.pack("<Q", 999) + b"{}", "damaged"),
    "header that is no JSON": (struct.pack("<Q", 8) + b"{nonsens", "damaged"),
    "header that is no text": (struct.pack("<Q", 8) + b"{\xff\xff\xff\xff\xff\xff\xff", "damaged"),
    "text": (b"just some words, not weights at all", "damaged"),
}


@pytest.mark.parametrize("kind", ["vqgan", "clip"])
@pytest.mark.parametrize("damage", NO_WEIGHTS)
def test_a_file_that_is_no_weight_file_is_refused(kind: str, damage: str, tmp_path: Path) -> None:
    content, says = NO_WEIGHTS[damage]
    # another program's CLIP is read if its configuration lies beside it
    says = "no open_clip_config.json beside it" if (kind, says) == ("clip", "pickled") else says
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    message = refusal(kind, str(path))
    assert says in message
    assert str(path) in message


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "holds no weight file" in refusal("vqgan", f"{tmp_path}/")


def test_a_refused_pickle_was_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "w.ckpt").write_bytes(pickle.dumps(Bomb()))
    torch.save(Bomb(), tmp_path / "w.pt")
    for name, words in (("w.ckpt", "no pickled checkpoint that can be read safely"), ("w.pt", "nothing was run")):
        assert words in refusal("vqgan", str(tmp_path / name))
        assert "no open_clip_config.json" in refusal("clip", str(tmp_path / name))
    open_clip_folder(tmp_path)
    for name, words in (("w.ckpt", "no pickled checkpoint that can be read safely"), ("w.pt", "nothing was run")):
        assert words in refusal("clip", str(tmp_path / name))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("keep", [0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(keep: float, write: Callable[..., str]) -> None:
    path = Path(write())
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    assert "damaged" in refusal("vqgan", str(path))


def test_foreign_safetensors_are_refused(write: Callable[..., str], tensors: dict[str, dict[str, Tensor]]) -> None:
    path = write("clip", format="pt")
    assert "does not say what CLIP it is" in refusal("clip", path)
    safetensors.torch.save_file(tensors["clip"], path)
    assert "does not say what CLIP it is" in refusal("clip", path)
    assert "holds no VQGAN" in refusal("vqgan", path)
    assert "only weight files written by vqclip" in refusal("vqgan", write(architecture=None))


def test_weights_of_another_kind_are_refused(write: Callable[..., str]) -> None:
    assert "of kind clip, not vqgan" in refusal("vqgan", write("clip"))
    assert "of kind vqgan, not clip" in refusal("clip", write("vqgan"))


NAME = "quant_conv.bias"
UNFIT: dict[str, tuple[dict[str, Tensor | None], str]] = {
    "missing": ({NAME: None}, f"1 tensors missing, 0 too many, 0 of another shape (first: {NAME})"),
    "surplus": ({"zzz": torch.zeros(2)}, "0 tensors missing, 1 too many, 0 of another shape (first: zzz)"),
    "wrong shape": ({NAME: torch.zeros(5)}, f"0 tensors missing, 0 too many, 1 of another shape (first: {NAME})"),
    "NaN": ({NAME: torch.full((4,), torch.nan)}, f"not finite (first: {NAME})"),
    "infinity": ({NAME: torch.full((4,), torch.inf).half()}, f"not finite (first: {NAME})"),
}


@pytest.mark.parametrize("damage", UNFIT)
def test_tensors_that_do_not_fit_are_refused(
    damage: str, write: Callable[..., str], tensors: dict[str, dict[str, Tensor]]
) -> None:
    changes, says = UNFIT[damage]
    values = {name: value for name, value in (tensors["vqgan"] | changes).items() if value is not None}
    assert says in refusal("vqgan", write(values=values))


@pytest.mark.parametrize("info", ["nonsense", "[1]", "[" * 100_000, "{" * 9])
def test_damaged_info_does_no_harm(info: str, write: Callable[..., str]) -> None:
    assert files.read(Path(write(info=info)), "vqgan").info == {}


@pytest.mark.parametrize("kind", ["vqgan", "clip"])
@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"text"', "{}", "[" * 100_000, "9" * 5000])
def test_an_architecture_that_is_no_record_is_refused(kind: str, text: str, write: Callable[..., str]) -> None:
    assert "damaged" in refusal(kind, write(kind, architecture=text))


VQGAN_NONSENSE: list[dict[str, Any]] = [
    {"evil": 1}, {"ch": "abc"}, {"ch": 48}, {"ch": -32}, {"ch": 0}, {"ch_mult": []}, {"ch_mult": [float("inf")]},
    {"ch_mult": ["a"]}, {"ch_mult": 5}, {"attn_levels": None}, {"num_res_blocks": 1.5}, {"resolution": None},
    {"n_embed": -1}, {"n_embed": 10**13}, {"quantizer": "magic"},
]  # fmt: skip
CLIP_NONSENSE: list[dict[str, Any]] = [
    {"evil": 1}, {"model": []}, {"model": {}}, {"mean": [1, 2]}, {"mean": 5}, {"mean": ["a", "b", "c"]},
    {"std": [0, 0, 0]}, {"merges": "x"}, {"merges": -1}, {"merges": 9000}, {"words": 5}, {"words": [[1]]},
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "changes"), [("vqgan", c) for c in VQGAN_NONSENSE] + [("clip", c) for c in CLIP_NONSENSE], ids=str
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_an_architecture_of_nonsense_is_refused(kind: str, changes: dict[str, Any], write: Callable[..., str]) -> None:
    architecture = json.loads(ARCHITECTURE[kind]) | changes
    refusal(kind, write(kind, architecture=json.dumps(architecture)))


def test_a_missing_package_is_no_damaged_file(write: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vqclip.models.openclip", None)
    path = write("clip")
    with pytest.raises(ImportError):
        load.load_clip(path)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("vision_cfg", {"timm_model_name": "hf-hub:somebody/model"}),
        ("vision_cfg", {"timm_model_name": "hf_hub:somebody/model"}),
        ("vision_cfg", {"timm_model_name": "local-dir:FOLDER"}),
        ("vision_cfg", {"timm_model_name": "resnet18", "timm_model_pretrained": True}),
        ("text_cfg", {"hf_model_name": "somebody/model"}),
        ("text_cfg", {"hf_model_name": "FOLDER", "hf_model_pretrained": False}),
    ],
)
def test_an_architecture_cannot_fetch_or_open_anything(
    part: str, changes: dict[str, Any], write: Callable[..., str], tmp_path: Path
) -> None:
    """DESIGN section 3, invariant 6: open_clip and timm would load names from the Hub or from a folder."""
    (tmp_path / "config.json").write_text('{"architecture": "resnet18"}')
    changes = {key: value.replace("FOLDER", str(tmp_path)) if isinstance(value, str) else value
               for key, value in changes.items()}  # fmt: skip
    architecture = json.loads(ARCHITECTURE["clip"])
    architecture["model"][part] |= changes
    message = refusal("clip", write("clip", architecture=json.dumps(architecture)))
    assert "does not fit" not in message, "refused before the network is built"


# names


def test_every_known_name_has_one_file_terms_and_contents() -> None:
    keys = [(record.kind, record.name) for record in catalog.records()]
    assert len(set(keys)) == len(keys)
    for record in catalog.records():
        assert record.draws
        assert record.licence
        assert catalog.find(record.kind, record.name) == record
        assert record.name in catalog.names(record.kind)


def test_an_unknown_name_of_weights_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"unknown vqgan 'tinny': did you mean 'tiny'\?"):
        load.locate("vqgan", "tinny")


@pytest.mark.parametrize("name", ["w.safetensors", "folder/w", "./w", "C:\\w"])
def test_a_suffix_or_a_slash_makes_a_name_a_path(name: str) -> None:
    assert load.locate("vqgan", name) == Path(name)


def test_a_known_name_is_looked_up_among_the_shipped_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "PACKAGE", tmp_path / "vqclip")
    with pytest.raises(VqclipError, match="install vqclip again") as caught:
        load.locate("vqgan", "tiny")
    assert caught.value.exit_code == WeightsError.exit_code, "absent weights"
    file = tmp_path / "checkpoints" / catalog.find("vqgan", "tiny").file
    file.parent.mkdir()
    file.touch()
    assert load.locate("vqgan", "tiny") == file
