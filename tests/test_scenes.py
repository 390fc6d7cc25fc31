"""Scenes for trainings: those of their seed, large ones, and of which styles."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from vqclip import world
from vqclip.cli.main import run
from vqclip.training.scenes import SceneSet, parse_shares


def test_scenes_on_disk_are_those_of_their_seed(tmp_path):
    scenes = SceneSet(tmp_path, 5, 6, 64).render()
    scene = world.sample_scene(world.load_world(), np.random.default_rng([5, 3]))
    assert np.array_equal(scenes.images[3], world.Renderer().render(scene, 64))
    assert scenes.scenes[3] == scene


def test_framed_scenes_are_rendered_beside_the_others(tmp_path):
    plain, framed = (SceneSet(tmp_path, 5, 6, 64, framed).render() for framed in (False, True))
    assert plain.file != framed.file and not np.array_equal(plain.images, framed.images)
    assert all(scene.scale >= 0.66 for scene in framed.scenes)


def test_scenes_have_the_styles_that_are_asked_for_as_often_as_they_count(tmp_path):
    chosen = parse_shares("--styles", "none:2, woodcut:3,neon", world.load_world().styles, "none")
    assert chosen == ("none", "none", "woodcut", "woodcut", "woodcut", "neon")
    found = Counter(SceneSet(tmp_path, 5, 600, 64, True, chosen).scene(index).style for index in range(600))
    assert set(found) == {None, "woodcut", "neon"}
    for style, wanted in ((None, 200), ("woodcut", 300), ("neon", 100)):
        assert abs(found[style] - wanted) < 60
    names = {SceneSet(tmp_path, 5, 6, 64, True, styles).name for styles in ((), ("none",), chosen)}
    assert len(names) == 3


def test_scenes_have_the_subjects_that_are_asked_for_as_often_as_they_count(tmp_path):
    every = list(world.load_world().subjects)
    chosen = parse_shares("--subjects", "all,cat:62", every)
    assert len(chosen) == len(every) + 62 and set(chosen) == set(every)
    scenes = SceneSet(tmp_path, 5, 600, 64, True, (), chosen)
    found = Counter(scenes.scene(index).subject for index in range(600))
    assert 80 < found["cat"] < 170 and len(found) > 150
    assert scenes.name != SceneSet(tmp_path, 5, 600, 64, True).name


@pytest.mark.parametrize(("option", "given", "told"), [
    ("--styles", "brutalism", "brutalism"), ("--styles", "neon:0", "from 1 to 100"),
    ("--subjects", "cat:many", "from 1"), ("--subjects", "cat,,dog", "name in --subjects"),
    ("--subjects", "none", "none"),
])  # fmt: skip
def test_names_that_cannot_be_are_told(tmp_path, capsys, option, given, told):
    flags = ["train", "prior", "--framed", "--start", "tiny", option, given, "--folder", str(tmp_path)]
    assert run(flags) == 2 and told in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_names_are_for_framed_scenes(tmp_path, capsys):
    for option in ("--styles", "--subjects"):
        assert run(["train", "prior", option, "all", "--folder", str(tmp_path)]) == 2
        assert "--framed" in capsys.readouterr().err
