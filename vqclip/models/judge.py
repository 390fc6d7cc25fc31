"""The judge: names what a picture shows from hand-made features, which no optimizer of pictures has seen.

Histograms of oriented gradients (Dalal and Triggs 2005), a coarse layout of Lab colors, and local binary patterns
(Ojala et al. 2002) feed a small multi-layer perceptron. Pictures optimized against one convolutional network fool
another one; they do not fool these features. Never guide with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from skimage.color import rgb2gray, rgb2lab
from skimage.feature import hog, local_binary_pattern
from torch import Tensor, nn

from vqclip.errors import WeightsError

TEXTURE_SIDE = 128
REFERENCE = 1000
_LAYOUT = 12  # cells a side of the picture's colors
_PATTERNS = ((8, 1.0), (8, 3.0))
_BINS = 10  # of a histogram of local binary patterns
_GRADIENTS = 7 * 7 * 2 * 2 * 9
FEATURES = _GRADIENTS + _LAYOUT * _LAYOUT * 3 + 4 * len(_PATTERNS) * _BINS + 3 * 6


def features(picture: np.ndarray) -> np.ndarray:
    """Return the features (FEATURES,), float32, of a picture: uint8 RGB, (128, 128, 3).

    Shape: HOG of the picture at 64x64 with 9 orientations, cells of 8 pixels, blocks of 2x2. Color: Lab on a 12x12
    grid. Texture: uniform local binary patterns of two radii in each quarter at 128x128, and the mean contrast of
    six orders of differences in each Lab channel.
    """
    if picture.shape != (TEXTURE_SIDE, TEXTURE_SIDE, 3) or picture.dtype != np.uint8:
        raise ValueError(f"the judge sees uint8 pictures of {TEXTURE_SIDE}x{TEXTURE_SIDE}x3, not {picture.shape}")
    small = _halve(picture.astype(np.float32) / 255)
    gradients = hog(small, 9, (8, 8), (2, 2), "L2-Hys", channel_axis=-1)
    lab = rgb2lab(picture)
    layout = _layout(lab) / np.array([100, 60, 60])
    return np.concatenate([gradients, layout.ravel(), _texture(picture), _contrast(lab)]).astype(np.float32)


def _halve(picture: np.ndarray) -> np.ndarray:
    side = picture.shape[0] // 2
    rows = picture[: 2 * side : 2] + picture[1 : 2 * side : 2]
    out: np.ndarray = (rows[:, : 2 * side : 2] + rows[:, 1 : 2 * side : 2]) / 4
    return out


def _layout(lab: np.ndarray) -> np.ndarray:
    """Mean Lab color of each cell of a 12x12 grid."""
    edges = np.linspace(0, TEXTURE_SIDE, _LAYOUT + 1).round().astype(int)
    rows = np.add.reduceat(lab, edges[:-1], axis=0) / np.diff(edges)[:, None, None]
    out: np.ndarray = np.add.reduceat(rows, edges[:-1], axis=1) / np.diff(edges)[None, :, None]
    return out


def _texture(picture: np.ndarray) -> np.ndarray:
    grey = (rgb2gray(picture) * 255).astype(np.uint8)
    half = TEXTURE_SIDE // 2
    histograms = []
    for points, radius in _PATTERNS:
        codes = local_binary_pattern(grey, points, radius, "uniform").astype(int)
        quarters = codes.reshape(2, half, 2, half).transpose(0, 2, 1, 3).reshape(4, -1)
        histograms += [np.bincount(quarter, minlength=_BINS)[:_BINS] / half**2 for quarter in quarters]
    return np.concatenate(histograms)


def _contrast(lab: np.ndarray) -> np.ndarray:
    """Logarithm of the mean size of differences at 1, 2, ... 32 pixels, for each Lab channel."""
    level, contrasts = lab.astype(np.float32), []
    for _ in range(6):
        steps = np.abs(np.diff(level, axis=0)).mean((0, 1)) + np.abs(np.diff(level, axis=1)).mean((0, 1))
        contrasts.append(np.log1p(steps))
        level = _halve(level)
    return np.concatenate(contrasts)


@dataclass(frozen=True)
class JudgeArchitecture:
    """Widths of the two hidden layers, and the names that each head tells apart (the first is "none")."""

    names: Mapping[str, tuple[str, ...]]
    hidden: tuple[int, int] = (768, 384)

    def __post_init__(self) -> None:
        if len(self.hidden) != 2 or not all(type(n) is int and 0 < n <= 1 << 14 for n in self.hidden):
            raise ValueError("its hidden widths must be two whole numbers from 1 to 2**14")
        if not self.names or not all(1 < len(v) <= 1 << 14 for v in self.names.values()):
            raise ValueError("it needs heads of at least two names each")

    def to_json(self) -> str:
        """Return the record as JSON, the form it has in a weight file's metadata."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> JudgeArchitecture:
        """Read the record back; raise WeightsError if it is damaged."""
        try:
            values = json.loads(text)
            names = {str(key): tuple(map(str, values_of)) for key, values_of in values["names"].items()}
            return cls(names, tuple(values["hidden"]))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise WeightsError(f"damaged judge architecture in the weight file: {error}; fetch it again") from None


class Judge(nn.Module):
    """Features (N, FEATURES) to log-probabilities of every name of every head.

    `reference` (REFERENCE, hidden[1]) holds the embeddings of held-out renders, to compare drawn pictures with.
    """

    mean: Tensor
    std: Tensor
    reference: Tensor

    def __init__(self, architecture: JudgeArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        first, second = architecture.hidden
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("std", torch.ones(FEATURES))
        self.register_buffer("reference", torch.zeros(REFERENCE, second))
        self.body = nn.Sequential(
            nn.Dropout(0.1), nn.Linear(FEATURES, first), nn.GELU(), nn.Dropout(0.3), nn.Linear(first, second), nn.GELU()
        )
        self.heads = nn.ModuleDict({key: nn.Linear(second, len(v)) for key, v in architecture.names.items()})

    def embed(self, x: Tensor) -> Tensor:
        """Return the penultimate layer (N, hidden[1]), the space in which pictures are compared."""
        out: Tensor = self.body(((x - self.mean) / self.std).clamp(-8, 8))
        return out

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return log-probabilities (N, names) of each head."""
        hidden = self.embed(x)
        return {key: head(hidden).log_softmax(-1) for key, head in self.heads.items()}
