"""How torch's threads wait: asleep, unless the user says otherwise, and the pictures are the same."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

from vqclip import waiting

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


@pytest.mark.parametrize("name", NAMES)
def test_what_the_user_says_stays(name: str) -> None:
    environment = {name: "7"}
    waiting.sleep_while_waiting(environment)
    assert environment == {name: "7"} == waiting.said(environment)


def test_threads_are_to_sleep_where_nobody_says_otherwise() -> None:
    environment = {"HOME": "/"}
    waiting.sleep_while_waiting(environment)
    assert environment == {"HOME": "/", "OMP_WAIT_POLICY": "PASSIVE"}


def in_effect(library: Path, **env: str) -> str:
    """Return what the OpenMP that torch brings says of how its threads wait, if vqclip is imported before."""
    variables = {name: value for name, value in os.environ.items() if name not in NAMES}
    variables |= {"PYTHONPATH": str(ROOT), "OMP_DISPLAY_ENV": "VERBOSE"} | env
    code = "import sys, ctypes, vqclip; assert 'torch' not in sys.modules; ctypes.CDLL(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(library)], env=variables, capture_output=True, text=True,
                          timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "OMP_WAIT_POLICY" in line or "GOMP_SPINCOUNT" in line]
    return " ".join(line.strip().removeprefix("[host] ") for line in told)


def test_the_openmp_of_torch_takes_it() -> None:
    folder = Path(importlib.util.find_spec("torch").origin).parent / "lib"
    library = next(iter(sorted(folder.glob("libgomp*.so*"))), None)
    if library is None:
        pytest.skip("this torch brings no OpenMP of GNU's")
    assert in_effect(library) == "OMP_WAIT_POLICY = 'PASSIVE' GOMP_SPINCOUNT = '0'"
    assert in_effect(library, OMP_WAIT_POLICY="ACTIVE").startswith("OMP_WAIT_POLICY = 'ACTIVE'")
    assert in_effect(library, GOMP_SPINCOUNT="77").endswith("GOMP_SPINCOUNT = '77'")


def test_the_tests_themselves_wait_asleep() -> None:
    assert waiting.said()
