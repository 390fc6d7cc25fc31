"""Names of output files: no prompt leaves the folder, nothing is overwritten, nothing is handed out twice."""

import concurrent.futures
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqclip.errors import OutputError, UsageError
from vqclip.writers import names


@given(st.text())
def test_slug_is_always_a_plain_name(text):
    slug = names.slug(text)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?", slug)
    assert len(slug.encode()) <= 60
    assert ".." not in slug
    assert slug.partition(".")[0] not in names.RESERVED
    assert names.slug(slug) == slug


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("A cat in Van Gogh style", "a-cat-in-van-gogh-style"),
        ("../../etc/passwd", "etc-passwd"),
        ("C:\\Windows\\system32", "c-windows-system32"),
        ("", "picture"),
        ("😀 \ud800 日本", "picture"),
        ("Café ﬁx ½", "cafe-fix-1-2"),
        ("CON", "picture-con"),
        ("nul.txt", "picture-nul.txt"),
        ("com1", "picture-com1"),
        ("-rf ~", "rf"),
        ("...hidden...", "hidden"),
        ("a" * 59 + "-b", "a" * 59),
        ('a^b|c:d?e*f"g<h>i\n\0j', "a-b-c-d-e-f-g-h-i-j"),
    ],
)
def test_slug_of_known_texts(text, slug):
    assert names.slug(text) == slug


def test_next_path_counts_on_and_reserves(tmp_path):
    first = names.next_path(tmp_path, 7, "a fox")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", first.parent.name) and first.parent.parent == tmp_path
    assert first.name == "0001-7-a-fox.png"
    assert names.run_folder(first).is_dir() and not first.exists()
    (first.parent / "0041-1-x.jpg").touch()
    (first.parent / "notes-9999.txt").touch()
    assert names.next_path(tmp_path, -3, "../..", ".webp").name == "0042--3-picture.webp"
    assert not list(first.parent.glob(".*"))


def test_next_path_survives_what_a_killed_process_left(tmp_path):
    day = names.next_path(tmp_path, 1, "a").parent
    (day / ".0002.claim").touch()
    assert names.next_path(tmp_path, 1, "a").name == "0003-1-a.png"


def test_next_path_never_hands_out_a_counter_twice(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda seed: names.next_path(tmp_path, seed, "a fox"), range(40)))
    assert len({path.name[:4] for path in paths}) == 40


def test_free_path(tmp_path):
    path = tmp_path / "a.b.png"
    assert names.free_path(path) == path
    path.touch()
    assert names.free_path(path) == tmp_path / "a.b-1.png"
    (tmp_path / "a.b-1.run").mkdir()
    assert names.free_path(path) == tmp_path / "a.b-2.png"
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    assert names.free_path(tmp_path / "link.png") == tmp_path / "link-1.png"


def test_check_writable(tmp_path, monkeypatch):
    assert names.check_writable(tmp_path / "new" / "folder").is_dir()
    assert not list((tmp_path / "new" / "folder").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        names.check_writable(tmp_path / "file")
    with pytest.raises(OutputError, match="cannot write"):
        names.next_path(tmp_path / "file", 1, "a")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(names.tempfile, "TemporaryFile", refuse)
    with pytest.raises(OutputError, match="no permission"):
        names.check_writable(tmp_path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes everywhere; Windows has no modes")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match="no permission"):
        names.check_writable(tmp_path)


def test_check_suffix():
    assert names.check_suffix("a.PNG", "image") == ".png"
    assert names.check_suffix("a.webp", "video") == ".webp"
    with pytest.raises(UsageError, match=r"\.png, \.jpg, \.jpeg, \.webp"):
        names.check_suffix("a.bmp", "image")
    with pytest.raises(UsageError, match=r"no ending: known are \.mp4"):
        names.check_suffix("movie", "video")
