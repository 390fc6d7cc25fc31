"""Metrics of the literature: CLIPScore in our own code, distances between sets of pictures through torchmetrics."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vqclip import images, prompts
from vqclip.errors import UsageError, VqclipError, one_line, unknown_name
from vqclip.evaluation.judging import Verdict, look
from vqclip.evaluation.pictures import picture_files
from vqclip.guidance import encoding
from vqclip.guidance.views import cut_views, whole
from vqclip.models.judge import Judge
from vqclip.weights.load import load_clip

if TYPE_CHECKING:
    from torchmetrics import Metric

    from vqclip.types import Perceptor

METRICS = ("kid", "fid", "is", "psnr", "ssim")
_PAIRED = ("psnr", "ssim")
_INCEPTION = 2048  # features of the Inception network
_SSIM_WINDOW = 11  # pixels a side


def clip_similarities(perceptor: Perceptor, pictures: Sequence[Image.Image], texts: Sequence[str]) -> Tensor:
    """Return (n, n): the cosine of picture i, seen whole, and the wanted parts of prompt j, weighted."""
    rows = {}
    for text in dict.fromkeys(texts):
        wanted = [prompt for prompt in prompts.parse(text) if prompt.weight > 0]
        embeddings, _ = encoding.encode_prompts(perceptor, wanted)
        mean = torch.stack([p.weight * e for p, e in zip(wanted, embeddings, strict=True)]).sum(0)
        rows[text] = nn.functional.normalize(mean, dim=0)
    return clip_embeddings(perceptor, pictures) @ torch.stack([rows[text] for text in texts]).t()


def clip_score(similarities: Tensor) -> float:
    """CLIPScore: 2.5 times the mean positive cosine of each picture and its prompt (Hessel et al. 2021)."""
    return round(float(2.5 * similarities.diagonal().clamp(min=0).mean()), 4)


@torch.no_grad()
def clip_embeddings(perceptor: Perceptor, pictures: Sequence[Image.Image]) -> Tensor:
    """Return CLIP's embeddings (n, D) of pictures seen whole: the centre square at CLIP's side."""
    views = [cut_views(images.to_tensor(picture), [whole()], perceptor.image_size) for picture in pictures]
    return torch.cat([perceptor.encode_image(view) for view in views])


def check(names: Sequence[str], features: str, reference: Path | None) -> None:
    """Raise UsageError for metrics that cannot be computed from these inputs, VqclipError without torchmetrics."""
    for name in names:
        if name not in METRICS:
            raise unknown_name("metric", name, METRICS)
        if name in _PAIRED and reference is None:
            raise UsageError(f"--metric {name} compares with pictures of the same names: give --reference FOLDER")
        if name == "is" and features not in ("judge", "inception"):
            raise UsageError(f"--metric is needs a network that names things: --features {features} is none")
        if name in ("kid", "fid") and features != "judge" and reference is None:
            raise UsageError(f"--features {features} needs pictures to compare with: give --reference FOLDER")
    if features != "judge" and not set(names) & {"kid", "fid", "is"}:
        raise UsageError(
            f"--features {features} is what KID, FID or IS look through: give --metric kid and --reference"
        )
    if names and not available():
        raise VqclipError("metrics need torchmetrics: pip install 'vqclip[eval]'")
    if reference is not None:
        _picture_files(reference, 2 if set(names) - set(_PAIRED) else 1)


def available() -> bool:
    """Whether torchmetrics is installed."""
    try:
        import torchmetrics  # noqa: F401
    except ImportError:
        return False
    return True


def compute(
    names: Sequence[str], files: Sequence[Path], judge: Judge, verdict: Verdict, features: str, reference: Path | None
) -> dict[str, float]:
    """Return the metrics of picture files by name.

    `features` is what FID, KID and the Inception Score look through: "judge" (its penultimate layer; for the score
    its subjects), "inception" (torchmetrics' own, which downloads it), or a CLIP's name or file. Without `reference`
    KID and FID compare with the held-out renders whose embeddings the judge's file holds.
    """
    metrics: dict[str, float] = {}
    if any(name in _PAIRED for name in names) and reference is not None:
        metrics |= _paired([name for name in names if name in _PAIRED], files, reference)
    sets = [name for name in names if name not in _PAIRED]
    if not sets:
        return metrics
    if len(verdict.embeddings) < 2:
        raise UsageError(f"{', '.join(sets)} compare sets of pictures: there is only one, two are needed")
    drawn, target, logits = _looked_through(features, files, judge, verdict, reference)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # torchmetrics warns of the memory its buffers take
        torch.manual_seed(0)  # KID and the Inception Score draw subsets
        for name in sets:
            if name == "is":
                metrics |= _inception_score(logits)
            elif target is not None:  # `check` wants a reference for what compares
                metrics |= _distance(name, drawn, target)
    return metrics


def _looked_through(
    features: str, files: Sequence[Path], judge: Judge, verdict: Verdict, reference: Path | None
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return what a network sees in the pictures, in those to compare with, and what it takes for names."""
    real = None if reference is None else [images.read_image(file) for file in _picture_files(reference)]
    if features == "judge":
        target = judge.reference if real is None else look(judge, real).embeddings
        return verdict.embeddings, target, verdict.log_probabilities["subject"]
    pictures = [images.read_image(file) for file in files]
    embed = _pixels if features == "inception" else _clip_features(features)
    drawn = embed(pictures)
    return drawn, None if real is None else embed(real), drawn


def _distance(name: str, drawn: Tensor, target: Tensor) -> dict[str, float]:
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    network = _INCEPTION if drawn.dtype == torch.uint8 else _Given(drawn.shape[1])
    with _without_inception():
        distance: Metric
        if name == "fid":
            distance = FrechetInceptionDistance(feature=network)
        else:
            distance = KernelInceptionDistance(feature=network, subset_size=min(len(drawn), len(target), 100))
        distance.update(target, real=True)
        distance.update(drawn, real=False)
        value: Any = distance.compute()
    if name == "fid":
        return {"fid": round(float(value), 4)}
    return {"kid": round(float(value[0]), 6), "kid, deviation over subsets": round(float(value[1]), 6)}


def _inception_score(logits: Tensor) -> dict[str, float]:
    from torchmetrics.image.inception import InceptionScore

    with _without_inception():
        network = "logits_unbiased" if logits.dtype == torch.uint8 else _Given(logits.shape[1])
        score = InceptionScore(feature=network, splits=1)
        score.update(logits)
        return {"is": round(float(score.compute()[0]), 4)}


@contextlib.contextmanager
def _without_inception() -> Iterator[None]:
    """Say in one line if Inception's package is not installed or its weights cannot be fetched."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise VqclipError(f"--features inception needs torch-fidelity: pip install torch-fidelity ({error})") from None
    except OSError as error:
        raise VqclipError(f"--features inception: its weights cannot be fetched ({one_line(error)})") from None


class _Given(nn.Module):
    """Stands where torchmetrics expects a network: the features were computed before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


def _clip_features(name: str) -> Callable[[Sequence[Image.Image]], Tensor]:
    clip, _ = load_clip(name)
    return lambda pictures: clip_embeddings(clip, pictures)


def _pixels(pictures: Sequence[Image.Image]) -> Tensor:
    """Return uint8 (n, 3, 299, 299), the side of Inception."""
    rows = [np.asarray(picture.convert("RGB").resize((299, 299), Image.Resampling.BICUBIC)) for picture in pictures]
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2)


def _paired(names: Sequence[str], files: Sequence[Path], reference: Path) -> dict[str, float]:
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    functions: dict[str, Callable[..., Any]] = {
        "psnr": peak_signal_noise_ratio,
        "ssim": structural_similarity_index_measure,
    }
    values: dict[str, list[float]] = {name: [] for name in names}
    for file in files:
        other = reference / file.name
        a, b = images.to_tensor(images.read_image(file)), images.to_tensor(images.read_image(other))
        if a.shape != b.shape:
            raise UsageError(f"{file} and {other} differ in size: PSNR and SSIM compare pictures of one size")
        if min(a.shape[-2:]) < _SSIM_WINDOW:
            raise UsageError(f"{file} is too small for SSIM: its sides must have {_SSIM_WINDOW} pixels at least")
        for name in names:
            values[name].append(float(functions[name](b, a, data_range=1.0)))
    return {name: round(sum(scores) / len(scores), 4) for name, scores in values.items() if math.isfinite(sum(scores))}


def _picture_files(folder: Path, least: int = 2) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}: give one with pictures to compare with")
    files = picture_files(folder)
    if len(files) < least:
        raise UsageError(f"{folder} holds {len(files)} pictures to compare with: {least} are needed at least")
    return files
