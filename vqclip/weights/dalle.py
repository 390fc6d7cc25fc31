"""DALL-E mini from a folder with the public min-dalle files: encoder, decoder, detokenizer, words and merges."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

from torch import Tensor

from vqclip.errors import WeightsError, one_line
from vqclip.models.dalle import DalleArchitecture, WordPieces
from vqclip.types import VQGANArchitecture
from vqclip.weights import files
from vqclip.weights.layouts import under
from vqclip.weights.pickled import read_tensors
from vqclip.weights.shapes import infer

# heads of 64 dimensions, as mini and mega have; the files do not say how many
_HEAD = 64
_MAX_TEXT = 16 << 20  # bytes of a vocabulary
_NAMES = ("encoder.pt", "decoder.pt", "vocab.json", "merges.txt")


def find(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by their plain names, `encoder_mini.pt` standing for `encoder.pt`.

    Raises WeightsError for a folder in which one is missing.
    """
    paths = {}
    for name in (*_NAMES, "detoker.pt"):
        plain = Path(name)
        options = (folder / name, folder / f"{plain.stem}_mini{plain.suffix}")
        file = next((option for option in options if option.is_file()), None)
        if file is None:
            raise WeightsError(f"{folder} holds no {name}: a DALL-E mini needs {', '.join(_NAMES)} and detoker.pt")
        paths[name] = file
    return paths


def sha256(paths: dict[str, Path]) -> str:
    """Return one hash of all files of a folder."""
    return hashlib.sha256("".join(files.sha256(paths[name]) for name in sorted(paths)).encode()).hexdigest()


def read_networks(paths: dict[str, Path], codes: int) -> tuple[DalleArchitecture, dict[str, Tensor]]:
    """Return the architecture, as the shapes tell it, and the tensors of encoder and decoder under one roof."""
    tensors = {
        f"{part}.{name}": value.float()
        for part in ("encoder", "decoder")
        for name, value in _read(paths[f"{part}.pt"], "embed_tokens.weight").items()
    }
    try:
        width = tensors["encoder.embed_tokens.weight"].shape[1]
        side = math.isqrt(len(tensors["decoder.embed_positions.weight"]))
        architecture = DalleArchitecture(
            words=len(tensors["encoder.embed_tokens.weight"]),
            places=len(tensors["encoder.embed_positions.weight"]),
            tokens=len(tensors["decoder.embed_tokens.weight"]),
            codes=codes,
            side=side,
            width=width,
            heads=max(width // _HEAD, 1),
            layers=_layers(tensors, "decoder"),
            encoder_layers=_layers(tensors, "encoder"),
            inner=len(tensors["decoder.layers.0.glu.fc0.weight"]),
            encoder_inner=len(tensors["encoder.layers.0.glu.fc0.weight"]),
        )
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise WeightsError(
            f"{paths['decoder.pt']} and its encoder are no DALL-E mini: {one_line(error)[:120]}"
        ) from None
    return architecture, tensors


def read_detokenizer(paths: dict[str, Path]) -> tuple[VQGANArchitecture, dict[str, Tensor]]:
    """Return the architecture, as the shapes tell it, and the tensors of the detokenizer, under taming's names."""
    held = {name: value.float() for name, value in _read(paths["detoker.pt"], "decoder.conv_in.weight").items()}
    try:
        held["quantize.embedding.weight"] = held.pop("embedding.weight")
        architecture = infer(held)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise WeightsError(f"{paths['detoker.pt']} is no detokenizer of DALL-E mini: {one_line(error)[:120]}") from None
    return architecture, held


def read_pieces(paths: dict[str, Path], words: int, length: int) -> WordPieces:
    """Return what makes words, below `words`, of texts; `length` of them."""
    try:
        for name in ("vocab.json", "merges.txt"):
            if paths[name].stat().st_size > _MAX_TEXT:
                raise ValueError(f"{paths[name].name} is over {_MAX_TEXT >> 20} MB")
        vocabulary = json.loads(paths["vocab.json"].read_text("utf-8"))
        lines = paths["merges.txt"].read_text("utf-8").splitlines()[1:]
        merges = [(first, second) for first, _, second in (line.partition(" ") for line in lines) if second]
        fits = all(type(number) is int and 0 <= number < words for number in vocabulary.values())
        if not fits or not {"<s>", "</s>", "<unk>"} <= set(vocabulary):
            raise ValueError(f"vocab.json maps no words, <s>, </s> and <unk> among them, to numbers below {words}")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"the words of {paths['vocab.json'].parent} cannot be read: {one_line(error)[:120]}"
        ) from None
    return WordPieces(vocabulary, merges, length)


def _read(path: Path, anchor: str) -> dict[str, Tensor]:
    """Return the tensors of a file behind the prefix of the one that ends in `anchor`, or all of them as they are."""
    held = read_tensors(path)
    return under(held, anchor) or held


def _layers(tensors: dict[str, Tensor], part: str) -> int:
    return 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith(f"{part}.layers."))
