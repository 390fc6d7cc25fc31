"""Gathering drawings: packages by version and sum, an atlas of one table, what is said where something is missing."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vqclip.cli.main import run
from vqclip.errors import OutputError, UsageError, VqclipError, WeightsError
from vqclip.training import gathering
from vqclip.training.gathering import Package, fetch, gather
from vqclip.world.atlas import Atlas, digest
from vqclip.world.drawings import Drawing, drawings_of

resvg = pytest.importorskip("resvg_py", reason="resvg-py, of vqclip[train], is not installed")

RED = '<rect width="10" height="20" fill="#f00"/>'
BLUE = '<circle cx="12" cy="12" r="10" fill="#00f"/>'
ICONS = {"prefix": "noto", "width": 24, "height": 24, "icons": {"red": {"body": RED}, "blue": {"body": BLUE}}}
TABLE = (
    Drawing("red thing", "noto:red", "flat emoji", "MIT", "", "red"),
    Drawing("blue thing", "noto:blue", "flat emoji", "MIT", "drawing", "blue"),
)


def packed(icons: dict) -> bytes:
    data, text = io.BytesIO(), json.dumps(icons).encode()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        entry = tarfile.TarInfo("package/icons.json")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    return data.getvalue()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A package of two SVGs that lies in the folder, the only one there is."""
    content = packed(ICONS)
    found = Package("noto", "npm", "@iconify-json/noto", "1.2.9", "noto-1.2.9.tgz", hashlib.sha256(content).hexdigest())
    (tmp_path / found.file).write_bytes(content)
    monkeypatch.setattr(gathering, "PACKAGES", (found,))
    return found


def test_drawings_are_fetched_rasterized_and_packed_once(package: Package, tmp_path: Path) -> None:
    atlas = gather(tmp_path, 16, TABLE)
    red, blue = atlas.drawing("noto:red"), atlas.drawing("noto:blue")
    assert atlas.pixels.shape == (2, 16, 16, 4)
    # the ink of each fills its square one way, in the middle: the red one is half as wide as it is high
    assert (red[8, 5:11] == (255, 0, 0, 255)).all() and (red[:, :3] == 0).all() and (red[:, 13:] == 0).all()
    assert (blue[8, 8] == (0, 0, 255, 255)).all() and blue[0, 0, 3] == 0 and blue[8, 1, 3] > 0
    (tmp_path / package.file).unlink()
    (tmp_path / "noto" / ".whole").unlink()
    assert np.array_equal(gather(tmp_path, 16, TABLE).drawing("noto:red"), red)


def test_held_out_drawings_are_packed_and_stay_marked(package: Package, tmp_path: Path) -> None:
    atlas = gather(tmp_path, 16, TABLE)
    assert set(atlas.rows) == {"noto:red", "noto:blue"}
    assert set(drawings_of(TABLE)) == {"red thing"}
    assert set(drawings_of(TABLE, held=("drawing",))) == {"blue thing"}


def test_an_atlas_of_another_table_or_side_is_not_taken_for_this_one(package: Package, tmp_path: Path) -> None:
    gather(tmp_path, 16, TABLE)
    assert Atlas(tmp_path / "atlas-16", 16).holds(TABLE)
    assert not Atlas(tmp_path / "atlas-16", 16).holds(TABLE[:1])
    assert not Atlas(tmp_path / "atlas-16", 24).holds(TABLE)
    other = gather(tmp_path, 16, TABLE[:1])
    assert set(other.rows) == {"noto:red"} and len(other.pixels) == 1
    assert json.loads((tmp_path / "atlas-16" / "atlas.json").read_text())["table"] == digest(TABLE[:1])


@pytest.mark.parametrize("content", [packed(ICONS | {"width": 25}), b"", b"no archive"])
def test_a_file_with_a_wrong_sum_is_refused_and_never_unpacked(
    package: Package, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / package.file).write_bytes(content)
    with pytest.raises(WeightsError, match=r"noto-1\.2\.9\.tgz is not version 1\.2\.9 .* remove it and try again"):
        gather(tmp_path, 16, TABLE)
    assert not (tmp_path / "noto").exists() and not (tmp_path / "atlas-16").exists()


