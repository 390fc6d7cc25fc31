"""Measures of films: frames that are known to flicker or not, and the bundled judge on frames of two kinds."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from vqclip.errors import UsageError
from vqclip.evaluation import judging
from vqclip.evaluation.films import flicker, subject_share
from vqclip.guidance.resampling import displaced
from vqclip.weights.load import load_judge


def picture(seed=0, height=40, width=56):
    coarse = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def field(x, y):
    return torch.tensor([float(x), float(y)]).view(1, 2, 1, 1).expand(1, 2, 40, 56)


def test_frames_that_stay_do_not_flicker():
    errors = flicker([picture()] * 4)
    assert errors.shape == (3,) and errors.dtype == np.float64 and not errors.any()
    assert len(flicker([picture()])) == len(flicker([])) == 0


def test_a_step_in_brightness_is_measured_in_levels():
    frame = picture() * 0.5
    assert flicker([frame, frame + 10 / 255, frame]) == pytest.approx([10, 10], abs=1e-3)


def test_known_motion_is_no_flicker():
    frames = [picture()]
    for _ in range(3):
        frames.append(displaced(frames[-1], field(3, -2))[0])
    assert flicker(frames).min() > 2
    assert flicker(frames, [field(3, -2)] * 3).max() < 1e-3
    assert flicker(frames, [field(-3, 2)] * 3).min() > flicker(frames).min()


def test_only_what_is_in_both_counts():
    one = picture()
    two = displaced(one, field(5, 0))[0]
    two[..., -5:] = 1 - two[..., -5:]  # what came in at the right
    assert flicker([one, two], [field(5, 0)])[0] < 1e-3
    spoiled = one.clone()
    spoiled[..., 10:20, 10:20] = 1 - spoiled[..., 10:20, 10:20]
    mask = torch.ones(1, 1, 40, 56, dtype=torch.bool)
    mask[..., 10:20, 10:20] = False
    holes = field(0, 0).clone()
    holes[..., 10:20, 10:20] = float("nan")
    assert flicker([one, spoiled])[0] > 1
    assert flicker([one, spoiled], known=[mask])[0] == 0 and flicker([one, spoiled], [holes])[0] < 1e-3
    assert np.isnan(flicker([one, spoiled], known=[mask & False])[0])


def test_frames_that_do_not_fit_are_refused():
    one = picture()
    with pytest.raises(ValueError, match="size"):
        flicker([one, picture(height=41)])
    with pytest.raises(ValueError, match="fewer fields"):
        flicker([one, one, one], [field(0, 0)])


def test_the_judge_counts_frames_of_a_subject():
    judge, _ = load_judge("tiny")
    names = judge.architecture.names["subject"][1:]
    frames = [Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 64, 3), np.uint8)) for seed in range(2)]
    for color in ("red", "blue"):
        frames.append(Image.new("RGB", (96, 64), "white"))
        frames[-1].paste(color, (30, 10, 66, 54))
    verdict = judging.look(judge, frames)
    said = [judging.named(judge, verdict, row, "subject") for row in range(len(frames))]
    for subject in {*said, names[0]}:
        share = subject_share(frames * 5, subject)
        assert (share.right, share.count) == (5 * said.count(subject), 20)
    assert subject_share(iter(frames), f"a painting of a {said[0]}", judge).right == said.count(said[0])


def test_subjects_the_judge_does_not_know_are_refused():
    frame = Image.new("RGB", (64, 64))
    with pytest.raises(UsageError, match="unknown subject 'xyzzy'"):
        subject_share([frame], "xyzzy")
    with pytest.raises(ValueError, match="at least one frame"):
        subject_share([], "cat")
