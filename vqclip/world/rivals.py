"""What a picture could be mistaken for: the captions that differ from a prompt in one thing."""

from __future__ import annotations

from typing import Any

from vqclip.world.captions import captions
from vqclip.world.model import World
from vqclip.world.reading import mentioned
from vqclip.world.scene import Scene, replace


def rivals(text: str, world: World) -> list[str]:
    """Return captions like `text` but with another subject, shape, color, setting, background or style.

    A text that names no style gets rivals of every style. One that names neither subject nor shape has no rivals.
    """
    labels = mentioned(text, world)
    if not labels.keys() & {"subject", "shape"}:
        return []
    values: dict[str, Any] = {**labels}
    scene = Scene(**values)
    wrong = []
    for key, names in _values(world).items():
        if key not in labels and key != "style":
            continue
        wrong += [captions(replace(scene, **{key: name}), world) for name in names if name != labels.get(key)]
    if "style" in labels:
        wrong.append(captions(replace(scene, style=None), world))
    # of a setting and a background captions tell the setting alone: other backgrounds are then the prompt itself
    true = captions(scene, world)
    return [other for other in dict.fromkeys(wrong) if other != true]


def _values(world: World) -> dict[str, list[str]]:
    return {
        "subject": list(world.subjects),
        "shape": list(world.shapes),
        "color": list(world.colors),
        "setting": list(world.settings),
        "background": list(world.colors),
        "style": list(world.styles),
    }
