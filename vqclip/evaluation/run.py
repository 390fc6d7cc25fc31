"""One evaluation from pictures to report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqclip.errors import UsageError
from vqclip.evaluation import judging, metrics
from vqclip.evaluation.pictures import Picture
from vqclip.evaluation.report import Report
from vqclip.weights.load import load_clip, load_judge

if TYPE_CHECKING:
    from vqclip.models.judge import Judge


class Instruments:
    """What pictures are measured with; made before anything is drawn, so that mistakes cost no drawing.

    `clip` is the CLIP of CLIPScore (None: leave it out); `metric_names` are of `metrics.METRICS`, `features` and
    `reference` as in `metrics.compute`. Raises UsageError and WeightsError.
    """

    def __init__(
        self,
        judge: str = "tiny",
        clip: str | None = "tiny",
        metric_names: Sequence[str] = (),
        features: str = "judge",
        reference: Path | None = None,
    ) -> None:
        metrics.check(metric_names, features, reference)
        self.judge, digest = load_judge(judge)
        self.weights = {f"judge:{Path(judge).name}": digest}
        self.clip = None
        if clip is not None:
            self.clip, self.weights[f"clip:{Path(clip).name}"] = load_clip(clip)
        if features not in ("judge", "inception"):
            load_clip(features)
        self.metric_names, self.features, self.reference = tuple(metric_names), features, reference


def evaluate(pictures: Sequence[Picture], instruments: Instruments) -> Report:
    """Judge pictures and measure them; UsageError if no prompt names anything that the judge knows."""
    network = instruments.judge
    labels = [picture.labels for picture in pictures]
    if not any(labels):
        raise UsageError("no prompt names anything of the picture world: the judge knows nothing else")
    verdict = judging.look(network, [picture.image for picture in pictures])
    prompts = [picture.prompt for picture in pictures]
    places = judging.ranks(network, verdict, labels)
    shares = judging.shares(places, labels)
    measured = {"R-precision": judging.r_precision(judging.likelihood(network, verdict, labels), prompts)}
    numbers: dict[str, float] = {}
    seconds = [picture.seconds for picture in pictures if picture.seconds is not None]
    if seconds:
        numbers["seconds a picture"] = round(sum(seconds) / len(seconds), 2)
        numbers["seconds, the slowest"] = max(seconds)
    spread = judging.diversity(verdict.embeddings, pictures)
    numbers |= {f"distance, {name}": value for name, value in (spread or {}).items()}
    i = instruments
    numbers |= metrics.compute(i.metric_names, [p.path for p in pictures], network, verdict, i.features, i.reference)
    if i.clip is not None:
        similarities = metrics.clip_similarities(i.clip, [picture.image for picture in pictures], prompts)
        numbers["CLIPScore"] = metrics.clip_score(similarities)
        measured["R-precision by CLIP"] = judging.r_precision(similarities, prompts)
    shares |= {name: share for name, share in measured.items() if share is not None}
    said = [_said(network, verdict, row, wanted, p) for row, (wanted, p) in enumerate(zip(labels, places, strict=True))]
    return Report(pictures, said, shares, numbers, i.weights)


def _said(judge: Judge, verdict: judging.Verdict, row: int, wanted: dict[str, str], places: dict[str, int]) -> str:
    """What the judge called the main thing of a picture, and where the right name stood if it was wrong."""
    key = next((key for key in ("subject", "shape", "style", "setting", "background") if key in wanted), "subject")
    name = judging.named(judge, verdict, row, key)
    place = places.get(key, 1)
    return name if place == 1 else f"{name} ({place}.)"
