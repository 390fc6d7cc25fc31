"""The camera of a film: its matrices, warps that stay sharp, borders, depth, flow, and colors kept."""

from __future__ import annotations

import ast
import itertools
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from vqclip.animation import color
from vqclip.animation.camera import Motion, depth_field, matrix, warp, warp_field
from vqclip.animation.sampling import BORDERS, Sampler
from vqclip.errors import UsageError

SIZE = (40, 56)


def noise(size: tuple[int, int] = SIZE, seed: int = 0, channels: int = 3) -> torch.Tensor:
    return torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(seed))


def smooth(size: tuple[int, int] = SIZE, seed: int = 0) -> torch.Tensor:
    """Return a picture without anything finer than eight pixels."""
    coarse = noise((size[0] // 8 + 1, size[1] // 8 + 1), seed)
    return F.interpolate(coarse, size, mode="bicubic", align_corners=True).clamp(0, 1)


def photo(side: int) -> torch.Tensor:
    """Return a picture with edges, texture and slopes: noise that falls with the frequency, and disks."""
    generator = torch.Generator().manual_seed(5)
    picture = torch.zeros(1, 3, side, side)
    for cells in (2, 4, 8, 16, 32, 64, 128):
        layer = torch.rand(1, 3, min(cells, side), min(cells, side), generator=generator)
        picture += F.interpolate(layer, (side, side), mode="bicubic", align_corners=False) / cells**0.75
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    for radius, bright in ((0.4, 0.2), (0.2, -0.5), (0.07, 0.8)):
        picture += bright * (torch.hypot(x - side * 0.5, y - side * 0.45) < radius * side)
    return (picture - picture.min()) / (picture.max() - picture.min())


def contrast(image: torch.Tensor) -> float:
    """Return the mean step between neighboring pixels."""
    across, down = image.diff(dim=-1)[..., :-1, :], image.diff(dim=-2)[..., :-1]
    return (across.square() + down.square()).mean().sqrt().item()


def apply(through: torch.Tensor, x: float, y: float) -> tuple[float, float]:
    a, b, c = (through @ torch.tensor([x, y, 1.0], dtype=torch.float64)).tolist()
    return a / c, b / c


@pytest.mark.parametrize("border", BORDERS)
def test_no_motion_changes_nothing(border: str) -> None:
    image = noise()
    assert torch.equal(matrix(Motion(), SIZE), torch.eye(3, dtype=torch.float64))
    seen, known = warp(image, matrix(Motion(), SIZE), border=border)
    assert torch.equal(seen, image) and known.all() and known.shape == (1, 1, *SIZE)


@pytest.mark.parametrize(
    ("motion", "to"),
    [
        (Motion(x=5), (45.0, 20.0)),  # a point 12 to the right of the center, as in Deforum's 2D mode
        (Motion(y=-3), (40.0, 17.0)),
        (Motion(zoom=2), (52.0, 20.0)),
        (Motion(rotate=90), (28.0, 8.0)),  # anticlockwise: up
        (Motion(roll=90), (28.0, 8.0)),
        (Motion(rotate=-180), (16.0, 20.0)),
        (Motion(dolly=0.5), (52.0, 20.0)),
        (Motion(zoom=2, x=3), (58.0, 20.0)),  # first the shift, then the zoom
        (Motion(zoom=2, center=(0, 0)), (80.0, 40.0)),
    ],
)
def test_where_a_point_goes(motion: Motion, to: tuple[float, float]) -> None:
    assert apply(matrix(motion, SIZE), 40.0, 20.0) == pytest.approx(to)


def test_the_signs_of_the_perspective_camera() -> None:
    focal = 20 / math.tan(math.radians(20))
    left, y = apply(matrix(Motion(yaw=10), SIZE), 28.0, 20.0)
    assert left == pytest.approx(28 - focal * math.tan(math.radians(10))) and y == pytest.approx(20)
    x, down = apply(matrix(Motion(pitch=10), SIZE), 28.0, 20.0)
    assert down == pytest.approx(20 + focal * math.tan(math.radians(10))) and x == pytest.approx(28)


@pytest.mark.parametrize(
    ("border", "extended"),
    [
        ("mirror", lambda image: torch.cat([image.flip(-1), image, image.flip(-1)], -1)),
        ("wrap", lambda image: torch.cat([image, image, image], -1)),
        ("smear", lambda image: F.pad(image, (SIZE[1], SIZE[1], 0, 0), mode="replicate")),
        ("black", lambda image: F.pad(image, (SIZE[1], SIZE[1], 0, 0))),
    ],
)
@pytest.mark.parametrize("shift", [-50, -7, 3, 56])
def test_whole_shifts_and_borders_are_exact(border: str, extended, shift: int) -> None:
    image = noise()
    seen, known = warp(image, matrix(Motion(x=shift), SIZE), border=border)
    start = SIZE[1] - shift
    assert torch.equal(seen, extended(image)[..., start : start + SIZE[1]])
    inside = torch.tensor([0 <= column - shift < SIZE[1] for column in range(SIZE[1])])
    assert torch.equal(known[0, 0], inside.expand(SIZE))


@pytest.mark.parametrize(("border", "period"), [("mirror", 2), ("wrap", 1)])
def test_a_picture_comes_back_at_any_distance(border: str, period: int) -> None:
    image, far = noise(), 1000 * period
    seen, known = warp(image, matrix(Motion(x=far * SIZE[1], y=-far * SIZE[0]), SIZE), border=border)
    assert torch.equal(seen, image) and not known.any()


@pytest.mark.parametrize("turns", [1, 2, 3, -1])
def test_quarter_turns_of_a_square_are_exact(turns: int) -> None:
    image = noise((33, 33))
    seen, known = warp(image, matrix(Motion(rotate=90 * turns), (33, 33)))
    assert torch.equal(seen, torch.rot90(image, turns, (-2, -1))) and known.all()


@pytest.mark.parametrize(
    "motion", [Motion(zoom=1.1, rotate=7, x=2.3), Motion(yaw=3, pitch=-2), Motion(zoom=1.2, dolly=0.1, roll=5)]
)
def test_one_warp_is_that_of_plain_sampling(motion: Motion) -> None:
    """A smooth picture is the same for any good interpolation; between whole pixels a bicubic lookup is one."""
    image, through = smooth((96, 96)), matrix(motion, (96, 96))
    y, x = torch.meshgrid(torch.arange(96.0) + 0.5, torch.arange(96.0) + 0.5, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)]).double().flatten(1)
    at = torch.linalg.inv(through) @ points
    grid = (at[:2] / at[2] / 48 - 1).T.reshape(1, 96, 96, 2).float()
    expected = F.grid_sample(image, grid, mode="bicubic", padding_mode="border", align_corners=False)
    seen, known = warp(image, through)
    inside = -F.max_pool2d(-known.float(), 7, 1, 3) > 0
    difference = (seen - expected).abs() * inside
    assert inside.float().mean() > 0.5 and difference.max() < 0.02 and difference.mean() < 0.003


