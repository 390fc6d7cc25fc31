"""Reading and writing weight files: safetensors whose metadata says what network the tensors are.

Keys of the metadata: `format` (below), `kind` (such as "vqgan", see `vqclip.weights.catalog`), `architecture` (JSON,
see `vqclip.types`), and `info` (JSON, free: recipe, seed, time, scores). Nothing in such a file can run code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from vqclip import atomic
from vqclip.errors import WeightsError
from vqclip.weights import containers

FORMAT = "vqclip-weights-1"
_FETCH_AGAIN = "fetch or train it again"
# first bytes of what people take for weights, and what it is
_OTHERS = {
    b"\x1f\x8b": "is packed with gzip: unpack it first",
    b"BZh": "is packed with bzip2: unpack it first",
    b"\xfd7zXZ\0": "is packed with xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "is packed with zstd: unpack it first",
    b"7z\xbc\xaf": "is a 7z archive: unpack it first",
    b"Rar!": "is a rar archive: unpack it first",
    b"GGUF": "is a GGUF file, whose weights are quantized: give a checkpoint in fp32, fp16 or bf16",
    b"\x89HDF": "is an HDF5 file, as TensorFlow's are: give a checkpoint of torch's, or safetensors",
    b"\x93NUMPY": "is an array of numpy's: give a checkpoint of torch's, or safetensors",
}
# bytes that are read before the file is closed and opened again
_PART = 32 << 20


@dataclass(frozen=True)
class WeightFile:
    """The contents of a weight file; `sha256` is that of the whole file."""

    kind: str
    architecture: str
    info: dict[str, Any]
    tensors: dict[str, Tensor]
    sha256: str


def save(
    path: Path,
    kind: str,
    architecture: str,
    tensors: Mapping[str, Tensor],
    info: Mapping[str, Any],
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Write tensors as safetensors with their description, atomically; floating-point ones as `dtype`."""
    kept = {
        name: (value.to(dtype) if value.is_floating_point() else value).contiguous().cpu()
        for name, value in tensors.items()
    }
    # two names of one tensor would be refused
    seen: set[int] = set()
    for name, value in kept.items():
        kept[name] = value.clone() if value.untyped_storage().data_ptr() in seen else value
        seen.add(value.untyped_storage().data_ptr())
    metadata = {"format": FORMAT, "kind": kind, "architecture": architecture, "info": json.dumps(dict(info))}
    payload = safetensors.torch.save(kept, metadata)
    return atomic.write(path, lambda stream: stream.write(payload))


def read(path: Path, kind: str) -> WeightFile:
    """Read a weight file of one kind; tensors come back as float32 on the CPU.

    Raises WeightsError, in one line, for a file that is absent, truncated, no weight file, or of another kind.
    """
    path = Path(path)
    sniff(path)
    try:
        with containers.open_safetensors(path) as file:
            metadata = file.metadata() or {}
        tensors = _tensors(path)
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is damaged ({error}): {_FETCH_AGAIN}") from None
    if metadata.get("format") != FORMAT or "architecture" not in metadata:
        raise WeightsError(f"{path} does not say what network it holds: only weight files written by vqclip are read")
    if metadata.get("kind") != kind:
        raise WeightsError(f"{path} is of kind {metadata.get('kind')}, not {kind}: give it to the matching option")
    return WeightFile(kind, metadata["architecture"], _info(metadata.get("info", "{}")), tensors, sha256(path))


def _tensors(path: Path) -> dict[str, Tensor]:
    """Return copies of all tensors as float32, read in parts.

    A file's pages that were mapped into memory count as memory until it is closed: read at once it would count twice.
    """
    with containers.open_safetensors(path) as file:
        names = list(file.keys())
    tensors: dict[str, Tensor] = {}
    while len(tensors) < len(names):
        _read_part(path, names[len(tensors) :], tensors)
    return tensors


def _read_part(path: Path, names: Sequence[str], tensors: dict[str, Tensor]) -> None:
    """Read tensors by name, in their order, until they are enough for one part."""
    taken = 0
    with containers.open_safetensors(path) as file:
        for name in names:
            value = file.get_tensor(name)
            tensors[name] = value.float() if value.dtype in (torch.float16, torch.bfloat16) else value.clone()
            taken += value.nbytes
            if taken > _PART:
                break


def is_pickle(path: Path) -> bool:
    """Whether a file's first bytes are those of a pickled checkpoint: a zip's, or a bare pickle's."""
    head = _head(path)
    # safetensors begin with eight bytes of length, which may look like anything, and a brace
    return head.startswith((b"PK", b"\x80")) and head[8:9] != b"{"


def is_safetensors(path: Path) -> bool:
    """Whether a file can be read as safetensors, of whatever program."""
    try:
        with containers.open_safetensors(path):
            return True
    except (safetensors.SafetensorError, OSError, WeightsError):
        return False


def is_own(path: Path) -> bool:
    """Whether a file says of itself that vqclip wrote it; False too for one that cannot be read."""
    try:
        with containers.open_safetensors(path) as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (safetensors.SafetensorError, OSError, WeightsError):
        return False


def sniff(path: Path) -> None:
    """Raise WeightsError with the reason if the first bytes cannot be those of a safetensors file."""
    head = _head(path)
    text = head.lstrip().lower()
    if not head:
        raise WeightsError(f"{path} is empty: {_FETCH_AGAIN}")
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise WeightsError(f"{path} is a web page, not weights (a failed download): {_FETCH_AGAIN}")
    if text.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path} is a pointer of git-lfs, not weights: run 'git lfs pull' or {_FETCH_AGAIN}")
    other = next((words for magic, words in _OTHERS.items() if head.startswith(magic) and head[8:9] != b"{"), None)
    if other or head[257:262] == b"ustar":
        raise WeightsError(f"{path} {other or 'is a tar archive: unpack it first'}")
    containers.check_header(path)
    if is_pickle(path):
        raise WeightsError(f"{path} is a pickled checkpoint: of this kind only files written by vqclip are read")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(512)
    except OSError as error:
        raise WeightsError(f"cannot read the weight file {path}: {error.strerror or error}") from None


def sha256(path: Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _info(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
