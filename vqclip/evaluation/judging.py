"""What the judge says of pictures, and how often it is what the prompt says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqclip.evaluation.pictures import Picture
from vqclip.models.judge import TEXTURE_SIDE, Judge, features

_CANDIDATES = 100  # prompts among which a picture's must fit it best


@dataclass(frozen=True)
class Verdict:
    """What the judge says of n pictures: log-probabilities (n, names) of each head, embeddings (n, D)."""

    log_probabilities: dict[str, Tensor]
    embeddings: Tensor


@dataclass(frozen=True)
class Share:
    """How many of `count` were right, with the 95 % interval of the share (Wilson 1927)."""

    right: int
    count: int

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.right / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the 95 % interval."""
        z, n, p = 1.959964, self.count, self.value
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return min(max(middle - half, 0.0), p), max(min(middle + half, 1.0), p)

    def to_dict(self) -> dict[str, float | list[float]]:
        """Return the share as plain data."""
        low, high = self.interval
        return {"right": self.right, "count": self.count, "share": round(self.value, 4),
                "interval_95": [round(low, 4), round(high, 4)]}  # fmt: skip


def look(judge: Judge, pictures: Sequence[Image.Image]) -> Verdict:
    """Show pictures of any size to the judge: their centre square, scaled to what it sees."""
    rows = [features(_square(picture)) for picture in pictures]
    with torch.no_grad():
        x = torch.from_numpy(np.stack(rows))
        return Verdict(judge(x), judge.embed(x))


def _square(picture: Image.Image) -> np.ndarray:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    resampling = Image.Resampling.BOX if side >= TEXTURE_SIDE else Image.Resampling.BICUBIC
    return np.asarray(picture.convert("RGB").resize((TEXTURE_SIDE, TEXTURE_SIDE), resampling, box))


def ranks(judge: Judge, verdict: Verdict, labels: Sequence[dict[str, str]]) -> list[dict[str, int]]:
    """Return for each picture the place (1 is best) of each name its prompt holds, among all names of that kind.

    "None" is no answer: whether a subject is named at all is known from the prompt.
    """
    best_places = []
    for row, wanted in enumerate(labels):
        places = {}
        for key, name in wanted.items():
            names = judge.architecture.names.get(key, ())
            if name in names[1:]:
                scores = verdict.log_probabilities[key][row, 1:]
                places[key] = 1 + int((scores > scores[names.index(name) - 1]).sum())
        best_places.append(places)
    return best_places


def named(judge: Judge, verdict: Verdict, row: int, key: str) -> str:
    """Return the name of one kind that the judge finds likeliest."""
    return judge.architecture.names[key][1 + int(verdict.log_probabilities[key][row, 1:].argmax())]


def shares(places: Sequence[dict[str, int]], labels: Sequence[dict[str, str]]) -> dict[str, Share]:
    """Return top-1 of every kind of name, top-5 of subjects, and top-1 of subjects by style."""
    shares: dict[str, Share] = {}
    for key in ("subject", "shape", "color", "background", "setting", "style"):
        known = [p[key] for p in places if key in p]
        if known:
            shares[key] = Share(sum(p == 1 for p in known), len(known))
        if known and key == "subject":
            shares["subject, top 5"] = Share(sum(p <= 5 for p in known), len(known))
    styles = sorted({wanted.get("style", "") for wanted in labels})
    for style in styles:
        of_style = [p for p, wanted in zip(places, labels, strict=True) if wanted.get("style", "") == style]
        known = [p["subject"] for p in of_style if "subject" in p]
        if known:
            shares[f"subject, {style or 'unstyled'}"] = Share(sum(p == 1 for p in known), len(known))
    return shares


def r_precision(scores: Tensor, prompts: Sequence[str]) -> Share | None:
    """How often a picture fits its own prompt better than 99 others of the list (R-precision, Xu et al. 2018).

    `scores` (n, n) says how well picture i fits prompt j; the others are drawn from a fixed seed, and equal prompts
    do not compete. None if all prompts are the same.
    """
    if len(set(prompts)) < 2:
        return None
    rng = np.random.default_rng(0)
    right = 0
    for row, prompt in enumerate(prompts):
        others = [j for j, text in enumerate(prompts) if text != prompt]
        taken = rng.choice(others, min(_CANDIDATES - 1, len(others)), replace=False)
        right += all(float(scores[row, j]) < float(scores[row, row]) for j in taken)
    return Share(right, len(prompts))


def likelihood(judge: Judge, verdict: Verdict, labels: Sequence[dict[str, str]]) -> Tensor:
    """Return (n, n): the log-likelihood, under the judge, that picture i shows exactly what labels j name."""
    total = torch.zeros(len(verdict.embeddings), len(labels))
    for key, names in judge.architecture.names.items():
        places = [names.index(w[key]) if w.get(key) in names else 0 for w in labels]
        total += verdict.log_probabilities[key][:, torch.tensor(places)]
    return total


def diversity(embeddings: Tensor, pictures: Sequence[Picture]) -> dict[str, float] | None:
    """Mean cosine distance of pictures of one prompt by different seeds, and of different prompts to compare it with.

    None if no prompt was drawn twice.
    """
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    distances = 1 - unit @ unit.t()
    same = torch.tensor([[a.prompt == b.prompt for b in pictures] for a in pictures])
    pairs = same & ~torch.eye(len(pictures), dtype=torch.bool)
    if not pairs.any():
        return None
    distances_of = {"same prompt": round(float(distances[pairs].mean()), 4)}
    return distances_of | ({"other prompt": round(float(distances[~same].mean()), 4)} if (~same).any() else {})
