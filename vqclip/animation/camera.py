"""What a camera does between two frames, and the frame before seen through it.

Signs are those of Deforum's 2D mode, for the picture and not for the camera: `x` > 0 moves the picture to the right,
`y` > 0 down, `rotate` > 0 turns it anticlockwise, `zoom` > 1 enlarges it. The perspective camera looks at the picture
as at a plane at distance 1, which fills its field of view of 40 degrees from top to bottom: `yaw` > 0 turns the camera
to the right, `pitch` > 0 up, `roll` > 0 clockwise, so that the picture goes left, down and anticlockwise.

Pixel coordinates have pixel centers at +0.5; sizes are (height, width).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from vqclip.animation.sampling import Border, Sampler

__all__ = ["FIELD_OF_VIEW", "Border", "Motion", "Size", "depth_field", "matrix", "warp", "warp_field"]

FIELD_OF_VIEW = 40.0
# inverse distances of the farthest and the nearest point of a depth map; 0.5 lies on the plane at distance 1
_FAR, _NEAR = 0.5, 1.5
# what counts as in front of the camera
_FRONT = 1e-6
# from which scale on pixels are averaged, and the most samples along an axis of one
_SMALLER = 1.05
_MOST_SAMPLES = 8
# how often a point of the next frame is looked for in the depth of the one before
_DEPTH_STEPS = 12

Size = tuple[int, int]


@dataclass(frozen=True)
class Motion:
    """What the camera does from one frame to the next; the default is nothing.

    `zoom` is a factor, `x` and `y` are pixels, `rotate`, `yaw`, `pitch` and `roll` degrees. `dolly` is the share of the
    distance to the plane that the camera goes, below 1. `center`, as shares of width and height, is where zoom and
    rotation stay and the camera looks at.
    """

    zoom: float = 1.0
    x: float = 0.0
    y: float = 0.0
    rotate: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    dolly: float = 0.0
    center: tuple[float, float] = (0.5, 0.5)

    @property
    def has_perspective(self) -> bool:
        """Whether it is more than a shift, a zoom and a rotation of the picture."""
        return any((self.yaw, self.pitch, self.roll, self.dolly))


def matrix(motion: Motion, size: Size) -> torch.Tensor:
    """Return the homography (3, 3), float64, from pixel coordinates of the frame before to those of the next.

    Motions compose: the first three of a film are `m3 @ m2 @ m1`. Within one, the camera goes (x, y, dolly), then turns
    (yaw, pitch, roll), then the picture is zoomed and rotated about the center.
    """
    return _in_picture(motion, size) @ _moved(motion, size)


def warp(
    image: torch.Tensor,
    matrix: torch.Tensor,
    size: Size | None = None,
    border: Border = "mirror",
    supersample: int = 2,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an image (B, C, H, W) seen through a homography, and where the image itself is seen, (B, 1, h, w) bool.

    `matrix` (3, 3) maps pixel coordinates of the image to those of the result, whose size is `size` or that of the
    image. Beyond the image lies its mirror, its repetition (`wrap`), `black`, or its edge pixels (`smear`); points
    behind the camera are black or smeared. Where the picture becomes smaller it is averaged over the area of a pixel.
    `supersample` is the density of the lattice on which the image is interpolated: with 2 a slow zoom stays sharp, 1 is
    twice as quick and a little softer. Values keep the range of the pixels near them. Raises UsageError for an unknown
    border.
    """
    size = size or _size_of(image)
    if size == _size_of(image) and torch.equal(matrix.double().cpu(), torch.eye(3, dtype=torch.float64)):
        return image, torch.ones_like(image[:, :1], dtype=torch.bool)
    to_image = torch.linalg.inv(matrix.double().cpu())
    columns, rows = _centers(size, image.device)
    scales = _scales(to_image, columns, rows)
    while min(float(scale.min()) for scale in scales) >= 2 and not any(side % 2 for side in _size_of(image)):
        # all of it is smaller by half at least: pixels are averaged by fours before
        image, to_image = F.avg_pool2d(image, 2), torch.diag(torch.tensor([0.5, 0.5, 1.0]).double()) @ to_image
        scales = (scales[0] / 2, scales[1] / 2)
    sampler = Sampler(image, border, supersample)
    x, y, front = _projected(to_image, columns, rows)
    known = front & sampler.known(x, y)
    (width_x, samples_x), (width_y, samples_y) = (_window(scale) for scale in scales)
    total = torch.zeros((), dtype=torch.float64, device=image.device)
    for offset_y in _offsets(samples_y):
        for offset_x in _offsets(samples_x):
            if (samples_x, samples_y) != (1, 1):
                x, y, front = _projected(to_image, columns + offset_x * width_x, rows + offset_y * width_y)
            total = total + sampler.read(*_before_camera(x, y, front, _size_of(image), border))
    seen = total / (samples_x * samples_y)
    return seen.to(image.dtype), known[:, None].expand(len(image), -1, -1, -1)


