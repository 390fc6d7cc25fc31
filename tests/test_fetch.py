"""Fetching over HTTP from a server of our own that misbehaves in every way that servers do."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.paths import ROOT
from support.serving import BODY, DIGEST, Server, send, status

from vqclip.errors import WeightsError
from vqclip.weights import fetch
from vqclip.weights.fetch import Wanted


def get(server: Server, target: Path, **changes: object) -> str:
    values = {"urls": [server.url()], "size": len(BODY), "sha256": DIGEST} | changes
    return fetch.fetch(Wanted(**values), target, pause=lambda seconds: None)


def part_of(target: Path, url: str) -> tuple[Path, Path]:
    """Return the part of a URL's file, and the note of what it is a part of."""
    own = hashlib.sha256(url.encode()).hexdigest()[:8]
    return Path(f"{target}.{own}.part"), Path(f"{target}.{own}.json")


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"a.ckpt.lock"}


def test_a_file_arrives_whole_and_is_fetched_once(server: Server, tmp_path: Path) -> None:
    seen = []
    target = tmp_path / "sub" / "a.ckpt"
    wanted = Wanted([server.url()])
    assert fetch.fetch(wanted, target, lambda done, total: seen.append((done, total))) == DIGEST
    assert target.read_bytes() == BODY and seen[-1] == (len(BODY), len(BODY))
    assert fetch.fetch(wanted, target) == DIGEST and len(server.asked) == 1
    assert leftovers(target.parent) == {"a.ckpt"}


def test_a_body_that_breaks_off_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.odd = {0: lambda h: send(h, server, 1000), 1: lambda h: send(h, server, 500)}
    assert get(server, tmp_path / "a.ckpt") == DIGEST
    assert [asked.get("Range") for asked in server.asked] == [None, "bytes=1000-", "bytes=1500-"]
    assert server.asked[1]["If-Range"] == server.etag
    assert leftovers(tmp_path) == {"a.ckpt"}


def test_a_server_that_ignores_ranges_begins_again(server: Server, tmp_path: Path) -> None:
    server.ranges, server.odd = False, {0: lambda h: send(h, server, 1000)}
    assert get(server, tmp_path / "a.ckpt") == DIGEST
    assert (tmp_path / "a.ckpt").read_bytes() == BODY


def test_another_etag_begins_again(server: Server, tmp_path: Path) -> None:
    def replace(handler: BaseHTTPRequestHandler) -> None:
        server.body, server.etag = b"x" * 5000, '"old"'
        send(handler, server, 3000)
        server.body, server.etag = BODY, '"new"'

    server.odd = {0: replace}
    target = tmp_path / "a.ckpt"
    assert fetch.fetch(Wanted([server.url()], sha256=DIGEST), target, pause=lambda seconds: None) == DIGEST
    assert target.read_bytes() == BODY


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "a.ckpt"
    part, note = part_of(target, server.url())
    part.write_bytes(b"y" * (len(BODY) + 5))
    note.write_text(json.dumps({"mark": server.etag, "total": None}))
    assert get(server, target) == DIGEST


@pytest.mark.parametrize(
    "note", ["", "[]", '{"mark": 3, "total": 5}', '{"mark": "", "total": 5}', '{"mark": "x"}', "{"]
)
def test_a_part_of_unknown_origin_is_not_trusted(note: str, server: Server, tmp_path: Path) -> None:
    target = tmp_path / "a.ckpt"
    part, told = part_of(target, server.url())
    part.write_bytes(b"evil")
    told.write_text(note)
    assert get(server, target) == DIGEST and "Range" not in server.asked[0]


@pytest.mark.parametrize("code", [500, 503, 429, 408])
def test_a_passing_fault_is_tried_again(code: int, server: Server, tmp_path: Path) -> None:
    server.odd = {0: status(code), 1: status(code)}
    pauses = []
    wanted = Wanted([server.url()], len(BODY), DIGEST)
    assert fetch.fetch(wanted, tmp_path / "a.ckpt", pause=pauses.append) == DIGEST
    assert pauses == [1.0, 2.0]


def test_mirrors_are_tried_in_order(server: Server, tmp_path: Path) -> None:
    server.odd = {0: status(404), 1: status(403)}
    urls = [server.url(name) for name in ("first", "second", "third")]
    assert get(server, tmp_path / "a.ckpt", urls=urls) == DIGEST
    assert server.paths == ["/first", "/second", "/third"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda server: server.odd.update(dict.fromkeys(range(9), status(404))), "answer 404"),
        (lambda server: server.odd.update(dict.fromkeys(range(9), status(500))), "answer 500"),
        (lambda server: setattr(server, "kind", "text/html; charset=utf-8"), "a web page, not a file"),
        (lambda server: setattr(server, "body", BODY[:-1] + b"!"), "another file (sha256"),
        (lambda server: setattr(server, "body", BODY[:-1]), "bytes, not"),
        (lambda server: server.odd.update({n: lambda h: send(h, server, 0) for n in range(9)}), "broke off after 0 of"),
    ],
)
def test_what_no_mirror_gives_is_said_with_the_way_by_hand(
    spoil: Callable[[Server], None], reason: str, server: Server, tmp_path: Path
) -> None:
    spoil(server)
    target = tmp_path / "a.ckpt"
    with pytest.raises(WeightsError) as caught:
        get(server, target)
    message = str(caught.value)
    assert reason in message and "127.0.0.1" in message and str(target) in message and "\n" not in message
    assert not target.exists()