@pytest.mark.parametrize(("border", "mode"), [("mirror", "reflect"), ("wrap", "grid-wrap")])
def test_the_spline_is_that_of_scipy(border: str, mode: str) -> None:
    image = noise(channels=1)
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.rand(1, 30, 30, generator=generator, dtype=torch.float64) * 90 - 20 for _ in range(2))
    expected = ndimage.map_coordinates(image[0, 0].double().numpy(), [y[0].numpy(), x[0].numpy()], order=3, mode=mode)
    sampler = Sampler(image, border, supersample=1)
    sampler._least, sampler._most = sampler._least - 9, sampler._most + 9  # scipy's may leave the range
    assert torch.allclose(sampler.read(x, y)[0, 0], torch.from_numpy(expected), atol=1e-9)


def test_two_motions_in_one_warp_are_nearly_two_warps() -> None:
    image = smooth((96, 96))
    first = matrix(Motion(zoom=1.05, rotate=5, x=1.5), (96, 96))
    second = matrix(Motion(yaw=2, pitch=1, dolly=0.03), (96, 96))
    both, _ = warp(image, second @ first)
    after, known = warp(warp(image, first)[0], second)
    inside = -F.max_pool2d(-known.float(), 7, 1, 3) > 0
    assert ((both - after).abs() * inside).max() < 0.02


