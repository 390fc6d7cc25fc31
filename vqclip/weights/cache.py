"""Where fetched weights lie. Torch-free."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path

from filelock import FileLock

from vqclip import atomic
from vqclip.errors import WeightsError

# what sources gave when they were first asked, and what is kept
RECORD = "sha256.json"
# from which revision of which repository that came
_ORIGINS = "origins.json"
_OFFLINE = ("HF_HUB_OFFLINE", "VQCLIP_OFFLINE")
# of this thread, or task
_FORBIDDEN = ContextVar("vqclip_offline", default=False)
_PLACE: ContextVar[Path | None] = ContextVar("vqclip_home", default=None)


def home(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of everything that vqclip keeps: `VQCLIP_HOME`, else `vqclip` in the user's cache folder.

    Within `kept_in` it is the folder given there. Raises WeightsError for a user without a home folder.
    """
    return _PLACE.get() or users_home(environment)


def users_home(environment: Mapping[str, str] = os.environ) -> Path:
    """Return what `home` is outside of `kept_in`."""
    try:
        return _home(environment)
    except RuntimeError as error:
        raise WeightsError(f"there is no folder for weights ({error}): set VQCLIP_HOME to one") from None


def exists(path: Path) -> bool:
    """Whether there is such a file; False too where one may not look."""
    return os.path.exists(path)


def _home(environment: Mapping[str, str]) -> Path:
    if environment.get("VQCLIP_HOME"):
        return Path(environment["VQCLIP_HOME"]).expanduser()
    if environment.get("XDG_CACHE_HOME"):
        return Path(environment["XDG_CACHE_HOME"]).expanduser() / "vqclip"
    if sys.platform == "win32":
        return Path(environment.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "vqclip"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "vqclip"


def weights_file(kind: str, name: str) -> Path:
    """Return where the converted weights of a catalog name lie, or would."""
    return home() / "weights" / f"{kind}-{name.replace('/', '--').replace(':', '--')}.safetensors"


@contextlib.contextmanager
def no_network(forbidden: bool = True) -> Iterator[None]:
    """Forbid the network, if that is wished, to what this thread does within the block."""
    token = _FORBIDDEN.set(forbidden or _FORBIDDEN.get())
    try:
        yield
    finally:
        _FORBIDDEN.reset(token)


@contextlib.contextmanager
def kept_in(folder: Path | None) -> Iterator[None]:
    """Keep what this thread fetches within the block in another folder than the user's; None changes nothing."""
    token = _PLACE.set(folder.expanduser() if folder is not None else _PLACE.get())
    try:
        yield
    finally:
        _PLACE.reset(token)


def elsewhere() -> bool:
    """Whether another folder than the user's is in use: see `kept_in`."""
    return _PLACE.get() is not None


def offline() -> bool:
    """Whether the network is forbidden: by the environment, or by whoever called (`no_network`)."""
    named = any(os.environ.get(name, "").lower() not in ("", "0", "false", "no", "off") for name in _OFFLINE)
    return named or _FORBIDDEN.get()


def known_digest(source: str) -> str | None:
    """Return the sha256 that was recorded of a source, or of a file that was kept; None if none was."""
    return digests().get(source)


def remember_digest(source: str, digest: str) -> None:
    """Record the sha256 of what a source gave for the first time, or of a file that is kept."""
    _remember(RECORD, {source: digest})


def remember_all(digests: Mapping[str, str], origins: Mapping[str, str]) -> None:
    """Record several sums and origins at once."""
    _remember(RECORD, digests)
    _remember(_ORIGINS, origins)


def known_origin(source: str) -> str | None:
    """Return where a source came from, as `OWNER/NAME/FILE@REVISION` of the Hub or a URL; None if it is not known."""
    return origins().get(source)


def remember_origin(source: str, origin: str) -> None:
    """Record where a source came from."""
    _remember(_ORIGINS, {source: origin})


def digests() -> dict[str, str]:
    """Return all recorded sha256 by what they are of."""
    return _records(RECORD)


def origins() -> dict[str, str]:
    """Return all recorded origins by what they are of."""
    return _records(_ORIGINS)


def _remember(name: str, values: Mapping[str, str]) -> None:
    if not values:
        return
    path = home() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        atomic.write_text(path, json.dumps(_records(name) | dict(values), indent=1))


def _records(name: str) -> dict[str, str]:
    path = home() / name
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"the record of what was fetched, {path}, cannot be read ({error}): remove it") from None
    return {key: value for key, value in content.items() if isinstance(value, str)} if type(content) is dict else {}
