"""Views: one warp equals kornia's, parts equal the whole, draws depend on (seed, step) alone, every augmentation."""

from __future__ import annotations

import kornia
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from vqclip.errors import UsageError
from vqclip.guidance import resampling
from vqclip.guidance.augmentations import Augmentation
from vqclip.guidance.views import ViewPlan, Views, cut_each, cut_views, sample_views, whole
from vqclip.registry import AUGMENTATIONS

SQUARE = (1.0, 1.0)
GEOMETRY = {"rotate": 20.0, "shear": 10.0, "perspective": 0.4, "flip": 0.5}
ALL = {
    **GEOMETRY, "brightness": 0.2, "contrast": 0.3, "saturation": 0.4, "hue": 0.1, "grayscale": 0.3,
    "noise": 0.2, "erase": 0.5,
}  # fmt: skip


def picture(height: int = 48, width: int = 48, batch: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height + width), dtype=dtype)


def aspect_of(image: Tensor) -> tuple[float, float]:
    short = min(image.shape[-2:])
    return image.shape[-1] / short, image.shape[-2] / short


def drawn(image: Tensor, side: int, count: int = 12, seed: int = 3, strengths: dict[str, float] | None = None) -> Views:
    return sample_views(
        ViewPlan(count, strengths=ALL if strengths is None else strengths), seed, 7, aspect_of(image), side
    )


def to_pixels(image: Tensor, homography: Tensor, side: int) -> Tensor:
    """Return the map from view pixels to image pixels (centres at integers) that a homography of `Views` stands for."""
    height, width = image.shape[-2:]
    short = min(height, width)
    into_view = torch.tensor([[2 / side, 0, 1 / side - 1], [0, 2 / side, 1 / side - 1], [0, 0, 1]], dtype=torch.float64)
    onto_image = torch.tensor(
        [[short, 0, (width - 1) / 2], [0, short, (height - 1) / 2], [0, 0, 1]], dtype=torch.float64
    )
    return onto_image @ homography.double() @ into_view


