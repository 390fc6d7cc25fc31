"""How torch's threads wait: asleep, unless the user says otherwise, and the pictures are the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from helpers import ROOT

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


def in_effect(code: str, **env: str) -> list[str]:
    """Return what the OpenMP that torch loads says of how its threads wait."""
    variables = {name: value for name, value in os.environ.items() if name not in NAMES}
    variables |= {"PYTHONPATH": str(ROOT), "OMP_DISPLAY_ENV": "VERBOSE"} | env
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=120,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [line.split("=")[-1].strip(" '") for line in done.stderr.splitlines() if "OMP_WAIT_POLICY" in line]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="as GNU's OpenMP tells it")
def test_the_openmp_of_torch_takes_it(tmp_path: object) -> None:
    assert set(in_effect("import vqclip, torch; torch.ones(9)")) == {"PASSIVE"}
    assert set(in_effect("import vqclip, torch; torch.ones(9)", OMP_WAIT_POLICY="ACTIVE")) == {"ACTIVE"}


def test_the_tests_themselves_wait_asleep() -> None:
    assert waiting.said()
