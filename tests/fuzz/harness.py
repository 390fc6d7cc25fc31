"""Fuzzes what reads bytes from strangers, guided by the branches that they reach; needs `pip install atheris`.

python -m tests.fuzz.harness metadata|yaml|checkpoint|state [FOLDER OF SAMPLES] -max_total_time=60

Options of libFuzzer follow. An input after which anything but a one-line refusal came out is written to crash-*.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vqclip", "yaml", "PIL", "fuzz"]):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from fuzz.parsers import PARSERS


def main() -> None:
    """Fuzz one parser until libFuzzer's limits."""
    parse, folder = PARSERS[sys.argv.pop(1)], Path(tempfile.mkdtemp())
    atheris.Setup(sys.argv, lambda data: parse(data, folder))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
