"""The ground: errors and their exit codes, registries, seeds, atomic files, shipped files."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from vqclip import atomic, errors, resources, seeding
from vqclip.errors import OutputError, UsageError, VqclipError, nearest, one_line, unknown_name
from vqclip.registry import Registry

ROOT = Path(__file__).resolve().parent.parent
needs_posix = pytest.mark.skipif(os.name != "posix", reason="permissions and limits of POSIX")


# errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [("VqclipError", 1), ("OutputError", 1), ("UsageError", 2), ("WeightsError", 3), ("NumericError", 4),
     ("MemoryBudgetError", 6)],
)  # fmt: skip
def test_each_error_has_the_exit_code_of_the_table(kind: str, code: int) -> None:
    error = getattr(errors, kind)
    assert issubclass(error, VqclipError)
    assert error.exit_code == code


def test_no_error_leaves_the_table_of_exit_codes() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, VqclipError)]
    assert {kind.exit_code for kind in kinds} <= {1, 2, 3, 4, 5, 6}


def test_an_unknown_name_suggests_the_nearest_and_lists_all() -> None:
    message = str(unknown_name("optimizer", "adm", ["sgd", "adam", "rmsprop"]))
    assert message == "unknown optimizer 'adm': did you mean 'adam'? known are adam, rmsprop, sgd"
    assert "did you mean" not in str(unknown_name("optimizer", "qqqq", ["adam"]))
    assert str(unknown_name("preset", "x", [])).endswith("known are none")
    assert "\n" not in str(unknown_name("preset", "a\nb", ["ab"]))


@pytest.mark.parametrize(("given", "known"), [("ADAM", "adam"), ("vit", "ViT"), ("rn50x", "RN50x4")])
def test_the_nearest_name_is_found_whatever_the_case(given: str, known: str) -> None:
    assert nearest(given, [known, "something else"]) == known


@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("a\n  b\tc"), "a b c"), (ValueError(""), "ValueError"), (ValueError("  \n"), "ValueError"),
     (ValueError("red \x1b[31m\x07 end"), "red [31m end")],
)  # fmt: skip
def test_any_message_becomes_one_printable_line(error: Exception, line: str) -> None:
    assert one_line(error) == line


# registry


@pytest.fixture
def registry() -> Registry:
    return Registry("color", {"red": "vqclip.errors:UsageError", "blue": "no.such.module:thing"})


def test_a_registry_lists_and_suggests_without_importing(registry: Registry) -> None:
    assert list(registry) == ["red", "blue"]
    assert len(registry) == 2
    assert registry["blue"] == "no.such.module:thing"
    with pytest.raises(UsageError, match=r"unknown color 'bleu': did you mean 'blue'\?"):
        registry.check("bleu")
    assert "no" not in sys.modules


def test_a_registry_loads_what_is_behind_a_name(registry: Registry) -> None:
    assert registry.load("red") is UsageError
    with pytest.raises(UsageError, match="unknown color"):
        registry.load("green")
    with pytest.raises(ImportError):
        registry.load("blue")


def test_a_registry_says_whether_it_holds_a_name_as_any_mapping_does(registry: Registry) -> None:
    assert "red" in registry
    assert "green" not in registry
    assert registry.get("green") is None


def test_a_name_is_registered_once(registry: Registry) -> None:
    registry.register("green", "vqclip.errors:VqclipError")
    assert registry.load("green") is VqclipError
    with pytest.raises(ValueError, match="'green' is registered already"):
        registry.register("green", "vqclip.errors:UsageError")
    assert registry["green"] == "vqclip.errors:VqclipError"


def test_a_registry_keeps_its_own_copy() -> None:
    records = {"a": "x:y"}
    registry = Registry("letter", records)
    registry.register("b", "x:z")
    assert records == {"a": "x:y"}


# seeding


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0, "views"), 7833348614080372424),
        ((42, "views", 7), 1972575450744057385),
        ((-5, "view noise", 1), 977514939313103521),
        ((2**70, "z", 3), 1425081672938618927),
    ],
)
def test_derived_seeds_never_change(arguments: tuple[Any, ...], expected: int) -> None:
    assert seeding.derive(*arguments) == expected
    assert 0 <= expected < 2**63


def test_draws_of_a_step_never_change() -> None:
    numbers = torch.rand(3, generator=seeding.generator(42, "views", 7))
    assert torch.allclose(numbers, torch.tensor([0.7578606, 0.42069483, 0.14050043]), atol=1e-7)


def test_draws_depend_on_seed_stream_and_step_and_on_nothing_else() -> None:
    state = torch.get_rng_state()
    first = torch.rand(4, generator=seeding.generator(1, "views", 2))
    torch.rand(5, generator=seeding.generator(1, "views", 1))
    assert torch.equal(first, torch.rand(4, generator=seeding.generator(1, "views", 2)))
    assert torch.equal(torch.get_rng_state(), state)
    others = [seeding.derive(*key) for key in ((1, "views", 3), (2, "views", 2), (1, "noise", 2), (12, "views"))]
    assert len({seeding.derive(1, "views", 2), *others}) == 5


@pytest.mark.parametrize(
    ("text", "seed"),
    [("0", 0), ("42", 42), (" 42 ", 42), ("-7", -7), (str(2**80), 2**80), ("fox", 3786988939), (" fox\n", 3786988939)],
)
def test_a_typed_seed_is_an_integer_or_the_hash_of_a_word(text: str, seed: int) -> None:
    assert seeding.from_text(text) == seed


@pytest.mark.parametrize("word", ["1.5", "Fox", "\u72d0", "\ud800", "9" * 5000])
def test_any_word_is_a_seed_and_stays_the_same(word: str) -> None:
    assert seeding.from_text(word) == seeding.from_text(word) != seeding.from_text("fox")
    seeding.generator(seeding.from_text(word), "views")


@pytest.mark.parametrize("text", ["-1", "", "  "])
def test_minus_one_and_nothing_draw_a_new_seed(text: str) -> None:
    seeds = [seeding.from_text(text) for _ in range(8)]
    assert len(set(seeds)) > 1
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert seeding.from_text(str(seeds[0])) == seeds[0], "what is recorded can be typed again"


# atomic files


def test_a_file_is_written_with_its_folders_and_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "picture.png"
    for content in (b"old", b"newer"):
        assert atomic.write(target, lambda stream, content=content: stream.write(content)) == target
        assert target.read_bytes() == content
    assert list(target.parent.iterdir()) == [target], "no temporary file is left"
    assert atomic.write_text(target, "f\u00fcchse").read_text("utf-8") == "f\u00fcchse"


@pytest.mark.parametrize(
    ("failure", "raised", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OutputError, "the disk is full"),
        (OSError(errno.EDQUOT, "Quota exceeded"), OutputError, "the disk is full"),
        (OSError(errno.EIO, "Input/output error"), OutputError, "Input/output error"),
        (PermissionError(errno.EACCES, "Permission denied"), OutputError, "no permission"),
        (ValueError("encoder"), ValueError, "encoder"),
        (KeyboardInterrupt("now"), KeyboardInterrupt, "now"),
    ],
    ids=["full", "quota", "io", "permission", "other", "ctrl-c"],
)
def test_the_old_file_stays_whole_if_writing_fails(
    tmp_path: Path, failure: BaseException, raised: type[BaseException], says: str
) -> None:
    target = tmp_path / "picture.png"
    target.write_bytes(b"old")

    def writer(stream: BinaryIO) -> None:
        stream.write(b"half of the new")
        raise failure

    with pytest.raises(raised, match=says) as caught:
        atomic.write(target, writer)
    assert "\n" not in str(caught.value)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from vqclip import atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    atomic.write(Path(sys.argv[1]), lambda stream: stream.write(b"x" * 5000))
except Exception as error:
    print(type(error).__name__, error)
"""


