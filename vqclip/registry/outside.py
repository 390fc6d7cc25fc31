"""What was registered from outside vqclip: whether it was, where it stands, and work whose failures name it."""

from __future__ import annotations

import contextlib
import inspect
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from vqclip.errors import PluginError, VqclipError, is_out_of_memory, one_line

_T = TypeVar("_T")
# files that define something from outside
_FILES: set[str] = set()


def is_outside(thing: Any) -> bool:
    """Whether a function, a class, or the class of an object is defined outside vqclip."""
    module = getattr(thing, "__module__", None) or type(thing).__module__
    return str(module).split(".")[0] not in ("vqclip", "torch")


def place_of(thing: Any) -> str:
    """Return file and line where a function, a class, or the class of an object is defined."""
    defined = thing if inspect.isroutine(thing) or inspect.isclass(thing) else type(thing)
    try:
        file = inspect.getsourcefile(defined) or "?"
        line = inspect.getsourcelines(defined)[1]
    except (OSError, TypeError):
        return f"{defined.__module__}.{defined.__qualname__}"
    return f"{Path(file).name}, line {line}"


def remember_file(thing: Any) -> None:
    """Remember the file that defines a function, a class, or the class of an object, so that `blamed` names it."""
    defined = thing if inspect.isroutine(thing) or inspect.isclass(thing) else type(thing)
    with contextlib.suppress(OSError, TypeError):
        _FILES.add(os.path.abspath(inspect.getsourcefile(defined) or "?"))


@contextlib.contextmanager
def blamed() -> Iterator[None]:
    """Raise PluginError, with the line that failed, for what code from outside raises within.

    This goes around work that calls such code at many places. Errors of vqclip, lack of memory, and what no such file
    had a part in pass.
    """
    try:
        yield
    except VqclipError:
        raise
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if os.path.abspath(f.filename) in _FILES]
        if not frames or is_out_of_memory(error):
            raise
        last, raised = frames[-1], f"{type(error).__name__}: {one_line(error)}"
        place = f"{Path(last.filename).name}, line {last.lineno}"
        raise PluginError(f"{last.name!r} from outside ({place}) raised {raised}") from error


def run_outside(what: str, call: Callable[..., _T], *arguments: Any) -> _T:
    """Return what something from outside returns for some arguments.

    Raises PluginError, with the line that failed, for whatever it raises; errors of vqclip and lack of memory pass.
    """
    try:
        return call(*arguments)
    except VqclipError:
        raise
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise
        raised = f"{type(error).__name__}: {one_line(error)}"
        raise PluginError(f"{what} ({_place(call, error)}) raised {raised}") from error


def failed_at(name: str, error: BaseException) -> str:
    """Return the last line of a file, by its base name, that an error passed; the name alone if it passed none."""
    lines = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == name]
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).name == name:
        return f"{name}, line {error.lineno}"
    return f"{name}, line {lines[-1].lineno}" if lines else name


def _place(call: Any, error: BaseException) -> str:
    """Return file and line at which code from outside failed, or where it stands."""
    stands = place_of(call)
    place = failed_at(stands.split(",")[0], error)
    return place if "line" in place else stands
