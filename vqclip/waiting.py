"""How the threads of torch wait for work: asleep, so that other programs have the processor meanwhile.

OpenMP's threads spin before they sleep. On a machine that others use too, a thread that was set aside
keeps those that wait for it spinning, and a run takes several times as long (`benchmarks/busy.py`).
The pictures are the same.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

POLICY = "OMP_WAIT_POLICY"
# by each of these a user may have said how threads are to wait: of any OpenMP, of GNU's, of LLVM's and Intel's
_SAID = (POLICY, "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def sleep_while_waiting(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads wait asleep, unless the environment says how they are to wait.

    OpenMP reads this once, when torch is loaded: it has to be said before. Processes that are started inherit it.
    """
    if not said(environment):
        environment[POLICY] = "PASSIVE"


def said(environment: MutableMapping[str, str] = os.environ) -> dict[str, str]:
    """Return what the environment says of how threads wait."""
    return {name: environment[name] for name in _SAID if name in environment}
