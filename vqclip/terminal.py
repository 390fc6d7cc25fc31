"""How much room a progress bar has."""

from __future__ import annotations

import os
import sys
from typing import Any

_USUAL = (80, 24)
# tqdm hides a bar that it takes for the last line of a terminal
_FEWEST = (2, 3)


def bar_room() -> dict[str, Any]:
    """Return the arguments that tell tqdm the size of the terminal behind stderr.

    A size that the terminal itself does not know, as of some containers and logs, is taken for 80 by 24.
    """
    try:
        columns, rows = os.get_terminal_size(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # no stream, or none with a descriptor
        return {}
    if columns >= _FEWEST[0] and rows >= _FEWEST[1]:
        return {"dynamic_ncols": True}
    return {"ncols": (columns if columns >= _FEWEST[0] else _USUAL[0]) - 1, "nrows": _USUAL[1]}
