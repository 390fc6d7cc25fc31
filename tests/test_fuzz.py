"""Anything at all, given to what reads text and bytes: a result, or an error of one line; never anything else."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzz.parsers import PARSERS
from fuzz.samples import samples
from hypothesis import example, given
from hypothesis import strategies as st

from vqclip import config as configs
from vqclip import schedules
from vqclip.config import Config
from vqclip.config.schema import PROMPT_FIELDS
from vqclip.config.text import nest, parse_set, parse_size
from vqclip.errors import UsageError, VqclipError, WeightsError
from vqclip.generation import stages
from vqclip.registry import SCHEDULES
from vqclip.weights.model_yaml import read_model_yaml


def flattened(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys and values of nested data; a mapping without keys is a value."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{above}{name}.")
        else:
            yield above + name, value


KEYS = ["steps", "size", "seed", "prompts", "losses.tv", "optimizer.lr", "optimizer.betas", "views.augmentations.flip",
        "init.image", "stages", "models.clip", "output.fps", "run.device", "nothing", "views", "", "a.b.c"]  # fmt: skip
LEAVES = sorted(dict(flattened(Config().to_dict())) | {"losses.tv": 0, "views.augmentations.flip": 0})
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def one_line_or_fine(work: object, *arguments: object) -> object:
    """Return what `work` returns; an error of vqclip's own must be one line."""
    try:
        return work(*arguments)
    except VqclipError as error:
        assert "\n" not in str(error) and str(error)
        return None


@given(st.sampled_from(KEYS), st.text(max_size=30))
@example("size", "${oc.env:HOME}")
@example("losses.tv", "1e999")
def test_any_set_gives_a_config_or_an_error(key: str, value: str) -> None:
    found = one_line_or_fine(lambda: configs.build(None, (), [f"{key}={value}"], {}))
    assert found is None or isinstance(found, Config)


@given(st.text(max_size=40))
def test_any_text_is_a_setting_or_an_error(text: str) -> None:
    one_line_or_fine(parse_set, text, Config)
    one_line_or_fine(parse_size, text)


@example({"size": [[], []]})
@given(st.dictionaries(st.sampled_from([key.split(".")[0] for key in KEYS]) | st.text(max_size=9), PLAIN, max_size=4))
def test_any_data_of_a_config_file_is_a_config_or_an_error(values: dict) -> None:
    found = one_line_or_fine(configs.from_dict, values)
    # what was taken is written and read back as it is
    assert found is None or configs.from_dict(yaml.safe_load(configs.to_yaml(found))) == found


@given(st.sampled_from(LEAVES), PLAIN)
def test_any_value_of_any_setting_is_a_config_or_an_error(key: str, value: Any) -> None:
    found = one_line_or_fine(configs.from_dict, nest([(key, value)]))
    assert found is None or configs.from_dict(yaml.safe_load(configs.to_yaml(found))) == found


# sections of registered things, which bring their own options
OPEN = ("canvas.options", "interventions", "losses")


@pytest.mark.parametrize("key", LEAVES)
def test_nothing_nested_is_taken_for_a_single_value(key: str) -> None:
    """What no setting can be: lists in lists, mappings in lists, mappings in mappings of mappings."""
    for value in ([[], []], [{}, {}], [[1], [2]], [None, None], {"flip": {"a": 1}}, {"tv": []}, {"a": {}}):
        if key.startswith(OPEN):  # what is in there is typed by what it is for, when that is built
            one_line_or_fine(configs.from_dict, nest([(key, value)]))
            continue
        with pytest.raises(UsageError) as refused:
            configs.from_dict(nest([(key, value)]))
        assert "\n" not in str(refused.value) and key.split(".")[0] in str(refused.value)
    if key not in PROMPT_FIELDS:
        for number in (math.nan, math.inf, 10**400, 16**9999):
            taken = one_line_or_fine(configs.from_dict, nest([(key, number)]))
            assert taken is None or isinstance(dict(flattened(taken.to_dict()))[key], (str, bool))


@given(st.dictionaries(st.sampled_from(["model", "target", "params", "x"]), PLAIN, max_size=3))
def test_any_data_of_a_model_yaml_is_refused_or_has_a_known_target(
    tmp_path_factory: pytest.TempPathFactory, values: dict
) -> None:
    file = tmp_path_factory.getbasetemp() / "model.yaml"
    file.write_text(yaml.safe_dump(values), "utf-8", errors="surrogatepass")
    try:
        assert read_model_yaml(file, {"taming.models.vqgan.VQModel"})["target"] == "taming.models.vqgan.VQModel"
    except WeightsError as error:
        assert "\n" not in str(error)


@pytest.mark.nightly
@pytest.mark.parametrize("name", PARSERS)
@given(data=st.binary(max_size=200) | st.tuples(st.sampled_from([b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"\x80\x04", b"{",
       bytes([8, 0, 0, 0, 0, 0, 0, 0])]), st.binary(max_size=120)).map(b"".join))  # fmt: skip
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: bytes
) -> None:
    PARSERS[name](data, Path(tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    return {name: samples(name, tmp_path_factory.mktemp(name)) for name in PARSERS}


@pytest.mark.nightly
@pytest.mark.parametrize("name", PARSERS)
@given(st.data())
def test_files_with_some_bytes_changed_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, good: dict[str, list[bytes]], name: str, data: st.DataObject
) -> None:
    changed = bytearray(data.draw(st.sampled_from(good[name])))
    for _ in range(data.draw(st.integers(0, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(changed)) | st.just(len(changed)))
    PARSERS[name](bytes(changed[:end]), Path(tmp_path_factory.getbasetemp()))


@given(st.sampled_from(list(SCHEDULES)), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**5))
def test_a_schedule_stays_between_nothing_and_the_whole(name: str, index: int, total: int, warmup: int) -> None:
    assert 0 < schedules.factor(name, index, total, warmup) <= 1


@given(
    st.lists(st.tuples(st.integers(1, 2000), st.floats(0.01, 9)), max_size=3),
    st.floats(0.01, 9),
    st.integers(0, 2000),
    st.tuples(st.integers(1, 2048), st.integers(1, 2048)),
    st.sampled_from([4, 8, 16]),
    st.integers(0, 50),
)
def test_stages_share_all_steps_in_their_order(coarse, full, steps, size, factor, extra) -> None:
    texts = [*(f"{side}:{share:.4f}" for side, share in coarse), f"full:{full:.4f}"]
    plan = stages.plan(texts, steps, size, factor, extra)
    assert plan[0].start == 0 and plan[-1].stop == steps + extra
    assert all(a.stop == b.start for a, b in itertools.pairwise(plan))
    assert (plan[-1].height, plan[-1].width) == (-(-size[1] // factor), -(-size[0] // factor))
    done = [stages.work(plan, step) for step in range(0, steps + extra + 1, max(steps // 7, 1))]
    assert done == sorted(done) and all(0 <= share <= 1 for share in done)
