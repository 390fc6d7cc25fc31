"""Measures of films: how much frames flicker, and in how many of them the subject is to be seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqclip.errors import unknown_name
from vqclip.evaluation.judging import Share, look, ranks
from vqclip.guidance.resampling import displaced
from vqclip.models.judge import Judge
from vqclip.weights.load import load_judge
from vqclip.world import load_world, mentioned

_BATCH = 16  # frames the judge sees at once


def flicker(
    frames: Iterable[Tensor], fields: Iterable[Tensor] | None = None, known: Iterable[Tensor] | None = None
) -> np.ndarray:
    """Return the warped-frame error between each frame and the one before (Lai et al. 2018), in 1/255: (n - 1,).

    `frames` are images (1, 3, H, W) in [0, 1]; `fields` the n - 1 motions between them, (1, 2, H, W) in pixels, x
    before y, so that pixel p of a frame shows what the frame before shows at p + field(p): those of the camera, or an
    optical flow; None if nothing moves. The error is the mean absolute difference over the pixels that are in both, are
    finite in the field and, if `known` gives masks (1, 1, H, W), are known there; NaN if there are none. Only two
    frames are in memory. Raises ValueError for fewer fields or masks than pairs of frames, and frames of two sizes.
    """
    errors: list[float] = []
    motions, masks = (None if given is None else iter(given) for given in (fields, known))
    before: Tensor | None = None
    for frame in frames:
        if before is not None:
            if frame.shape != before.shape:
                raise ValueError(f"frames differ in size: {tuple(before.shape)} and {tuple(frame.shape)}")
            errors.append(_difference(before, frame, _next(motions), _next(masks)))
        before = frame.detach().float()
    return np.array(errors, np.float64)


def _next(given: Iterator[Tensor] | None) -> Tensor | None:
    if given is None:
        return None
    found = next(given, None)
    if found is None:
        raise ValueError("there are fewer fields or masks than pairs of frames")
    return found


def _difference(before: Tensor, frame: Tensor, field: Tensor | None, mask: Tensor | None) -> float:
    moved, counts = before, torch.ones_like(frame[:, :1], dtype=torch.bool)
    if field is not None:
        moved, counts = displaced(before, field.float().nan_to_num(0.0, 0.0, 0.0))
        counts = counts & field.isfinite().all(1, keepdim=True)
    if mask is not None:
        counts = counts & mask
    differences = (frame.float() - moved).abs().mean(1, keepdim=True)[counts]
    return 255 * float(differences.double().mean()) if len(differences) else float("nan")


def subject_share(frames: Iterable[Image.Image], subject: str, judge: Judge | None = None) -> Share:
    """Return in how many frames the judge, the bundled one if None, finds `subject` likelier than any other subject.

    `subject` is a name the judge knows, or a prompt that mentions one. Raises UsageError if there is none, ValueError
    without frames.
    """
    judge = judge or load_judge("tiny")[0]
    names = judge.architecture.names["subject"][1:]
    wanted = subject if subject in names else mentioned(subject, load_world()).get("subject", "")
    if wanted not in names:
        raise unknown_name("subject", subject, names)
    right = count = 0
    for batch in _batches(frames):
        places = ranks(judge, look(judge, batch), [{"subject": wanted}] * len(batch))
        right += sum(place["subject"] == 1 for place in places)
        count += len(batch)
    if not count:
        raise ValueError("a share of frames needs at least one frame")
    return Share(right, count)


def _batches(frames: Iterable[Image.Image]) -> Iterator[Sequence[Image.Image]]:
    batch: list[Image.Image] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
