"""The wheel, the sdist and the editable install hold what a drawing needs, and draw from outside the checkout."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from support.paths import ROOT
from support.runs import SMALL_FLAGS

from vqclip import resources
from vqclip.version import __version__

pytestmark = pytest.mark.nightly
HOOK = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
DRAW = """
import pathlib, site, sys
install, home = map(pathlib.Path, sys.argv[1:3])
# a vqclip installed beside pytest, as the README does or editable, must not hide the one under test
sys.meta_path[:] = [f for f in sys.meta_path if not getattr(f, "__module__", "").startswith("__editable__")]
for name in [name for name in sys.modules if name.startswith("__editable__")]:
    del sys.modules[name]
sys.path.insert(0, str(install))
site.addsitedir(str(install))
sys.meta_path.sort(key=lambda finder: not getattr(finder, "__module__", "").startswith("__editable__"))
import vqclip
from vqclip import resources
assert home in pathlib.Path(vqclip.__file__).parents, vqclip.__file__
assert home in resources.path("checkpoints").parents
from vqclip.cli.main import run
sys.exit(run(sys.argv[3:]))
"""


def config() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def quietly(*command: str | Path, cwd: Path) -> str:
    """Run a program without any network or package of the checkout; return what it prints."""
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    offline = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *map(str, command)], cwd=cwd, env=variables | offline,
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the checkout without what git ignores."""
    lines = [".git", *(line.strip() for line in (ROOT / ".gitignore").read_text().splitlines() if line.strip())]
    anywhere = shutil.ignore_patterns(*(line.strip("/") for line in lines if not line.startswith("/")))
    at_the_top = shutil.ignore_patterns(*(line.strip("/") for line in lines))

    def ignored(place: str, names: list[str]) -> set[str]:
        return (at_the_top if Path(place) == ROOT else anywhere)(place, names)

    folder = tmp_path_factory.mktemp("copy") / "vqclip-copy"
    shutil.copytree(ROOT, folder, ignore=ignored)
    (folder / ".train").mkdir()
    (folder / ".train" / "state.pt").write_bytes(b"state")
    return folder


@pytest.fixture(scope="module")
def wheel(copy: Path) -> Path:
    """Return the wheel built from the copy, which is as clean afterwards as before."""
    name = quietly("-c", HOOK, "build_wheel", "dist", cwd=copy).split()[-1]
    shutil.rmtree(copy / "build", ignore_errors=True)
    return copy / "dist" / name


@pytest.fixture(scope="module")
def inside(wheel: Path) -> set[str]:
    """Return the names of the files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def draws(install: Path, home: Path, elsewhere: Path) -> None:
    """Check that an installation in one folder, with its files in another, draws from a third."""
    elsewhere.mkdir()
    out = quietly("-c", DRAW, install, home, "a red cat", *SMALL_FLAGS, "--steps", "5", "-o", "cat.png", cwd=elsewhere)
    assert out.split() == ["cat.png"]
    with Image.open(elsewhere / "cat.png") as image:
        assert image.size == (64, 64)


def test_the_packages_listed_by_hand_are_those_of_the_tree() -> None:
    options = config()["options"]
    tree = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "vqclip").rglob("*.py")}
    assert options["packages"].split() == sorted(tree | {"vqclip.checkpoints", "vqclip.configs"})
    assert all((ROOT / folder).is_dir() for folder in options["package_dir"].split()[2::3])


def test_the_wheel_holds_all_of_the_package_and_its_data(inside: set[str]) -> None:
    sources = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "vqclip").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert sources <= inside, sorted(sources - inside)
    assert {"vqclip/py.typed", "vqclip/world/world.yaml"} <= inside
    for folder in ("checkpoints", "configs"):
        wanted = {f"vqclip/{folder}/{file.relative_to(ROOT / folder).as_posix()}"
                  for file in (ROOT / folder).rglob("*") if file.is_file()}  # fmt: skip
        assert wanted <= inside, sorted(wanted - inside)
    for name in ("tiny-vqgan.safetensors", "tiny-clip.safetensors", "tiny-judge.safetensors", "tiny-prior.safetensors"):
        assert f"vqclip/checkpoints/{name}" in inside


def test_the_wheel_holds_nothing_else(inside: set[str]) -> None:
    top = {name.split("/")[0] for name in inside}
    assert top == {"vqclip", f"vqclip-{__version__}.dist-info"}
    assert not [name for name in inside if any(part in name for part in ("test", ".train", "__pycache__", ".tmp"))]


def test_the_wheel_is_small_and_has_its_licences_and_program(wheel: Path, inside: set[str]) -> None:
    assert wheel.stat().st_size < 60e6
    with zipfile.ZipFile(wheel) as archive:
        entry = next(name for name in inside if name.endswith("entry_points.txt"))
        assert "vqclip = vqclip.cli:main" in archive.read(entry).decode()
    assert sum("/licenses/" in name for name in inside) == 2


def test_the_sdist_builds_the_same_wheel(copy: Path, inside: set[str], tmp_path: Path) -> None:
    name = quietly("-c", HOOK, "build_sdist", "dist", cwd=copy).split()[-1]
    with tarfile.open(copy / "dist" / name) as archive:
        names = archive.getnames()
        if sys.version_info >= (3, 12):
            archive.extractall(tmp_path, filter="data")
        else:
            archive.extractall(tmp_path)
    assert any(name.endswith("/checkpoints/tiny-clip.safetensors") for name in names)
    assert not [name for name in names if ".train" in name]
    again = quietly("-c", HOOK, "build_wheel", "dist", cwd=tmp_path / name.removesuffix(".tar.gz")).split()[-1]
    with zipfile.ZipFile(tmp_path / name.removesuffix(".tar.gz") / "dist" / again) as archive:
        assert set(archive.namelist()) == inside


def test_an_installed_wheel_draws(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    quietly("-m", "pip", "install", "--no-deps", "--target", target, wheel, cwd=tmp_path)
    assert not (target / "tests").exists()
    draws(target, target, tmp_path / "elsewhere")


def test_an_editable_install_draws(copy: Path, tmp_path: Path) -> None:
    name = quietly("-c", HOOK, "build_editable", "dist", cwd=copy).split()[-1]
    with zipfile.ZipFile(copy / "dist" / name) as archive:
        archive.extractall(tmp_path / "installed")
    draws(tmp_path / "installed", copy, tmp_path / "elsewhere")


def test_what_is_found_lies_beside_or_in_the_package() -> None:
    assert resources.path("configs/tiny.yaml").is_file()
    assert "tiny" in resources.presets()