def grid_of(matrix: Tensor, image: Tensor, side: int) -> Tensor:
    """Return grid_sample's grid (N, S, S, 2) of a map from view pixels to image pixels."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], -1).double().reshape(-1, 3) @ matrix.transpose(-1, -2)
    pixels = points[..., :2] / points[..., 2:]
    size = torch.tensor([image.shape[-1], image.shape[-2]])
    return ((2 * pixels + 1) / size - 1).reshape(-1, side, side, 2)


@pytest.mark.parametrize("size", [(40, 40), (32, 48), (50, 36)])
def test_one_warp_equals_kornias(size: tuple[int, int]) -> None:
    image = picture(*size)
    views = drawn(image, 32, strengths=GEOMETRY)
    matrices = to_pixels(image, views.homography, 32).inverse()
    warped = kornia.geometry.transform.warp_perspective(
        image.double().expand(12, -1, -1, -1), matrices, (32, 32), padding_mode="reflection", align_corners=False
    )
    assert torch.allclose(cut_views(image, [views], 32).double(), warped, atol=2e-4)


def test_coarse_views_equal_a_warp_of_the_pooled_picture() -> None:
    image = picture(64, 96)
    views = drawn(image, 8, count=24, strengths=GEOMETRY)
    cuts = cut_views(image, [views], 8)
    levels = torch.log2(views.side * 64 / 8).round().long().tolist()
    assert set(levels) == {2, 3}, "views of more than one level, mixed in one call"
    for cut, matrix, level in zip(cuts, to_pixels(image, views.homography, 8), levels, strict=True):
        pooled = avg_pool2d(image, 2**level).double()
        grid = grid_of(matrix[None], image, 8)  # in [-1, 1], so the same for every level
        expected = grid_sample(pooled, grid, padding_mode="reflection", align_corners=False)[0]
        assert torch.allclose(cut.double(), expected, atol=2e-4)


@pytest.mark.parametrize("strengths", [{}, ALL], ids=["plain", "all"])
def test_parts_equal_the_whole_forward_and_backward(strengths: dict[str, float]) -> None:
    image = picture().requires_grad_()
    views = drawn(image, 16, strengths=strengths)
    pull = torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    at_once = cut_views(image, [views], 16)
    (gradient,) = torch.autograd.grad((at_once * pull).sum(), image)
    summed = torch.zeros_like(gradient)
    for start, stop in ((0, 5), (5, 6), (6, 12)):
        part = cut_views(image, [views.part(start, stop)], 16)
        assert torch.allclose(part, at_once[start:stop], atol=1e-6)
        summed += torch.autograd.grad((part * pull[start:stop]).sum(), image)[0]
    assert gradient.abs().max() > 0.01
    assert torch.allclose(summed, gradient, rtol=1e-4, atol=1e-5)


def test_a_batch_equals_its_pictures_one_by_one() -> None:
    images = picture(40, 56, batch=2)
    views = [drawn(images, 16, seed=1), drawn(images, 16, seed=2)]
    together = cut_views(images, views, 16)
    assert together.shape == (24, 3, 16, 16)
    alone = torch.cat([cut_views(images[b : b + 1], [views[b]], 16) for b in range(2)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_a_view_of_each_picture_equals_that_view_alone() -> None:
    images = picture(40, 56, batch=12)
    views = drawn(images, 16, seed=3)
    each = cut_each(images, views, 16)
    alone = torch.cat([cut_views(images[k : k + 1], [views.part(k, k + 1)], 16) for k in range(12)])
    assert torch.allclose(each, alone, atol=1e-5)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(cut_each(images[order], views.select(order), 16), each[order], atol=1e-5)


def same(a: Views, b: Views) -> bool:
    pixel = [(n, s, u.tolist()) for n, s, u in a.pixel] == [(n, s, u.tolist()) for n, s, u in b.pixel]
    noise = a.noise is b.noise if a.noise is None or b.noise is None else torch.equal(a.noise, b.noise)
    return pixel and noise and all(torch.equal(getattr(a, k), getattr(b, k)) for k in ("homography", "side", "color"))


def test_a_draw_depends_on_seed_and_step_alone() -> None:
    plan = ViewPlan(8, strengths=ALL)
    first = sample_views(plan, 1, 2, SQUARE, 16)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = sample_views(plan, 1, 2, SQUARE, 16)
    assert torch.equal(torch.get_rng_state(), before), "the global generator was touched"
    assert same(first, again)
    for seed, step in ((2, 2), (1, 3)):
        other = sample_views(plan, seed, step, SQUARE, 16)
        assert not torch.equal(other.homography, first.homography)
        assert not torch.equal(other.color, first.color)
        assert not torch.equal(other.noise, first.noise)


@torch.no_grad()
def test_rendering_draws_nothing() -> None:
    image, before = picture(), torch.get_rng_state()
    views = drawn(image, 16)
    assert torch.equal(cut_views(image, [views], 16), cut_views(image, [views], 16))
    assert torch.equal(torch.get_rng_state(), before)


def test_sizes_are_stratified_and_overviews_come_first() -> None:
    side = sample_views(ViewPlan(20, overview=0.25, smallest=0.4, largest=0.7), 1, 1, SQUARE, 8).side
    assert ((side[:5] >= 0.95) & (side[:5] <= 1.05)).all()
    slices = (side[5:] - 0.4) / 0.02
    assert torch.equal(slices.floor(), torch.arange(15.0)), "one view per equal slice of the range"


@pytest.mark.parametrize("aspect", [SQUARE, (1.5, 1.0), (1.0, 2.0)])
def test_crops_reach_over_every_edge_but_no_further_than_the_overshoot(aspect: tuple[float, float]) -> None:
    views = sample_views(ViewPlan(400, overview=0.1, overshoot=0.1), 1, 1, aspect, 8)
    centre, half = views.homography[:, :2, 2], views.side[:, None] / 2
    edge = torch.tensor(aspect) / 2
    assert (centre.abs() + half <= edge + 0.1 * views.side[:, None] + 1e-5).all()
    for beyond in ((centre + half > edge), (centre - half < -edge)):
        assert (beyond.float().mean(0) > 0.05).all()


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (128, 64)])
def test_a_fine_checkerboard_seen_from_afar_is_grey(size: tuple[int, int]) -> None:
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    board = ((x + y) % 2).float().expand(1, 3, -1, -1)
    views = sample_views(ViewPlan(8, overview=1.0, strengths={"rotate": 30.0}), 1, 1, aspect_of(board), 16)
    assert torch.allclose(cut_views(board, [views], 16), torch.tensor(0.5), atol=1e-6)
    assert cut_views(board, [whole()], 64).std() > 0.49, "seen from near it is no grey"


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_the_whole_view_is_the_pooled_picture(factor: int) -> None:
    image = picture(32, 32)
    assert torch.allclose(cut_views(image, [whole()], 32 // factor), avg_pool2d(image, factor), atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(32, 48), (48, 32)])
def test_the_whole_view_of_an_oblong_is_its_middle_square(height: int, width: int) -> None:
    image = picture(height, width)
    top, left = (height - 32) // 2, (width - 32) // 2
    middle = image[:, :, top : top + 32, left : left + 32]
    assert torch.allclose(cut_views(image, [whole()], 32), middle, atol=1e-5)


@pytest.mark.parametrize("side", [100, 129, 250, 257, 400])
def test_sides_that_are_no_power_of_two_are_seen_in_place(side: int) -> None:
    ramp = ((torch.arange(side) + 0.5) / side).expand(1, 3, side, side)
    seen = cut_views(ramp, [whole()], 16)[0, 0, 8]
    expected = (torch.arange(16) + 0.5) / 16
    assert (seen - expected)[1:-1].abs().max() < 0.01, "the view is shifted or stretched"


def test_the_gradient_of_a_warp_is_that_of_finite_differences() -> None:
    image = picture(6, 8, dtype=torch.float64).requires_grad_()
    views = drawn(image, 4, count=3, strengths={**GEOMETRY, "contrast": 0.3, "noise": 0.1})
    assert torch.autograd.gradcheck(lambda x: cut_views(x, [views], 4), image)


@pytest.mark.parametrize("name", AUGMENTATIONS)
class TestEveryAugmentation:
    """The contract of the registry: a new entry is tested by existing."""

    def test_is_a_record_that_says_its_unit(self, name: str) -> None:
        record = AUGMENTATIONS.load(name)
        assert isinstance(record, Augmentation)
        assert record.kind in ("geometry", "color", "pixel")
        assert record.draws >= 1
        assert record.unit
        assert name in ALL, "give the new augmentation a strength in this test"

    def test_does_nothing_at_strength_zero(self, name: str) -> None:
        record, u = AUGMENTATIONS.load(name), torch.rand(6, AUGMENTATIONS.load(name).draws)
        if record.kind == "pixel":
            views = picture(8, 8, batch=6)
            assert torch.equal(record.build(views, u, 0.0, torch.randn_like(views)), views)
        else:
            unit = torch.eye(3) if record.kind == "geometry" else torch.eye(3, 4)
            assert torch.allclose(record.build(u, 0.0), unit.expand(6, -1, -1), atol=1e-6)
        image = picture()
        assert same(drawn(image, 16, strengths={name: 0.0}), drawn(image, 16, strengths={}))

    @pytest.mark.parametrize("size", [(32, 32), (24, 40)])
    def test_changes_the_views_and_lets_finite_gradients_flow(self, name: str, size: tuple[int, int]) -> None:
        image = picture(*size).requires_grad_()
        views = drawn(image, 16, strengths={name: ALL[name]})
        cuts = cut_views(image, [views], 16)
        assert cuts.shape == (12, 3, 16, 16)
        assert cuts.isfinite().all()
        assert not torch.allclose(cuts, cut_views(image, [drawn(image, 16, strengths={})], 16), atol=1e-3)
        cuts.square().sum().backward()
        assert image.grad is not None
        assert image.grad.isfinite().all()
        assert image.grad.abs().max() > 0

    def test_draws_what_it_draws_whether_or_not_others_are_on(self, name: str) -> None:
        image = picture()
        alone, bare = drawn(image, 16, strengths={name: ALL[name]}), drawn(image, 16, strengths={})
        others = drawn(image, 16, strengths={n: s for n, s in ALL.items() if n != name})
        together = drawn(image, 16)
        assert torch.equal(together.side, bare.side)
        kept = [(n, u) for n, _, u in together.pixel if n != name]
        for (n, u), (m, v, w) in zip(kept, others.pixel, strict=True):
            assert (n, ALL[n], u.tolist()) == (m, v, w.tolist())
        kind = AUGMENTATIONS.load(name).kind
        if kind == "pixel":
            assert same(
                together.part(0, 12),
                Views(others.homography, others.side, others.color, together.pixel, together.noise),
            )
            assert [u.tolist() for n, _, u in together.pixel if n == name] == [alone.pixel[0][2].tolist()]
        else:
            field = "homography" if kind == "geometry" else "color"
            assert torch.equal(getattr(together, "color" if kind == "geometry" else "homography"),
                               getattr(others, "color" if kind == "geometry" else "homography"))  # fmt: skip
            assert torch.allclose(getattr(together, field), composed(field), atol=1e-5)


def composed(field: str) -> Tensor:
    """Multiply the matrices that each augmentation draws alone, in the order of the registry."""
    image = picture()
    bare = drawn(image, 16, strengths={})
    product = bare.homography if field == "homography" else torch.eye(4).expand(12, 4, 4)
    for name in AUGMENTATIONS:
        matrix = getattr(drawn(image, 16, strengths={name: ALL[name]}), field)
        if field == "homography":
            product = product @ bare.homography.inverse() @ matrix
        else:
            product = torch.cat([matrix, torch.eye(4)[3:].expand(12, 1, 4)], 1) @ product
    return product if field == "homography" else product[:, :3]


def test_extreme_tilts_never_reach_the_horizon() -> None:
    views = sample_views(ViewPlan(500, strengths={"perspective": 5.0, "rotate": 180.0, "shear": 30.0}), 1, 1, SQUARE, 8)
    corners = torch.tensor([[x, y, 1.0] for x in (-1, 1) for y in (-1, 1)])
    assert ((corners @ views.homography.transpose(1, 2))[..., 2] > 0.05).all()


def test_an_unknown_augmentation_is_refused() -> None:
    with pytest.raises(UsageError, match="rotate"):
        sample_views(ViewPlan(2, strengths={"rotat": 5.0}), 1, 1, SQUARE, 8)


def colored(name: str, strength: float, u: float) -> tuple[Tensor, Tensor]:
    """Return a picture that no color leaves [0, 1] of, and the same under one color augmentation."""
    image = 0.4 + 0.2 * picture(8, 8)
    matrix = AUGMENTATIONS.load(name).build(torch.tensor([[u]]), strength)[0]
    flat = matrix[:, :3] @ image.reshape(3, -1) + matrix[:, 3:]
    return image, flat.view_as(image)


def test_colors_equal_kornias() -> None:
    image, grey = colored("grayscale", 1.0, 0.5)
    assert torch.allclose(grey, kornia.color.rgb_to_grayscale(image).expand_as(image), atol=1e-6)
    image, bright = colored("brightness", 0.2, 0.75)
    assert torch.allclose(bright, kornia.enhance.adjust_brightness(image, 0.1), atol=1e-6)
    image, vivid = colored("saturation", 0.4, 1.0)
    assert torch.allclose(vivid, kornia.enhance.adjust_saturation_with_gray_subtraction(image, 1.4), atol=1e-6)
    image, contrasty = colored("contrast", 0.5, 0.0)
    assert torch.allclose(contrasty - 0.5, 0.5 * (image - 0.5), atol=1e-6)


@pytest.mark.parametrize("third", [1, 2])
def test_a_third_of_a_turn_of_hue_swaps_the_channels_and_keeps_grey(third: int) -> None:
    image, turned = colored("hue", third / 3, 1.0)
    assert torch.allclose(turned, image.roll(third, 1), atol=1e-6)
    assert torch.allclose(turned.mean(1), image.mean(1), atol=1e-6)


def test_erased_holes_cover_what_they_should_and_nothing_else() -> None:
    views = torch.ones(200, 3, 40, 40)
    u = torch.rand(200, 5, generator=torch.Generator().manual_seed(1))
    erased = AUGMENTATIONS.load("erase").build(views, u, 0.5, torch.zeros(()))
    share = (erased == 0.5)[:, 0].float().mean((1, 2))
    assert torch.equal(share > 0, u[:, 0] < 0.5)
    assert share[share > 0].min() > 0.08
    assert share.max() < 0.37


def test_noise_is_at_most_as_strong_as_its_strength() -> None:
    noise = torch.randn(50, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    u = torch.linspace(0, 1, 50)[:, None]
    added = AUGMENTATIONS.load("noise").build(torch.zeros_like(noise), u, 0.3, noise)
    assert torch.allclose(added.flatten(1).std(1), 0.3 * u[:, 0], atol=0.03)


@pytest.mark.parametrize("size", [(5, 9), (1, 4), (8, 8)])
def test_ordered_sums_read_what_grid_sample_reads(size: tuple[int, int]) -> None:
    """Places far beyond the edges too: they are mirrored again and again."""
    torch.manual_seed(0)
    image, grid = torch.randn(2, 3, *size), torch.rand(2, 7, 6, 2) * 8 - 4
    weights = torch.randn(2, 3, 7, 6)
    found = []
    for read in (resampling.ordered, resampling.sample):
        leaf = image.clone().requires_grad_()
        values = read(leaf, grid)
        (values * weights).sum().backward()
        found.append((values.detach(), leaf.grad))

    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-5)
