"""A config is looked at whenever it is used, and models draw only what names them."""

from __future__ import annotations

import copy
import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command_line import CommandLine
from support.pictures import sha
from support.runs import draw, models, small

import vqclip
from vqclip import config as configs
from vqclip import resources
from vqclip.config import Config, checked, from_dict, make_config
from vqclip.errors import UsageError
from vqclip.generation.models import Models
from vqclip.session.job import Job
from vqclip.session.outputs import check_outputs
from vqclip.writers import metadata

pytestmark = pytest.mark.usefixtures("one_thread")
# names of classes that are nobody's business
FOREIGN = ("OmegaConf", "ListConfig", "AnyNode", "omegaconf")
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)
FIELDS = ["prompts", "negative", "image_prompts", "steps", "size", "seed", "only", "stages", "views", "losses",
          "models.clip", "models.vqgan", "init.image", "views.count", "views.overview", "views.augmentations",
          "optimizer.lr", "optimizer.betas", "output.file", "output.fps", "run.deterministic"]  # fmt: skip


@functools.cache
def _base() -> Config:
    return small(steps=1)


def changed(key: str, value: Any) -> Config:
    """Return a small config of which one attribute was set after it was made."""
    config = copy.deepcopy(_base())
    *path, last = key.split(".")
    group: Any = config
    for name in path:
        group = getattr(group, name)
    setattr(group, last, value)
    return config


# --- what is set after make_config -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("steps", -1, "steps is -1: give a number from 0"),
        ("steps", 2.5, "steps is 2.5: give a whole number"),
        ("steps", True, "steps is True: give a whole number"),
        ("steps", None, "steps is None"),
        ("size", (0, 0), "size is 0x0"),
        ("size", 64.5, "size is 64.5: give a list of whole numbers"),
        ("size", [[], []], "size is []: give a whole number"),
        ("seed", 1.5, "seed is 1.5: give a whole number"),
        ("seed", True, "seed is True"),
        ("seed", 10**200, "seed is a number of many digits"),
        ("size", [10**5000, 64], "size is a number of many digits"),
        ("count", "many", "count is 'many'"),
        ("count", {"a": [10**5000]}, "count is of the type dict"),
        ("init.kind", "foo", "unknown init.kind 'foo'"),
        ("init", {"kind": "random"}, "init is {'kind': 'random'}, but it is a group: set config.init.NAME"),
        ("views", None, "views is None, but it is a group"),
        ("stepz", 3, "did you mean 'steps'"),
        ("views.cuont", 3, "unknown config key 'views.cuont': did you mean 'views.count'"),
        ("losses", {"tv": float("nan")}, "losses.tv is nan: give a finite number"),
        ("losses", {"tw": 1.0}, "did you mean 'tv'"),
        ("losses", [1], "losses is [1]: give names with numbers"),
        ("optimizer.lr", float("inf"), "optimizer.lr is inf: give a finite number"),
        ("optimizer.betas", 0.9, "optimizer.betas is 0.9: give a list of numbers"),
        ("models.clip", [], "models.clip is empty"),
        ("models.vqgan", None, "models.vqgan is None: give a text"),
        ("stages", [64], "stages holds 64, which is no text"),
        ("prompts", 7, "prompts is 7: give a list of texts"),
        ("output.folder", "${oc.env:HOME}", "${"),
        ("output.fps", float("nan"), "output.fps is nan"),
        ("output.length", float("inf"), "output.length is inf"),
        ("output.length", 0, "output.length is 0: give a number from 0.01 to 3600"),
        ("run.deterministic", 2, "run.deterministic is 2: give true or false"),
        ("run.device", object(), "run.device is of the type object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_value_is_told_of_wherever_the_config_is_used(key: str, value: Any, words: str) -> None:
    uses: list[Callable[[Config], Any]] = [
        lambda config: vqclip.generate(config, models()),
        lambda config: next(vqclip.generate_stream(config, models())),
        Models.load,
        models().resolve,
        configs.to_yaml,
        check_outputs,
        Job,
    ]
    for use in uses:
        with pytest.raises(UsageError) as caught:
            use(changed(key, value))
        assert words in str(caught.value) and not any(name in str(caught.value) for name in FOREIGN)


@pytest.mark.parametrize(
    ("key", "value", "becomes"),
    [
        ("steps", np.int64(1), 1),
        ("steps", np.float32(1), 1),
        ("steps", "1", 1),
        ("size", np.array([64, 48]), [64, 48]),
        ("size", (64, 48), [64, 48]),
        ("size", 64.0, [64, 64]),
        ("size", "64x48", [64, 48]),
        ("seed", np.uint32(5), 5),
        ("seed", "7", 7),
        ("seed", None, -1),
        ("prompts", "cat", ("cat",)),
        ("prompts", ["a", np.str_("b")], ("a", "b")),
        ("optimizer.lr", np.float32(0.5), 0.5),
        ("optimizer.lr", "1e-3", 0.001),
        ("optimizer.betas", (np.float64(0.5), 0), [0.5, 0.0]),
        ("losses", {"tv": np.float16(0.5)}, {"tv": 0.5}),
        ("stages", "64:0.5, full:0.5", ["64:0.5", "full:0.5"]),
        ("models.clip", "tiny", ["tiny"]),
        ("run.deterministic", np.bool_(True), True),
        ("run.compile", False, "off"),
        ("output.file", Path("cat.png"), "cat.png"),
    ],
    ids=str,
)
def test_other_spellings_of_a_value_become_the_plain_one(key: str, value: Any, becomes: Any) -> None:
    found: Any = checked(changed(key, value))
    for name in key.split("."):
        found = getattr(found, name)
    assert found == becomes and type(found) is type(becomes)


def test_numbers_of_numpy_draw_and_are_saved_and_read_back(tmp_path: Path) -> None:
    config = small(steps=np.int64(1), size=np.int32(64), seed=np.int64(7), optimizer={"lr": np.float64(0.1)})
    config.views.count = np.int16(4)
    (file,) = draw(config).save(tmp_path / "cat.png")
    kept = metadata.read(file)["record"]["config"]
    assert (kept["steps"], kept["size"], kept["seed"], kept["views"]["count"]) == (1, [64, 64], 7, 4)
    assert sha(file) == sha(draw(small(steps=1)).image)
    assert from_dict(yaml.safe_load(configs.to_yaml(config))) == small(steps=1)


def test_a_checked_config_is_another_object_and_the_caller_keeps_its_own() -> None:
    config = changed("size", (64, 64))
    assert checked(config).size == [64, 64] and config.size == (64, 64)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(FIELDS), PLAIN)