def test_a_slow_zoom_stays_about_as_sharp_as_one_warp() -> None:
    image, step = photo(96), matrix(Motion(zoom=1.01), (96, 96))
    once = warp(image, torch.linalg.matrix_power(step, 100))[0]
    slowly = bilinear = image
    for _ in range(100):
        slowly = warp(slowly, step)[0]
        bilinear = _bilinear_zoom(bilinear, 1.01)
    assert 0.8 < contrast(slowly) / contrast(once) < 1.02
    assert contrast(bilinear) / contrast(once) < 0.6  # what the measure is to tell apart
    assert (slowly - once).abs().mean() < 0.015
    assert image.min() <= slowly.min() and slowly.max() <= image.max()


def _bilinear_zoom(image: torch.Tensor, zoom: float) -> torch.Tensor:
    theta = torch.tensor([[[1 / zoom, 0, 0], [0, 1 / zoom, 0]]])
    return F.grid_sample(image, F.affine_grid(theta, list(image.shape), align_corners=False), align_corners=False)


def test_edges_do_not_ring() -> None:
    image = torch.full((1, 3, 48, 48), 0.2)
    image[..., 16:30, 10:25] = 0.8
    for _ in range(20):
        image = warp(image, matrix(Motion(zoom=1.013, rotate=1, x=0.3), (48, 48)))[0]
    assert image.min() >= 0.2 - 1e-6 and image.max() <= 0.8 + 1e-6


def test_what_becomes_smaller_is_averaged() -> None:
    checkers = (torch.arange(128)[:, None] + torch.arange(128)).remainder(2).float().expand(1, 3, 128, 128)
    for scale, left in ((0.4, 0.001), (0.65, 0.2), (0.8, 0.4)):
        smaller = torch.diag(torch.tensor([scale, scale, 1.0], dtype=torch.float64))
        side = int(128 * scale)
        seen, known = warp(checkers, smaller, size=(side, side))
        assert known.all() and seen.shape == (1, 3, side, side)
        assert (seen - 0.5).abs().max() < left
    image = smooth((128, 128))
    shrunk = warp(image, torch.diag(torch.tensor([0.25, 0.25, 1.0], dtype=torch.float64)), size=(32, 32))[0]
    assert (shrunk - F.avg_pool2d(image, 4)).abs().max() < 0.02


def test_a_canvas_larger_than_the_frame() -> None:
    canvas = noise((80, 112))
    cut = torch.tensor([[1.0, 0, -20], [0, 1, -10], [0, 0, 1]], dtype=torch.float64)
    seen, known = warp(canvas, cut, size=SIZE)
    assert torch.equal(seen, canvas[..., 10:50, 20:76]) and known.all()


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("motion", [Motion(pitch=80), Motion(yaw=120), Motion(zoom=1e-3), Motion(dolly=0.999)])
def test_extreme_cameras_stay_finite(border: str, motion: Motion) -> None:
    seen, known = warp(noise(), matrix(motion, SIZE), border=border)
    assert seen.isfinite().all() and seen.min() >= 0 and seen.max() <= 1
    behind = (torch.linalg.inv(matrix(motion, SIZE))[2] @ torch.tensor([0.5, 0.5, 1], dtype=torch.float64)) < 0
    if behind:
        assert not known[..., 0, 0].any()


def test_a_camera_turned_away_sees_nothing() -> None:
    seen, known = warp(noise(), matrix(Motion(yaw=180), SIZE), border="black")
    assert not known.any() and not seen.any()


def test_a_batch_is_its_pictures() -> None:
    images = torch.cat([noise(seed=1), noise(seed=2)])
    through = matrix(Motion(zoom=0.8, rotate=9), SIZE)
    seen, known = warp(images, through)
    assert known.shape == (2, 1, *SIZE)
    assert all(torch.allclose(seen[i : i + 1], warp(images[i : i + 1], through)[0], atol=1e-6) for i in range(2))


