"""Weights as people have them: a file, one that is packed, the parts of a large one, or a folder with either.

An index (`NAME.index.json`) maps names of tensors to files beside it; it names no file elsewhere. All parts are read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
from torch import Tensor

from vqclip.errors import WeightsError, one_line
from vqclip.weights import containers, files
from vqclip.weights.pickled import read_tensors

_MAX_JSON = 8 << 20  # bytes of an index
_MOST_PARTS = 1000  # files of one checkpoint
_PART_OF = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<ending>\.\w+)")
# in a folder, the first that is there
_INDEXES = ("diffusion_pytorch_model.safetensors.index.json", "model.safetensors.index.json",
            "diffusion_pytorch_model.bin.index.json", "pytorch_model.bin.index.json")  # fmt: skip
_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors", "model.safetensors",
          "diffusion_pytorch_model.bin", "pytorch_model.bin", "last.ckpt", "model.ckpt")  # fmt: skip
# of a pipeline, the first that is there
_FOLDERS = ("vqvae", "vqgan", "movq", "first_stage", "vae")
_ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gz")


def read_all(path: Path) -> dict[str, Tensor]:
    """Return the tensors by name of a file, of all parts of a large one, or of what a folder holds.

    The files' first bytes decide how they are read. Raises WeightsError, in one line, for what is absent or damaged.
    """
    tensors: dict[str, Tensor] = {}
    for part in parts_of(Path(path)):
        with containers.unpacked(part) as file:
            try:
                tensors |= read_tensors(file) if files.is_pickle(file) else read_safetensors(file)
            except WeightsError as error:
                # what was unpacked for the moment has another name
                raise WeightsError(str(error).replace(str(file), str(part))) from None
    return tensors


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name; WeightsError if it is damaged or none."""
    files.sniff(path)
    try:
        with containers.open_safetensors(path) as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is damaged ({one_line(error)[:200]}): fetch it again") from None


def parts_of(path: Path) -> list[Path]:
    """Return the files that hold the weights of a file, an index or a folder; WeightsError if one is missing."""
    path = Path(path)
    if path.is_dir():
        return parts_of(_in_folder(path))
    if path.name.endswith(".index.json"):
        return _indexed(path)
    part = _PART_OF.fullmatch(path.name)
    return _siblings(path, part) if part and path.is_file() else [path]


def sha256(path: Path) -> str:
    """Return the sha256 of the file that holds the weights, or of those of all of its files."""
    parts = parts_of(path)
    if len(parts) == 1:
        return files.sha256(parts[0])
    return hashlib.sha256("".join(files.sha256(part) for part in parts).encode()).hexdigest()


def _in_folder(folder: Path) -> Path:
    for name in (*_INDEXES, *_FILES):
        if (folder / name).is_file():
            return folder / name
    for name in _FOLDERS:
        if (folder / name).is_dir():
            return folder / name
    held = sorted(entry for entry in folder.iterdir() if entry.suffix in _ENDINGS and entry.is_file())
    first = [entry for entry in held if not (part := _PART_OF.fullmatch(entry.name)) or part["number"] == "00001"]
    if len(first) == 1:
        return first[0]
    names = ", ".join(entry.name for entry in first[:6]) or "no weight file"
    raise WeightsError(f"{folder} holds {names}: give the file with the weights")


def _indexed(index: Path) -> list[Path]:
    weight_map = _read_json(index).get("weight_map")
    names = weight_map.values() if isinstance(weight_map, Mapping) else ()
    plain = sorted({name for name in names if isinstance(name, str)})
    if not plain or len(plain) > _MOST_PARTS or any(Path(name).name != name for name in plain):
        raise WeightsError(f"{index} is no index of files beside it: it has no such weight_map")
    return [_present(index.with_name(name), index) for name in plain]


def _siblings(path: Path, part: re.Match[str]) -> list[Path]:
    count = int(part["count"])
    if not 1 <= int(part["number"]) <= count <= _MOST_PARTS:
        raise WeightsError(f"{path} is named as part {part['number']} of {part['count']}: rename it")
    names = [f"{part['stem']}-{number:05}-of-{count:05}{part['ending']}" for number in range(1, count + 1)]
    return [_present(path.with_name(name), path) for name in names]


def _present(part: Path, of: Path) -> Path:
    if not part.is_file():
        raise WeightsError(f"{part.name} is missing beside {of}: all of its parts are needed")
    return part


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_JSON:
            raise WeightsError(f"{path} is over {_MAX_JSON >> 20} MB: that is no index")
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"cannot read {path}: {one_line(error)[:100]}") from None
    return content if isinstance(content, dict) else {}
