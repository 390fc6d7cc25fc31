"""Frames between two drawn ones, compared with what really lies between."""

import pytest
import torch
import torch.nn.functional as F

from vqclip.animation.between import between
from vqclip.animation.flow import optical_flow
from vqclip.guidance.resampling import displaced


def texture(height, width, seed=0, cells=6):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // cells + 2, width // cells + 2, generator=generator)
    return F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def scene(left, top=40, ground=None):
    picture = texture(96, 128) * 0.5 if ground is None else ground.clone()
    picture[..., top : top + 32, left : left + 32] = 0.5 + 0.5 * texture(32, 32, seed=5, cells=4)
    return picture


def true_flow(one, two):
    """Return the field of two scenes whose square moves by 12 pixels, as a perfect flow would."""
    field = torch.zeros(1, 2, *one.shape[-2:])
    moves_on = bool((one - scene(40)).abs().max() == 0)
    if moves_on:
        field[:, 0, 40:72, 52:84] = -12
    else:
        field[:, 0, 40:72, 40:72] = 12
    return field


@pytest.mark.parametrize("count", [1, 3])
def test_a_square_that_moved_is_in_between_once(count):
    one, two = scene(40), scene(52)
    frames = between(one, two, count, flow=true_flow)
    assert len(frames) == count
    for index, frame in enumerate(frames):
        wanted = scene(40 + 12 * (index + 1) // (count + 1))
        faded = one + (index + 1) / (count + 1) * (two - one)
        error = (frame - wanted).abs()
        assert error.mean() < 0.1 * (faded - wanted).abs().mean()
        # neither a second square behind nor one ahead, and the ground that was hidden from one neighbour is whole
        assert error[..., 40:72, 38:90].mean() < 0.01
        assert frame.min() >= 0 and frame.max() <= 1


def test_with_the_flow_of_the_pictures_too():
    one, two = scene(40), scene(48)
    (frame,) = between(one, two, 1, flow=optical_flow)
    error, faded = ((other - scene(44)).abs()[..., 36:76, 36:84].mean() for other in (frame, (one + two) / 2))
    assert error < 0.35 * faded


def test_a_plain_square_is_not_seen_twice():
    ground = torch.full((1, 3, 96, 128), 0.2)
    one, two = ground.clone(), ground.clone()
    one[..., 30:60, 40:70] = 0.9
    two[..., 30:60, 48:78] = 0.9
    (frame,) = between(one, two, 1, flow=optical_flow)
    row = frame[0, 0, 45]
    assert abs(int((row > 0.55).sum()) - 30) <= 2 and abs(int((row > 0.3).sum()) - 30) <= 4
    assert abs(float((row > 0.55).nonzero().float().mean()) - 58.5) <= 1.5


def test_a_camera_that_is_known_is_followed():
    wide = texture(64, 96)

    def seen(shift):
        field = torch.zeros(1, 2, 64, 96)
        field[:, 0] = shift
        return displaced(wide, field)[0]

    frames = between(seen(0), seen(8), 3, forward=lambda share: seen(8 * share), backward=lambda share: seen(8 * share))
    for index, frame in enumerate(frames):
        assert (frame - seen(2 * (index + 1))).abs().max() < 1e-5
    plain = between(seen(0), seen(8), 3)
    assert (plain[1] - seen(4)).abs().mean() > 0.03


def test_flow_follows_what_the_camera_leaves():
    """The camera moves by 6 pixels, the square by 8 more."""
    ground = texture(96, 128) * 0.5

    def camera(picture, shift):
        field = torch.zeros(1, 2, 96, 128)
        field[:, 0] = shift
        return displaced(picture, field)[0]

    one, two = scene(40, ground=ground), camera(scene(48, ground=ground), 6)
    ways = {"forward": lambda share: camera(one, 6 * share), "backward": lambda share: camera(two, -6 * (1 - share))}
    (faded,), (followed,) = between(one, two, 1, **ways), between(one, two, 1, **ways, flow=optical_flow)
    wanted = camera(scene(44, ground=ground), 3)
    middle = (..., slice(30, 80), slice(30, 90))
    assert (followed - wanted)[middle].abs().mean() < 0.5 * (faded - wanted)[middle].abs().mean()


def test_pictures_that_are_the_same_stay():
    one = texture(40, 40)
    for frame in between(one, one.clone(), 2, flow=optical_flow):
        assert torch.allclose(frame, one, atol=1e-6)
    assert between(one, one, 0) == between(one, one, 0, flow=optical_flow) == []


def test_motion_that_leaves_the_picture_is_survived():
    one, two = torch.rand(1, 3, 16, 24), torch.rand(1, 3, 16, 24)

    def wild(first, second):
        return torch.full((1, 2, 16, 24), 1e4)

    for frame in between(one, two, 2, flow=wild):
        assert frame.isfinite().all() and frame.shape == one.shape


def test_what_does_not_fit_is_refused():
    one = torch.rand(1, 3, 8, 8)
    for other, count in ((torch.rand(1, 3, 8, 9), 1), (one, -1)):
        with pytest.raises(ValueError, match="two images"):
            between(one, other, count)
