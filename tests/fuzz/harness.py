"""Fuzzes what reads bytes from strangers, guided by the branches that they reach; needs `pip install atheris`.

python -m tests.fuzz.harness metadata|foreign|yaml|checkpoint|state [FOLDER OF SAMPLES] -max_total_time=60

Without a folder it begins with small files as vqclip writes them. Options of libFuzzer follow. An input after which
anything but a one-line refusal came out is written to crash-*.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vqclip", "yaml", "PIL", "fuzz"]):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from fuzz.parsers import PARSERS
    from fuzz.samples import samples


def main() -> None:
    """Fuzz one parser until libFuzzer's limits."""
    name = sys.argv.pop(1)
    parse, folder = PARSERS[name], Path(tempfile.mkdtemp())
    if all(option.startswith("-") for option in sys.argv[1:]):
        begin = Path(tempfile.mkdtemp())
        for number, data in enumerate(samples(name, folder)):
            (begin / str(number)).write_bytes(data)
        sys.argv.append(str(begin))
    atheris.Setup(sys.argv, lambda data: parse(data, folder))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
