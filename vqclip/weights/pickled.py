"""Tensors out of pickled checkpoints, without running anything that stands in them.

torch's restricted unpickler builds tensors and plain containers. Other names, which training frameworks left behind,
become empty stubs under that name: none of them is ever imported. Names of no such framework are refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqclip.errors import WeightsError, one_line

# whose names may stand in a checkpoint and are stubbed
_FRAMEWORKS = (
    "pytorch_lightning", "lightning", "lightning_fabric", "lightning_utilities", "torchmetrics", "omegaconf", "taming",
    "ldm", "main", "__main__", "numpy", "collections", "typing", "argparse", "pathlib", "torch", "enum", "datetime",
)  # fmt: skip
_PLAIN = ("list", "dict", "set", "tuple", "int", "float", "bool", "str", "bytes", "complex", "object", "slice", "range")
_NAMES = 200
_UNKNOWN = re.compile(r"GLOBAL ([\w.]+) (?:was not an allowed global|whose module)")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.ckpt` or `.pt` file by name, as they are stored, of `state_dict` if it has one.

    Raises WeightsError, in one line, for a file that is absent, damaged, holds no tensors, or names what no training
    framework leaves in a checkpoint.
    """
    content = _load(Path(path))
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    found = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not found:
        raise WeightsError(f"{path} holds no weights by name: give a checkpoint with a state_dict")
    return found


def _load(path: Path) -> Any:
    stubs = [(_stub(), name) for name in _foreign_names(path)]
    for _ in range(_NAMES):
        try:
            # an open stream: by its name alone torch would read a file as safetensors
            with torch.serialization.safe_globals(stubs), path.open("rb") as stream:
                return torch.load(stream, map_location="cpu", weights_only=True)
        except OSError as error:
            raise WeightsError(f"cannot read the weight file {path}: {error.strerror or one_line(error)}") from None
        except Exception as error:  # noqa: BLE001 - the unpickler raises anything for damaged bytes
            name = _unknown_name(str(error))
            if name is None or name in (known for _, known in stubs):
                reason = one_line(str(error).rpartition("WeightsUnpickler error: ")[2])[:100]
                raise WeightsError(
                    f"{path} is no pickled checkpoint that can be read safely ({reason}); fetch it again"
                ) from None
            _check(name, path)
            stubs.append((_stub(), name))
    raise WeightsError(f"{path} names over {_NAMES} things that are no tensors: that is no checkpoint")


def _foreign_names(path: Path) -> list[str]:
    """Return the names, other than torch's own, in a checkpoint that is a zip; none of others, read name by name."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # noqa: BLE001 - no zip, or damaged: reading it says what is wrong
        return []
    for name in names:
        _check(name, path)
    return names


def _unknown_name(message: str) -> str | None:
    found = _UNKNOWN.search(message)
    if found is None:
        return None
    return found[1] if "." in found[1] else f"builtins.{found[1]}"


def _check(name: str, path: Path) -> None:
    module, _, attribute = name.rpartition(".")
    if module.partition(".")[0] not in _FRAMEWORKS and not (module == "builtins" and attribute in _PLAIN):
        raise WeightsError(f"{path} wants to run {name!r}, which no checkpoint needs: nothing was run; do not trust it")


def _stub() -> type:
    """Return a class whose objects are mappings that forget whatever state they are given."""

    def new(cls: type, *args: object, **kwargs: object) -> dict:
        return dict.__new__(cls)

    def ignore(self: object, *args: object, **kwargs: object) -> None:
        """What its class would make of this is never known."""

    parts = {"__new__": new, "__init__": ignore, "__setstate__": ignore, "__hash__": object.__hash__}
    return type("Stub", (dict,), parts)
