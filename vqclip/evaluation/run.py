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


def evaluate(
    pictures: Sequence[Picture],
    *,
    judge: str = "tiny",
    clip: str | None = "tiny",
    metric_names: Sequence[str] = (),
    features: str = "judge",
    reference: Path | None = None,
) -> Report:
    """Judge pictures and measure them.

    `clip` is the CLIP of CLIPScore (None: leave it out); `metric_names` are of `metrics.METRICS`. Raises UsageError
    if no prompt names anything that the judge knows.
    """
    metrics.check(metric_names, reference)
    network, digest = load_judge(judge)
    labels = [picture.labels for picture in pictures]
    if not any(labels):
        raise UsageError("no prompt names anything of the picture world: the judge knows nothing else")
    verdict = judging.look(network, [picture.image for picture in pictures])
    prompts = [picture.prompt for picture in pictures]
    places = judging.ranks(network, verdict, labels)
    shares = judging.shares(places, labels)
    shares["R-precision"] = judging.r_precision(judging.likelihood(network, verdict, labels), prompts)
    numbers, weights = {}, {f"judge:{Path(judge).name}": digest}
    seconds = [picture.seconds for picture in pictures if picture.seconds is not None]
    if seconds:
        numbers["seconds a picture"] = round(sum(seconds) / len(seconds), 2)
        numbers["seconds, the slowest"] = max(seconds)
    spread = judging.diversity(verdict.embeddings, pictures)
    numbers |= {f"distance, {name}": value for name, value in (spread or {}).items()}
    numbers |= metrics.compute(metric_names, [p.path for p in pictures], network, verdict, features, reference)
    if clip is not None:
        perceptor, weights[f"clip:{Path(clip).name}"] = load_clip(clip)
        similarities = metrics.clip_similarities(perceptor, [picture.image for picture in pictures], prompts)
        numbers["CLIPScore of the guiding CLIP"] = metrics.clip_score(similarities)
        shares["R-precision by the guiding CLIP"] = judging.r_precision(similarities, prompts)
    said = [_said(network, verdict, row, wanted, p) for row, (wanted, p) in enumerate(zip(labels, places, strict=True))]
    return Report(pictures, said, shares, numbers, weights)


def _said(judge: Judge, verdict: judging.Verdict, row: int, wanted: dict[str, str], places: dict[str, int]) -> str:
    """What the judge called the main thing of a picture, and where the right name stood if it was wrong."""
    key = next((key for key in ("subject", "shape", "style", "setting", "background") if key in wanted), "subject")
    name = judging.named(judge, verdict, row, key)
    place = places.get(key, 1)
    return name if place == 1 else f"{name} ({place}.)"