def depth_field(depth: torch.Tensor, motion: Motion, size: Size | None = None) -> torch.Tensor:
    """Return the field (1, 2, h, w) of a motion over a depth map (1, 1, H, W) in [0, 1], where 1 is near.

    Depth is inverse distance: 0 is twice as far as the plane, 0.5 on it, 1 at two thirds of its distance. For each
    pixel of the next frame the field says where in the frame before it comes from, as for `warp_field`. Where a near
    thing uncovers what was behind it, its surroundings are stretched.
    """
    size = size or _size_of(depth)
    near = F.interpolate(depth.double(), size, mode="bilinear", align_corners=False)
    sampler = Sampler(near, "smear", 1)
    columns, rows = _centers(size, depth.device)
    # the next frame's pixels, before zoom and rotation within the picture
    at_x, at_y, _ = _projected(torch.linalg.inv(_in_picture(motion, size)), columns, rows)
    x, y = at_x, at_y
    for _ in range(_DEPTH_STEPS):
        inverse = _FAR + (_NEAR - _FAR) * sampler.read(x, y)[:, 0].clamp(0, 1)
        x, y = _origin(motion, size, 1 / inverse, at_x, at_y)
    return torch.stack([x - (columns - 0.5), y - (rows - 0.5)], dim=1)


