"""Everything that decides a picture, as one tree of dataclasses, and the ways to fill and check it."""

from vqclip.config.checks import check, checked
from vqclip.config.merge import (
    DEFAULT_PRESET,
    build,
    from_dict,
    layers_of,
    make_config,
    to_yaml,
)
from vqclip.config.resolved import Resolved
from vqclip.config.schema import Config

__all__ = [
    "DEFAULT_PRESET",
    "Config",
    "Resolved",
    "build",
    "check",
    "checked",
    "from_dict",
    "layers_of",
    "make_config",
    "to_yaml",
]
