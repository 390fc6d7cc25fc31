"""Checkpoints of other programs become safetensors files of vqclip's: what drawing needs, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqclip.errors import UsageError, WeightsError
from vqclip.types import CLIPArchitecture, VQGANArchitecture
from vqclip.weights import collected, files
from vqclip.weights.foreign import read_vqgan
from vqclip.weights.layouts import under

# of what a conversion writes; rises when the same source would give another file
VERSION = 1
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16}


def convert_vqgan(
    source: Path,
    target: Path,
    *,
    config: Path | None = None,
    decoder_only: bool = False,
    dtype: str = "fp32",
    expected: Mapping[str, Any] | None = None,
    info: Mapping[str, Any] | None = None,
) -> VQGANArchitecture:
    """Write the VQGAN of a checkpoint of another program, without its encoder if `decoder_only`, and return what it is.

    `expected` are fields of the architecture that the file must have. Raises WeightsError for a file that holds no
    VQGAN, or another one, and UsageError for an unknown dtype.
    """
    if dtype not in _DTYPES:
        raise UsageError(f"dtype {dtype!r}: give {' or '.join(_DTYPES)}")
    architecture, tensors = read_vqgan(source, config, expected)
    _check_expected(source, architecture, expected or {})
    _check_finite(source, tensors)
    if decoder_only and architecture.encoder:
        architecture = VQGANArchitecture(**(vars(architecture) | {"encoder": False}))
        tensors = {name: value for name, value in tensors.items() if not name.startswith(("encoder.", "quant_conv."))}
    record = _origin(source, info) | {"dtype": dtype}
    files.save(target, "vqgan", architecture.to_json(), tensors, record, _DTYPES[dtype])
    return architecture


def convert_clip(
    source: Path, target: Path, architecture: CLIPArchitecture, info: Mapping[str, Any] | None = None
) -> None:
    """Write a CLIP of open_clip's as fp32; its tensors tell no architecture. WeightsError if they cannot be read."""
    # whatever wrapped the network left its prefix
    held = collected.read_all(source)
    tensors = under(held, "logit_scale") or held
    _check_finite(source, tensors)
    files.save(target, "clip", architecture.to_json(), tensors, _origin(source, info), torch.float32)


def _origin(source: Path, info: Mapping[str, Any] | None) -> dict[str, Any]:
    record = {"source": source.name, "conversion": VERSION, **(info or {})}
    return record if "source_sha256" in record else record | {"source_sha256": collected.sha256(source)}


def _check_expected(source: Path, architecture: VQGANArchitecture, expected: Mapping[str, Any]) -> None:
    for name, value in expected.items():
        actual = getattr(architecture, name, None)
        if (list(actual) if isinstance(actual, tuple) else actual) != value:
            raise WeightsError(f"{source.name} holds another VQGAN than its name says: {name} is {actual}, not {value}")


def _check_finite(source: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise WeightsError(f"{source} holds values that are not finite (first: {name}): fetch it again")
