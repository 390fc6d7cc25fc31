"""Standard streams that are closed, full or narrow: the picture is drawn, and its name printed as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image
from support.paths import ROOT
from support.runs import SMALL_FLAGS

pytestmark = pytest.mark.skipif(os.name == "nt", reason="descriptors of POSIX")
STRICT = {"PYTHONIOENCODING": "utf-8:strict"}
DRAW = ("cat", *SMALL_FLAGS, "--steps", "1", "-o", "cat.png")


def shell(folder: Path, redirect: str, args: Sequence[str | bytes], **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command line behind a shell that redirects its streams."""
    variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | env
    command = ["sh", "-c", f'exec "$@" {redirect}', "sh", sys.executable, "-m", "vqclip", *args]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, timeout=6000, check=False)


@pytest.mark.parametrize(("redirect", "code", "told"), [
    (">/dev/full", 1, b"vqclip: cannot write to stdout: "),
    (">&-", 0, b"step 1/1"),
    ("2>&-", 0, b""),
    ("2>/dev/full", 0, b""),
    ("<&- >&- 2>&-", 0, b""),
])  # fmt: skip
def test_a_stream_that_takes_nothing_costs_no_picture(tmp_path: Path, redirect: str, code: int, told: bytes) -> None:
    done = shell(tmp_path, redirect, [*DRAW, "--video", "film.mp4"])
    assert done.returncode == code, done.stderr
    assert told in done.stderr and b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr
    assert Image.open(tmp_path / "cat.png").size == (64, 64)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat.png", "film.mp4"]
    if "2>" in redirect and ">&-" not in redirect.replace("2>&-", ""):
        assert done.stdout == b"cat.png\nfilm.mp4\n"


def test_a_name_that_is_no_utf_8_is_printed_as_it_is(tmp_path: Path) -> None:
    name = b"caf\xe9.png"
    args = [os.fsencode(arg) for arg in DRAW[:-1]]
    done = shell(tmp_path, "", [*args, name], **STRICT)
    assert (done.returncode, done.stdout) == (0, name + b"\n"), done.stderr
    assert os.path.exists(os.fsencode(tmp_path) + b"/" + name)


@pytest.mark.parametrize(("redirect", "args", "code", "words"), [
    (">/dev/full", ["cat", "--print-config"], 1, b"cannot write to stdout"),
    (">/dev/full", ["models", "list"], 1, b"cannot write to stdout"),
    ("<&-", ["-"], 2, b"stdin is closed"),
    ("</dev/zero", ["-"], 2, b"stdin is over 256 KB"),
    ("2>/dev/full", ["--bogus"], 2, b""),
])  # fmt: skip
def test_a_stream_that_gives_or_takes_nothing_ends_in_one_line(
    tmp_path: Path, redirect: str, args: list[str], code: int, words: bytes
) -> None:
    done = shell(tmp_path, redirect, args)
    assert done.returncode == code and words in done.stderr and len(done.stderr.splitlines()) <= 1, done.stderr
    assert not list(tmp_path.iterdir())


def test_prompts_of_another_encoding_are_refused_whatever_the_locale(tmp_path: Path) -> None:
    (tmp_path / "words").write_bytes(b"a caf\xe9\n")
    for env in (STRICT, {"LC_ALL": "C"}):
        done = shell(tmp_path, "<words", ["-"], **env)
        assert done.returncode == 2
        assert done.stderr == b"vqclip: stdin is not in UTF-8 (byte 0xe9 in line 1): save it as UTF-8\n"


def test_characters_that_a_stream_lacks_are_escaped(tmp_path: Path) -> None:
    done = shell(tmp_path, "", ["Käfer 🐱", "--print-config"], PYTHONIOENCODING="latin-1:strict")
    assert done.returncode == 0 and b"K\xe4fer \\U0001f431" in done.stdout


def test_a_working_folder_that_is_gone_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    code = "import os, sys; os.rmdir(os.getcwd()); from vqclip.cli import main; main(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, *DRAW], cwd=tmp_path / "gone", env=variables,
                          capture_output=True, timeout=600, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"vqclip: the working folder does not exist any more: change to another one\n"


@pytest.mark.parametrize("kilobytes", [1_000_000, 2_500_000])
def test_too_few_addresses_for_the_libraries_are_told_of(tmp_path: Path, kilobytes: int) -> None:
    variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = ["sh", "-c", f'ulimit -v {kilobytes}; exec "$@"', "sh", sys.executable, "-m", "vqclip", *DRAW]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, timeout=600, check=False)
    assert done.returncode in (0, 6), done.stderr
    if done.returncode:
        assert b"memory" in done.stderr and len(done.stderr.splitlines()) == 1
