"""`vqclip train drawings`: fetches the drawings of the second world, checks them and packs them into one atlas.

The drawings come from package registries, by name, version and sha256, through those registries' own programs (npm and
apt-get). Where a program is missing, the files can be put into the folder by hand. Nothing that was fetched is
committed; see checkpoints/LICENSE.txt for the attributions.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from vqclip import atomic
from vqclip.errors import OutputError, UsageError, VqclipError, WeightsError, one_line
from vqclip.world.atlas import Atlas
from vqclip.world.drawings import Drawing, load_drawings

SIDE = 192
# a drawing is rasterized this much larger than its place in the atlas, cropped to its ink and scaled down
_OVERSIZE = 1.5
_LARGEST = 4096
# how many pixels one unit of an SVG's width and height has
_UNITS = {"": 1.0, "px": 1.0, "pt": 1.25, "mm": 3.543307, "cm": 35.43307, "in": 90.0, "pc": 15.0, "em": 12.0}


@dataclass(frozen=True)
class Package:
    """One package of drawings: its registry ("npm" or "debian"), name, version, and the sha256 and name of its file."""

    source: str
    registry: str
    name: str
    version: str
    file: str
    sha256: str


PACKAGES = (
    Package("noto", "npm", "@iconify-json/noto", "1.2.9", "iconify-json-noto-1.2.9.tgz",
            "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad"),
    Package("noto-v1", "npm", "@iconify-json/noto-v1", "1.2.5", "iconify-json-noto-v1-1.2.5.tgz",
            "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37"),
    Package("twemoji", "npm", "@iconify-json/twemoji", "1.2.5", "iconify-json-twemoji-1.2.5.tgz",
            "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7"),
    Package("fluent-flat", "npm", "@iconify-json/fluent-emoji-flat", "1.2.6",
            "iconify-json-fluent-emoji-flat-1.2.6.tgz",
            "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175"),
    Package("emojione2", "npm", "@iconify-json/emojione", "1.2.3", "iconify-json-emojione-1.2.3.tgz",
            "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e"),
    Package("fluent-3d", "npm", "@lobehub/fluent-emoji-3d", "1.1.0", "lobehub-fluent-emoji-3d-1.1.0.tgz",
            "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"),
    Package("openclipart", "debian", "openclipart-svg", "1:0.18+dfsg-19", "openclipart-svg_1%3a0.18+dfsg-19_all.deb",
            "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5"),
    Package("tuxpaint", "debian", "tuxpaint-stamps-default", "2022.06.04-1",
            "tuxpaint-stamps-default_2022.06.04-1_all.deb",
            "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"),
)  # fmt: skip


def gather(folder: Path, side: int = SIDE, drawings: Iterable[Drawing] | None = None) -> Atlas:
    """Fetch what `folder` lacks, check it, rasterize every drawing and pack them; return the atlas.

    `side` is that of a drawing in the atlas, in pixels. Raises WeightsError for a file whose sum is wrong, UsageError
    where a program or package is missing, OutputError where the disk lacks the room.
    """
    table = load_drawings() if drawings is None else tuple(drawings)
    atlas = Atlas(folder / f"atlas-{side}", side)
    if atlas.holds(table):
        return atlas
    sources = {drawing.source for drawing in table}
    for package in PACKAGES:
        if package.source in sources:
            fetch(package, folder)
    _reserve(folder, len({drawing.id for drawing in table}) * side * side * 4)
    return _pack(folder, atlas, table)


def fetch(package: Package, folder: Path) -> None:
    """Bring a package's file into the folder, verified, and unpack it beside it; what is there already is kept.

    Raises WeightsError for a file whose sum is wrong (it is never unpacked), UsageError if it cannot be had or
    unpacked, and OutputError if the folder cannot be written.
    """
    target, unpacked = folder / package.file, folder / package.source
    if unpacked.is_dir() and (unpacked / ".whole").is_file() and (unpacked / ".whole").read_text() == package.sha256:
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not target.is_file():
        _download(package, folder)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise WeightsError(
            f"{target} is not version {package.version} of {package.name}: its sha256 begins {digest[:12]}, wanted is "
            f"{package.sha256[:12]}; remove it and try again"
        )
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        unpacked.mkdir()
        _unpack(package, target, unpacked)
        (unpacked / ".whole").write_text(package.sha256)
    except OSError as error:
        raise atomic.output_error(unpacked, error) from error


def _download(package: Package, folder: Path) -> None:
    program = {"npm": "npm", "debian": "apt-get"}[package.registry]
    arguments = {
        "npm": [program, "pack", f"{package.name}@{package.version}"],
        "debian": [program, "download", f"{package.name}={package.version}"],
    }[package.registry]
    by_hand = f"put {package.file} of {package.name} {package.version} into {folder} by hand"
    if shutil.which(program) is None:
        raise UsageError(f"{program} is not installed: install it, or {by_hand}")
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode or not (folder / package.file).is_file():
        reason = one_line(done.stderr.strip() or done.stdout.strip())[-160:]
        raise UsageError(f"{' '.join(arguments)} failed ({reason}): try again, or {by_hand}")


def _unpack(package: Package, file: Path, folder: Path) -> None:
    if package.registry == "npm":
        try:
            with tarfile.open(file) as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise _not_unpacked(file, one_line(error)) from error
        return
    if shutil.which("dpkg-deb") is None:
        raise UsageError(f"dpkg-deb is not installed: install dpkg, with which {file.name} is unpacked")
    arguments = ["dpkg-deb", "-x", str(file), str(folder)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        raise _not_unpacked(file, one_line(done.stderr.strip() or done.stdout.strip()))


def _not_unpacked(file: Path, reason: str) -> UsageError:
    return UsageError(f"{file} cannot be unpacked ({reason[-160:]}): see that the disk has room, and try again")


def _reserve(folder: Path, size: int) -> None:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise atomic.output_error(folder, error) from error
    if free < size * 1.05:
        raise OutputError(
            f"the atlas of drawings needs {size / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free: give another "
            "--folder"
        )


def _pack(folder: Path, atlas: Atlas, table: tuple[Drawing, ...]) -> Atlas:
    rasterizer, failed = Rasterizer(folder), []
    ids = list(dict.fromkeys(drawing.id for drawing in table))
    by_id = {drawing.id: drawing for drawing in table}
    with atlas.writing(table, ids) as pixels:
        for row, name in enumerate(tqdm(ids, desc="drawings", unit="drawing")):
            try:
                pixels[row] = fit(rasterizer.rasterize(by_id[name], atlas.side), atlas.side)
            except (OSError, ValueError, KeyError, RuntimeError) as error:
                failed.append(f"{name}: {one_line(error)[:80]}")
        if failed:
            raise VqclipError(f"{len(failed)} drawings cannot be rasterized, first {failed[0]}")
    return atlas


def fit(picture: Image.Image, side: int) -> np.ndarray:
    """Crop a picture to its ink, scale it to `side`, and return it in the middle of a square: (side, side, 4) uint8.

    Colors are premultiplied by alpha, so that scaling does not mix in those of transparent pixels.
    """
    picture = picture.convert("RGBA")
    box = picture.getchannel("A").point(lambda level: 255 * (level > 8)).getbbox()
    if box is None:
        raise ValueError("nothing is drawn")
    picture = picture.crop(box).convert("RGBa")
    scale = side / max(picture.size)
    size = max(1, round(picture.size[0] * scale)), max(1, round(picture.size[1] * scale))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    square = Image.new("RGBa", (side, side))
    square.paste(picture, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(square)


class Rasterizer:
    """Draws what lies unpacked in a folder; needs resvg-py for vector drawings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._icons: dict[str, dict[str, Any]] = {}

    def rasterize(self, drawing: Drawing, side: int) -> Image.Image:
        """Return a drawing, RGBA, its longest side at least `side` pixels where it is a vector drawing.

        Raises KeyError, OSError or ValueError where the packages lack it or it cannot be read.
        """
        root = self.folder / drawing.source
        if drawing.source == "fluent-3d":
            return Image.open(root / "package/assets" / f"{drawing.name}.webp")
        if drawing.source == "openclipart":
            return self._vector_file(root / "usr/share/openclipart/svg" / f"{drawing.name}.svg", side)
        if drawing.source == "tuxpaint":
            stamp = root / "usr/share/tuxpaint/stamps" / drawing.name
            bitmap = stamp.with_name(f"{stamp.name}.png")
            if bitmap.is_file():
                return Image.open(bitmap)
            return self._vector_file(stamp.with_name(f"{stamp.name}.svg"), side)
        return self._render(self._icon(drawing, root), width=round(side * _OVERSIZE))

    def _icon(self, drawing: Drawing, root: Path) -> str:
        if drawing.source not in self._icons:
            self._icons[drawing.source] = json.loads((root / "package/icons.json").read_text("utf-8"))
        icons = self._icons[drawing.source]
        icon = icons["icons"][drawing.name]
        width, height, left, top = (
            icon.get(key, icons.get(key, usual))
            for key, usual in (("width", 16), ("height", 16), ("left", 0), ("top", 0))
        )
        names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        box = f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}"'
        return f"<svg {names} {box}>{icon['body']}</svg>"

    def _vector_file(self, path: Path, side: int) -> Image.Image:
        """Draw an SVG file, larger where its ink fills only a part of its page."""
        text, wide = with_box(path.read_text("utf-8", errors="replace"))
        length, key = round(side * _OVERSIZE), "width" if wide else "height"
        picture = self._render(text, **{key: length})
        box = picture.getchannel("A").getbbox()
        if box is None:
            raise ValueError("nothing is drawn")
        filled = max(box[2] - box[0], box[3] - box[1]) / length
        if filled < 0.8:
            picture = self._render(text, **{key: min(_LARGEST, round(length / max(filled, 0.06)))})
        return picture

    @cached_property
    def _svg_to_bytes(self) -> Callable[..., Any]:
        try:
            from resvg_py import svg_to_bytes
        except ImportError:
            raise UsageError("drawing SVG files needs resvg-py: install vqclip[train]") from None
        render: Callable[..., Any] = svg_to_bytes
        return render

    def _render(self, text: str, **size: int) -> Image.Image:
        png = bytes(self._svg_to_bytes(svg_string=text, **size))
        return Image.open(io.BytesIO(png)).convert("RGBA")


