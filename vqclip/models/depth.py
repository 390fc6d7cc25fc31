"""How near things in a picture are: Depth Anything V2 (Yang et al. 2024), a DINOv2 vision transformer with DPT's head.

Modules have the names of the checkpoints in transformers' layout; what those hold and inference does not use is left
out. Only what a picture shows counts, not how large it is: depth is relative, near against far.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqclip.errors import WeightsError

# what pictures of the training were brought to: ImageNet's mean and deviation, and the shorter side in pixels
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE = 518
_EPS = 1e-6
_LARGEST = 1 << 13


@dataclass(frozen=True)
class DepthArchitecture:
    """Sizes of a depth network: a transformer of `layers` of `width`, of which the outputs of `taken` are used.

    `positions` is the side of its grid of position embeddings, `patch` the side of a patch in pixels, `neck` the
    channels of the four levels, `fused` those of all of them together, `head` those before the depth.
    """

    width: int = 384
    heads: int = 6
    layers: int = 12
    taken: tuple[int, ...] = (3, 6, 9, 12)
    positions: int = 37
    patch: int = 14
    neck: tuple[int, ...] = (48, 96, 192, 384)
    fused: int = 64
    head: int = 32

    def __post_init__(self) -> None:
        sizes = (self.width, self.heads, self.layers, self.positions, self.patch, self.fused, self.head)
        if not all(type(size) is int and 0 < size <= _LARGEST for size in (*sizes, *self.neck, *self.taken)):
            raise ValueError(f"sizes must be whole numbers from 1 to {_LARGEST}")
        rising = sorted(set(self.taken)) == list(self.taken) and self.taken[-1] <= self.layers
        if len(self.neck) != 4 or len(self.taken) != 4 or not rising or self.width % self.heads or self.fused % 2:
            raise ValueError("four rising layers and four levels, a width of whole heads, an even number of channels")

    def to_json(self) -> str:
        """Return the record as JSON, the form it has in a weight file's metadata."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DepthArchitecture:
        """Read the record back; raise WeightsError if it is damaged."""
        try:
            values = json.loads(text)
            return cls(**(values | {name: tuple(values[name]) for name in ("taken", "neck") if name in values}))
        except (TypeError, ValueError, RecursionError) as error:
            raise WeightsError(f"damaged depth architecture in the weight file: {error}; fetch it again") from None


class DepthNetwork(nn.Module):
    """Pictures to relative inverse distances."""

    def __init__(self, architecture: DepthArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.backbone = _Backbone(architecture)
        self.neck = _Neck(architecture)
        self.head = _Head(architecture)

    def forward(self, image: Tensor) -> Tensor:
        """Return inverse distances (B, 1, H, W), at least 0, of no unit, for normalized images (B, 3, H, W).

        H and W are multiples of `architecture.patch`.
        """
        grid = image.shape[-2] // self.architecture.patch, image.shape[-1] // self.architecture.patch
        result: Tensor = self.head(self.neck(self.backbone(image), grid), image.shape[-2:])
        return result

    @torch.no_grad()
    def estimate(self, image: Tensor, side: int = SIDE) -> Tensor:
        """Return depth (B, 1, H, W) in [0, 1], 1 the nearest and 0 the farthest of each of the images, in [0, 1] too.

        `side` is what the shorter side is brought to: smaller is quicker and coarser. Images all of whose points are as
        near as each other get 0.5.
        """
        height, width = image.shape[-2:]
        scale = side / min(height, width)
        patch = self.architecture.patch
        size = [max(round(length * scale / patch), 1) * patch for length in (height, width)]
        small = F.interpolate(image, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        mean, deviation = (image.new_tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _DEVIATION))
        near = self((small - mean) / deviation)
        near = F.interpolate(near, (height, width), mode="bilinear", align_corners=False)
        least, most = near.amin((1, 2, 3), keepdim=True), near.amax((1, 2, 3), keepdim=True)
        return torch.where(most > least, (near - least) / (most - least).clamp(min=1e-12), 0.5)


class _Backbone(nn.Module):
    """DINOv2 (Oquab et al. 2023): patches to tokens, of which those after the layers taken are returned."""

    def __init__(self, a: DepthArchitecture) -> None:
        super().__init__()
        self.taken = a.taken
        self.embeddings = _Embeddings(a)
        # what follows the last layer taken is of no use
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(_Layer(a) for _ in range(a.taken[-1]))})
        self.layernorm = nn.LayerNorm(a.width, eps=_EPS)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.embeddings(image)
        found = []
        for number, layer in enumerate(self.encoder["layer"].children(), 1):
            x = layer(x)
            if number in self.taken:
                found.append(self.layernorm(x))
        return found


