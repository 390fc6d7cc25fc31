"""vqclip draws what a sentence says: CLIP guides the latents of a VQGAN, step by step.

>>> import vqclip
>>> result = vqclip.generate(vqclip.make_config("a cat in Van Gogh style", seed=1))
>>> result.save("cat.png")

Importing the package loads no torch: what is heavy comes with its first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vqclip.errors import VqclipError
from vqclip.version import __version__
from vqclip.waiting import sleep_while_waiting

if TYPE_CHECKING:
    from vqclip.animation.api import animate
    from vqclip.animation.draw import Drawn
    from vqclip.animation.job import FilmJob, FilmOutcome
    from vqclip.animation.work import run_film
    from vqclip.config import Config, Resolved, make_config
    from vqclip.config.film import Film, make_film
    from vqclip.generation.loop import generate_stream
    from vqclip.generation.models import Models
    from vqclip.generation.run import StepReport
    from vqclip.registry import register
    from vqclip.session.api import Result, generate
    from vqclip.session.job import Job, Outcome, Resume
    from vqclip.session.session import Session, run_job
    from vqclip.types import Notice, Snapshot
    from vqclip.words import Reading
    from vqclip.words import read as read_prompt

__all__ = [
    "Config",
    "Drawn",
    "Film",
    "FilmJob",
    "FilmOutcome",
    "Job",
    "Models",
    "Notice",
    "Outcome",
    "Reading",
    "Resolved",
    "Result",
    "Resume",
    "Session",
    "Snapshot",
    "StepReport",
    "VqclipError",
    "__version__",
    "animate",
    "generate",
    "generate_stream",
    "make_config",
    "make_film",
    "read_prompt",
    "register",
    "run_film",
    "run_job",
]

# before torch is loaded, which reads it once
sleep_while_waiting()

_LAZY = {
    "Config": "vqclip.config",
    "Resolved": "vqclip.config",
    "make_config": "vqclip.config",
    "Models": "vqclip.generation.models",
    "Notice": "vqclip.types",
    "Snapshot": "vqclip.types",
    "StepReport": "vqclip.generation.run",
    "Result": "vqclip.session.api",
    "generate": "vqclip.session.api",
    "generate_stream": "vqclip.generation.loop",
    "Job": "vqclip.session.job",
    "Outcome": "vqclip.session.job",
    "Resume": "vqclip.session.job",
    "Session": "vqclip.session.session",
    "run_job": "vqclip.session.session",
    "Film": "vqclip.config.film",
    "make_film": "vqclip.config.film",
    "animate": "vqclip.animation.api",
    "Drawn": "vqclip.animation.draw",
    "FilmJob": "vqclip.animation.job",
    "FilmOutcome": "vqclip.animation.job",
    "run_film": "vqclip.animation.work",
    "Reading": "vqclip.words",
    "read_prompt": "vqclip.words:read",
    "register": "vqclip.registry.register:",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'vqclip' has no attribute {name!r}")
    module, colon, attribute = _LAZY[name].partition(":")
    imported = importlib.import_module(module)
    # a record that ends in a colon is the module itself
    return imported if colon and not attribute else getattr(imported, attribute or name)


def __dir__() -> list[str]:
    return __all__