def test_a_stalling_server_is_left(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_PATIENCE", 0.2)
    done = threading.Event()

    def stall(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        handler.wfile.write(BODY[:100])
        handler.wfile.flush()
        done.wait(5)

    server.odd = {0: stall}
    assert get(server, tmp_path / "a.ckpt") == DIGEST
    done.set()


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/hostname",
        "ftp://x/y",
        "data:text/plain,x",
        "http://[",
        "https://example.org/\u00fc",
        "http://a b/",
        "",
    ],
)
def test_only_proper_addresses_of_the_web_are_fetched_from(url: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot fetch a\.ckpt") as caught:
        fetch.fetch(Wanted([url]), tmp_path / "a.ckpt", pause=lambda seconds: None)
    assert "\n" not in str(caught.value)


def test_a_long_way_may_break_off_often(server: Server, tmp_path: Path) -> None:
    server.odd = {n: lambda h: send(h, server, 20_000) for n in range(30)}
    assert get(server, tmp_path / "a.ckpt") == DIGEST and len(server.asked) == 31


def test_each_mirror_has_a_part_of_its_own(server: Server, tmp_path: Path) -> None:
    first, second = server.url("first"), server.url("second")
    server.odd = {0: lambda h: send(h, server, 5000), **dict.fromkeys(range(1, 9), status(500))}
    with pytest.raises(WeightsError):
        get(server, tmp_path / "a.ckpt", urls=[first, second])
    part, _ = part_of(tmp_path / "a.ckpt", first)
    assert part.stat().st_size == 5000
    assert get(server, tmp_path / "a.ckpt", urls=[first, second]) == DIGEST
    assert server.asked[-1]["Range"] == "bytes=5000-" and leftovers(tmp_path) == {"a.ckpt"}


def test_a_part_is_never_mixed_with_another_file(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's file changes; first there is no room for the new one, then it ignores what the part is of."""
    wanted, target = Wanted([server.url()]), tmp_path / "a.ckpt"
    server.odd = {0: lambda h: send(h, server, 5000), **dict.fromkeys(range(1, 5), status(500))}
    with pytest.raises(WeightsError):
        fetch.fetch(wanted, target, pause=lambda seconds: None)
    server.body, server.etag, server.odd = BODY[::-1], '"new"', {}
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
        with pytest.raises(WeightsError, match="are free"):
            fetch.fetch(wanted, target)
    server.heedless = True
    fetch.fetch(wanted, target, pause=lambda seconds: None)
    assert target.read_bytes() == server.body


def test_too_little_room_is_said_before_anything_arrives(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(WeightsError, match=r"needs 0.00 GB in .* are free"):
        get(server, tmp_path / "a.ckpt")
    assert not list(tmp_path.glob("*.part"))


def test_a_disk_that_fills_up_keeps_what_arrived(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match="no room left"):
        get(server, tmp_path / "a.ckpt")
    monkeypatch.undo()
    part, _ = part_of(tmp_path / "a.ckpt", server.url())
    assert part.stat().st_size == len(BODY)
    assert get(server, tmp_path / "a.ckpt") == DIGEST and len(server.asked) == 1, "nothing is left to be fetched"
    assert leftovers(tmp_path) == {"a.ckpt"}


_CHILD = """
import sys
from pathlib import Path
from vqclip.weights.fetch import Wanted, fetch
fetch(Wanted([sys.argv[1]]), Path(sys.argv[2]))
"""


def test_what_a_killed_process_left_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    arrived, release = threading.Event(), threading.Event()

    def slowly(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        for name, value in (("Content-Length", len(server.body)), ("ETag", server.etag)):
            handler.send_header(name, str(value))
        handler.end_headers()
        handler.wfile.write(server.body[: 2 << 20])
        handler.wfile.flush()
        arrived.set()
        release.wait(20)

    server.body = BODY * 4
    server.odd = {0: slowly}
    target = tmp_path / "a.ckpt"
    command = [sys.executable, "-c", _CHILD, server.url(), str(target)]
    child = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert arrived.wait(30)
    part, _ = part_of(target, server.url())
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    release.set()
    assert not target.exists() and part.stat().st_size >= 1 << 20
    assert fetch.fetch(Wanted([server.url()]), target) == hashlib.sha256(server.body).hexdigest()
    assert server.asked[1]["Range"].startswith("bytes=") and target.read_bytes() == server.body


def _fetch_beside_others(url: str, target: str) -> None:
    fetch.fetch(Wanted([url], len(BODY), DIGEST), Path(target))


def test_of_several_processes_one_fetches(server: Server, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    target = str(tmp_path / "a.ckpt")
    processes = [context.Process(target=_fetch_beside_others, args=(server.url(), target)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(server.asked) == 1
