"""Checkpoints of other programs become safetensors files of vqclip's: what drawing needs, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqclip.errors import UsageError, WeightsError
from vqclip.models import tokenizing
from vqclip.types import CLIPArchitecture, VQGANArchitecture
from vqclip.weights import clips, collected, files
from vqclip.weights.foreign import read_vqgan

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
    source: Path,
    target: Path,
    architecture: CLIPArchitecture,
    tokenizer: bytes | None = None,
    info: Mapping[str, Any] | None = None,
) -> None:
    """Write a CLIP of open_clip's as fp32, with its tokenizer if that is not CLIP's.

    Its tensors tell no architecture. WeightsError if they cannot be read, or are of another one.
    """
    tensors = clips.fitted(collected.read_all(source), architecture, source)
    write_clip(clips.ReadCLIP(architecture, tensors, tokenizer), target, _origin(source, info))


def write_clip(read: clips.ReadCLIP, target: Path, info: Mapping[str, Any]) -> None:
    """Write a CLIP that was read from other programs' files, its tokenizer in the same file; WeightsError as above."""
    _check_finite(target, read.tensors)
    packed = {} if read.tokenizer is None else {tokenizing.TENSOR: tokenizing.pack(read.tokenizer)}
    files.save(target, "clip", read.architecture.to_json(), read.tensors | packed, info, torch.float32)


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
