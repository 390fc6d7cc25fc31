"""An augmentation: CLIP sees coarser tones.

vqclip "a boat" --plugin posterize.py --set views.augmentations.posterize=4

Its strength is the number of tones that are left of each channel; the gradient passes as if nothing had happened.
"""

from __future__ import annotations

from torch import Tensor

import vqclip
from vqclip.guidance.augmentations import Augmentation


def posterized(views: Tensor, u: Tensor, strength: float, noise: Tensor) -> Tensor:
    tones = max(strength, 2.0) - 1
    coarse = (views * tones).round() / tones
    return views + (coarse - views).detach()


vqclip.register.augmentation("posterize")(Augmentation("pixel", 1, posterized, "tones"))
