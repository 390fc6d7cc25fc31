"""What is known of public CLIPs before they are fetched: accuracy, cost, size, licence, and how they guide. Torch-free.

Cost and size of open_clip's are computed (`benchmarks/clips.py`), accuracies are their publishers' own.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TABLE = Path(__file__).with_name("clips.tsv")
# clean zero-shot accuracy, in percent, of the robust ones as their authors report it (github.com/chs20/RobustVLM): a
# mean over several sets, of the L/14 another than of the smaller ones
_ROBUST = {
    "fare4_vit_b_32": 53.8, "tecoa4_vit_b_32": 46.8, "fare4_vit_b_16": 56.6, "tecoa4_vit_b_16": 51.5,
    "fare4_convnext_base_w": 60.2, "tecoa4_convnext_base_w": 56.2, "fare2_vit_l_14": 67.0, "fare4_vit_l_14": 61.1,
    "tecoa2_vit_l_14": 60.0, "tecoa4_vit_l_14": 54.2,
}  # fmt: skip
# how pictures come out that they guide, where anybody has said so
_GUIDES = {
    "fare4_vit_b_32": "well: shapes more pronounced, by reports of users",
    "fare2_vit_l_14": "well: alone and without augmentations, by a published sampler",
}
_ROBUST_GUIDES = "well, by reports of its kind (CLIPAG, Ganz and Elad)"


@dataclass(frozen=True)
class Facts:
    """Facts of a CLIP; `accuracy` in percent, `mean` if it is one over several sets and not ImageNet's.

    `gflop` is the cost of a view's way through the image tower, `megabytes` the size in float32. None and "" are what
    is not known.
    """

    accuracy: float | None = None
    mean: bool = False
    gflop: float | None = None
    megabytes: float | None = None
    licence: str = ""
    guides: str = ""


def facts_of(name: str, like: str = "") -> Facts:
    """Return what is known of `ARCH/TAG`, or of a catalog name whose network is `like` one of open_clip's."""
    row = _rows().get(like or name, {})
    gflop, megabytes = (float(row[key]) if row.get(key) else None for key in ("gflop", "megabytes"))
    if like:
        accuracy = _ROBUST.get(name)
        guides = _GUIDES.get(name, _ROBUST_GUIDES if accuracy else "")
        return Facts(accuracy, True, gflop, megabytes, guides=guides)
    accuracy = float(row["accuracy"]) if row.get("accuracy") else None
    return Facts(accuracy, False, gflop, megabytes, row.get("licence", ""))


@functools.cache
def _rows() -> Mapping[str, Mapping[str, str]]:
    with _TABLE.open(newline="", encoding="utf-8") as stream:
        return {row["name"]: row for row in csv.DictReader(stream, delimiter="\t")}
