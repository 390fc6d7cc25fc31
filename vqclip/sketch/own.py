"""Drawings of the user's own (`--like NAME=FILE`): read, cut out of their ground, and known by name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image, ImageFilter

from vqclip.errors import UsageError, nearest

MOST_FILES = 9
# how a comma in a file's name is written
_COMMA = "\\,"
# the largest side that is kept of a drawing, in pixels
_SIDE = 512
# colors nearer to the ground's than this (0..1, largest channel) belong to it; the edge is as wide as the second number
_NEAR, _EDGE = 0.09, 0.06
# a cut-out that leaves less or more than these shares is no cut-out
_LEAST, _MOST = 0.02, 0.97
# the share of the rim that must have one color for it to be a plain ground
_PLAIN = 0.85


def parse_like(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return the files of each name of "NAME=FILE,FILE" texts, in which `\\,` is a comma of a file's name.

    Raises UsageError for another form, or too many files.
    """
    by_name: dict[str, list[str]] = {}
    for text in texts:
        name, equals, files = text.partition("=")
        name = " ".join(name.split())
        if not equals or not name:
            raise UsageError(f"--like {text!r}: give NAME=FILE, such as --like 'my dog=dog.png'")
        paths = _split(files)
        if not paths:
            raise UsageError(f"--like {text!r}: give at least one file after the equals sign")
        by_name.setdefault(name, []).extend(paths)
        if len(by_name[name]) > MOST_FILES:
            raise UsageError(f"--like {name}: {len(by_name[name])} pictures: give at most {MOST_FILES}")
    return by_name


def with_files(text: str, change: Callable[[str], str | None]) -> str:
    """Return "NAME=FILE,FILE" with every file's name changed; `change` sees and returns plain names."""
    name, _, files = text.partition("=")
    return f"{name}={','.join(str(change(path)).replace(',', _COMMA) for path in _split(files))}"


def _split(files: str) -> list[str]:
    """Return the files of "FILE,FILE"; `~` is the user's home."""
    parts = [part.strip() for part in re.split(r"(?<!\\),", files)]
    return [os.path.expanduser(part.replace(_COMMA, ",")) for part in parts if part]


def check_named(names: Sequence[str], text: str) -> None:
    """Raise UsageError for the first name that a prompt does not hold, with the nearest words that it does."""
    plain = " ".join(text.lower().split())
    for name in names:
        if re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", plain):
            continue
        count = len(name.split())
        words = plain.split()
        phrases = [" ".join(words[k : k + count]) for k in range(len(words) - count + 1)]
        guess = nearest(name.lower(), phrases)
        hint = f"did you mean {guess!r}?" if guess else "write the name as the prompt has it"
        raise UsageError(f"--like {name}: the prompt does not name it: {hint}")


class OwnSprites:
    """A user's own pictures as drawings, by names that begin with "own:"."""

    def __init__(self, pictures: Mapping[str, Sequence[Image.Image]]) -> None:
        self._pixels: dict[str, np.ndarray] = {}
        self.names: dict[str, tuple[str, ...]] = {}
        for name, images in pictures.items():
            keys = [f"own:{name}:{number}" for number in range(len(images))]
            self.names[name] = tuple(keys)
            self._pixels |= {key: cut_out(picture) for key, picture in zip(keys, images, strict=True)}

    def pixels(self, name: str) -> np.ndarray:
        """Return a drawing (H, W, 4) uint8, colors premultiplied by alpha. Raises KeyError if it is unknown."""
        return self._pixels[name]

    def extent(self, name: str) -> tuple[float, float]:
        """Return width and height of a drawing, the longer one 1."""
        height, width = self._pixels[name].shape[:2]
        return width / max(width, height), height / max(width, height)


def cut_out(picture: Image.Image) -> np.ndarray:
    """Return a picture without its ground, cropped to what is left: (H, W, 4) uint8, colors premultiplied.

    The ground is what is transparent; without transparency, what has the color of a plain rim and reaches the rim. A
    picture without a plain ground is kept whole.
    """
    picture = picture.convert("RGBA")
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    alpha = np.asarray(picture.getchannel("A"), dtype=np.float32) / 255
    if float(alpha.min()) > 0.98:
        alpha = _without_ground(picture.convert("RGB"))
    share = float((alpha > 0.5).mean())
    if not _LEAST <= share <= _MOST:
        alpha = np.ones_like(alpha)
    rows, columns = np.flatnonzero((alpha > 0.1).any(1)), np.flatnonzero((alpha > 0.1).any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    alpha = alpha[box][..., None]
    color = np.asarray(picture.convert("RGB"), dtype=np.float32)[box]
    return np.concatenate([color * alpha + 0.5, alpha * 255 + 0.5], 2).astype(np.uint8)


def _without_ground(picture: Image.Image) -> np.ndarray:
    """Return how much of each pixel (H, W) is no ground, 0..1; ones where the rim has no plain color."""
    rgb = np.asarray(picture, dtype=np.float32) / 255
    rim = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
    color = np.median(rim, axis=0)
    if float((np.abs(rim - color).max(-1) < _NEAR).mean()) < _PLAIN:
        return np.ones(rgb.shape[:2], np.float32)
    away = np.abs(rgb - color).max(-1)
    ground = _reaching_the_rim(away < _NEAR)
    edge = np.clip((away - _NEAR + _EDGE) / _EDGE, 0.0, 1.0)
    beside = np.asarray(Image.fromarray(ground).filter(ImageFilter.MaxFilter(3)))
    return np.where(ground, 0.0, np.where(beside, edge, 1.0)).astype(np.float32)


def _reaching_the_rim(near: np.ndarray) -> np.ndarray:
    """Return which of the pixels `near` (H, W) in color hang together with the rim, bool."""
    reached = np.zeros_like(near)
    reached[[0, -1]], reached[:, [0, -1]] = near[[0, -1]], near[:, [0, -1]]
    count = -1
    while count != (count := int(reached.sum())):
        # a sweep in each direction carries along whole rows and columns
        for flipped in (False, True):
            for axis in (0, 1):
                reached = _swept(reached, near, axis, flipped)
    return reached


def _swept(reached: np.ndarray, near: np.ndarray, axis: int, flipped: bool) -> np.ndarray:
    """Carry what is found along one axis through pixels that are near, without a gap."""
    if flipped:
        return np.flip(_swept(np.flip(reached, axis), np.flip(near, axis), axis, False), axis)
    index = np.arange(near.shape[axis])
    index = index[:, None] if axis == 0 else index[None, :]
    last_gap = np.maximum.accumulate(np.where(near, -1, index), axis)
    last_found = np.maximum.accumulate(np.where(reached, index, -1), axis)
    return near & (last_found > last_gap)
