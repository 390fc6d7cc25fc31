"""Optical flow on pictures whose motion is known, and RAFT from a file."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from vqclip.animation.flow import RaftSmall, consistent, flow_and_known, known, optical_flow
from vqclip.errors import WeightsError
from vqclip.guidance.resampling import displaced


def texture(height, width, seed=0, cells=6):
    """Return a smooth random picture (1, 3, height, width) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // cells + 2, width // cells + 2, generator=generator)
    return F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def shifted(picture, x, y, margin=20):
    """Return two cut-outs, the second showing at p what the first shows at p - (x, y)."""
    height, width = picture.shape[-2:]
    rows, columns = (slice(margin, side - margin) for side in (height, width))
    return picture[..., rows, columns], picture.roll((y, x), (2, 3))[..., rows, columns]


def with_square(background, left, top, side=40):
    picture = background.clone()
    picture[..., top : top + side, left : left + side] = texture(side, side, seed=5, cells=4)
    return picture


@pytest.mark.parametrize(("size", "x", "y"), [((120, 136), 2, -1), ((120, 168), -7, 4), ((300, 300), 9, 5)])
def test_a_shift_is_seen(size, x, y):
    one, two = shifted(texture(*size), x, y)
    field, mask = flow_and_known(one, two)
    assert field.shape == (1, 2, *one.shape[-2:]) and field.dtype == torch.float32
    middle = field[..., 16:-16, 16:-16]
    assert (middle[:, 0] + x).abs().mean() < 0.25 and (middle[:, 1] + y).abs().mean() < 0.25
    again, _ = displaced(one, field)
    assert (again - two)[..., 16:-16, 16:-16].abs().mean() < 0.02 < (one - two).abs().mean()
    # what came in at an edge is not known, most of the middle is
    assert mask.dtype == torch.bool and mask[..., 16:-16, 16:-16].float().mean() > 0.9
    assert not mask[..., :, 0 if x > 0 else -1].any()


def test_pictures_that_are_the_same_do_not_move():
    one = texture(64, 64)
    field, mask = flow_and_known(one, one.clone())
    assert (field == 0).all() and mask.all()


@pytest.mark.parametrize("plain", [True, False])
def test_a_moving_square_over_a_still_ground(plain):
    ground = torch.full((1, 3, 128, 128), 0.4) if plain else texture(128, 128)
    one, two = with_square(ground, 40, 44), with_square(ground, 46, 41)
    field, mask = flow_and_known(one, two)
    inside = field[..., 46:76, 50:82]
    assert (inside[:, 0] + 6).abs().mean() < 0.8 and (inside[:, 1] - 3).abs().mean() < 0.8
    outside = torch.cat([field[..., :34, :].flatten(), field[..., 95:, :].flatten()])
    assert outside.abs().mean() < 0.1 and mask[..., :34, :].all()
    # what the square uncovered was not to be seen before: a band at its left and one below
    if not plain:
        assert mask[..., 48:76, 41:45].float().mean() < 0.5
    assert mask[..., 50:72, 56:76].float().mean() > 0.8


def test_a_plain_sky_moves_with_a_camera_that_moves():
    scene = texture(168, 168)
    scene[..., 30:70, 20:148] = 0.5
    one, two = shifted(scene, 4, 2)
    field = optical_flow(one, two)
    assert (field[:, 0, 20:40, 20:100] + 4).abs().mean() < 0.5


def test_fields_that_disagree_are_not_known():
    field = torch.zeros(1, 2, 32, 32)
    field[:, 0] = 5
    assert consistent(field, -field)[..., :26].all() and not consistent(field, -field)[..., 27:].any()
    assert not consistent(field, field).any()
    field[:, 0, :, 16:] = -5
    assert not consistent(field, -field)[..., 14:18].any()


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (8, 8), (9, 31)])
def test_small_pictures_have_a_flow_too(size):
    one, two = torch.rand(1, 3, *size), torch.rand(1, 3, *size)
    field, mask = flow_and_known(one, two)
    assert field.shape == (1, 2, *size) and field.isfinite().all() and mask.shape == (1, 1, *size)


def test_images_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="two images"):
        optical_flow(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9))
    with pytest.raises(ValueError, match="two images"):
        optical_flow(torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8))


@pytest.fixture(scope="module")
def raft_weights():
    optical = pytest.importorskip("torchvision.models.optical_flow")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return optical.raft_small(weights=None).state_dict()


@pytest.mark.parametrize("name", ["raft.pth", "raft.safetensors"])
def test_raft_is_loaded_from_a_file(tmp_path, raft_weights, name):
    path = tmp_path / name
    if name.endswith(".pth"):
        torch.save(raft_weights, path)
    else:
        save_file({key: value.clone() for key, value in raft_weights.items()}, path)
    before = torch.get_rng_state()
    raft = RaftSmall.load(path)
    assert torch.equal(torch.get_rng_state(), before)
    one, two = texture(60, 100), texture(60, 100, seed=1)
    field = raft(one, two)
    assert field.shape == (1, 2, 60, 100) and field.isfinite().all() and not field.requires_grad
    # the interface of `optical_flow`, and torchvision's own network on the same pictures
    assert known(one, two, raft).shape == (1, 1, 60, 100)
    first, second = (F.interpolate(image * 2 - 1, (128, 128), mode="bilinear", antialias=True) for image in (two, one))
    reference = raft.network(first, second)[-1]
    wanted = F.interpolate(reference, (60, 100), mode="bilinear", antialias=True)
    wanted = wanted * torch.tensor([100 / 128, 60 / 128]).view(1, 2, 1, 1)
    assert torch.allclose(field, wanted, atol=1e-4)


def test_other_weights_are_refused_in_one_line(tmp_path, raft_weights):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    some = dict(list(raft_weights.items())[:-1])
    torch.save(some, tmp_path / "part.pth")
    (tmp_path / "text.pth").write_text("weights")
    for name in ("other.pth", "part.pth", "text.pth", "absent.pth"):
        with pytest.raises(WeightsError) as caught:
            RaftSmall.load(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match="not RAFT-small"):
        RaftSmall.load(tmp_path / "part.pth")
