"""The pictures to judge: drawn from a list, going on where an earlier run stopped, or found in a folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqclip import atomic, images, prompts
from vqclip import config as configs
from vqclip.errors import UsageError, VqclipError
from vqclip.generation.models import Models
from vqclip.session.job import Job
from vqclip.session.session import run_job
from vqclip.world import load_world, mentioned
from vqclip.writers import metadata

if TYPE_CHECKING:
    from PIL.Image import Image

LEDGER = "drawn.json"
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
# files of a report, which are no drawn pictures
_OF_REPORTS = ("sheet.jpg", "plots.png")


@dataclass(frozen=True)
class Picture:
    """A picture file with the prompt it was drawn from, its seed, and how long it took (None: not known)."""

    path: Path
    prompt: str
    seed: int | None
    seconds: float | None = None

    @property
    def image(self) -> Image:
        """The picture itself."""
        return images.read_image(self.path)

    @property
    def labels(self) -> dict[str, str]:
        """What the wanted parts of the prompt name, in the words of the picture world."""
        wanted = [part.text for part in prompts.parse(self.prompt) if part.weight > 0]
        return mentioned(" | ".join(wanted), load_world())


def draw_prompts(
    chosen: Sequence[tuple[int, str]],
    seeds: Sequence[int],
    folder: Path,
    config_for: Callable[[str, int], configs.Config],
    progress: Callable[[Picture], object] = lambda picture: None,
) -> list[Picture]:
    """Draw every (number, prompt) with every seed into `folder` and return the pictures.

    `config_for(prompt, seed)` gives the config. Pictures that are there already are not drawn again, provided that
    the folder's ledger says that they come from the same settings and weights; UsageError if they do not. No picture
    of another prompt is ever overwritten.
    """
    models: Models | None = None
    ledger = _Ledger(folder / LEDGER)
    pictures = []
    for seed in seeds:
        for number, prompt in chosen:
            path = folder / f"{number + 1:03d}-{seed}.png"
            config = config_for(prompt, seed)
            models = models or Models.load(config)
            ledger.check(config, models)
            if path.exists() and (_prompt_of(path), _seed_of(path)) != (prompt, seed):
                raise UsageError(f"{path} was drawn from another prompt than {prompt!r}: give another --folder")
            if path.exists() and path.name in ledger.seconds:
                pictures.append(Picture(path, prompt, seed, ledger.seconds[path.name]))
                progress(pictures[-1])
                continue
            began = time.perf_counter()
            _draw(config, path, models)
            seconds = round(time.perf_counter() - began, 2)
            ledger.note(path.name, seconds)
            pictures.append(Picture(path, prompt, seed, seconds))
            progress(pictures[-1])
    return pictures


def _draw(config: configs.Config, path: Path, models: Models) -> None:
    """Draw a picture to a path, with its metadata and nothing beside it; one that is not finished is removed."""
    config.output = replace(type(config.output)(), file=str(path))
    try:
        run_job(Job(config, replace=True, sinks=("picture",)), models=models)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def find(folder: Path) -> tuple[list[Picture], int]:
    """Return the pictures of a folder that say from which prompt they were drawn, and how many do not.

    Raises UsageError for a folder that is absent, holds no picture, or none with a prompt.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}: give one with pictures")
    files = picture_files(folder)
    if not files:
        raise UsageError(f"{folder} holds no picture: it takes .png, .jpg or .webp files drawn by vqclip")
    pictures = [Picture(path, prompt, _seed_of(path)) for path in files if (prompt := _prompt_of(path))]
    if not pictures:
        raise UsageError(
            f"none of the {len(files)} pictures in {folder} says from which prompt it was drawn: judge pictures that "
            "vqclip saved with metadata"
        )
    seconds = _Ledger(folder / LEDGER).seconds
    return [replace(picture, seconds=seconds.get(picture.path.name)) for picture in pictures], len(files) - len(
        pictures
    )


def picture_files(folder: Path) -> list[Path]:
    """Return the picture files of a folder by name, without the sheet and plots of a report."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and p.name not in _OF_REPORTS)


def _record(path: Path) -> dict[str, Any]:
    try:
        record = metadata.read(path)["record"]
    except VqclipError:
        return {}
    return record if isinstance(record, dict) else {}


def _prompt_of(path: Path) -> str | None:
    config = _record(path).get("config")
    texts = config.get("prompts") if isinstance(config, dict) else None
    if isinstance(texts, str):
        return texts or None
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        return None
    return " | ".join(texts) or None


def _seed_of(path: Path) -> int | None:
    seed = _record(path).get("seed")
    return seed if type(seed) is int else None


class _Ledger:
    """What a folder's pictures were drawn with, and how long each took."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.settings: dict[str, Any] | None = None
        self.seconds: dict[str, float] = {}
        if file.exists():
            try:
                values = json.loads(file.read_text("utf-8"))
                self.settings = dict(values["settings"])
                self.seconds = {str(k): float(v) for k, v in values["seconds"].items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                raise UsageError(f"{file} is damaged: delete it, or give another --folder") from None

    def check(self, config: configs.Config, models: Models) -> None:
        """Raise UsageError if the folder's pictures were drawn otherwise."""
        values = config.to_dict()
        settings = dict(_flat({k: v for k, v in values.items() if k not in ("prompts", "seed", "output")}))
        settings |= models.recorded_hashes()
        settings = json.loads(json.dumps(settings))
        if self.settings is None:
            self.settings = settings
        differing = sorted(k for k in {*settings, *self.settings} if settings.get(k) != self.settings.get(k))
        if differing:
            raise UsageError(
                f"{self.file.parent} holds pictures drawn with other {', '.join(differing[:5])}: give another --folder"
            )

    def note(self, name: str, seconds: float) -> None:
        """Record a picture as drawn."""
        self.seconds[name] = seconds
        atomic.write_text(self.file, json.dumps({"settings": self.settings, "seconds": self.seconds}, indent=1))


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
