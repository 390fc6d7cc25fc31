"""Bring networks of your own, and look into every step.

python examples/07_your_own_models.py

A VQGAN needs what `vqclip.types.ImageTokenizer` describes, a CLIP what `vqclip.types.Perceptor` describes. Here they
are the bundled ones, with a CLIP that sees everything in gray.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import vqclip
from vqclip.weights.load import load_clip, load_vqgan


class GrayCLIP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.clip, _ = load_clip("tiny")
        self.image_size, self.context_length = self.clip.image_size, self.clip.context_length
        self.words = self.clip.words

    def encode_image(self, views: Tensor) -> Tensor:
        return self.clip.encode_image(views.mean(1, keepdim=True).expand(-1, 3, -1, -1))

    def encode_text(self, texts: list[str]) -> Tensor:
        return self.clip.encode_text(texts)

    def count_tokens(self, text: str) -> int:
        return self.clip.count_tokens(text)


def tell(report: vqclip.StepReport) -> None:
    worst = int(report.views["prompt"][0].argmax())
    moved = float(torch.stack([g.norm() for g in report.gradients.values()]).norm())
    print(f"step {report.step}: view {worst} fits least, gradient {moved:.2e}")


if __name__ == "__main__":
    models = vqclip.Models(vqgan=load_vqgan("tiny")[0], clips=[GrayCLIP()])
    config = vqclip.make_config("a cat", seed=1, steps=6, size=128)
    result = vqclip.generate(config, models, callbacks=[tell])
    print("drawn by", result.config.models.clip[0], "-", result.save("gray.png")[0])
