"""`vqclip doctor`: what this machine offers, in the lines that a report of a problem needs."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import click

from vqclip import resources, waiting
from vqclip.cli import streams
from vqclip.errors import VqclipError, one_line
from vqclip.version import __version__
from vqclip.weights import cache, catalog, memory

_LIBRARIES = (
    "torch", "open_clip_torch", "taming-transformers-rom1504", "timm", "pillow", "safetensors", "huggingface_hub"
)  # fmt: skip
_SWITCHES = (
    "HF_HUB_OFFLINE", "VQCLIP_OFFLINE", "HF_ENDPOINT", "HF_HOME", "VQCLIP_HOME", "HTTPS_PROXY", "CUDA_VISIBLE_DEVICES"
)  # fmt: skip


@click.command()
def doctor() -> None:
    """Report Python, torch, devices and their memory, ffmpeg, weights, folders and switches."""
    streams.say(f"vqclip       {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for section in (_libraries, _devices, _encoder, _weights, _switches):
        try:
            for name, value in section():
                streams.say(f"{name:12} {value}")
        except VqclipError as error:
            streams.say(f"{section.__name__[1:]:12} cannot be told: {one_line(error)}")


def _libraries() -> Iterator[tuple[str, str]]:
    for name in _LIBRARIES:
        try:
            yield "library", f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            yield "library", f"{name} is MISSING: install vqclip again"


def _devices() -> Iterator[tuple[str, str]]:
    import torch

    from vqclip.generation import resolve

    chosen = resolve.device("auto")
    memory_gb = memory.machine_bytes() / 2**30
    yield "cpu", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads, {memory_gb:.1f} GB of memory"
    waits = ", ".join(f"{name}={value}" for name, value in waiting.said().items())
    yield "threads", f"wait by {waits}"
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        yield f"cuda:{index}", f"{found.name}, {found.total_memory / 2**30:.1f} GB"
    yield "mps", "there" if torch.backends.mps.is_available() else "none"
    yield "draws on", f"{chosen}, in {resolve.precision('auto', chosen)}"


def _encoder() -> Iterator[tuple[str, str]]:
    from vqclip.writers.video import check_encoder

    yield "ffmpeg", check_encoder()


def _weights() -> Iterator[tuple[str, str]]:
    yield "bundled", str(resources.path("checkpoints"))
    folder = cache.home() / "weights"
    fetched = sorted(p for p in folder.glob("[!.]*") if p.suffix == ".safetensors" or p.is_dir())
    files = [file for path in fetched for file in (path.iterdir() if path.is_dir() else [path])]
    size = sum(file.stat().st_size for file in files) / 1e6
    yield "fetched", f"{len(fetched)} models, {size:.0f} MB, in {folder}"
    for path in fetched:
        yield "", path.stem
    room = _existing(folder)
    yield "free", f"{shutil.disk_usage(room).free / 1e9:.1f} GB in {room}"
    own = catalog.own_catalog()
    yield "catalog", f"{len(catalog.records())} known weights; own catalog: {own or 'none'}"


def _switches() -> Iterator[tuple[str, str]]:
    yield "offline", "yes" if cache.offline() else "no"
    for name in (*_SWITCHES, *(name.lower() for name in _SWITCHES)):
        if name in os.environ:
            yield "switch", f"{name}={_shown(os.environ[name])}"
    yield "terminal", "yes" if sys.stderr.isatty() else "no"


def _shown(value: str) -> str:
    """Return a value without the name and password that an address may hold."""
    _, at, rest = value.rpartition("@")
    return f"...@{rest}" if at else value


def _existing(folder: Path) -> Path:
    return next((place for place in (folder, *folder.parents) if cache.exists(place)), Path())
