"""`python -m tests.golden.regenerate`: accept what the bundled models draw now as the golden pictures.

`--measure` only prints how far disturbed and changed drawings are from the golden ones, beside the tolerances.
"""

from __future__ import annotations

import sys

from . import cases

_DISTURBED = {"again": {}, "two threads": {"threads": 2}, "gradient * (1 +- 1e-6)": {"jitter": 1e-6},
              "gradient * (1 +- 1e-4)": {"jitter": 1e-4}, "gradient * (1 +- 1e-2)": {"jitter": 1e-2}}  # fmt: skip
CHANGED = {
    "lr + 2 %": {"optimizer": {"lr": 0.102}},
    "ema 0.88": {"latent": {"ema": 0.88}},
    "one overview view more": {"views": {"overview": [0.63, 0.63]}},
    "a fifth more noise": {"views": {"augmentations": {"noise": 0.12}}},
    "schedule linear": {"optimizer": {"schedule": "linear"}},
}


def main(arguments: list[str]) -> None:
    """Draw all cases and write or measure them."""
    drawings = {name: cases.draw(name) for name in cases.CASES}
    if "--measure" not in arguments:
        cases.save(drawings)
        print(f"wrote {len(drawings)} golden pictures to {cases.FOLDER}")
        return
    print(f"{'tolerance':32}", cases.TOLERANCES)
    for name, golden in drawings.items():
        for what, options in _DISTURBED.items():
            _print(f"{name}: {what}", cases.draw(name, **options), golden)
        for what, changes in CHANGED.items():
            _print(f"{name}: {what}", cases.draw(name, changes), golden)


def _print(what: str, found: cases.Drawing, golden: cases.Drawing) -> None:
    apart = {name: f"{value:.2g}" for name, value in cases.distances(found, golden).items()}
    print(f"{what:32}", apart, cases.close(found, golden) or "close", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
