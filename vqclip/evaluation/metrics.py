"""Metrics of the literature: CLIPScore in our own code, distances between sets of pictures through torchmetrics."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vqclip import cutouts, images
from vqclip.errors import UsageError, VqclipError, unknown_name
from vqclip.evaluation.judging import Verdict, look
from vqclip.models.judge import Judge
from vqclip.weights.load import load_clip

if TYPE_CHECKING:
    from vqclip.types import Perceptor

METRICS = ("kid", "fid", "is", "psnr", "ssim")
_PAIRED = ("psnr", "ssim")
_INCEPTION = 2048


def clip_similarities(perceptor: Perceptor, pictures: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
    """Return (n, n): the cosine of picture i, seen whole, and prompt j."""
    with torch.no_grad():
        return clip_embeddings(perceptor, pictures) @ perceptor.encode_text(list(prompts)).t()


def clip_score(similarities: Tensor) -> float:
    """CLIPScore: 2.5 times the mean positive cosine of each picture and its prompt (Hessel et al. 2021)."""
    return round(float(2.5 * similarities.diagonal().clamp(min=0).mean()), 4)


@torch.no_grad()
def clip_embeddings(perceptor: Perceptor, pictures: Sequence[Image.Image]) -> Tensor:
    """Return CLIP's embeddings (n, D) of pictures seen whole: the centre square at CLIP's side."""
    views = [
        cutouts.render(images.to_tensor(picture)[None], [cutouts.whole()], perceptor.image_size) for picture in pictures
    ]
    return torch.cat([perceptor.encode_image(view) for view in views])


def check(names: Sequence[str], reference: Path | None) -> None:
    """Raise UsageError for an unknown metric or one that lacks its reference, VqclipError without torchmetrics."""
    for name in names:
        if name not in METRICS:
            raise unknown_name("metric", name, METRICS)
        if name in _PAIRED and reference is None:
            raise UsageError(f"--metric {name} compares with pictures of the same names: give --reference FOLDER")
    if names and not available():
        raise VqclipError("metrics need torchmetrics: pip install 'vqclip[eval]'")


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
    found: dict[str, float] = {}
    if any(name in _PAIRED for name in names) and reference is not None:
        found |= _paired([name for name in names if name in _PAIRED], files, reference)
    sets = [name for name in names if name not in _PAIRED]
    if not sets:
        return found
    pictures = [images.read_image(file) for file in files]
    real = None if reference is None else [images.read_image(file) for file in _picture_files(reference)]
    if features == "judge":
        drawn, target = verdict.embeddings, judge.reference if real is None else look(judge, real).embeddings
        logits, network = verdict.log_probabilities["subject"], _given(target.shape[1])
    else:
        if real is None:
            raise UsageError(f"--features {features} needs pictures to compare with: give --reference FOLDER")
        embed = _pixels if features == "inception" else _clip_features(features)
        drawn, target = embed(pictures), embed(real)
        logits, network = drawn, _INCEPTION if features == "inception" else _given(drawn.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics warns of the memory its buffers take
        for name in sets:
            found |= _set_metric(name, network, drawn, target, logits)
    return found


def _set_metric(name: str, network: nn.Module | int, drawn: Tensor, target: Tensor, logits: Tensor) -> dict[str, float]:
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.inception import InceptionScore
    from torchmetrics.image.kid import KernelInceptionDistance

    torch.manual_seed(0)  # KID and the score draw subsets
    try:
        if name == "is":
            score = InceptionScore(feature=network if isinstance(network, int) else _given(logits.shape[1]), splits=1)
            score.update(logits)
            return {"is": round(float(score.compute()[0]), 4)}
        if name == "fid":
            distance = FrechetInceptionDistance(feature=network)
        else:
            distance = KernelInceptionDistance(feature=network, subset_size=min(len(drawn), len(target), 100))
        distance.update(target, real=True)
        distance.update(drawn, real=False)
        value = distance.compute()
    except ModuleNotFoundError as error:
        raise VqclipError(f"--features inception needs torch-fidelity: pip install torch-fidelity ({error})") from None
    if name == "fid":
        return {"fid": round(float(value), 4)}
    return {"kid": round(float(value[0]), 6), "kid, deviation over subsets": round(float(value[1]), 6)}


class _Given(nn.Module):
    """Stands where torchmetrics expects a network: the features were computed before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


def _given(width: int) -> _Given:
    return _Given(width)


def _clip_features(name: str) -> Callable[[Sequence[Image.Image]], Tensor]:
    clip, _ = load_clip(name)
    return lambda pictures: clip_embeddings(clip, pictures)


def _pixels(pictures: Sequence[Image.Image]) -> Tensor:
    """Return uint8 (n, 3, 299, 299), the side of Inception."""
    rows = [np.asarray(picture.convert("RGB").resize((299, 299), Image.Resampling.BICUBIC)) for picture in pictures]
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2)


def _paired(names: Sequence[str], files: Sequence[Path], reference: Path) -> dict[str, float]:
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    functions = {"psnr": peak_signal_noise_ratio, "ssim": structural_similarity_index_measure}
    values: dict[str, list[float]] = {name: [] for name in names}
    for file in files:
        other = reference / file.name
        a, b = images.to_tensor(images.read_image(file)), images.to_tensor(images.read_image(other))
        if a.shape != b.shape:
            raise UsageError(f"{file} and {other} differ in size: PSNR and SSIM compare pictures of one size")
        for name in names:
            values[name].append(float(functions[name](b[None], a[None], data_range=1.0)))
    return {name: round(sum(found) / len(found), 4) for name, found in values.items()}


def _picture_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}: give one with pictures to compare with")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    if len(files) < 2:
        raise UsageError(f"{folder} holds {len(files)} pictures: comparing sets takes two at least")
    return files
