"""Drawing from Python: `generate` and what it hands back, made for notebooks and scripts."""

from __future__ import annotations

import io
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata as distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vqclip import images
from vqclip.config import Config, Resolved
from vqclip.generation.loop import stream
from vqclip.generation.models import Models
from vqclip.generation.prepare import Prepared, prepare
from vqclip.generation.run import Callback
from vqclip.prompts import parse_image_prompt
from vqclip.sketch.own import with_files
from vqclip.types import Snapshot
from vqclip.version import __version__
from vqclip.weights.load import base_name, recorded_name
from vqclip.writers import metadata, names
from vqclip.writers.picture import save_image

if TYPE_CHECKING:
    from PIL.Image import Image


def generate(config: Config, models: Models | None = None, callbacks: Sequence[Callback] = ()) -> Result:
    """Draw the pictures of a config and return them; `generate_stream` shows them on the way.

    Each of `callbacks` is called in every step with a `StepReport`: the losses, also of each view, and the gradients.
    `models`, loaded once, serve many configs that name the same networks. Raises UsageError for what the config asks in
    vain and for models that are not those it names, WeightsError for weights that do not load, MemoryBudgetError, and
    NumericError if the loss stops being finite.
    """
    models = Models.given(config, models)
    prepared = prepare(models.resolve(config), models, callbacks)
    return Result.of(prepared, [snapshot for snapshot in stream(prepared) if snapshot.last])


@dataclass(frozen=True)
class Picture:
    """One finished picture with its seed, its held-out score (lower is better) and its metadata record."""

    image: Image
    seed: int
    score: float | None
    record: dict[str, Any]


@dataclass(frozen=True)
class Result:
    """The pictures of a run. `config` is the resolved one: drawing it again gives the same pictures."""

    config: Resolved
    pictures: tuple[Picture, ...]

    @classmethod
    def of(cls, prepared: Prepared, last: Sequence[Snapshot]) -> Result:
        """Collect the pictures of the last snapshot of each batch."""
        found = [picture for snapshot in last for picture in of_snapshot(prepared, snapshot)]
        return cls(prepared.config, tuple(found))

    @property
    def image(self) -> Image:
        """The first picture."""
        return self.pictures[0].image

    @property
    def images(self) -> list[Image]:
        """All pictures, in the order of their seeds."""
        return [picture.image for picture in self.pictures]

    @property
    def seed(self) -> int:
        """The seed of the first picture, also if it was drawn at random."""
        return self.pictures[0].seed

    def save(self, path: str | Path, *, metadata: bool = True) -> list[Path]:
        """Write the pictures (PNG, JPEG or WebP by the ending) and return their paths; nothing is overwritten.

        Several pictures, and names that are taken, are numbered; `~` is the user's home. Raises UsageError for an
        unknown ending and OutputError if a file cannot be written.
        """
        path = os.path.expanduser(path)
        names.check_suffix(path, "image")
        written = []
        for picture in self.pictures:
            free = names.free_path(path)
            lossless = self.config.init.mask is not None
            written.append(save_image(picture.image, free, picture.record if metadata else None, lossless=lossless))
        return written

    def _repr_png_(self) -> bytes:
        """Show the first picture in a notebook."""
        buffer = io.BytesIO()
        self.image.save(buffer, "PNG")
        return buffer.getvalue()


def of_snapshot(prepared: Prepared, snapshot: Snapshot) -> list[Picture]:
    """Return the best pictures so far of a batch at the run's size; the current ones before any was judged."""
    image = snapshot.image if snapshot.best is None else snapshot.best
    scores = None if snapshot.best_score is None else snapshot.best_score.tolist()
    early = snapshot.step < prepared.config.total_steps
    found = []
    for index, frame in enumerate(images.frames(image, *snapshot.size)):
        if prepared.config.only in (None, index):
            frame = prepared.init_image.finish(frame)
            score = None if scores is None else scores[index]
            known = record(prepared, snapshot.seeds, index) | ({"stopped_at_step": snapshot.step} if early else {})
            events = _events(snapshot)
            if events:
                known["events"] = events
            found.append(Picture(frame, snapshot.seeds[index], score, known))
    return found


def _events(snapshot: Snapshot) -> list[dict[str, float]]:
    """Return what trouble changed on the way, in the order of the steps: the config says what was asked."""
    events: list[dict[str, float]] = [{"step": step, "views.chunk": count} for step, count in snapshot.chunks.items()]
    events += [{"step": step, "optimizer.lr": rate} for step, rate in snapshot.rates.items()]
    return sorted(events, key=lambda event: event["step"])


def record(prepared: Prepared, seeds: Sequence[int], index: int) -> dict[str, Any]:
    """Return the metadata of one picture: enough to draw it again, on the same stack bit for bit.

    Of files from outside only base name and sha256 are told, never a path. A picture of a batch names the batch's
    first seed, its size, and itself by `only`.
    """
    config = prepared.config.config()
    apart = len(set(seeds))
    config.seed, config.count, config.batch_size = seeds[0], apart, apart
    config.only = index if len(seeds) > 1 else None
    config.output = type(config.output)()
    values = config.to_dict()
    del values["output"]
    if not prepared.proposer:  # another one, in a picture drawn again, begins with what it is used to
        values["prior"] |= dict.fromkeys(("guidance", "top_k", "top_p"))
    values["init"] |= {"image": _base(config.init.image), "mask": _base(config.init.mask)}
    values["init"]["like"] = [with_files(text, _base) for text in config.init.like]
    values["image_prompts"] = [_base_prompt(text) for text in config.image_prompts]
    values["models"] = {
        "vqgan": base_name(config.models.vqgan),
        # the weights alone decide the picture
        "vqgan_config": "",
        "clip": [recorded_name("clip", name) for name in config.models.clip],
        "judge_clip": recorded_name("clip", config.models.judge_clip) if config.models.judge_clip else "",
        # what was not used is not asked for again
        "prior": base_name(config.models.prior) if prepared.proposer else "",
        "upsampler": base_name(config.models.upsampler) if prepared.scaler.upsampler else "",
        "embedding": base_name(config.models.embedding) if config.target.kind == "prior" else "",
        "memory": base_name(config.models.memory) if config.init.kind in ("sketch", "image") else "",
    }
    forced = {"forced": prepared.forced} if prepared.forced else {}
    return forced | {
        "schema": metadata.SCHEMA,
        "vqclip": __version__,
        "seed": seeds[index],
        "config": values,
        "weights": prepared.models.recorded_hashes(),
        "files": prepared.outside,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions, and the number of threads, that a picture's bits depend on."""
    libraries = ("torch", "open_clip_torch", "taming-transformers-rom1504", "pillow")
    found = {name: distributions.version(name) for name in libraries}
    return {"python": platform.python_version(), **found, "threads": str(torch.get_num_threads())}


def _base(name: str | None) -> str | None:
    return None if name is None else Path(name).name


def _base_prompt(text: str) -> str:
    """Return an image prompt, FILE[:weight[:stop]], with the file's base name and the numbers as they were written."""
    name = parse_image_prompt(text).text
    return Path(name).name + text[len(name) :]
