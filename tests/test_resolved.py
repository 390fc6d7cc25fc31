"""What is drawn is a config of its own: settled, fixed, and out of reach of whoever asked for it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import threading
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.pictures import photo, sha
from support.runs import draw, models, small, snapshots

import vqclip
from vqclip import config as configs
from vqclip.config import Config, Resolved, from_dict
from vqclip.config.fields import get, leaves, put
from vqclip.errors import UsageError
from vqclip.generation.models import Models
from vqclip.session.api import Result
from vqclip.session.outputs import check_outputs

pytestmark = pytest.mark.usefixtures("one_thread")
LEAVES = leaves(Resolved)


def open_config(**values: Any) -> Config:
    """Return a small config that leaves everything to rules that can be left."""
    config = small(**values)
    config.stages, config.latent.noise, config.optimizer.lr, config.views.count = [], None, None, None
    config.run.device = config.run.precision = "auto"
    config.seed = -1
    return config


@pytest.mark.parametrize("kind", ["random", "image", "prior"])
def test_a_resolved_config_leaves_nothing_open(kind: str, tmp_path: Path) -> None:
    image = str(photo(tmp_path / "in.png")) if kind == "image" else None
    config = open_config(init={"image": image}, models={"prior": "tiny" if kind == "prior" else ""})
    loaded = Models.load(config) if kind == "prior" else models()
    resolved = loaded.resolve(config)
    for leaf in LEAVES:
        value, wanted = get(resolved, leaf.key), typing.get_args(leaf.kind)
        assert value is not None or type(None) in wanted, leaf.key
        assert value != "auto" and (typing.get_origin(leaf.kind) is not typing.Literal or value in wanted)
    assert resolved.init.kind == kind and resolved.seed != -1 and resolved.stages and resolved.views.chunk >= 1
    assert config == open_config(init={"image": image}, models={"prior": config.models.prior})


def test_what_no_rule_decided_is_never_called_resolved() -> None:
    settled = models().resolve(small())
    for key in ("seed", "stages", "init.kind", "init.strength", "init.paint", "prior.guidance", "prior.top_k",
                "prior.top_p", "latent.noise", "views.count", "views.chunk", "optimizer.lr", "run.device",
                "run.precision", "run.compile"):  # fmt: skip
        config = settled.config()
        put(config, key, 0 if key == "views.chunk" else get(Config(stages=[]), key))
        with pytest.raises(ValueError, match=f"^{key} is "):
            Resolved.of(config)
    assert Resolved.of(settled.config()) == settled


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.key)
def test_no_field_can_be_set_or_deleted(leaf: Any) -> None:
    resolved = models().resolve(small(losses={"tv": 0.1}))
    group_key, _, name = leaf.key.rpartition(".")
    group = get(resolved, group_key) if group_key else resolved
    before = resolved.to_dict()
    for change in (lambda: setattr(group, name, get(resolved, leaf.key)), lambda: delattr(group, name)):
        with pytest.raises(dataclasses.FrozenInstanceError, match=r"change a copy, config = resolved.config\(\)"):
            change()
    assert resolved.to_dict() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda c: setattr(c, "views", c.views),
        lambda c: setattr(c, "new", 1),
        lambda c: setattr(c.views, "new", 1),
        lambda c: c.size.append(3),
        lambda c: c.size.__setitem__(0, 3),
        lambda c: c.stages.clear(),
        lambda c: c.models.clip.extend(["other"]),
        lambda c: c.optimizer.betas.sort(),
        lambda c: c.losses.update(tv=3),
        lambda c: c.losses.pop("tv"),
        lambda c: c.views.augmentations.__setitem__("flip", 1),
        lambda c: c.views.augmentations.setdefault("flip", 1),
    ],
)  # fmt: skip
def test_neither_groups_nor_lists_nor_mappings_can_be_changed(change: Callable[[Resolved], Any]) -> None:
    resolved = models().resolve(small(losses={"tv": 0.1}))
    before = resolved.to_dict()
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError), match="a resolved config is fixed"):
        change(resolved)
    assert resolved.to_dict() == before


def test_it_has_the_form_of_a_config_and_becomes_one() -> None:
    resolved = models().resolve(small(losses={"tv": 0.1}))
    config = resolved.config()
    assert type(config) is Config and type(config.views) is configs.schema.ViewsConfig
    assert from_dict(resolved.to_dict()) == config == from_dict(yaml.safe_load(configs.to_yaml(resolved)))
    assert [leaf.key for leaf in LEAVES] == [leaf.key for leaf in leaves(Config)]
    assert all(type(get(config, leaf.key)) in (list, dict) for leaf in LEAVES if isinstance(leaf.default, (list, dict)))
    config.size[0], config.views.count, config.losses["tv"] = 32, 2, 0.5
    assert (resolved.size, resolved.views.count, resolved.losses) == ([64, 64], 4, {"tv": 0.1})


def test_it_is_copied_pickled_and_replaced_as_it_is() -> None:
    resolved = models().resolve(small(losses={"tv": 0.1}))
    for other in (copy.deepcopy(resolved), copy.copy(resolved), pickle.loads(pickle.dumps(resolved))):
        assert other == resolved and other.to_dict() == resolved.to_dict()
        with pytest.raises(dataclasses.FrozenInstanceError):
            other.views.count = 3
    changed = dataclasses.replace(resolved, seed=8)
    assert isinstance(changed, Resolved) and (changed.seed, resolved.seed) == (8, 7)


def test_the_config_of_a_result_draws_the_same_again_wherever_a_config_is_taken(tmp_path: Path) -> None:
    config = small(steps=2, seed=-1)
    result = draw(config)
    assert type(result.config) is Resolved is vqclip.Resolved and config.seed == -1
    assert sha(vqclip.generate(result.config, models()).image) == sha(result.image)
    assert sha(vqclip.generate(result.config).image) == sha(result.image)
    last = snapshots(result.config)[-1]
    assert last.seeds == (result.seed,)
    check_outputs(result.config)
    changed = result.config.config()
    changed.seed += 1
    assert sha(draw(changed).image) != sha(result.image)


def test_a_picture_says_nothing_of_a_prior_that_it_did_not_have() -> None:
    record = draw(small(steps=0)).pictures[0].record
    assert {record["config"]["prior"][name] for name in ("guidance", "top_k", "top_p")} == {None}


# --- a run keeps what it was begun with ------------------------------------------------------------------------------


def spoil(config: Config) -> None:
    """Change everything that could change a picture."""
    config.steps, config.prompts, config.seed = 1, ("a blue dog",), 99
    config.size[:] = [32, 32]
    config.stages[:] = ["16:0.9", "full:0.1"]
    config.losses["tv"] = 100.0
    config.views.augmentations["flip"] = 1.0
    config.views.count, config.views.overview[0] = 1, 0.9
    config.optimizer.lr, config.optimizer.betas[0] = 3.0, 0.1
    config.latent.ema, config.best.every = 0.5, 1
    config.init.kind = "nothing of the kind"


def test_a_config_that_is_changed_while_a_run_goes_on_has_no_effect_on_it() -> None:
    wanted = snapshots(small(steps=4, losses={"tv": 0.1}))
    config = small(steps=4, losses={"tv": 0.1})
    stream, seen = vqclip.generate_stream(config, models()), []
    for snapshot in stream:
        seen.append(snapshot)
        if snapshot.step == 1:
            spoil(config)
    assert [snapshot.step for snapshot in seen] == [0, 1, 2, 3, 4]
    assert all(torch.equal(a.image, b.image) for a, b in zip(seen, wanted, strict=True))
    assert torch.equal(seen[-1].best, wanted[-1].best)
    with pytest.raises(UsageError, match=r"unknown init.kind"):
        draw(config)


def test_threads_that_share_a_config_draw_what_each_draws_alone() -> None:
    config = small(steps=3, losses={"tv": 0.1})
    wanted, found = sha(draw(config).image), dict[int, Result]()
    threads = [threading.Thread(target=lambda k=k: found.update({k: draw(config)})) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sha(found[k].image) for k in range(2)] == [wanted, wanted]
    assert found[0].config == found[1].config and config == small(steps=3, losses={"tv": 0.1})
