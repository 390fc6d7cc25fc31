"""Constants of a frozen image tower, folded into the weights beside them: passes less over activations, there and back.

A frozen batch norm scales and shifts each channel by constants, which the kernels and biases of the convolution before
it can hold (Jacob et al. 2018, "Quantization and training of neural networks", section 3.2). OpenAI's QuickGELU,
x sigmoid(1.702 x), is silu(1.702 x) / 1.702, whose factors the layers before and after it can hold.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vqclip.models.faster import SHARPNESS, QuickGELU

# modules whose `bnN` follows `convN` at once, by name: to import those packages takes longer than to fold
_FOLLOWED = {
    "vqclip.models.small_clip": ("SmallResNet", "_Block"),
    "timm.models.resnet": ("ResNet", "BasicBlock", "Bottleneck"),
    "open_clip.modified_resnet": ("ModifiedResNet", "Bottleneck"),
}


def fold(tower: nn.Module) -> None:
    """Fold what can be folded of a frozen tower in evaluation mode, in place; what it computes stays the same."""
    fold_norms(tower)
    fold_activations(tower)


@torch.no_grad()
def fold_activations(tower: nn.Module) -> None:
    """Fold the factors of `faster.QuickGELU` into the linear layers around it, in place."""
    for perceptron in tower.modules():
        if not isinstance(perceptron, nn.Sequential) or len(perceptron) != 3:
            continue
        before, activation, after = perceptron
        if isinstance(before, nn.Linear) and isinstance(activation, QuickGELU) and isinstance(after, nn.Linear):
            before.weight *= SHARPNESS
            if before.bias is not None:
                before.bias.mul_(SHARPNESS)
            after.weight /= SHARPNESS
            perceptron[1] = nn.SiLU()


def fold_norms(tower: nn.Module) -> None:
    """Fold the norms of a frozen tower in evaluation mode, in place; of what is no known residual block, nothing."""
    for module in list(tower.modules()):
        if isinstance(module, nn.Sequential):
            for place, (conv, norm) in enumerate(pairwise(module)):
                if _foldable(conv, norm):
                    module[place], module[place + 1] = _fused(conv, norm), nn.Identity()
        elif any(kind.__name__ in _FOLLOWED.get(kind.__module__, ()) for kind in type(module).__mro__):
            for number in ("1", "2", "3"):
                _fold_named(module, f"conv{number}", f"bn{number}")


def _fold_named(module: nn.Module, conv_name: str, norm_name: str) -> None:
    conv, norm = getattr(module, conv_name, None), getattr(module, norm_name, None)
    owner, name = module, conv_name
    if isinstance(conv, nn.Sequential):  # a stem of several convolutions ends with one
        owner, name, conv = conv, str(len(conv) - 1), conv[-1]
    if _foldable(conv, norm):
        setattr(owner, name, _fused(conv, norm))
        setattr(module, norm_name, nn.Identity())


def _foldable(conv: nn.Module | None, norm: nn.Module | None) -> bool:
    return isinstance(conv, nn.Conv2d) and type(norm) is nn.BatchNorm2d and norm.running_mean is not None


def _fused(conv: Any, norm: Any) -> nn.Module:
    """Return the convolution that does what these do, which are foldable."""
    fused: nn.Module = fuse_conv_bn_eval(conv, norm)
    return fused