def test_another_version_is_no_file_of_this_one(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the registry's program brings under another name is not used; the message names version and file."""
    (tmp_path / package.file).rename(tmp_path / "noto-1.3.0.tgz")
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    called = []

    def brings_nothing(arguments: list[str], **options: object) -> subprocess.CompletedProcess:
        called.append(arguments)
        return subprocess.CompletedProcess(arguments, 1, "", "no matching version\nfor that")

    monkeypatch.setattr(subprocess, "run", brings_nothing)
    with pytest.raises(UsageError, match=r"@1\.2\.9 failed \(no matching version for that\).*put noto-1\.2\.9\.tgz"):
        fetch(package, tmp_path)
    assert called == [["npm", "pack", "@iconify-json/noto@1.2.9"]]


def test_a_missing_program_is_named_with_what_to_do(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / package.file).unlink()
    monkeypatch.setattr("shutil.which", lambda program: None)
    with pytest.raises(UsageError, match=r"^npm is not installed: install it, or put noto-1\.2\.9\.tgz of .* by hand$"):
        gather(tmp_path, 16, TABLE)


DEB = Package("tuxpaint", "debian", "stamps", "1", "stamps_1_all.deb", hashlib.sha256(b"no deb").hexdigest())


@pytest.mark.parametrize("there", [True, False])
def test_a_package_that_cannot_be_unpacked_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    (tmp_path / DEB.file).write_bytes(b"no deb")
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}" if there else None)
    failed = subprocess.CompletedProcess([], 2, "", "dpkg-deb: error: failed to write\n(No space left on device)")
    monkeypatch.setattr(subprocess, "run", lambda arguments, **options: failed)
    with pytest.raises(UsageError) as error:
        fetch(DEB, tmp_path)
    told = (
        f"{tmp_path / DEB.file} cannot be unpacked (dpkg-deb: error: failed to write (No space left on device)): see "
        "that the disk has room, and try again"
        if there
        else "dpkg-deb is not installed: install dpkg, with which stamps_1_all.deb is unpacked"
    )
    assert str(error.value) == told and not (tmp_path / "tuxpaint" / ".whole").exists()


def test_an_archive_that_is_damaged_or_finds_no_room_is_one_line(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = packed(ICONS)[:60]
    other = replace(package, sha256=hashlib.sha256(cut).hexdigest())
    (tmp_path / package.file).write_bytes(cut)
    with pytest.raises(UsageError, match=r"noto-1\.2\.9\.tgz cannot be unpacked \("):
        fetch(other, tmp_path)
    (tmp_path / package.file).write_bytes(packed(ICONS))

    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "extractall", full)
    with pytest.raises(OutputError, match=r"noto: the disk is full"):
        fetch(package, tmp_path)


def test_an_atlas_with_a_damaged_record_or_cut_short_is_packed_again(package: Package, tmp_path: Path) -> None:
    whole = np.array(gather(tmp_path, 16, TABLE).pixels)
    where = tmp_path / "atlas-16"
    (where / "atlas.raw").write_bytes(whole.tobytes()[:-1])
    assert not Atlas(where, 16).holds(TABLE)
    with pytest.raises(VqclipError, match=r"atlas\.raw is not whole: run 'vqclip train drawings' again"):
        Atlas(where, 16).drawing("noto:red")
    assert np.array_equal(gather(tmp_path, 16, TABLE).pixels, whole)
    for record in ("[1]", "null", "5", '{"table": 1}', json.dumps({"table": digest(TABLE), "side": 16, "ids": 2})):
        (where / "atlas.json").write_text(record)
        assert not Atlas(where, 16).holds(TABLE)
        with pytest.raises(VqclipError, match="there is no atlas"):
            Atlas(where, 16).drawing("noto:red")
        assert np.array_equal(gather(tmp_path, 16, TABLE).pixels, whole)


def test_too_little_disk_is_said_before_anything_is_drawn(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 2 * 16 * 16 * 4})())
    with pytest.raises(OutputError, match=r"the atlas of drawings needs .* are free: give another --folder"):
        gather(tmp_path, 16, TABLE)
    assert not (tmp_path / "atlas-16").exists()


def test_the_command_prints_where_the_atlas_lies(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gathering, "load_drawings", lambda: TABLE)
    (tmp_path / "drawings").mkdir()
    (tmp_path / package.file).rename(tmp_path / "drawings" / package.file)
    assert run(["train", "drawings", "--folder", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "drawings" / "atlas-192")
    assert Atlas(tmp_path / "drawings" / "atlas-192", 192).holds(TABLE)
