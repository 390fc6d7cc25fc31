"""What reads bytes from strangers, each as a function of the bytes: it may refuse them in one line, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vqclip.errors import VqclipError
from vqclip.session import savepoint
from vqclip.weights.foreign import read_vqgan
from vqclip.weights.model_yaml import read_model_yaml
from vqclip.writers import foreign, metadata


def _refusing(read: Callable[[Path], object], name: str) -> Callable[[bytes, Path], None]:
    def parse(data: bytes, folder: Path) -> None:
        file = folder / name
        file.write_bytes(data)
        try:
            read(file)
        except VqclipError as error:
            assert "\n" not in str(error), error

    return parse


def _state(file: Path) -> None:
    savepoint.read(file.parent)


PARSERS: dict[str, Callable[[bytes, Path], None]] = {
    "metadata": _refusing(metadata.read, "picture.png"),
    "foreign": _refusing(foreign.read, "picture.png"),
    "yaml": _refusing(read_model_yaml, "model.yaml"),
    "checkpoint": _refusing(read_vqgan, "model.ckpt"),
    "state": _refusing(_state, "state.safetensors"),
}
