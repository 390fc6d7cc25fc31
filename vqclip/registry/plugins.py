"""`--plugin FILE.py`: files whose code registers losses, canvases and other variants.

A plugin runs with all rights of the user, so only somebody who types its name, in a shell or in Python, loads it. No
config, checkpoint, picture or savepoint ever does.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from vqclip.errors import PluginError, UsageError, VqclipError, one_line
from vqclip.registry.outside import failed_at
from vqclip.registry.register import registered


class Plugin(NamedTuple):
    """A plugin that was loaded: its base name, the sha256 of its file, and what it registered, as (kind, name)."""

    name: str
    sha256: str
    variants: tuple[tuple[str, str], ...]

    def notice(self) -> str:
        """Say that it ran, and what it registered."""
        return f"the plugin {self.name} runs as code of yours; it registered " + ", ".join(
            f"the {kind} {name!r}" for kind, name in self.variants
        )


# those of this process, by their sha256
_LOADED: dict[str, Plugin] = {}


def loaded() -> tuple[Plugin, ...]:
    """Return the plugins that this process has loaded."""
    return tuple(_LOADED.values())


def used(variants: Collection[tuple[str, str]]) -> tuple[Plugin, ...]:
    """Return the loaded plugins that registered one of some variants, given as (kind, name)."""
    return tuple(plugin for plugin in loaded() if set(plugin.variants) & set(variants))


def check_loaded(files: Iterable[str], what: str) -> None:
    """Raise UsageError if this process lacks a plugin that something was drawn with.

    `files` are the names of files from outside, of plugins `plugin.NAME`, as records and savepoints hold them.
    """
    here = {plugin.name for plugin in loaded()}
    for key in files:
        name = key.removeprefix("plugin.")
        if name != key and name not in here:
            raise UsageError(f"{what} was drawn with the plugin {name!r}: give it again with --plugin FILE")


def load_plugin(path: str | Path) -> Plugin:
    """Run a Python file, unless this process has, and return what it registered.

    Raises UsageError for a file that is none, and PluginError, with its line, for one that fails or registers nothing.
    """
    file = Path(os.path.expanduser(path))
    if file.suffix != ".py" or not file.is_file():
        raise UsageError(f"--plugin {path}: give a file of Python, such as my_loss.py")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if digest in _LOADED:
        return _LOADED[digest]
    name = f"vqclip_plugin_{digest[:12]}"
    before = len(registered())
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"--plugin {path}: it cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except VqclipError:
        raise
    except (Exception, SystemExit) as error:
        place = failed_at(file.name, error)
        raise PluginError(f"the plugin {place} raised {type(error).__name__}: {one_line(error)}") from error
    variants = tuple(registered()[before:])
    if not variants:
        raise PluginError(f'the plugin {file.name} registers nothing: call vqclip.register.loss("NAME")(LOSS) in it')
    _LOADED[digest] = Plugin(file.name, digest, variants)
    return _LOADED[digest]
