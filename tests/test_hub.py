"""Files of the Hub: resumed, at one revision, with a token that no other host, log or message gets to see."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from support.checkpoints import record
from support.serving import Server, send, serving

from vqclip.cli.main import run
from vqclip.weights import cache, files, get

pytestmark = pytest.mark.usefixtures("home")

_TOKEN = "hf_" + "s3cret" * 5


@pytest.fixture
def hub(served: Server, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A Hub on this machine that has the checkpoint of `mine`."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_ENDPOINT", served.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    record(home, served, sources=[{"hub": "a/b", "file": "dir/x.ckpt"}])
    return served


def test_a_file_comes_at_the_commit_that_is_recorded_and_asked_for_ever_after(hub: Server) -> None:
    kept = get.get("vqgan", "mine")
    first = hub.commit
    assert hub.paths == [f"/a/b/resolve/{first}/dir/x.ckpt"] and hub.looked_up[0][0] == "/a/b/resolve/main/dir/x.ckpt"
    assert files.read(kept, "vqgan").info["origin"] == f"a/b/dir/x.ckpt@{first}"
    kept.unlink()
    hub.commit = "d" * 40
    get.get("vqgan", "mine")
    assert hub.looked_up[1][0] == f"/a/b/resolve/{first}/dir/x.ckpt"


def test_a_broken_transfer_goes_on(hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    half = len(hub.body) // 2
    hub.odd = {0: lambda handler: send(handler, hub, cut=half)}
    get.get("vqgan", "mine")
    assert [asked.get("Range") for asked in hub.asked] == [None, f"bytes={half}-"]


def test_a_file_that_is_not_what_the_hub_says_is_refused(hub: Server, capsys: pytest.CaptureFixture[str]) -> None:
    hub.odd = {0: lambda handler: send(handler, Server(body=hub.body[:-1] + b"x"))}
    assert run(["models", "get", "mine"]) == 3
    assert "another file" in capsys.readouterr().err and not cache.weights_file("vqgan", "mine").exists()


def test_a_token_goes_to_the_hub_only(
    hub: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", _TOKEN)
    caplog.set_level(logging.DEBUG)
    with serving() as elsewhere:
        elsewhere.body = hub.body
        hub.elsewhere = elsewhere.url("x.ckpt")
        assert run(["models", "get", "mine"]) == 0
        assert [asked.get("Authorization") for asked in hub.asked] == [f"Bearer {_TOKEN}"]
        assert len(elsewhere.asked) == 1 and "Authorization" not in elsewhere.asked[0]
    assert hub.looked_up[0][1]["Authorization"] == f"Bearer {_TOKEN}"
    said = capsys.readouterr()
    assert _TOKEN not in caplog.text + said.out + said.err
    kept = cache.weights_file("vqgan", "mine")
    assert _TOKEN.encode() not in kept.read_bytes()
    assert not any(_TOKEN in path.read_text() for path in cache.home().glob("*.json"))


def test_a_token_goes_along_where_the_hub_leads_to_itself(hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", _TOKEN)
    hub.elsewhere = "/renamed.ckpt"
    get.get("vqgan", "mine")
    assert hub.paths[1] == "/renamed.ckpt" and hub.asked[1]["Authorization"] == f"Bearer {_TOKEN}"


@pytest.mark.parametrize(
    ("refusal", "token", "words"),
    [
        ((401, "GatedRepo"), "", "accept its terms at {page}, then set HF_TOKEN"),
        ((403, "GatedRepo"), _TOKEN, "accept its terms at {page}; the token in HF_TOKEN has no access yet"),
        ((404, "RepoNotFound"), "", "there is no {page}, or it is private"),
        ((404, "RevisionNotFound"), "", "its revision main is gone"),
        ((404, "EntryNotFound"), "", "it holds no dir/x.ckpt"),
        ((401, ""), _TOKEN, "HF_TOKEN"),
        ((500, ""), _TOKEN, "answer 500"),
    ],
    ids=["gated", "not yet", "absent", "revision", "entry", "token", "500"],
)
def test_what_the_hub_refuses_is_one_line_that_says_what_to_do(
    refusal: tuple[int, str], token: str, words: str, hub: Server, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", token)
    hub.refusal = refusal
    assert run(["models", "get", "mine"]) == 3
    err = capsys.readouterr().err
    assert words.format(page=f"{hub.address}/a/b") in err and err.count("vqclip: ") == 1 and _TOKEN not in err
    assert not hub.asked and not cache.weights_file("vqgan", "mine").exists()
