"""Weights for several at once, and for a machine without a network: presets, another home, export and import."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.serving import Server

from vqclip import resources
from vqclip.cli import getting
from vqclip.cli.main import run
from vqclip.errors import WeightsError
from vqclip.weights import cache, catalog, exchange, get, load, plan

pytestmark = pytest.mark.usefixtures("home")

_CLIP = "ViT-B-32/laion2b_s34b_b79k"


@pytest.fixture
def preset(served: Server, home: Path) -> Server:
    """What the preset `imagenet` names: its VQGAN is the one that is served, its CLIP is here."""
    values = {"kind": "vqgan", "name": "imagenet_f16_16384", "sources": [{"url": served.url()}]}
    (home / "catalog.yaml").write_text(yaml.safe_dump([values]))
    clip = cache.weights_file("clip", _CLIP)
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"clip")
    return served


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": count})())


def test_a_preset_names_all_that_it_needs() -> None:
    assert getting.of_preset("wikiart") == [("vqgan", "wikiart_16384"), ("clip", _CLIP)]
    assert getting.of_preset("tiny") == []


@pytest.mark.parametrize("preset", resources.presets())
def test_what_presets_need_is_known(preset: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCLIP_OFFLINE", "1")
    pairs = getting.of_preset(preset)
    missing = plan.missing(pairs)
    assert [(each.kind, each.name) for each in missing] == pairs
    assert plan.describe(missing).endswith("to fetch")


def test_a_preset_says_how_much_it_is_and_takes_what_is_missing(
    preset: Server, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "get", "imagenet"]) == 2
    err = capsys.readouterr().err
    size = f"{len(preset.body) / 1e6:.2f} MB"
    assert f"vqgan imagenet_f16_16384 ({size}): {size} to fetch, into {home}" in err and "--yes" in err
    assert not preset.asked
    assert run(["models", "get", "imagenet", "--yes"]) == 0
    assert capsys.readouterr().out.split() == [
        str(cache.weights_file("vqgan", "imagenet_f16_16384")), str(cache.weights_file("clip", _CLIP))
    ]  # fmt: skip
    assert run(["models", "get", "imagenet"]) == 0 and len(preset.asked) == 1


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 0), ("n\n", 130)])
def test_on_a_terminal_it_is_asked(answer: str, code: int, preset: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = io.StringIO(answer)
    typed.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", typed)
    assert run(["models", "get", "imagenet"]) == code and len(preset.asked) == (code == 0)


def test_without_any_input_it_has_to_be_said(
    preset: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it where it is closed
    assert run(["models", "get", "imagenet"]) == 2 and "--yes" in capsys.readouterr().err


def test_a_preset_without_room_is_one_line_before_anything_is_fetched(
    preset: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free(monkeypatch, len(preset.body))
    assert run(["models", "get", "imagenet", "--yes"]) == 3
    err = capsys.readouterr().err
    assert "are free" in err and err.count("vqclip: ") == 1 and not preset.asked


def test_what_arrived_before_is_not_counted_again(
    preset: Server, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = get.record_of("vqgan", "imagenet_f16_16384")
    (home / "downloads").mkdir()
    part = home / "downloads" / "vqgan-imagenet_f16_16384.fetched.ckpt.01234567.part"
    part.write_bytes(bytes(1_000_000))
    assert get.arrived(record) == 1_000_000
    run(["models", "get", "imagenet"])
    assert f"{(len(preset.body) - 1_000_000) / 1e6:.2f} MB to fetch" in capsys.readouterr().err


def test_a_name_of_a_preset_and_a_vqgan_is_the_vqgan_where_the_kind_is_given(
    served: Server, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"kind": "vqgan", "name": "faceshq", "sources": [{"url": served.url()}]}
    (home / "catalog.yaml").write_text(yaml.safe_dump([values]))
    assert run(["models", "get", "faceshq", "--kind", "vqgan"]) == 0
    assert capsys.readouterr().out.split() == [str(cache.weights_file("vqgan", "faceshq"))]


def test_another_folder_serves_as_home_elsewhere(
    served: Server, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stick = tmp_path / "stick"
    assert run(["models", "get", "mine", "--to", str(stick)]) == 0
    assert not cache.weights_file("vqgan", "mine").exists()
    monkeypatch.setenv("VQCLIP_HOME", str(stick))
    assert run(["models", "verify", "mine"]) == 0
    assert load.load_vqgan("mine")[1] == cache.known_digest("vqgan-mine.safetensors")
    # what is here need not be fetched for another one
    monkeypatch.setenv("VQCLIP_HOME", str(stick))
    assert run(["models", "get", "mine", "--to", str(tmp_path / "second")]) == 0 and len(served.asked) == 1
    monkeypatch.setenv("VQCLIP_HOME", str(tmp_path / "second"))
    assert run(["models", "verify", "mine"]) == 0


def test_a_folder_that_cannot_be_written_is_one_line(
    served: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run(["models", "get", "mine", "--to", str(tmp_path / "file")]) == 3
    assert run(["models", "export", str(tmp_path / "file" / "x")]) == 3
    get.get("vqgan", "mine")
    assert run(["models", "export", str(tmp_path / "file")]) == 1
    err = capsys.readouterr().err
    assert err.count("vqclip: ") == 3 and "Traceback" not in err and "--output" not in err


@pytest.fixture
def exported(served: Server, tmp_path: Path) -> Callable[[str], Path]:
    """A VQGAN and a prior in parts, exported under a name."""
    get.get("vqgan", "mine")
    prior = cache.home() / "weights" / "prior-several"
    (prior / "inside").mkdir(parents=True)
    for name in ("a.pt", "inside/b.json"):
        (prior / name).write_bytes(name.encode() * 1000)

    def export(name: str) -> Path:
        assert run(["models", "export", str(tmp_path / name)]) == 0
        return tmp_path / name

    return export


@pytest.mark.parametrize("name", ["stick", "weights.tar"])
def test_what_is_exported_is_imported_whole(
    name: str, exported: Callable[[str], Path], served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    source = exported(name)
    before = {path.relative_to(cache.home()): path.read_bytes() for path in (cache.home() / "weights").rglob("*.*")
              if path.is_file() and path.suffix != ".lock"}  # fmt: skip
    catalog_text = (cache.home() / "catalog.yaml").read_text()
    monkeypatch.setenv("VQCLIP_HOME", str(tmp_path / "new"))
    capsys.readouterr()
    assert run(["models", "import", str(source)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    new = cache.home()
    after = {path.relative_to(new): path.read_bytes() for path in (new / "weights").rglob("*.*")
             if path.is_file() and path.suffix != ".lock"}  # fmt: skip
    assert after == before and not list((new / "weights").glob(".import-*"))
    (new / "catalog.yaml").write_text(catalog_text)
    assert run(["models", "verify", "mine"]) == 0
    assert cache.known_digest("vqgan mine") == hashlib.sha256(served.body).hexdigest()
    assert cache.known_origin("vqgan mine") == served.url()
    # once more, nothing is to be done; other weights of the name stay unless that is said
    assert run(["models", "import", str(source)]) == 0
    (new / "weights" / "prior-several" / "a.pt").write_bytes(b"other")
    assert run(["models", "import", str(source)]) == 2 and "--yes" in capsys.readouterr().err
    assert (new / "weights" / "prior-several" / "a.pt").read_bytes() == b"other"
    assert run(["models", "import", str(source), "--yes"]) == 0
    assert (new / "weights" / "prior-several" / "a.pt").read_bytes() == b"a.pt" * 1000


def test_an_exported_folder_is_a_home_and_grows(
    exported: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stick = tmp_path / "stick"
    assert run(["models", "export", str(stick), "mine"]) == 0
    assert [path.name for path in (stick / "weights").iterdir()] == ["vqgan-mine.safetensors"]
    exported("stick")
    assert len(json.loads((stick / "manifest.json").read_text())["files"]) == 3
    monkeypatch.setenv("VQCLIP_HOME", str(stick))
    assert run(["models", "verify", "mine"]) == 0


@pytest.mark.parametrize("name", ["tiny", "ViT-B-32/openai", "hf-hub:owner/Name-B-32@abc"])
def test_records_are_those_of_the_file_that_is_kept(name: str) -> None:
    file = cache.weights_file("clip", name)
    assert exchange._told_of(f"clip {name}") == file.stem and exchange._told_of(file.name) == file.name


def test_an_archive_is_replaced_only_where_that_is_said(exported: Callable[[str], Path]) -> None:
    archive = exported("weights.tar")
    assert run(["models", "export", str(archive)]) == 2 and run(["models", "export", str(archive), "--yes"]) == 0


def test_damaged_weights_are_not_exported(exported: Callable[[str], Path], tmp_path: Path) -> None:
    path = cache.weights_file("vqgan", "mine")
    path.write_bytes(path.read_bytes() + b"x")
    assert run(["models", "export", str(tmp_path / "a.tar")]) == 3 and not (tmp_path / "a.tar").exists()


def archive_of(path: Path, files: dict[str, bytes], listed: dict[str, bytes] | None = None, **kind: Any) -> Path:
    """Write an archive of files, and a manifest that lists these or others; `kind` changes the last member."""
    listed = files if listed is None else listed
    entries = {name: {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()} for name, body in listed.items()}
    text = json.dumps({"form": "vqclip weights 1", "files": entries, "digests": {}, "origins": {}}).encode()
    with tarfile.open(path, "w") as archive:
        for number, (name, body) in enumerate({"manifest.json": text, **files}.items()):
            info = tarfile.TarInfo(name)
            for field, value in kind.items() if number == len(files) else ():
                setattr(info, field, value)
            info.size = len(body) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(body))
    return path


_GOOD = {"weights/vqgan-a.safetensors": b"a" * 100, "weights/vqgan-b.safetensors": b"b" * 100}


@pytest.mark.parametrize(
    "name",
    ["../vqgan-c", "/etc/vqgan-c", "weights/../vqgan-c", "weights/vqgan-c/../../d", "vqgan-c", "weights/-c",
     "weights/vqgan-..", "weights/vqgan-c/d/e/f", "weights\\vqgan-c", "weights/vqgan-c.lock", "C:/vqgan-c",
     "weights/VQGAN-A.safetensors", "weights/vqgan-a.safetensors/b", "weights/.import-x/vqgan-c", ""],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(archive_of(tmp_path / "a.tar", {**_GOOD, name: b"x"}), capsys)


def refused(source: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["models", "import", str(source)]) == 3
    err = capsys.readouterr().err
    assert err.count("vqclip: ") == 1 and err.count("\n") == 1 and "Traceback" not in err
    held = cache.home() / "weights"
    assert not held.exists() or not list(held.iterdir())
    assert not any(path.name.startswith("vqgan-") for path in source.parent.rglob("*") if path != source)
    return err


@pytest.mark.parametrize(
    "kind",
    [{"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, {"type": tarfile.LNKTYPE, "linkname": "manifest.json"},
     {"type": tarfile.DIRTYPE}, {"type": tarfile.FIFOTYPE}, {"type": tarfile.CHRTYPE}, {"type": b"S"}],
    ids=["link", "hard link", "folder", "pipe", "device", "sparse"],
)  # fmt: skip
def test_what_is_no_plain_file_is_refused(
    kind: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(archive_of(tmp_path / "a.tar", _GOOD, **kind), capsys)


@pytest.mark.parametrize("change", ["longer", "shorter", "other", "surplus", "absent", "cut", "no manifest", "gzip",
                                    "empty", "text", "form"])  # fmt: skip
def test_damaged_archives_are_refused(change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, last = tmp_path / "a.tar", "weights/vqgan-b.safetensors"
    bodies = {"longer": b"b" * 101, "shorter": b"b" * 99, "other": b"c" * 100}
    files = _GOOD | ({last: bodies[change]} if change in bodies else {})
    listed = _GOOD | ({"weights/vqgan-c": b"c"} if change == "absent" else {})
    if change == "surplus":
        files = _GOOD | {"weights/vqgan-c": b"c"}
    archive_of(path, files, listed)
    content = path.read_bytes()
    if change == "cut":
        path.write_bytes(content[:1200])
    elif change == "no manifest":
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo("weights/vqgan-b.safetensors"))
    elif change == "gzip":
        with tarfile.open(path, "w:gz") as archive:
            archive.addfile(tarfile.TarInfo("manifest.json"))
    elif change in ("empty", "text"):
        path.write_bytes(b"" if change == "empty" else b"no archive" * 200)
    elif change == "form":
        path.write_bytes(content.replace(b"vqclip weights 1", b"vqclip weights 9"))
    refused(path, capsys)


@pytest.mark.skipif(sys.platform == "win32", reason="making links takes rights there")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_links_in_a_folder_are_refused(
    what: str, exported: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    stick = exported("stick")
    place = stick / "weights" / ("vqgan-mine.safetensors" if what == "file" else "")
    moved = tmp_path / "moved"
    place.rename(moved)
    os.symlink(moved, place)
    monkeypatch.setenv("VQCLIP_HOME", str(tmp_path / "new"))
    capsys.readouterr()
    assert run(["models", "import", str(stick)]) == 3 and "as a link" in capsys.readouterr().err
    assert not list((tmp_path / "new" / "weights").iterdir())


def test_importing_without_room_or_source_is_one_line(
    exported: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = exported("weights.tar")
    monkeypatch.setenv("VQCLIP_HOME", str(tmp_path / "new"))
    free(monkeypatch, 1000)
    assert run(["models", "import", str(source)]) == 3 and "are free" in capsys.readouterr().err
    assert run(["models", "export", str(tmp_path / "b.tar")]) == 3
    assert run(["models", "import", str(tmp_path / "absent.tar")]) == 3
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.tar")
        assert run(["models", "import", str(tmp_path / "pipe.tar")]) == 3
    assert run(["models", "import", str(tmp_path)]) == 3 and "manifest.json" in capsys.readouterr().err


def test_a_kill_before_the_end_leaves_nothing_half_imported(
    exported: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = exported("weights.tar")
    monkeypatch.setenv("VQCLIP_HOME", str(tmp_path / "new"))
    real = exchange._receive

    def killed(stream: Any, name: str, *rest: Any) -> None:
        if name.endswith("mine.safetensors"):
            raise KeyboardInterrupt
        real(stream, name, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(exchange, "_receive", killed)
        with pytest.raises(KeyboardInterrupt):
            exchange.take(source)
    assert not list((tmp_path / "new" / "weights").iterdir())
    assert len(exchange.take(source)) == 2


def test_parts_lie_in_the_folders_that_their_names_say(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    place = get.get("prior", "amused_256")
    found = sorted(path.relative_to(place).as_posix() for path in place.rglob("*.*"))
    parts = catalog.find("prior", "amused_256").parts
    assert parts and found == sorted(parts) and all((place / name).read_bytes() == server.body for name in parts)
    assert cache.known_origin(f"prior prior-amused_256/{found[0]}").endswith(f"@{server.commit}")
    # the folders are those that a pipeline of diffusers has
    assert {name.split("/")[0] for name in parts} == {"transformer", "vqvae", "text_encoder", "tokenizer"}


def test_addresses_that_are_not_confirmed_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list"]) == 0
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}
    assert "(no address is confirmed)" in lines["sber_gumbel_f8"] and "(a mirror is not" in lines["gumbel_f8"]
    assert "confirmed" not in lines["boris_f16_16384"]
    hubs = ("neggles/vaedump", "Nehc/vqgan_imagenet_f16_1024", "ai-forever/Sber-VQGAN")
    sources = [source for record in catalog.records() if record.kind != "clip" for source in record.sources]
    assert all(source.unconfirmed == (source.hub in hubs) for source in sources)


def test_a_sum_by_others_is_said_to_be_theirs(served: Server, home: Path) -> None:
    values = {"kind": "vqgan", "name": "mine", "sha256": "0" * 64, "sha256_by": "somebody's card",
              "sources": [{"url": served.url(), "unconfirmed": True}]}  # fmt: skip
    (home / "catalog.yaml").write_text(yaml.safe_dump([values]))
    with pytest.raises(WeightsError, match=r"not confirmed: .*another file.*somebody's card"):
        get.get("vqgan", "mine")
