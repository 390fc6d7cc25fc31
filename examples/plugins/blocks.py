"""A canvas: square blocks of one color, so many along the short side.

vqclip "a red car" --plugin blocks.py --canvas blocks --set canvas.options.side=24
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

import vqclip
from vqclip.config.section import section
from vqclip.drawables import Medium, Moment


@dataclass(frozen=True)
class Options:
    side: int = 32  # blocks along the short side


@vqclip.register.drawable("blocks")
class Blocks:
    offers = frozenset[str]()  # no latents
    factor, refusal, codes = 1, "", None  # a cell is a pixel; any picture can be encoded

    def __init__(self, medium: Medium, blocks: Tensor, size: tuple[int, int]) -> None:
        self.medium, self.blocks, self.size = medium, blocks, size
        self.side = section("canvas.options", Options, dict(medium.options)).side

    @classmethod
    def blank(cls, medium: Medium) -> Blocks:
        return cls(medium, torch.zeros(0, 3, 0, 0), (0, 0))

    def parameters(self) -> dict[str, Tensor]:
        return {"blocks": self.blocks}

    def cells(self) -> dict[str, Tensor]:
        return {}  # of a mask only the composite in `render` knows

    def at(self, values: Mapping[str, Tensor]) -> Blocks:
        return Blocks(self.medium, values["blocks"], self.size)

    def render(self, moment: Moment | None = None) -> Tensor:
        image = interpolate(self.blocks.sigmoid(), self.size, mode="nearest-exact")
        return self.medium.init_image.composite(image)

    def settle(self) -> None:
        with torch.no_grad():
            self.blocks.clamp_(-6, 6)

    def random(self, seeds: Sequence[int], height: int, width: int) -> Blocks:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        blocks = [torch.randn(3, *self.grid(height, width), generator=g) for g in generators]
        return Blocks(self.medium, torch.stack(blocks).to(self.medium.device), (height, width))

    def encode(self, image: Tensor, height: int, width: int) -> Blocks:
        blocks = adaptive_avg_pool2d(image, self.grid(height, width)).clamp(0.02, 0.98).logit()
        return Blocks(self.medium, blocks, (height, width))

    def from_codes(self, codes: Tensor, height: int, width: int, seeds: Sequence[int]) -> Blocks:
        return self.encode(self.medium.scaler.decode(codes), height, width)

    def resize(self, height: int, width: int, seeds: Sequence[int]) -> Blocks:
        return self.encode(self.render().detach(), height, width)

    def mix(self, other: Blocks, share: float) -> Blocks:
        return self.at({"blocks": torch.lerp(self.blocks, other.blocks, share)})

    def keep_outside(self) -> Blocks:
        return self

    def pack(self) -> dict[str, Tensor]:
        return {"blocks": self.blocks, "size": torch.tensor(self.size)}

    def unpack(self, tensors: Mapping[str, Tensor]) -> Blocks:
        height, width = tensors["size"].tolist()
        return Blocks(self.medium, tensors["blocks"], (height, width))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        scale = self.side / min(height, width)
        return max(round(height * scale), 1), max(round(width * scale), 1)