def test_anything_set_is_a_plain_config_or_one_line(key: str, value: Any) -> None:
    try:
        found = checked(changed(key, value))
    except UsageError as error:
        assert "\n" not in str(error) and not any(name in str(error) for name in FOREIGN)
        return
    assert from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize("given_config", ["a cat", None, {"prompts": ["a cat"]}, Config], ids=str)
def test_what_is_no_config_is_refused_in_one_line(given_config: Any) -> None:
    for work in (vqclip.generate, Models.load, configs.to_yaml):
        with pytest.raises(UsageError, match=r"the config is .*: give one that vqclip.make_config"):
            work(given_config)


def test_prompts_may_come_as_one_list() -> None:
    assert make_config(["a cat", "a dog"]).prompts == make_config("a cat", "a dog").prompts == ("a cat", "a dog")
    for wrong in ([1, 2], [["a cat"]], None, 3):
        with pytest.raises(UsageError, match="prompts "):
            make_config(wrong)


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_no_seed_is_drawn_anew_and_what_is_no_seed_refused() -> None:
    assert make_config("a cat", seed=None).seed == make_config("a cat").seed == -1
    assert make_config("a cat", seed="fox").seed == from_dict({"seed": "fox"}).seed == 3786988939
    for wrong in (True, 1.5, [1], {}):
        with pytest.raises(UsageError, match=r"^seed is "):
            make_config("a cat", seed=wrong)


def test_seeds_never_count_up_over_the_one_that_asks_for_a_new_one(cli: CommandLine) -> None:
    ran = cli.draw("a red cat", "--seed", "-2", "--count", "2")
    assert ran.code == 2 and "seed is -2 and count 2" in ran.complaints[0]
    assert not list(Path().iterdir())
    assert cli.draw("a red cat", "--seed", "-3", "--count", "2", "-o", "cat.png").code == 0
    for name in ("cat.png", "cat-1.png"):
        assert cli("--from", name, "-o", f"again-{name}").code == 0
        assert sha(f"again-{name}") == sha(name)


# --- models ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"models": {"vqgan": "imagenet_f16_16384"}}, "vqgan 'imagenet_f16_16384' and the models given have 'tiny'"),
        ({"models": {"clip": ["ViT-B-32/openai"]}}, "clip 'ViT-B-32/openai' and the models given have 'tiny'"),
        ({"models": {"clip": ["tiny", "tiny"]}}, "clip 'tiny, tiny' and the models given have 'tiny'"),
        ({"models": {"prior": "tiny"}}, "prior 'tiny' and the models given have 'none'"),
        ({"models": {"upsampler": "tiny"}}, "upsampler 'tiny' and the models given have 'none'"),
        ({"run": {"compile": "on"}}, "compile 'on' and the models given have 'off'"),
    ],
    ids=str,
)
def test_models_that_the_config_does_not_name_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"the config asks for {words}: load them"):
        draw(small(steps=0, **values))


def test_what_is_no_models_is_refused() -> None:
    with pytest.raises(UsageError, match="the models are of the type str"):
        vqclip.generate(small(), "tiny")


def test_models_serve_configs_that_use_less_of_them_or_more() -> None:
    values = {"steps": 0, "models": {"prior": "tiny", "upsampler": "tiny"}}
    wanted = [small(init={"kind": kind}, **values) for kind in ("random", "auto", "random")]
    loaded = Models.load(wanted[0])
    assert loaded.prior is None, "a run from random codes needs none"
    found = [vqclip.generate(config, loaded) for config in wanted]
    assert [result.config.init.kind for result in found] == ["random", "prior", "random"]
    assert sha(found[0].image) == sha(found[2].image)
    assert sha(found[1].image) == sha(vqclip.generate(wanted[1]).image)
    assert [result.pictures[0].record["config"]["models"]["prior"] for result in found] == ["", "tiny", ""]
    without = copy.deepcopy(wanted[1])
    without.models.prior = ""
    assert vqclip.generate(without, loaded).config.init.kind == "random"


def test_a_file_is_the_network_it_was_loaded_as_by_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(resources.path("checkpoints/tiny-vqgan.safetensors"), tmp_path / "my.safetensors")
    monkeypatch.chdir(tmp_path)
    config = small(steps=0, models={"vqgan": "my.safetensors"})
    loaded = Models.load(config)
    config.models.vqgan = tmp_path / "my.safetensors"
    assert vqclip.generate(config, loaded).pictures[0].record["config"]["models"]["vqgan"] == "my.safetensors"
