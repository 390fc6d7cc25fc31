"""The bundled CLIP's network: what timm's ResNet and open_clip's text transformer compute, on the same weights.

It stands here because the packages of those two take seconds to import (docs/performance.md). Names of parameters are
theirs, so that files fit both; `tests/test_networks.py` compares the results.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vqclip.models.faster import Attention, Linear

NAME = "vqclip_resnet_s"
_STEM, _CHANNELS, _BLOCKS = (16, 16, 32), (48, 96, 192, 320), (1, 2, 2, 2)
_VISION = {"timm_model_name": NAME, "timm_pool": "avg", "timm_proj": "linear"}
_TEXT = frozenset({"context_length", "vocab_size", "width", "heads", "layers"})


def small(model: Mapping[str, Any]) -> bool:
    """Whether an open_clip model configuration is of this network."""
    return bool(model.get("vision_cfg", {}).get("timm_model_name") == NAME)


class SmallCLIP(nn.Module):
    """Two towers by an open_clip configuration whose image tower is `vqclip_resnet_s`.

    Raises ValueError for towers that ask for more than is here.
    """

    text_pool_type = "argmax"

    def __init__(self, embed_dim: int, vision_cfg: dict[str, Any], text_cfg: dict[str, Any]) -> None:
        super().__init__()
        if vision_cfg | {"image_size": 0} != _VISION | {"image_size": 0} or set(text_cfg) != _TEXT:
            raise ValueError(f"{NAME} goes with {_VISION}, an image_size and a text_cfg of {sorted(_TEXT)}")
        self.visual = _Tower(embed_dim)
        self.context_length, width = text_cfg["context_length"], text_cfg["width"]
        self.token_embedding = nn.Embedding(text_cfg["vocab_size"], width)
        self.positional_embedding = nn.Parameter(torch.empty(self.context_length, width))
        self.transformer = TextTransformer(width, text_cfg["heads"], text_cfg["layers"])
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        mask = torch.full((self.context_length, self.context_length), -math.inf).triu(1)
        self.register_buffer("attn_mask", mask, persistent=False)
        self._initialize(width, text_cfg["layers"])

    def encode_image(self, x: Tensor) -> Tensor:
        """Return embeddings (N, D), of any length, of normalized pictures (N, 3, S, S)."""
        out: Tensor = self.visual(x)
        return out

    def _initialize(self, width: int, layers: int) -> None:
        """Draw the weights that a training begins with: Radford et al.'s of the text, He et al.'s of the pictures."""
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=width**-0.5)
        for block in self.transformer.blocks():
            grow, shrink = block.linears()
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=width**-0.5 * (2 * layers) ** -0.5)
            nn.init.normal_(grow.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(shrink.weight, std=width**-0.5 * (2 * layers) ** -0.5)
        for module in self.visual.trunk.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, _Block):  # a block begins as its shortcut
                nn.init.zeros_(module.bn2.weight)


class TextTransformer(nn.Module):
    """Residual blocks over rows (N, L, width) of tokens."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(_TextBlock(width, heads) for _ in range(layers))

    def get_cast_dtype(self) -> torch.dtype:
        """Return the precision of the weights."""
        return next(self.blocks()).linears()[0].weight.dtype

    def blocks(self) -> Iterator[_TextBlock]:
        """Yield the residual blocks in their order."""
        return (block for block in self.resblocks if isinstance(block, _TextBlock))

    def forward(self, x: Tensor, attn_mask: Tensor) -> Tensor:
        """Return the features of rows (N, L, width), each token seeing what the mask (L, L) lets it."""
        for block in self.resblocks:
            x = block(x, attn_mask)
        return x


class _TextBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        layers = ("c_fc", Linear(width, 4 * width)), ("gelu", nn.GELU()), ("c_proj", Linear(4 * width, width))
        self.mlp = nn.Sequential(OrderedDict(layers))

    def linears(self) -> tuple[nn.Linear, nn.Linear]:
        """Return the layers of the perceptron that have weights: the one that widens, the one that narrows."""
        grow, shrink = (layer for layer in self.mlp if isinstance(layer, nn.Linear))
        return grow, shrink

    def forward(self, x: Tensor, attn_mask: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, attn_mask=attn_mask)[0]
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class _Tower(nn.Module):
    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.trunk = SmallResNet()
        self.head = nn.Sequential(OrderedDict(proj=Linear(_CHANNELS[-1], embed_dim, bias=False)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.trunk.forward_head(self.trunk(x)))
        return out


class SmallResNet(nn.Module):
    """ResNet-D (He et al. 2019, "Bag of tricks") of 5 M parameters for views of 64 pixels, smooth activations.

    Dense 3x3 convolutions, because depthwise ones (ConvNeXt) reach less than half their speed on a CPU; SiLU, because
    smooth activations serve adversarial training (Xie et al. 2020).
    """

    def __init__(self) -> None:
        super().__init__()
        a, b, c = _STEM
        self.conv1 = nn.Sequential(*_normed(3, a, 2), *_normed(a, b, 1), nn.Conv2d(b, c, 3, 1, 1, bias=False))
        self.bn1, self.act1 = nn.BatchNorm2d(c), nn.SiLU(inplace=True)
        self.maxpool = nn.Sequential(*_normed(c, c, 2))
        for number, (channels, blocks) in enumerate(zip(_CHANNELS, _BLOCKS, strict=True), 1):
            before = _CHANNELS[number - 2] if number > 1 else c
            stride = 1 if number == 1 else 2
            rest = [_Block(channels, channels, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(_Block(before, channels, stride), *rest))

    def forward(self, x: Tensor) -> Tensor:
        """Return the last features (N, C, h, w) of normalized pictures (N, 3, S, S)."""
        return self.forward_intermediates(x)[0]

    def forward_intermediates(self, x: Tensor, norm: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Return the last features, and those of the stem and of each stage, as timm's towers do; `norm` is ignored."""
        del norm
        stages = [self.act1(self.bn1(self.conv1(x)))]
        x = self.maxpool(stages[0])
        for number in range(1, len(_CHANNELS) + 1):
            x = getattr(self, f"layer{number}")(x)
            stages.append(x)
        return x, stages

    def forward_head(self, x: Tensor) -> Tensor:
        """Return the mean (N, C) over all places of features (N, C, h, w)."""
        return nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)


class _Block(nn.Module):
    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.bn1, self.act1 = nn.BatchNorm2d(channels), nn.SiLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2, self.act2 = nn.BatchNorm2d(channels), nn.SiLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if before != channels or stride > 1:
            pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()
            shrunk = nn.Conv2d(before, channels, 1, bias=False), nn.BatchNorm2d(channels)
            self.downsample = nn.Sequential(pool, *shrunk)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.downsample(x)
        out: Tensor = self.act2(y)
        return out


def _normed(before: int, channels: int, stride: int) -> tuple[nn.Module, ...]:
    norm = nn.BatchNorm2d(channels)
    return nn.Conv2d(before, channels, 3, stride, 1, bias=False), norm, nn.SiLU(inplace=True)