@needs_posix
def test_a_disk_that_fills_up_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "picture.png"
    target.write_bytes(b"old")
    command = [sys.executable, "-c", FULL_DISK, str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("OutputError cannot write"), done.stderr
    assert "the disk is full" in done.stdout
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@needs_posix
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_written_file_has_the_permissions_of_any_new_file(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        atomic.write(tmp_path / "a.txt", lambda stream: stream.write(b"x"))
        assert os.umask(umask) == umask, "the umask is put back"
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode


@pytest.mark.parametrize("place", ["file/a.png", "folder", "n" * 300 + ".png"])
def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        atomic.write(tmp_path / place, lambda stream: stream.write(b"x"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_long_names_of_any_script_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("\u72d0" * 80 + ".png")
    assert atomic.write(target, lambda stream: stream.write(b"x")).exists()


# resources


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "site" / "vqclip"
    package.mkdir(parents=True)
    monkeypatch.setattr(resources, "PACKAGE", package)
    return package


@pytest.mark.parametrize("layout", ["inside", "beside"])
def test_shipped_files_are_found_in_a_wheel_and_in_a_checkout(installed: Path, layout: str) -> None:
    folder = (installed if layout == "inside" else installed.parent) / "configs"
    folder.mkdir()
    for name in ("wide.yaml", "tiny.yaml", "notes.txt"):
        (folder / name).write_text("")
    assert resources.path("configs") == folder
    assert resources.path("configs/tiny.yaml") == folder / "tiny.yaml"
    assert resources.presets() == ["tiny", "wide"]


def test_the_wheels_own_files_come_before_a_strangers(installed: Path) -> None:
    for folder in (installed / "configs", installed.parent / "configs"):
        folder.mkdir()
    assert resources.path("configs") == installed / "configs"


def test_an_installation_without_its_files_says_so(installed: Path) -> None:
    with pytest.raises(VqclipError, match=r"lacks 'checkpoints/tiny\.safetensors': install vqclip again"):
        resources.path("checkpoints/tiny.safetensors")


def test_the_package_of_this_checkout_is_where_it_looks() -> None:
    assert Path(errors.__file__).resolve().parent == resources.PACKAGE
