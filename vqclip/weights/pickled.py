"""Tensors out of pickled checkpoints, without running anything that stands in them.

torch's restricted unpickler builds tensors and plain containers. Other names, which training frameworks left behind,
become empty stubs under that name: none of them is ever imported. Names of no such framework are refused.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from vqclip.errors import WeightsError, one_line
from vqclip.weights import containers

# whose names may stand in a checkpoint and are stubbed
_FRAMEWORKS = (
    "pytorch_lightning", "lightning", "lightning_fabric", "lightning_utilities", "torchmetrics", "omegaconf", "taming",
    "ldm", "main", "__main__", "numpy", "collections", "typing", "argparse", "pathlib", "torch", "enum", "datetime",
    "accelerate", "addict", "apex", "basicsr", "deepspeed", "diffusers", "easydict", "fairseq", "hydra",
    "ml_collections", "mmcv", "mmengine", "transformers", "yacs",
)  # fmt: skip
_PLAIN = ("list", "dict", "set", "tuple", "int", "float", "bool", "str", "bytes", "complex", "object", "slice", "range")
_NAMES = 200  # things beside tensors that a checkpoint may name
_UNKNOWN = re.compile(r"GLOBAL ([\w.]+) (?:was not an allowed global|whose module)")
_FILLED = re.compile(r"Can only (SETITEM|append)[^<]*<class '[\w.]*Stub(\d+)'>")
# tensors may share memory, but not all of them all of it
_MOST_SHARED = 4
_DEPTH = 5  # levels of dicts in which tensors are looked for


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.ckpt` or `.pt` file by name, as they are stored.

    Those of mappings in mappings have the names of both, with a dot between. Raises WeightsError, in one line, for a
    file that is absent, damaged, holds no tensors, could unfold to more than it holds, or names what no training
    framework leaves in a checkpoint.
    """
    path = Path(path)
    tensors = _load(path)
    if not tensors:
        raise WeightsError(f"{path} holds no weights by name: give a checkpoint with a state_dict")
    return tensors


def _load(path: Path) -> dict[str, Tensor]:
    stubs: dict[str, Any] = {}
    if _is_zip(path):
        containers.check_zip(path)
        stubs = {name: _stub(number) for number, name in enumerate(_foreign_names(path))}
        # without reading a tensor: stubs are found out, and sizes, before there is memory for any
        _check_sizes(path, _named(_settle(path, stubs, "meta")))
    tensors = _named(_settle(path, stubs, "cpu"))
    _check_sizes(path, tensors)
    return tensors


def _is_zip(path: Path) -> bool:
    """Whether torch would read the file as a zip: by its first bytes."""
    try:
        with path.open("rb") as stream:
            return stream.read(2) == b"PK"
    except OSError as error:
        raise WeightsError(f"cannot read the weight file {path}: {error.strerror or one_line(error)}") from None


def _settle(path: Path, stubs: dict[str, Any], device: str) -> Any:
    """Return what a file holds, after as many tries as it takes to find `stubs` for all names in it."""
    for _ in range(2 * _NAMES):
        try:
            known: list[Any] = [(stub, name) for name, stub in stubs.items()]
            # an open stream: by its name alone torch would read a file as safetensors
            with torch.serialization.safe_globals(known), path.open("rb") as stream:
                return torch.load(
                    cast("BinaryIO", containers.Sparing(stream, path)), map_location=device, weights_only=True
                )
        except WeightsError:
            raise
        except OSError as error:
            raise WeightsError(f"cannot read the weight file {path}: {error.strerror or one_line(error)}") from None
        except Exception as error:  # noqa: BLE001 - the unpickler raises anything for damaged bytes
            if "quantized" in str(error):
                raise WeightsError(f"{path} holds quantized weights: give it in fp32, fp16 or bf16") from None
            if not _learn(str(error), path, stubs):
                reason = one_line(str(error).rpartition("WeightsUnpickler error: ")[2])[:100]
                raise WeightsError(
                    f"{path} is no pickled checkpoint that can be read safely ({reason}); fetch it again"
                ) from None
    raise WeightsError(f"{path} names over {_NAMES} things that are no tensors: that is no checkpoint")


def _learn(message: str, path: Path, stubs: dict[str, Any]) -> bool:
    """Add the stub that an error of the unpickler asks for; False if it asks for none, or for the same again."""
    filled = _FILLED.search(message)
    if filled is not None:
        kind, number = filled[1], int(filled[2])
        name = list(stubs)[number]
        asked = not stubs[name].kind
        stubs[name] = _stub(number, kind)
        return asked
    unknown = _unknown_name(message)
    if unknown is None or unknown in stubs:
        return False
    _check(unknown, path)
    stubs[unknown] = _stub(len(stubs))
    return True


def _foreign_names(path: Path) -> list[str]:
    """Return the names, other than torch's own, in a checkpoint that is a zip; none of a damaged one."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # noqa: BLE001 - damaged: reading it says what is wrong
        return []
    for name in names:
        _check(name, path)
    return names


def _unknown_name(message: str) -> str | None:
    match = _UNKNOWN.search(message)
    if match is None:
        return None
    return match[1] if "." in match[1] else f"builtins.{match[1]}"


def _check(name: str, path: Path) -> None:
    module, _, attribute = name.rpartition(".")
    if module.partition(".")[0] not in _FRAMEWORKS and not (module == "builtins" and attribute in _PLAIN):
        raise WeightsError(f"{path} wants to run {name!r}, which no checkpoint needs: nothing was run; do not trust it")


def _stub(number: int, kind: str = "") -> Any:
    """Return a class whose objects forget whatever state they are given.

    torch fills plain containers alone: for objects that are filled as mappings (`SETITEM`) there are ordered
    dictionaries, for those that are filled as lists (`append`) lists.
    """
    base: Any = list if kind == "append" else dict

    def new(cls: type, *args: object, **kwargs: object) -> Any:
        return OrderedDict() if kind == "SETITEM" else base.__new__(cls)

    def ignore(self: object, *args: object, **kwargs: object) -> None:
        """What its class would make of this is never known."""

    parts = {"__new__": new, "__init__": ignore, "__setstate__": ignore, "__hash__": object.__hash__, "kind": kind}
    return type(f"Stub{number}", (base,), parts)


def _named(content: Any) -> dict[str, Tensor]:
    """Return the tensors in mappings in mappings, each mapping once, by their joined names."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    left = [("", content, 0)]
    while left:
        above, part, depth = left.pop()
        if not isinstance(part, dict) or id(part) in seen or depth > _DEPTH:
            continue
        seen.add(id(part))
        for name, value in part.items():
            if isinstance(name, str) and isinstance(value, Tensor):
                tensors[above + name] = value
            elif isinstance(name, str):
                left.append((f"{above}{name}.", value, depth + 1))
    return tensors


def _check_sizes(path: Path, tensors: dict[str, Tensor]) -> None:
    """Raise WeightsError for tensors that say to be larger than what the file holds."""
    total = 0
    for name, value in tensors.items():
        if value.layout != torch.strided:
            raise WeightsError(f"{path} holds a sparse tensor ({name[:80]}): give a checkpoint of plain ones")
        size = value.numel() * value.element_size()
        if size > value.untyped_storage().nbytes():
            raise WeightsError(f"{path} says that {name[:80]} is larger than what is stored of it: not read")
        total += size
    if total > _MOST_SHARED * path.stat().st_size:
        raise WeightsError(f"{path} promises tensors of {total / 1e6:.0f} MB, more than it holds: not read")
