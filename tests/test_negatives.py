"""The pictures that a CLIP in training optimizes and has to see through."""

from __future__ import annotations

import itertools

import pytest
import torch

from vqclip.training.negatives import Chains


def chains(count: int = 12, taken: int = 4) -> Chains:
    return Chains(count=count, taken=taken, visits=5, side=16)


@pytest.mark.parametrize(("count", "taken"), [(12, 4), (10, 4), (5, 1)])
def test_every_chain_is_visited_in_turn_and_begins_anew_after_its_visits(count, taken):
    made = chains(count, taken)
    ages: dict[int, list[tuple[int, int]]] = {}
    for index in range(20 * count // taken):
        lives, visits = made.generation(index)
        for slot, life, visit in zip(made.slots(index).tolist(), lives.tolist(), visits.tolist(), strict=True):
            ages.setdefault(slot, []).append((life, visit))
    assert sorted(ages) == list(range(count))
    for seen in ages.values():
        assert len(seen) == 20
        following = itertools.pairwise(seen)
        assert all(b == (a[0], a[1] + 1) or (b == (a[0] + 1, 0) and a[1] == 4) for a, b in following)


def test_a_chain_keeps_its_scene_and_picture_for_a_life_and_then_gets_others():
    made, others = chains(), torch.full((4, 3, 16, 16), 0.25)
    kept: dict[int, tuple[int, int, torch.Tensor]] = {}
    renewed = 0
    for index in range(30):
        taken = made.take(index, others)
        assert taken.min() >= 0 and taken.max() <= 1
        slots, lives = made.slots(index).tolist(), made.generation(index)[0].tolist()
        scenes = made.scenes(index, 5, 10**9)
        for row, (slot, life, scene) in enumerate(zip(slots, lives, scenes, strict=True)):
            last = kept.get(slot)
            same_life = last is not None and last[0] == life
            if last is not None:
                assert (scene == last[1]) is same_life
                assert torch.equal(taken[row], last[2]) is same_life
                renewed += not same_life
            if not same_life:
                assert torch.equal(taken[row], others[row]) is (row == 0)  # one of four begins as a real picture
        moved = (taken + 0.01 * (index + 1)).clamp(0, 1)
        made.keep(index, moved)
        for row, slot in enumerate(slots):
            kept[slot] = (lives[row], scenes[row], moved[row])
    assert renewed >= 12


def test_moves_go_up_the_gradient_and_shorten_with_age():
    made = chains()
    x, gradient = torch.full((4, 3, 16, 16), 0.5), torch.zeros(4, 3, 16, 16)
    gradient[:, :, 8, 8] = 1e-30  # a fake that is seen through for certain still moves
    young, old = torch.zeros(4), torch.zeros(4)
    for index in range(60):
        step = (made.moved(index, x, gradient) - x).flatten(1).norm(dim=1)
        visits = made.generation(index)[1]
        young = torch.where(visits == 0, step, young)
        old = torch.where(visits == 4, step, old)
    assert (young > old).all() and (old > 0.05).all()
    ahead = made.moved(0, x, gradient) - x
    assert (ahead[:, :, 8, 8] > 0).all() and (ahead >= 0).all()
