"""The YAML beside a checkpoint of taming's: plain data, its `target:` names compared with known ones, never run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from vqclip.errors import WeightsError, one_line

_MAX_BYTES = 1 << 20
# whose classes stand in such files as what trains or feeds a model
_HARMLESS = (
    "taming.", "ldm.", "torch.", "pytorch_lightning.", "main.", "cutlit.", "__is_", "src.IBQ.", "src.Open_MAGVIT2.",
)  # fmt: skip


def read_model_yaml(path: Path, known: Collection[str] = ()) -> Mapping[str, Any]:
    """Return `model` of a YAML: its `target` and `params`.

    Raises WeightsError for a file that is too large, no such YAML, or names a target of no known program anywhere. With
    `known`, the model's own target must be one of those.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise WeightsError(f"{path} is over {_MAX_BYTES >> 20} MB: that is no model's YAML")
        text = path.read_text("utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise WeightsError(
                f"{path} uses aliases (*name), which may unfold without end: write the values themselves"
            )
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read as a model's YAML: {one_line(error)[:100]}") from None
    model = content.get("model") if isinstance(content, Mapping) else None
    if isinstance(model, Mapping) and "class_path" in model:  # as Lightning's own command line has it
        model = {"target": model["class_path"], "params": model.get("init_args")}
    if not isinstance(model, Mapping) or not isinstance(model.get("params"), Mapping):
        raise WeightsError(f"{path} describes no model of taming's: it has no model.params")
    for target in _targets(content):
        if not isinstance(target, str) or not target.startswith(_HARMLESS):
            raise WeightsError(f"{path} names the target {str(target)[:80]!r}, of no program that makes such models")
    if known and model.get("target") not in known:
        raise WeightsError(f"{path} describes a {str(model.get('target'))[:80]}: known are {', '.join(sorted(known))}")
    return model


def _targets(tree: Any) -> Iterator[Any]:
    """Yield every value under a key `target`, at any depth."""
    left = [tree]
    while left:
        part = left.pop()
        if isinstance(part, Mapping):
            if "target" in part:
                yield part["target"]
            left.extend(part.values())
        elif isinstance(part, list):
            left.extend(part)