class _Embeddings(nn.Module):
    def __init__(self, a: DepthArchitecture) -> None:
        super().__init__()
        self.positions = a.positions
        self.cls_token = nn.Parameter(torch.zeros(1, 1, a.width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, a.positions**2 + 1, a.width))
        self.patch_embeddings = nn.ModuleDict({"projection": nn.Conv2d(3, a.width, a.patch, a.patch)})

    def forward(self, image: Tensor) -> Tensor:
        patches = self.patch_embeddings["projection"](image)
        tokens = torch.cat([self.cls_token.expand(len(image), -1, -1), patches.flatten(2).mT], 1)
        return tokens + self._places(patches.shape[-2], patches.shape[-1])

    def _places(self, rows: int, columns: int) -> Tensor:
        """Return the position embeddings, scaled to another grid than that of the training."""
        if (rows, columns) == (self.positions, self.positions):
            return self.position_embeddings
        first, others = self.position_embeddings[:, :1], self.position_embeddings[:, 1:]
        plane = others.mT.unflatten(2, (self.positions, self.positions))
        plane = F.interpolate(plane, (rows, columns), mode="bicubic", align_corners=False)
        return torch.cat([first, plane.flatten(2).mT], 1)


class _Layer(nn.Module):
    def __init__(self, a: DepthArchitecture) -> None:
        super().__init__()
        self.heads = a.heads
        self.norm1, self.norm2 = nn.LayerNorm(a.width, eps=_EPS), nn.LayerNorm(a.width, eps=_EPS)
        parts = nn.ModuleDict({name: nn.Linear(a.width, a.width) for name in ("query", "key", "value")})
        output = nn.ModuleDict({"dense": nn.Linear(a.width, a.width)})
        self.attention = nn.ModuleDict({"attention": parts, "output": output})
        self.layer_scale1, self.layer_scale2 = _Scale(a.width), _Scale(a.width)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(a.width, 4 * a.width), "fc2": nn.Linear(4 * a.width, a.width)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.layer_scale1(self._attend(self.norm1(x)))
        hidden: Tensor = self.layer_scale2(self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x)))))
        return x + hidden

    def _attend(self, x: Tensor) -> Tensor:
        parts = self.attention["attention"]
        q, k, v = (
            parts.get_submodule(name)(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        result: Tensor = self.attention["output"].get_submodule("dense")(mixed)
        return result


class _Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.lambda1


class _Neck(nn.Module):
    """Tokens of four layers become planes of four sizes (Ranftl et al. 2021), brought together from coarse to fine."""

    def __init__(self, a: DepthArchitecture) -> None:
        super().__init__()
        levels = nn.ModuleList(_Level(a.width, n, index) for index, n in enumerate(a.neck))
        self.reassemble_stage = nn.ModuleDict({"layers": levels})
        self.convs = nn.ModuleList(nn.Conv2d(n, a.fused, 3, padding=1, bias=False) for n in a.neck)
        fusions = nn.ModuleList(_Fusion(a.fused, index > 0) for index in range(len(a.neck)))
        self.fusion_stage = nn.ModuleDict({"layers": fusions})

    def forward(self, tokens: list[Tensor], grid: tuple[int, int]) -> Tensor:
        levels = self.reassemble_stage.get_submodule("layers").children()
        planes = [
            conv(level(x[:, 1:].mT.unflatten(2, grid)))
            for conv, level, x in zip(self.convs, levels, tokens, strict=True)
        ][::-1]
        sizes = [*(plane.shape[-2:] for plane in planes[1:]), tuple(2 * side for side in planes[-1].shape[-2:])]
        fused: Tensor | None = None
        for fusion, plane, size in zip(
            self.fusion_stage.get_submodule("layers").children(), planes, sizes, strict=True
        ):
            fused = fusion(plane, fused, size)
        assert fused is not None  # noqa: S101 (there are four levels)
        return fused


class _Level(nn.Module):
    """Tokens as a plane of four, two, one or half times the side of their grid."""

    def __init__(self, width: int, channels: int, index: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(width, channels, 1)
        self.resize = (
            nn.ConvTranspose2d(channels, channels, 4, 4),
            nn.ConvTranspose2d(channels, channels, 2, 2),
            nn.Identity(),
            nn.Conv2d(channels, channels, 3, 2, 1),
        )[index]

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.resize(self.projection(x))
        return result


class _Fusion(nn.Module):
    """A level added to what is coarser, and both enlarged; the coarsest level is the first, and added to nothing."""

    def __init__(self, channels: int, adds: bool) -> None:
        super().__init__()
        self.projection = nn.Conv2d(channels, channels, 1)
        if adds:
            self.residual_layer1 = _Residual(channels)
        self.residual_layer2 = _Residual(channels)

    def forward(self, plane: Tensor, coarser: Tensor | None, size: tuple[int, int]) -> Tensor:
        x = plane if coarser is None else coarser + self.residual_layer1(plane)
        x = F.interpolate(self.residual_layer2(x), size, mode="bilinear", align_corners=True)
        result: Tensor = self.projection(x)
        return result


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.convolution2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.convolution2(self.convolution1(x.relu()).relu())
        return result


class _Head(nn.Module):
    def __init__(self, a: DepthArchitecture) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(a.fused, a.fused // 2, 3, padding=1)
        self.conv2 = nn.Conv2d(a.fused // 2, a.head, 3, padding=1)
        self.conv3 = nn.Conv2d(a.head, 1, 1)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = F.interpolate(self.conv1(x), size, mode="bilinear", align_corners=True)
        result: Tensor = self.conv3(self.conv2(x).relu()).relu()
        return result
