"""How the C library hands out memory while vqclip runs as a program of its own."""

from __future__ import annotations

import ctypes
import sys

# numbers of glibc's <malloc.h>
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST = 2**30


def keep_freed_memory() -> bool:
    """Let glibc keep what tensors free and hand it out again; return whether that could be set.

    By itself it asks the kernel for every block of 32 MB and more, and gives it back at once: each such tensor is then
    paid for by page faults, which take longer than to compute it (measured: docs/performance.md). Only the command line
    does this, since it holds for the whole process; for a program of your own set MALLOC_MMAP_THRESHOLD_ and
    MALLOC_TRIM_THRESHOLD_ in its environment.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, 2 * _LARGEST - 1))
