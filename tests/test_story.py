"""Scenes of films: what is shown when, from options, texts, YAML and Deforum's JSON; and the layers that come of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from vqclip.animation.layers import Layer, nearness, plan_layers
from vqclip.animation.story import Scene, read_story, scenes_of
from vqclip.animation.timeline import Timeline, eased
from vqclip.config import make_config
from vqclip.config.film import film_from
from vqclip.errors import UsageError


def scenes(*prompts: str, count: int = 97, fps: float = 12.0, **film: Any) -> tuple[Scene, ...]:
    picture = make_config(*prompts) if prompts else make_config()
    return scenes_of(film_from(film), picture, count, fps)


def timeline(count: int = 100, **film: Any) -> Timeline:
    return Timeline(film_from(film), count, 12.0, (64, 64))


def test_a_prompt_is_one_scene() -> None:
    assert scenes("a cat") == (Scene(0, ("a cat",)),)


def test_further_prompts_are_spread_and_change_all_the_time() -> None:
    first, second, third = scenes("a cat", to=["a dog", "a fox"], count=97)
    assert (first.at, first.stop) == (0, 0)
    assert (second.at, second.stop) == (0, 48)
    assert (third.at, third.stop) == (48, 96)


def test_a_loop_leaves_time_to_return() -> None:
    first, second = scenes("a cat", to=["a dog"], loop=True, count=96)
    assert (second.at, second.stop) == (0, 48)
    layers = plan_layers((first, second), timeline(96, loop=True), 5, sketched=False)
    assert layers[-1].closes
    assert (layers[-1].begin, layers[-1].end, layers[-1].base) == (48, 96, 96)


def test_a_story_has_times_in_frames_and_seconds() -> None:
    story = [{"at": 0, "prompt": "a cat"}, {"at": "2s", "prompt": "a dog"}, {"at": 60, "prompt": "a fox", "cut": True}]
    first, second, third = scenes(story=story)
    assert [first.at, second.at, third.at] == [0, 24, 60]
    assert [first.fade, second.fade, third.fade] == [0, 24, 0]


def test_a_scene_has_its_seed_its_picture_and_its_fade() -> None:
    story = [{"at": "1s", "prompt": "a dog", "seed": "blue", "image": "dog.png", "fade": 0.5}]
    scene = scenes("a cat", story=story)[1]
    assert scene.seed == scenes("a cat", story=story)[1].seed and isinstance(scene.seed, int)
    assert (scene.image, scene.fade) == ("dog.png", 6)


def test_weights_are_tracks() -> None:
    (scene,) = scenes(r"a castle:(1-s/8) | a forest:(t/96) | a \: bird:0.5")
    assert scene.prompts == (r"a castle| a forest| a \: bird:0.5",)
    assert sorted(scene.weights) == [0, 1]
    assert scene.weights[1].at(timeline().time(48)) == pytest.approx(0.5)


def test_a_text_holds_a_prompt_a_line(tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_text("# a story\na cat\n\n2s: a dog\n36 cut: a fox at 8:30\n")
    assert read_story(tmp_path / "story.txt") == [
        {"prompt": "a cat"},
        {"at": "2s", "cut": False, "prompt": "a dog"},
        {"at": "36", "cut": True, "prompt": "a fox at 8:30"},
    ]


def test_deforums_prompts_are_read(tmp_path: Path) -> None:
    (tmp_path / "story.json").write_text(json.dumps({"0": "a cat", "40": "a dog --neg blurry"}))
    assert [each.at for each in scenes(story=read_story(tmp_path / "story.json"))] == [0, 40]
    assert scenes(story=read_story(tmp_path / "story.json"))[1].negative == ("blurry",)


def test_yaml_holds_scenes(tmp_path: Path) -> None:
    (tmp_path / "story.yaml").write_text("- a cat\n- {at: 2s, prompt: a dog, fade: 1}\n")
    assert [each.fade for each in scenes(story=read_story(tmp_path / "story.yaml"))] == [0, 12]


@pytest.mark.parametrize(
    ("story", "words"),
    [
        ([{"at": 5, "prompt": "a"}], "the first scene is at frame 5"),
        ([{"at": 0, "prompt": "a"}, {"at": 0, "prompt": "b"}], "put them in order"),
        ([{"at": 0, "prompt": "a"}, {"at": 30, "prompt": "b"}, {"at": 20, "prompt": "c"}], "put them in order"),
        ([{"at": 0, "prompt": "a"}, {"at": 97, "prompt": "b"}], "the film ends with 96"),
        ([{"at": 0, "promt": "a"}], "did you mean 'prompt'"),
        ([{"at": 1.5, "prompt": "a"}], "give a whole frame"),
        ([{"at": "soon", "prompt": "a"}], "give a number from 0"),
        ([{"at": -1, "prompt": "a"}], "give a number from 0"),
        ([{"at": 0, "prompt": ["a", 3]}], "give a text in quotes"),
        ([{"at": 0, "prompt": "a:(1+)"}], "the weight of 'a'"),
        ([{"at": 0, "prompt": "a", "image": 3}], "no name of a file"),
        ([{"at": 0, "prompt": "a", "seed": [1]}], "the seed"),
        ([{"at": 0, "prompt": "a"}, {"at": 9, "prompt": "b", "fade": "long"}], "fade is 'long'"),
        (["a cat"], "write each as a mapping"),
        ([], "there is no prompt"),
    ],
)
def test_a_story_that_cannot_be_told_is_refused(story: Any, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        scenes(story=story)
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "{", "[1, 2]", "3", "{'0': 3}", "a: &a [*a]"])
def test_a_file_without_a_story_is_refused(tmp_path: Path, text: str) -> None:
    for name in ("story.yaml", "story.json", "story.txt"):
        (tmp_path / name).write_text(text)
        if name == "story.txt" and text.strip() not in ("", "# nothing"):
            continue  # a line of a text is a prompt, whatever it is
        with pytest.raises(UsageError):
            read_story(tmp_path / name)


# --- layers -----------------------------------------------------------------------------------------------------------


def test_a_sketch_is_renewed_where_the_camera_comes_too_near() -> None:
    line = timeline(200, camera={"zoom": "1.02"}, renew=3.0)
    first, second, third, *_ = plan_layers(scenes("a cat"), line, 5, sketched=True)
    assert [each.seed for each in (first, second, third)] == [5, 6, 7]
    assert nearness(line.between(first.base, second.end)) == pytest.approx(3, rel=0.02)
    assert nearness(line.between(second.base, third.end)) == pytest.approx(3, rel=0.02)
    assert second.from_middle
    assert second.begin < second.end == second.base
    # the last one is whole before the film ends
    assert all(each.end < 200 for each in plan_layers(scenes("a cat"), line, 5, sketched=True))


def test_nothing_is_renewed_without_a_sketch_or_a_wish() -> None:
    line = timeline(200, camera={"zoom": "1.02"}, renew=3.0)
    assert len(plan_layers(scenes("a cat"), line, 5, sketched=False)) == 1
    line = timeline(200, camera={"zoom": "1.02"}, renew=0.0)
    assert len(plan_layers(scenes("a cat"), line, 5, sketched=True)) == 1


def test_a_layer_comes_in_from_nothing_to_all() -> None:
    layer = Layer(0, 1, 20, 10, 20)
    shares = [layer.share(number, "smooth") for number in range(5, 25)]
    assert shares == sorted(shares)
    assert shares[:6] == [0.0] * 6
    assert shares[15:] == [1.0] * 5
    cut = Layer(1, 1, 10, 10, 10)
    assert [cut.share(number, "linear") for number in (9, 10, 11)] == [0.0, 1.0, 1.0]


def test_a_layer_out_of_the_middle_covers_the_middle_first() -> None:
    layer = Layer(0, 1, 20, 10, 20, from_middle=True)
    cover = layer.cover(14, "linear", (33, 33))[0, 0]
    assert float(cover[16, 16]) == 1.0
    assert float(cover[0, 0]) == 0.0
    assert bool((layer.cover(20, "linear", (33, 33)) == 1).all())
    later = layer.cover(17, "linear", (33, 33))[0, 0]
    assert bool((later >= cover).all())


@pytest.mark.parametrize("ease", ["linear", "smooth", "in", "out"])
def test_every_ease_goes_from_0_to_1(ease: str) -> None:
    values = [eased(ease, share / 10) for share in range(-2, 13)]
    assert values == sorted(values)
    assert (values[2], values[12]) == (0.0, 1.0)


# --- time -------------------------------------------------------------------------------------------------------------


def test_moves_add_up_over_frames() -> None:
    line = timeline(10, camera={"zoom": "1.1", "x": "2"})
    assert torch.allclose(line.between(3, 7) @ line.between(0, 3), line.between(0, 7))
    assert torch.allclose(line.between(7, 3), torch.linalg.inv(line.between(3, 7)))
    moved = line.motions(2, 5)
    assert moved.zoom == pytest.approx(1.1**3)
    assert moved.x == pytest.approx(6)


def test_a_draft_moves_by_as_many_of_its_smaller_pixels() -> None:
    line = Timeline(film_from({"camera": {"x": "4"}}), 4, 12.0, (32, 32), shrunk=2.0)
    assert line.motion(1).x == 2.0


@pytest.mark.parametrize(
    ("film", "words"),
    [
        ({"camera": {"zoom": "0:(1), 9:(40)"}}, "--zoom: 22.6667 at frame 5"),
        ({"camera": {"x": "1/(t-3)"}}, "at frame 3"),
        ({"camera": {"yaw": "90"}}, "--yaw: 90 at frame 0"),
        ({"camera": {"dolly": "1"}}, "--dolly"),
        ({"camera": {"rotate": "bass"}}, "--audio"),
        ({"camera": {"zoom": "1.02 +"}}, "--zoom"),
        ({"hold": "-1"}, "--hold: -1 at frame 0"),
        ({"strength": "2"}, "--strength: 2 at frame 0"),
    ],
)
def test_a_track_that_leaves_its_range_names_the_frame(film: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        timeline(10, **film)
    assert words in str(caught.value)
