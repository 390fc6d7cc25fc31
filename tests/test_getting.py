"""`vqclip models get`: what goes wrong between a name and a kept file, and what is kept in which form."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import shutil
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.checkpoints import lightning, record, theirs
from support.serving import Server, send, status

from vqclip.cli.main import run
from vqclip.errors import WeightsError
from vqclip.types import VQGANArchitecture
from vqclip.weights import cache, catalog, convert, fetch, files, get

pytestmark = pytest.mark.usefixtures("home")


def page(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.end_headers()
    handler.wfile.write(b"<!DOCTYPE html>")


def stalled(handler: BaseHTTPRequestHandler) -> None:
    """Send nothing until the client has lost its patience."""
    handler.rfile.read(1)


def always(server: Server, what: Callable[[BaseHTTPRequestHandler], None]) -> None:
    server.odd = dict.fromkeys(range(50), what)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (lambda server, home: always(server, status(404)), "answer 404"),
        (lambda server, home: always(server, status(500)), "answer 500"),
        (lambda server, home: always(server, page), "web page"),
        (lambda server, home: always(server, stalled), "timed out"),
        (lambda server, home: always(server, lambda h: send(h, server, cut=0)), "broke off"),
        (lambda server, home: record(home, server, sha256="0" * 64), "another file"),
        (lambda server, home: record(home, server, size=5), "not 5"),
        (lambda server, home: record(home, server, architecture={"n_embed": 77}), "n_embed"),
        (lambda server, home: os.environ.update(VQCLIP_OFFLINE="1"), "offline"),
    ],
    ids=["404", "500", "page", "stall", "cut", "hash", "size", "architecture", "offline"],
)
def test_trouble_is_one_line_and_exit_3(
    trouble: Callable[..., Any], words: str, served: Server, home: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("VQCLIP_OFFLINE", "")
    monkeypatch.setattr(fetch, "_PATIENCE", 0.2)
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(fetch.fetch, "__defaults__", (None, lambda seconds: None))
    trouble(served, home)
    assert run(["models", "get", "mine"]) == 3
    err = capsys.readouterr().err
    assert words in err and err.count("vqclip: ") == 1 and "Traceback" not in err
    assert not cache.weights_file("vqgan", "mine").exists()


@pytest.mark.parametrize("way", ["flag", "VQCLIP_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_asks_no_server(way: str, served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCLIP_OFFLINE", "")
    if way != "flag":
        monkeypatch.setenv(way, "1")
    assert run(["models", "get", "mine", *(["--offline"] if way == "flag" else [])]) == 3 and not served.asked


def test_where_a_file_got_by_hand_is_looked_for_is_said_and_it_is_checked_there(
    served: Server, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = hashlib.sha256(served.body).hexdigest()
    record(home, served, sha256=digest)
    always(served, status(404))
    assert run(["models", "get", "mine"]) == 3
    err = capsys.readouterr().err
    place = home / "downloads" / "vqgan-mine.ckpt"
    assert f"get {served.url()} and put it at {place}" in err
    place.write_bytes(served.body + b"x")
    assert run(["models", "get", "mine"]) == 3 and "another file" in capsys.readouterr().err
    place.write_bytes(served.body)
    assert run(["models", "get", "mine"]) == 0 and place.exists()


def test_another_mirror_must_have_the_file_that_the_first_one_had(served: Server, home: Path) -> None:
    get.get("vqgan", "mine")
    cache.weights_file("vqgan", "mine").unlink()
    served.body += b"x"
    record(home, served, sources=[{"url": served.url("other.ckpt")}])
    with pytest.raises(WeightsError, match="another file"):
        get.get("vqgan", "mine")


def test_killed_before_it_is_converted_a_file_is_converted_next_time_and_removed(
    served: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(convert, "convert_vqgan", killed)
        with pytest.raises(KeyboardInterrupt):
            get.get("vqgan", "mine")
    assert len(list((home / "downloads").glob("*.ckpt"))) == 1
    assert get.get("vqgan", "mine").exists() and len(served.asked) == 1
    assert not list((home / "downloads").glob("*.ckpt"))


def test_a_disk_that_fills_while_it_is_converted_costs_no_second_fetch(
    served: Server, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def full(descriptor: int) -> None:
        if served.asked and not list((home / "downloads").glob("*.part")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert run(["models", "get", "mine"]) == 3
    err = capsys.readouterr().err
    assert "cannot be kept" in err and "disk is full" in err and err.count("vqclip: ") == 1
    assert get.get("vqgan", "mine").exists() and len(served.asked) == 1


def test_a_file_of_the_hub_of_another_size_is_refused(
    served: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", served.address)
    record(home, served, sources=[{"hub": "a/b", "file": "x.ckpt"}], size=7)
    with pytest.raises(WeightsError, match="bytes, not 7"):
        get.get("vqgan", "mine")
    assert not served.asked
    record(home, served, sources=[{"hub": "a/b", "file": "x.ckpt"}])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 3})())
    with pytest.raises(WeightsError, match="are free"):
        get.get("vqgan", "mine")


def form(path: Path) -> tuple[bool, str]:
    kept = files.read(path, "vqgan")
    return VQGANArchitecture.from_json(kept.architecture).encoder, kept.info["dtype"]


def test_what_is_here_is_brought_into_the_form_that_is_asked_for(served: Server) -> None:
    whole = get.get("vqgan", "mine", get.How(keep_original=False))
    size = whole.stat().st_size
    assert form(whole) == (True, "fp32")
    path = get.get("vqgan", "mine", get.How(decoder_only=True, dtype="fp16"))
    assert form(path) == (False, "fp16") and path.stat().st_size < 0.4 * size and len(served.asked) == 1
    assert files.read(path, "vqgan").info["source_sha256"] == hashlib.sha256(served.body).hexdigest()
    assert run(["models", "verify", "mine"]) == 0
    # what is not in it must be fetched
    assert form(get.get("vqgan", "mine")) == (True, "fp32") and len(served.asked) == 2


def test_parts_are_gone_on_with_and_each_is_remembered(server: Server, home: Path) -> None:
    parts = {name: {"url": server.url(name)} for name in ("a.pt", "b.json")}
    home.mkdir()
    (home / "catalog.yaml").write_text(yaml.safe_dump([{"kind": "prior", "name": "several", "parts": parts}]))
    server.odd = {1: status(404)}
    with pytest.raises(WeightsError, match=r"get it, and put all parts into .*prior-several"):
        get.get("prior", "several")
    folder = get.get("prior", "several")
    assert server.paths == ["/a.pt", "/b.json", "/b.json"] and sorted(p.name for p in folder.iterdir()) == sorted(parts)
    shutil.rmtree(folder)
    server.body += b"x"
    with pytest.raises(WeightsError, match="another file"):
        get.get("prior", "several")
    assert not list(home.glob("weights/prior-several"))


def _get(home: str, done: Any) -> None:
    os.environ["VQCLIP_HOME"] = home
    done.put(str(get.get("vqgan", "mine")))


def test_of_four_processes_one_fetches_and_converts(served: Server, home: Path) -> None:
    context = multiprocessing.get_context("spawn")
    done = context.Queue()
    processes = [context.Process(target=_get, args=(str(home), done)) for _ in range(4)]
    for process in processes:
        process.start()
    found = {done.get(timeout=120) for _ in processes}
    for process in processes:
        process.join(60)
    assert found == {str(cache.weights_file("vqgan", "mine"))} and len(served.asked) == 1


def test_the_hubs_other_endpoint_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    source = catalog.Source(hub="a/b", file="c/d.ckpt", revision="1" * 40)
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert source.address == f"https://mirror.example/a/b/resolve/{'1' * 40}/c/d.ckpt"


def test_a_proxy_is_asked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, server.address)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of its first use
    url = "http://weights.example/a.ckpt"
    fetch.fetch(fetch.Wanted([url]), tmp_path / "a.ckpt")
    assert server.paths == [url] and (tmp_path / "a.ckpt").read_bytes() == server.body


def test_a_bundle_is_told_by_its_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A transformer's pickle under another name goes the same way, and is refused for what it lacks."""
    path = lightning(tmp_path / "bundle.safetensors", theirs("f16"))
    assert run(["a cat", "--prior", str(path), "--init", "prior", "--steps", "0"]) == 3
    err = capsys.readouterr().err
    assert "pickled" not in err and err.count("vqclip: ") == 1
