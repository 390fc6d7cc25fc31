"""Batches for contrastive learning: which scenes come together, what is said of them, and what that excludes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from vqclip.world import Scene, World, caption, load_world, replace

_KEYS = ("subject", "shape", "color", "setting", "background", "style")
_NOTHING = -1  # the number of an attribute that a scene does not have


class Captioner:
    """Captions of scenes; `attributes` (n, 6) holds the number of each scene's value of each key, -1 for none.

    `sizes` holds how many values each key has, none among them.
    """

    def __init__(self, scenes: list[Scene]) -> None:
        self.world = load_world()
        self.scenes = scenes
        names = {
            "subject": list(self.world.subjects),
            "shape": list(self.world.shapes),
            "color": list(self.world.colors),
            "setting": list(self.world.settings),
            "background": list(self.world.colors),
            "style": list(self.world.styles),
        }
        self.sizes = {key: len(values) + 1 for key, values in names.items()}
        index = {key: {name: i for i, name in enumerate(values)} for key, values in names.items()}
        self.attributes = np.array([[index[key].get(getattr(s, key), _NOTHING) for key in _KEYS] for s in scenes])

    def captions(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[list[str], Tensor]:
        """Say something true of each chosen scene, now and then leaving out style or surroundings.

        Returns the captions and `wrong` (n, n): True where caption j does not hold for picture i.
        """
        said = self.attributes[chosen].copy()
        mentioned = np.ones_like(said, dtype=bool)
        texts = []
        for row, i in enumerate(chosen):
            scene = self.scenes[i]
            if scene.style is not None and rng.random() < 0.15:
                scene, mentioned[row, 5] = replace(scene, style=None), False
            if (scene.setting or scene.background) and rng.random() < 0.15:
                scene = replace(scene, setting=None, background=None)
                mentioned[row, 3:5] = False
            texts.append(caption(scene, self.world, rng))
        differs = said[:, None, :] != said[None, :, :]
        return texts, torch.from_numpy((differs & mentioned[None, :, :]).any(-1))

    def foils(self, chosen: np.ndarray, detail: Sequence[bool], rng: np.random.Generator) -> list[str]:
        """Say of each chosen scene something that is wrong in one thing alone; `detail` marks views of a part."""
        pairs = zip(chosen, detail, strict=True)
        return [caption(foil(self.scenes[i], self.world, rng, part), self.world, rng) for i, part in pairs]


def foil(scene: Scene, world: World, rng: np.random.Generator, detail: bool = False) -> Scene:
    """Return a scene that differs in one thing: half the time in style, else in surroundings or in what it shows.

    A detail need not show the subject, so that its foil differs in style or surroundings.
    """
    chance = rng.random()
    if chance < 0.5:
        return replace(scene, style=_other(rng, world.styles, scene.style))
    if chance < 0.75 or detail:
        if scene.background:
            return replace(scene, background=_other(rng, world.colors, scene.background))
        return replace(scene, setting=_other(rng, world.settings, scene.setting))
    if scene.subject:
        return replace(scene, subject=_other(rng, world.subjects, scene.subject))
    if chance < 0.9:
        return replace(scene, color=_other(rng, world.colors, scene.color))
    return replace(scene, shape=_other(rng, world.shapes, scene.shape))


def _other(rng: np.random.Generator, names: Iterable[str], current: str | None) -> str:
    others = [name for name in names if name != current]
    return others[int(rng.integers(len(others)))]


def grouped_batch(attributes: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Choose `size` scenes: half in groups of eight of one style, a quarter in fours of one subject, the rest anyhow.

    Scenes that share a style or subject are each other's hard negatives: telling them apart needs the rest.
    """
    count = len(attributes)
    chosen: list[np.ndarray] = []
    for share, group, column in ((size // 2, 8, 5), (size // 4, 4, 0)):
        for _ in range(share // group):
            first = rng.integers(count)
            value = attributes[first, column]
            # a window of the series is enough to find a group in, and costs no index
            start = rng.integers(count)
            window = np.arange(start, start + 4000) % count
            fitting = window[attributes[window, column] == value]
            if not len(fitting):  # of many subjects one may be in no window
                fitting = np.array([first])
            chosen.append(rng.choice(fitting, group, replace=len(fitting) < group))
    rest = size - sum(len(part) for part in chosen)
    return np.concatenate([*chosen, rng.integers(count, size=rest)])