def test_borders_that_nobody_knows_are_refused() -> None:
    with pytest.raises(UsageError, match="known are mirror, wrap, black, smear"):
        warp(noise(), matrix(Motion(x=1), SIZE), border="glass")  # type: ignore[arg-type]


def test_a_field_pulls_from_where_it_says() -> None:
    image = noise()
    field = torch.zeros(1, 2, *SIZE)
    field[:, 0], field[:, 1] = 3, -2
    seen, known = warp_field(image, field)
    assert torch.equal(seen[..., 2:, :-3], image[..., :-2, 3:])
    assert known[..., 2:, :-3].all() and not known[..., :2, :].any() and not known[..., -3:].any()
    field[..., 5, 6] = math.nan
    seen, known = warp_field(image, field)
    assert seen.isfinite().all() and not known[..., 5, 6].any()


MOTIONS = [
    Motion(x=3.5, y=-2),
    Motion(dolly=0.1),
    Motion(yaw=4, pitch=-3, roll=5),
    Motion(zoom=1.1, rotate=8, dolly=-0.1, x=2, yaw=2),
]


@pytest.mark.parametrize("motion", MOTIONS)
def test_flat_depth_is_the_plane(motion: Motion) -> None:
    field = depth_field(torch.full((1, 1, 20, 28), 0.5), motion, SIZE)
    assert field.shape == (1, 2, *SIZE)
    through = torch.linalg.inv(matrix(motion, SIZE))
    for row, column in itertools.product((0, 17, 39), (0, 30, 55)):
        x, y = apply(through, column + 0.5, row + 0.5)
        assert field[0, :, row, column].tolist() == pytest.approx([x - column - 0.5, y - row - 0.5], abs=1e-6)
    seen = warp(smooth(), matrix(motion, SIZE))[0]
    assert torch.allclose(warp_field(smooth(), field)[0], seen, atol=0.02)


def test_what_is_near_moves_more() -> None:
    depth = torch.linspace(0, 1, SIZE[1]).expand(1, 1, *SIZE)
    shift = -depth_field(depth, Motion(x=4))[0, 0]
    assert (shift[:, 2:-1].diff(dim=1) > 0).all()  # near things, right, go further to the right
    # column p comes from q = p - shift, which goes 4 * (0.5 + q / 55) to the right
    assert shift[0, 30].item() == pytest.approx((2 + 4 * 30 / 55) / (1 + 4 / 55), abs=1e-6)
    center = depth_field(torch.full((1, 1, *SIZE), 1.0), Motion(dolly=0.1))[0]
    far = depth_field(torch.full((1, 1, *SIZE), 0.0), Motion(dolly=0.1))[0]
    assert center.abs().mean() > 2 * far.abs().mean()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_colors_are_brought_back(share: float) -> None:
    first = smooth(seed=3) * 0.5 + 0.25
    drifted = (first * torch.tensor([0.8, 0.9, 1.05]).view(1, 3, 1, 1) + 0.03).clamp(0, 1)
    wanted, given = color.LabColors.of(first), color.LabColors.of(drifted)
    found = color.LabColors.of(color.match(drifted, wanted, share))
    mean = torch.lerp(given.mean, wanted.mean, share)
    deviation = torch.lerp(given.deviation, wanted.deviation, share)
    assert torch.allclose(found.mean, mean, atol=0.3) and torch.allclose(found.deviation, deviation, atol=0.3)


def test_gray_and_flat_pictures_keep_their_colors_finite() -> None:
    gray = noise(channels=1).expand(1, 3, *SIZE)
    flat = torch.full((1, 3, *SIZE), 0.5)
    for image, other in itertools.product((gray, flat, noise()), repeat=2):
        matched = color.match(image, color.LabColors.of(other))
        assert matched.isfinite().all() and matched.min() >= 0 and matched.max() <= 1
    assert torch.allclose(color.match(gray, color.LabColors.of(gray)), gray, atol=2e-3)


@pytest.mark.parametrize("name", ["camera", "sampling", "color"])
def test_kornia_is_imported_only_where_it_is_called(name: str) -> None:
    tree = ast.parse((Path(color.__file__).parent / f"{name}.py").read_text("utf-8"))
    first = [ast.unparse(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert first and not any("kornia" in line for line in first)
