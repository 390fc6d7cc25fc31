"""The colors of a film: statistics of the first frame, to which later ones are brought back."""

from __future__ import annotations

from dataclasses import dataclass

import torch

# deviations below this, in units of Lab (L is 0 to 100), are those of a flat picture
_FLAT = 1e-3
# the most that a channel is spread: more would turn what is nearly flat into noise
_MOST_SPREAD = 4.0


@dataclass(frozen=True)
class LabColors:
    """Mean and deviation of each channel of pictures in Lab, float32 (B, 3, 1, 1)."""

    mean: torch.Tensor
    deviation: torch.Tensor

    @classmethod
    def of(cls, image: torch.Tensor) -> LabColors:
        """Measure images (B, 3, H, W) in [0, 1]."""
        return cls._of_lab(_lab(image))

    @classmethod
    def _of_lab(cls, lab: torch.Tensor) -> LabColors:
        mean = lab.mean((-2, -1), keepdim=True)
        return cls(mean, (lab - mean).square().mean((-2, -1), keepdim=True).sqrt())


def match(image: torch.Tensor, colors: LabColors, share: float = 1.0) -> torch.Tensor:
    """Return images (B, 3, H, W) in [0, 1] with the means and deviations of `colors` (Reinhard et al. 2001).

    `share`, 0 to 1, is how far they are brought there. A channel without deviation, as the colors of a gray picture,
    is only shifted, and none is spread more than fourfold. What leaves [0, 1] is cut.
    """
    from kornia.color import lab_to_rgb

    if share == 0:
        return image
    lab = _lab(image)
    given = LabColors._of_lab(lab)
    spread = (colors.deviation / given.deviation.clamp(min=_FLAT)).clamp(max=_MOST_SPREAD)
    scale = torch.where(given.deviation > _FLAT, spread, 1.0)
    matched = torch.lerp(lab, (lab - given.mean) * scale + colors.mean, share)
    return lab_to_rgb(matched, clip=True).to(image.dtype)


def _lab(image: torch.Tensor) -> torch.Tensor:
    from kornia.color import rgb_to_lab

    return rgb_to_lab(image.float().clamp(0, 1))
