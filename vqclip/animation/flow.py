"""Optical flow: where each pixel of a picture was in another one, and where it was not to be seen.

A field (1, 2, H, W) holds pixels, x before y; that of `one` and `two` says that pixel p of `two` shows what `one` shows
at p + field(p), so that `warp_field(one, field)` looks like `two`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqclip.errors import VqclipError, WeightsError, one_line
from vqclip.guidance.resampling import displaced
from vqclip.weights.collected import read_all
from vqclip.weights.load import fill

# sides of the pictures on which TV-L1 looks for large motion, and then for what is left of it
_COARSE, _FINE = 128, 256
# of TV-L1's smallest side; below it there is nothing to follow
_LEAST = 8
# a patch could be still if without moving it differs at most this much more than moved
_SLACK, _NOISE, _PATCH = 1.2, 0.5 / 255, 9
# of the picture's edge that could be still if the camera is
_STILL_EDGE = 0.6
# pixels over which a field is averaged before its slope is taken, as noise in a picture makes it waver
_SMOOTH = 5
_RAFT_LEAST, _RAFT_MULTIPLE = 128, 8


class Flow(Protocol):
    """What returns the field of two images (1, 3, H, W) in [0, 1]: `optical_flow`, or a `RaftSmall`."""

    def __call__(self, one: Tensor, two: Tensor) -> Tensor:
        """Return the field (1, 2, H, W) of `one` and `two`."""


def optical_flow(one: Tensor, two: Tensor) -> Tensor:
    """Return the field (1, 2, H, W), float32, of two images (1, 3, H, W) in [0, 1] by their lightness.

    TV-L1 (Zach, Pock and Bischof 2007) at 128 pixels a side follows large motion, and once more at 256 what is left of
    it; the same time whatever the size, a third of a second on one core. Flat areas that reach the edge of the picture
    and could be still are: total variation would have them go with whatever moves in front of them.
    """
    _check(one, two)
    grays = [_gray(image) for image in (one, two)]
    height, width = one.shape[-2:]
    field = torch.zeros(1, 2, height, width)
    if min(height, width) < _LEAST:
        return field.to(one.device)
    for side, warps, iterations in ((_COARSE, 10, 10), (_FINE, 2, 5)):
        first, second = (_shrunk(gray, side) for gray in grays)
        known = _resized(field, first.shape[-2:])
        if (
            side == _FINE
            and first.shape[-1] * first.shape[-2] <= _COARSE * _COARSE
            and max(first.shape[-2:]) <= _COARSE
        ):
            break
        rest = _tvl1(displaced(first, known)[0], second, warps, iterations)
        field = rest + displaced(known, rest)[0]
    field = _with_still_ground(first, second, field)
    return _resized(field, (height, width)).to(one.device)


def known(one: Tensor, two: Tensor, flow: Flow = optical_flow) -> Tensor:
    """Return where `one` shows what `two` does, (1, 1, H, W) bool: not where something came into view."""
    return flow_and_known(one, two, flow)[1]


def flow_and_known(one: Tensor, two: Tensor, flow: Flow = optical_flow) -> tuple[Tensor, Tensor]:
    """Return the field of two images and where it can be relied on; takes twice the time of `flow`."""
    field = flow(one, two)
    return field, consistent(field, flow(two, one))


def consistent(field: Tensor, backward: Tensor) -> Tensor:
    """Return where a field and that of the way back agree and change little from pixel to pixel, (1, 1, H, W) bool.

    What leaves the picture is not known, nor are pixels whose way there and back does not end where it began (Sundaram
    et al. 2010), nor the edges of what moves (both with the constants of Ruder et al. 2016).
    """
    back, inside = displaced(backward, field)
    length = _squared(field) + _squared(back)
    closed = _squared(field + back) < 0.01 * length + 0.5
    across = F.pad(_blurred(field, _SMOOTH), (1, 1, 1, 1), mode="replicate")
    slope_x = (across[..., 1:-1, 2:] - across[..., 1:-1, :-2]) / 2
    slope_y = (across[..., 2:, 1:-1] - across[..., :-2, 1:-1]) / 2
    smooth = _squared(slope_x) + _squared(slope_y) <= 0.01 * _squared(field) + 0.002
    return inside & closed & smooth


class RaftSmall:
    """RAFT-small (Teed and Deng 2020) as torchvision has it; called with two images, it returns their field."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval().requires_grad_(False)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> RaftSmall:
        """Load torchvision's weights, `raft_small_C_T_V2-01064c6d.pth` or the same as safetensors.

        Raises WeightsError for a file that is absent, damaged, or holds other weights.
        """
        tensors = {name.removeprefix("module."): tensor for name, tensor in read_all(Path(path)).items()}
        network = _raft_small()
        for name, value in network.state_dict().items():
            # counters of batches, which some files leave out, change nothing
            if name.endswith("num_batches_tracked"):
                tensors.setdefault(name, value)
        try:
            fill(network, {name: tensor.float() if tensor.is_floating_point() else tensor
                           for name, tensor in tensors.items()}, Path(path))  # fmt: skip
        except WeightsError as error:
            raise WeightsError(f"{path} is not RAFT-small: give torchvision's raft_small weights ({error})") from None
        return cls(network.to(device))

    @torch.no_grad()
    def __call__(self, one: Tensor, two: Tensor) -> Tensor:
        """Return the field (1, 2, H, W), float32, of two images (1, 3, H, W) in [0, 1]."""
        _check(one, two)
        height, width = one.shape[-2:]
        rows, columns = (max(_RAFT_LEAST, -(-side // _RAFT_MULTIPLE) * _RAFT_MULTIPLE) for side in (height, width))
        device = next(self.network.parameters()).device
        first, second = (_resized_to(image.to(device).float() * 2 - 1, (rows, columns)) for image in (two, one))
        return _resized(self.network(first, second)[-1], (height, width)).to(one.device)


def _raft_small() -> nn.Module:
    try:
        from torchvision.models.optical_flow import raft_small
    except ImportError as error:
        raise VqclipError(f"RAFT needs torchvision: pip install torchvision ({one_line(error)})") from None
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = raft_small(weights=None, progress=False)
    return network


def _check(one: Tensor, two: Tensor) -> None:
    if one.shape != two.shape or one.dim() != 4 or one.shape[:2] != (1, 3):
        raise ValueError(f"flow is between two images (1, 3, H, W), not {tuple(one.shape)} and {tuple(two.shape)}")


def _squared(field: Tensor) -> Tensor:
    return field.square().sum(1, keepdim=True)


def _gray(image: Tensor) -> Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (image.detach().cpu().float() * weights).sum(1, keepdim=True)


def _shrunk(image: Tensor, side: int) -> Tensor:
    """Return an image whose longer side has at most `side` pixels."""
    height, width = image.shape[-2:]
    share = min(1.0, side / max(height, width))
    return _resized_to(image, (max(_LEAST, round(height * share)), max(_LEAST, round(width * share))))


def _resized_to(image: Tensor, size: tuple[int, int]) -> Tensor:
    if image.shape[-2:] == size:
        return image
    return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)


def _resized(field: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return a field for pictures of `size` (height, width): its lengths grow with the picture."""
    rows, columns = size
    ratio = torch.tensor([columns / field.shape[-1], rows / field.shape[-2]], device=field.device).view(1, 2, 1, 1)
    return _resized_to(field, (rows, columns)) * ratio


def _tvl1(one: Tensor, two: Tensor, warps: int, iterations: int) -> Tensor:
    from skimage.registration import optical_flow_tvl1

    moving, reference = one[0, 0].numpy(), two[0, 0].numpy()
    rows = optical_flow_tvl1(reference, moving, num_warp=warps, num_iter=iterations, dtype=np.float32)
    return torch.from_numpy(np.stack([rows[1], rows[0]]))[None].float()


def _with_still_ground(one: Tensor, two: Tensor, field: Tensor) -> Tensor:
    """Return a field that is 0 in areas at the edge of the picture which look the same without moving.

    Areas inside keep it: the middle of a plain thing that moves looks the same without moving too. So does all if most
    of the edge moves, since then the camera does.
    """
    from skimage.measure import label

    moved = displaced(one, field)[0]
    still = _blurred((two - one).abs(), _PATCH) <= _SLACK * _blurred((two - moved).abs(), _PATCH) + _NOISE
    areas = label(still[0, 0].numpy(), connectivity=1)
    edge = np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]])
    if (edge > 0).mean() < _STILL_EDGE:
        return field
    outer = torch.from_numpy(np.isin(areas, np.unique(edge[edge > 0])))
    return torch.where(outer, 0.0, field)


def _blurred(image: Tensor, patch: int) -> Tensor:
    return F.avg_pool2d(image, patch, stride=1, padding=patch // 2, count_include_pad=False)