def with_box(text: str) -> tuple[str, bool]:
    """Return an SVG text whose size is that of its viewBox, and whether it is at least as wide as high.

    Many old files have a size in millimetres, or percentages, or no viewBox at all, and would be drawn at any size.
    """
    match = re.search(r"<svg\b[^>]*>", text)
    if match is None:
        raise ValueError("no SVG")
    tag = match.group(0)
    box = re.search(r'viewBox\s*=\s*["\']([^"\']*)', tag)
    numbers = [float(number) for number in re.split(r"[\s,]+", box.group(1).strip())] if box else []
    if len(numbers) != 4:
        width, height = (_length(tag, key) for key in ("width", "height"))
        if not width or not height:
            return text, True
        numbers = [0.0, 0.0, width, height]
    bare = re.sub(r'\s(?:width|height|viewBox)\s*=\s*["\'][^"\']*["\']', "", tag)
    box_text = " ".join(f"{number:g}" for number in numbers)
    sized = f'{bare[:4]} viewBox="{box_text}" width="{numbers[2]:g}" height="{numbers[3]:g}"{bare[4:]}'
    return text[: match.start()] + sized + text[match.end() :], numbers[2] >= numbers[3]


def _length(tag: str, key: str) -> float | None:
    match = re.search(rf'\b{key}\s*=\s*["\']\s*([\d.]+)\s*([a-z%]*)', tag)
    if match is None or match.group(2) not in _UNITS:
        return None
    return float(match.group(1)) * _UNITS[match.group(2)]