def warp_field(
    image: torch.Tensor, field: torch.Tensor, border: Border = "mirror", supersample: int = 2
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an image (B, C, H, W) pulled along a field, and where the image itself is seen, (B, 1, h, w) bool.

    `field` (B or 1, 2, h, w) holds for each pixel p of the result how far away it comes from, in pixels, x before y:
    result(p) = image(p + field(p)). Borders are those of `warp`; nothing is averaged where the picture becomes smaller.
    A field that is not finite is unknown there, and read as 0.
    """
    sampler = Sampler(image, border, supersample)
    finite = field.isfinite().all(1)
    columns, rows = _centers((field.shape[-2], field.shape[-1]), image.device)
    shift = torch.where(finite[:, None], field.double(), 0.0)
    x, y = columns - 0.5 + shift[:, 0], rows - 0.5 + shift[:, 1]
    known = (sampler.known(x, y) & finite)[:, None].expand(len(image), -1, -1, -1)
    return sampler.read(x, y).to(image.dtype), known


def _size_of(image: torch.Tensor) -> Size:
    return image.shape[-2], image.shape[-1]


def _matrix(*rows: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _turned(degrees: float) -> tuple[float, float]:
    """Return cosine and sine, exact for quarter turns."""
    quarters, rest = divmod(degrees, 90.0)
    if rest == 0:
        return [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][int(quarters) % 4]
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))


def _in_picture(motion: Motion, size: Size) -> torch.Tensor:
    """Return zoom and rotation about the center."""
    x, y = motion.center[0] * size[1], motion.center[1] * size[0]
    cos, sin = (motion.zoom * part for part in _turned(motion.rotate))
    return _matrix((cos, sin, x - cos * x - sin * y), (-sin, cos, y + sin * x - cos * y), (0, 0, 1))


def _moved(motion: Motion, size: Size) -> torch.Tensor:
    """Return what the camera's way and turn make of the plane that it looks at."""
    if not motion.has_perspective:
        return _matrix((1, 0, motion.x), (0, 1, motion.y), (0, 0, 1))
    lens = _lens(motion, size)
    focal = float(lens[0, 0])
    way = _matrix((1, 0, motion.x / focal), (0, 1, motion.y / focal), (0, 0, 1 - motion.dolly))
    moved: torch.Tensor = lens @ _turn(motion) @ way @ torch.linalg.inv(lens)
    return moved


def _lens(motion: Motion, size: Size) -> torch.Tensor:
    focal = size[0] / 2 / math.tan(math.radians(FIELD_OF_VIEW / 2))
    return _matrix((focal, 0, motion.center[0] * size[1]), (0, focal, motion.center[1] * size[0]), (0, 0, 1))


def _turn(motion: Motion) -> torch.Tensor:
    """Return the rotation of the world before the camera; y points down and z away from it."""
    (a, b), (c, d), (e, f) = _turned(motion.yaw), _turned(motion.pitch), _turned(motion.roll)
    yaw = _matrix((a, 0, -b), (0, 1, 0), (b, 0, a))
    pitch = _matrix((1, 0, 0), (0, c, d), (0, -d, c))
    roll = _matrix((e, f, 0), (-f, e, 0), (0, 0, 1))
    return roll @ pitch @ yaw


def _centers(size: Size, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x and y of the pixel centers, (1, h, w) each."""
    rows = torch.arange(size[0], dtype=torch.float64, device=device) + 0.5
    columns = torch.arange(size[1], dtype=torch.float64, device=device) + 0.5
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return x[None], y[None]


def _projected(
    through: torch.Tensor, x: torch.Tensor, y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return where points go, with pixel centers at whole numbers, and whether they are before the camera."""
    (a, b, c), (d, e, f), (g, h, i) = through.tolist()
    depth = g * x + h * y + i
    front = depth > _FRONT
    depth = depth.clamp(min=_FRONT)
    return (a * x + b * y + c) / depth - 0.5, (d * x + e * y + f) / depth - 0.5, front


def _before_camera(
    x: torch.Tensor, y: torch.Tensor, front: torch.Tensor, size: Size, border: Border
) -> tuple[torch.Tensor, torch.Tensor]:
    """Send points behind the camera to the nearest edge, or out of the picture where that is black."""
    edge_x = torch.full_like(x, -2.0) if border == "black" else x.clamp(0, size[1] - 1)
    return torch.where(front, x, edge_x), torch.where(front, y, y.clamp(0, size[0] - 1))


def _scales(to_image: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how many pixels of the image fall into one of the result along its rows and along its columns.

    They broadcast to (1, h, w). Points behind the camera count as 1.
    """
    if to_image[2].tolist() == [0, 0, 1]:
        across, down = to_image[:2, :2].norm(dim=0).to(x.device)
        return across, down
    scales = []
    for step_x, step_y in ((0.5, 0.0), (0.0, 0.5)):
        ahead_x, ahead_y, front = _projected(to_image, x + step_x, y + step_y)
        behind_x, behind_y, also = _projected(to_image, x - step_x, y - step_y)
        scales.append(torch.where(front & also, torch.hypot(ahead_x - behind_x, ahead_y - behind_y), 1.0))
    return scales[0], scales[1]


def _window(scale: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Return the share of a pixel over which is averaged where `scale` pixels fall into it, and with how many samples.

    A pixel of the image already averages over its own area; what is left is a window of sqrt(scale^2 - 1) of them. It
    begins with nothing, and below `_SMALLER` nothing is averaged, so that a slow zoom out is not blurred.
    """
    scale = scale.clamp(min=1.0)
    window = (1 - 1 / (scale * scale)).sqrt()
    if float(scale.max()) <= _SMALLER:
        return window, 1
    return window, min(math.ceil(float((scale * window).max())) + 1, _MOST_SAMPLES)


def _offsets(samples: int) -> list[float]:
    """Return where samples lie in a window from -0.5 to 0.5."""
    return [(index + 0.5) / samples - 0.5 for index in range(samples)]


def _origin(
    motion: Motion, size: Size, distance: torch.Tensor, x: torch.Tensor, y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where in the frame before a point at a distance was, pixel centers at whole numbers.

    `x` and `y` (1, h, w), pixel centers at whole numbers too, are where it is seen after the camera's way and turn.
    """
    lens = _lens(motion, size)
    focal, center_x, center_y = float(lens[0, 0]), float(lens[0, 2]), float(lens[1, 2])
    ray = torch.stack([(x + 0.5 - center_x) / focal, (y + 0.5 - center_y) / focal, torch.ones_like(x)])
    ray = torch.einsum("ij,jbhw->ibhw", _turn(motion).T.to(x.device), ray)
    reach = (distance - motion.dolly).clamp(min=_FRONT) / ray[2].clamp(min=_FRONT)
    before_x = (reach * ray[0] - motion.x / focal) / distance
    before_y = (reach * ray[1] - motion.y / focal) / distance
    return focal * before_x + center_x - 0.5, focal * before_y + center_y - 0.5
