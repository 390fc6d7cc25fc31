"""Sketches: drawings as codes, layouts, colors, a user's own pictures, and runs that begin with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.command_line import CommandLine
from support.pictures import photo, sha
from support.runs import small

import vqclip
from vqclip import config as configs
from vqclip.errors import UsageError, WeightsError
from vqclip.generation.models import Models
from vqclip.generation.prepare import prepare
from vqclip.models.memory import Memory, MemoryArchitecture, remember, touched
from vqclip.sketch.asked import check_words
from vqclip.sketch.figures import Figures
from vqclip.sketch.layout import lay_out
from vqclip.sketch.memory import MemorySprites, filled
from vqclip.sketch.own import OwnSprites
from vqclip.types import MASKED, VQGANArchitecture
from vqclip.weights import files
from vqclip.weights.load import load_memory, locate
from vqclip.words import FRAMINGS, RELATIONS, SETTINGS, read
from vqclip.world.composition import AllSprites, Composition, Painter, Thing
from vqclip.world.drawings import drawings_of, load_drawings, weights
from vqclip.world.recoloring import hues, recolor

SUBJECTS = drawings_of()


def square(name: str) -> tuple[float, float]:
    del name
    return 1.0, 1.0


def layout(text: str, seed: int = 1, own: dict[str, tuple[str, ...]] | None = None) -> Composition:
    rng = np.random.default_rng(seed)
    reading = read(text, tuple(own or ()))
    return lay_out(reading, Figures(SUBJECTS, own or {}, square, rng), rng, seed)


def subject_of(thing: Thing) -> str:
    found = [drawing.subject for drawing in load_drawings() if drawing.id == thing.drawing]
    return found[0] if found else thing.drawing


def config_of(*prompts: str, **values: object) -> vqclip.Config:
    models = {"memory": "tiny"} | values.pop("models", {})
    return small(*(prompts or ("a cat in a forest",)), models=models, optimizer={"lr": None}, stages=[], **values)


@pytest.fixture(scope="module")
def networks() -> Models:
    return Models.load(config_of())


def test_held_out_drawings_are_in_no_memory() -> None:
    held = {drawing.id for drawing in load_drawings() if drawing.held}
    assert len(SUBJECTS) == 949
    assert not held & {drawing.id for own in SUBJECTS.values() for drawing in own}
    assert len({drawing.subject for drawing in load_drawings() if drawing.held == "subject"}) == 40
    named = drawings_of(held=("", "drawing"))
    assert all(len(own) < 5 or any(d.held for d in own) for own in named.values())


def test_no_source_of_drawings_dominates_a_subject() -> None:
    own = SUBJECTS["cat"]
    shares = dict.fromkeys((drawing.source for drawing in own), 0.0)
    for drawing, weight in zip(own, weights(own), strict=True):
        shares[drawing.source] += weight
    assert np.allclose(list(shares.values()), 1 / len(shares))


def test_what_is_remembered_comes_back() -> None:
    rng = np.random.default_rng(0)
    architecture = MemoryArchitecture(2048, 8, 3, 24, 64, "x")
    outlines = []
    for radius in (3.0, 15.0, 31.0):
        y, x = np.mgrid[:64, :64]
        outlines.append(np.clip(radius - np.hypot(x - 31.5, y - 31.5) + 0.5, 0, 1).astype(np.float32))
    grids = [rng.integers(2048, size=(24, 24)) for _ in outlines]
    memory = remember(architecture, torch.zeros(2048, 8), grids, outlines)
    for number, (grid, outline) in enumerate(zip(grids, outlines, strict=True)):
        assert np.abs(memory.outline(number) - outline).max() <= 0.5 / 15 + 1e-6
        found = memory.grid(number)
        kept = found != MASKED
        assert np.array_equal(found[kept], grid[kept])
        assert np.array_equal(kept, touched(memory.outline(number), 24))
    assert (memory.grid(0) != MASKED).sum() < 20 < (memory.grid(2) != MASKED).sum()


@pytest.mark.parametrize("damage", ["outlines", "packed", "bomb"])
def test_a_damaged_memory_is_told_of(damage: str) -> None:
    architecture = MemoryArchitecture(4, 2, 1, 8, 16, "x")
    memory = remember(architecture, torch.zeros(4, 2), [np.full((8, 8), 3)], [np.ones((16, 16))])
    if damage == "outlines":
        memory.outlines[:] = 7
    elif damage == "packed":
        memory.code_ends[0] = 1
    else:
        import zlib

        data = np.frombuffer(zlib.compress(bytes(10_000_000)), np.uint8)
        memory.outlines = torch.from_numpy(data.copy())
        memory.outline_ends[0] = len(data)
    with pytest.raises(WeightsError, match="damaged at drawing 0"):
        memory.outline(0) if damage == "outlines" else memory.grid(0)


def test_the_bundled_memory_shows_every_drawing_of_the_table() -> None:
    memory, _ = load_memory("tiny")
    assert isinstance(memory, Memory) and len(memory) == len({d.id for d in load_drawings() if not d.held})
    for number in range(0, len(memory), 97):
        grid = memory.grid(number)
        assert grid.shape == (24, 24) and (grid != MASKED).any() and grid.max() < 2048


def test_a_memory_of_another_table_is_refused(networks: Models) -> None:
    other = Memory(replace(networks.memory.architecture, table="another"))
    with pytest.raises(WeightsError, match="other drawings"):
        MemorySprites(other, lambda codes: codes)


def test_a_memory_of_fewer_drawings_than_its_table_names_is_refused(networks: Models) -> None:
    fewer = Memory(replace(networks.memory.architecture, drawings=1))
    with pytest.raises(WeightsError, match="other drawings"):
        MemorySprites(fewer, lambda codes: codes)


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"codes": 65536, "channels": 65536}, "4096 channels"),
        ({"codes": 2, "channels": 4097}, "4096 channels"),
        ({"codes": 65536, "channels": 1024}, "numbers in the codebook"),
    ],
)
def test_a_memory_that_would_fill_the_machine_is_refused(sizes: dict[str, int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        MemoryArchitecture(drawings=1, **sizes)
    MemoryArchitecture(16384, 256, 1)  # as large as taming's largest


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"packed": torch.tensor(1, dtype=torch.uint8)}, "packed"),
        ({"outlines": torch.ones(2, 2, dtype=torch.uint8)}, "outlines"),
        ({"code_ends": torch.tensor([-1, 8])}, "overlap"),
        ({"code_ends": torch.tensor([9, 8])}, "overlap"),
        ({"outline_ends": torch.tensor([1, 10**9])}, "overlap"),
    ],
)
def test_a_memory_file_with_other_tensors_is_refused(
    tmp_path: Path, change: dict[str, torch.Tensor], told: str
) -> None:
    architecture = MemoryArchitecture(4, 2, 2, 4, 16, "x")
    memory = remember(architecture, torch.zeros(4, 2), 2 * [np.full((4, 4), 3)], 2 * [np.ones((16, 16))])
    path = tmp_path / "m.safetensors"
    files.save(path, "memory", architecture.to_json(), memory.state_dict(), {})
    assert len(load_memory(str(path))[0]) == 2
    files.save(path, "memory", architecture.to_json(), memory.state_dict() | change, {})
    with pytest.raises(WeightsError, match=told):
        load_memory(str(path))


def test_codes_outside_an_outline_are_those_beside_it() -> None:
    grid = np.full((6, 6), MASKED)
    grid[2, 1], grid[3, 4] = 5, 9
    found = filled(grid)
    assert found[0, 0] == 5 and found[5, 5] == 9 and found[2, 1] == 5 and not (found == MASKED).any()
    assert not filled(np.full((3, 3), MASKED)).any()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("two cats", {"cat": 2}),
        ("three red apples", {"apple": 3}),
        ("a cat and a dog", {"cat": 1, "dog": 1}),
        ("five ducks by a lake", {"duck": 5}),
        ("two cats on a chair", {"cat": 2, "chair": 1}),
        ("a lighthouse", {"lighthouse": 1}),
    ],
)
def test_a_layout_shows_what_was_counted(text: str, wanted: dict[str, int]) -> None:
    for seed in range(5):
        found: dict[str, int] = {}
        for thing in layout(text, seed).things:
            found[subject_of(thing)] = found.get(subject_of(thing), 0) + 1
        assert found == wanted


def test_relations_place_things() -> None:
    for seed in range(6):
        cat, dog = sorted(layout("a cat left of a dog", seed).things, key=lambda thing: subject_of(thing))
        assert cat.x < dog.x
        cat, dog = sorted(layout("a cat right of a dog", seed).things, key=lambda thing: subject_of(thing))
        assert cat.x > dog.x
        bird, house = sorted(layout("a bird on a house", seed).things, key=lambda thing: subject_of(thing))
        assert bird.y < house.y and bird.scale < house.scale
        things = layout("a fox behind a tree", seed).things
        assert [subject_of(thing) for thing in things] == ["fox", "tree"]  # what is behind is painted first
        big, small_ = sorted(layout("a big dog and a small cat", seed).things, key=lambda thing: -thing.scale)
        assert (subject_of(big), subject_of(small_)) == ("dog", "cat")


def test_every_subject_setting_relation_and_framing_can_be_laid_out() -> None:
    rng = np.random.default_rng(0)
    for subject in SUBJECTS:
        reading = replace(read("a cat"), nouns=(replace(read("a cat").nouns[0], subject=subject),))
        things = lay_out(reading, Figures(SUBJECTS, {}, square, rng), rng, 1).things
        assert len(things) == 1 and 0.05 < things[0].scale < 1.2
    texts = [f"a cat {setting}" for setting in SETTINGS] + list(SETTINGS)
    texts += [f"two cats {relation} a chair" for relation in RELATIONS]
    texts += [f"a moon {relation} a house" for relation in RELATIONS] + [f"{framing} of a cat" for framing in FRAMINGS]
    for text in texts:
        for thing in layout(text).things:
            assert -0.3 < thing.x < 1.3 and -0.3 < thing.y < 1.4 and thing.scale > 0.02, text


def test_pictures_of_any_shape_show_all_of_their_things(networks: Models) -> None:
    for width, height in ((96, 64), (64, 96), (31, 128), (128, 16), (8, 8)):
        config = networks.resolve(config_of("two cats on a chair", size=[width, height]))
        sketcher = prepare(config, networks).sketcher
        low, high = (0.5 - side / max(width, height) / 2 for side in (width, height))
        for thing in sketcher.composition(3).things:
            assert low < thing.x < 1 - low and high < thing.y < 1 - high
        assert sketcher.picture(3).shape == (1, 3, height, width)


def test_layouts_depend_on_the_seed_only() -> None:
    assert layout("a red car", 3) == layout("a red car", 3)
    assert len({layout("a red car", seed).things[0].drawing for seed in range(8)}) > 2


def test_a_thing_takes_another_color_and_keeps_its_outline() -> None:
    y, x = np.mgrid[:32, :32]
    disc = np.zeros((32, 32, 4), np.uint8)
    disc[np.hypot(x - 16, y - 16) < 14] = (220, 120, 20, 255)
    disc[14:18, 14:18] = (0, 0, 0, 255)
    for color, hue in (((45, 90, 200), 223), ((50, 150, 60), 126), ((205, 40, 40), 0)):
        found = recolor(disc, color)
        assert np.array_equal(found[..., 3], disc[..., 3])
        assert abs((hues(found[5:6, 16:17, :3] / 255)[0, 0] - hue + 180) % 360 - 180) < 12
        assert found[16, 16, :3].max() < 30  # black lines stay black
    assert not recolor(np.zeros((8, 8, 4), np.uint8), (1, 2, 3)).any()


def test_painted_compositions_are_the_same_bytes_again_and_tell_boxes() -> None:
    composition = Composition((Thing("circle", x=0.3, scale=0.4, color="red"), Thing("square", x=2.0, scale=0.2)))
    painter = Painter(AllSprites())
    found = painter.paint(composition, 64)
    assert np.array_equal(found.picture, Painter(AllSprites()).paint(composition, 64).picture)
    box, outside = found.boxes()
    assert outside is None
    assert box == pytest.approx((0.1, 0.3, 0.5, 0.7), abs=0.03)
    with pytest.raises(KeyError):
        painter.paint(Composition((Thing("nothing of that name"),)), 64)


def test_own_things_are_never_mirrored(tmp_path: Path) -> None:
    own = OwnSprites({"my dog": [Image.open(photo(tmp_path / "p.png", (32, 32)))]})
    for seed in range(6):
        things = layout("my dog at the beach", seed, own.names).things
        assert [thing.drawing for thing in things] == ["own:my dog:0"] and not things[0].flip


def test_a_sketch_begins_a_run_and_the_seed_decides(networks: Models) -> None:
    results = [vqclip.generate(config_of(steps=2, seed=seed), networks) for seed in (7, 7, 8)]
    assert sha(results[0].image) == sha(results[1].image) != sha(results[2].image)
    config = results[0].config
    assert config.init.kind == "sketch" and config.stages == ["full:1"] and config.init.paint == 6
    assert "memory:tiny" in results[0].pictures[0].record["weights"]


def test_the_last_step_is_nearer_to_the_painted_sketch_than_the_first(networks: Models) -> None:
    config = networks.resolve(config_of("a cat in a forest, watercolor", steps=8, size=96))
    run = prepare(config, networks).run((7,))
    losses = []
    while not run.ended:
        run.step()
        losses.append(float(run.state.losses["painted"]))
    assert losses[-1] < 0.7 * losses[0]


def test_pictures_of_a_batch_have_sketches_of_their_own(networks: Models) -> None:
    together = vqclip.generate(config_of(steps=0, count=2, batch_size=2), networks)
    alone = [vqclip.generate(config_of(steps=0, seed=seed), networks) for seed in (7, 8)]
    pairs = zip(together.pictures, alone, strict=True)
    for one, other in pairs:
        assert np.abs(np.asarray(one.image, float) - np.asarray(other.image, float)).mean() < 0.5


def test_words_that_nobody_knows_are_refused_before_a_network_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = CommandLine(monkeypatch, capsys)
    monkeypatch.setattr(Models, "load", lambda config: pytest.fail("a network was loaded"))
    ran = line("qqqwx zzzkv", "--steps", "0")
    assert ran.code == 2 and "is known" in ran.err and "--anyway" in ran.err
    ran = line("elefantt", "--steps", "0", "--like", "my dog=d.png")
    assert ran.code == 2 and ran.complaints == [
        "vqclip: --like my dog: the prompt does not name it: write the name as the prompt has it"
    ]


NEITHER = "--anyway lets the prior guess"
NO_MEMORY = "needs a memory of drawings: give --set models.memory=tiny"


@pytest.mark.parametrize(
    ("prompts", "values", "told"),
    [
        ("qqqwx zzzkv", {}, f"no word of 'qqqwx zzzkv' is known: 'vqclip words' lists what can be drawn, or {NEITHER}"),
        (
            "cayt",
            {"init": {"kind": "sketch"}, "models": {"clip": ["other"]}},
            "no word of 'cayt' is known: did you",
        ),
        ("qqqwx", {"init": {"kind": "sketch"}}, "no word of 'qqqwx' is known: 'vqclip words' lists what can be drawn"),
        ("cat:-1", {"init": {"kind": "sketch"}}, "--init sketch draws words: give a prompt of positive weight"),
        ((), {"init": {"kind": "sketch"}, "image_prompts": ["x.png"]}, "--init sketch draws words: give a prompt of"),
        ("a cat", {"init": {"kind": "sketch"}, "models": {"memory": ""}}, f"--init sketch {NO_MEMORY}"),
        ("a cat", {"losses": {"painted": 1}}, "losses.painted is 1: set init.paint, which is its weight"),
        ("a cat", {"losses": {"painted": 1}, "init": {"kind": "random"}}, "losses.painted is 1: set init.paint, which"),
    ],
)
def test_a_run_that_has_nothing_to_sketch_is_refused_in_one_line(prompts: str, values: dict, told: str) -> None:
    with pytest.raises(UsageError) as error:
        check_words(config_of(*([prompts] if prompts else [()]), **values))
    assert str(error.value).startswith(told)
    assert "--anyway" not in str(error.value) or not values


@pytest.mark.parametrize("prompts", ["cat:-1", "qqqwx:-1", "a cat"])
def test_what_is_only_unwanted_need_not_be_known(prompts: str) -> None:
    check_words(config_of(prompts))


def test_settings_of_the_start_that_do_nothing_are_told_of(networks: Models, tmp_path: Path) -> None:
    def told(**init: object) -> list[str]:
        config = networks.resolve(config_of("a cat", init=init))
        return [notice.text for notice in prepare(config, networks).notices if "does nothing" in notice.text]

    assert told(kind="random", paint=3.0) == ["init.paint does nothing: a start of the kind random is not painted"]
    assert told(strength=0.5) == ["--strength does nothing: a start of the kind sketch is no picture of yours"]
    photo(tmp_path / "p.png")
    assert told(paint=3.0) == told(image=str(tmp_path / "p.png"), strength=0.5, paint=3.0) == told(kind="random") == []


def test_an_unknown_word_beside_known_ones_is_told_of(networks: Models) -> None:
    config = networks.resolve(config_of("a qqqwx cat"))
    assert any("'qqqwx' is unknown: left out" in notice.text for notice in prepare(config, networks).notices)


def test_anyway_draws_unknown_words_by_the_prior() -> None:
    config = config_of("qqqwx", init={"anyway": True}, models={"prior": "tiny"})
    models = Models.load(config)
    assert models.resolve(config).init.kind == "prior" and models.memory is None
    with pytest.raises(UsageError, match="is known"):
        prepare(models.resolve(config_of("qqqwx")), models)


def test_deterministic_pictures_of_a_batch_are_those_drawn_alone(networks: Models) -> None:
    def drawn(**values: object) -> list[str]:
        config = config_of("a cat in a forest, mosaic", run={"deterministic": True}, **values)
        return [sha(picture.image) for picture in vqclip.generate(config, networks).pictures]

    together = drawn(count=2, batch_size=2)
    assert together == [*drawn(seed=7), *drawn(seed=8)] and together[0] != together[1]


def test_a_memory_that_does_not_fit_leaves_the_start_to_the_prior(networks: Models, tmp_path: Path) -> None:
    memory, path = networks.memory, tmp_path / "other.safetensors"
    tensors = memory.state_dict() | {"codebook": torch.zeros_like(memory.codebook)}
    files.save(path, "memory", memory.architecture.to_json(), tensors, {})
    config = config_of("a cat", models={"memory": str(path), "clip": ["tiny"], "prior": "tiny"})
    models = Models.load(config)
    assert models.resolve(config).init.kind == "prior" and "another VQGAN" in models.declined["memory"]
    config.init.kind = "sketch"
    with pytest.raises(WeightsError, match="another VQGAN"):
        Models.load(config)


def test_a_vqgan_without_an_encoder_leaves_the_start_to_the_prior(tmp_path: Path) -> None:
    file, path = files.read(locate("vqgan", "tiny"), "vqgan"), tmp_path / "half.safetensors"
    architecture = replace(VQGANArchitecture.from_json(file.architecture), encoder=False)
    tensors = {k: v for k, v in file.tensors.items() if not k.startswith(("encoder.", "quant_conv."))}
    files.save(path, "vqgan", architecture.to_json(), tensors, {})
    config = config_of("a cat", size=192, models={"vqgan": str(path), "prior": "tiny"})
    models = Models.load(config)
    config.size = [models.prior.side * architecture.factor] * 2
    assert models.resolve(config).init.kind == "prior" and "encoder" in models.declined["memory"]


def test_an_init_image_is_held_to_the_style_that_is_named(tmp_path: Path, networks: Models) -> None:
    file = photo(tmp_path / "p.png")
    config = networks.resolve(config_of("a cat, mosaic", init={"image": str(file)}))
    assert config.init.kind == "image" and config.init.strength == 0
    painted = prepare(config, networks).painted((7,))
    assert painted is not None and painted.shape == (1, 3, 64, 64)
    plain = networks.resolve(config_of("a cat", init={"image": str(file)}))
    itself = prepare(plain, networks)
    assert torch.equal(itself.painted((7,)), itself.init_image.image) and plain.init.paint == config.init.paint / 4


def test_another_vqgan_goes_on_without_the_memory(networks: Models) -> None:
    models = replace(networks, memory=None, source=None)
    models._take_memory(configs.make_config("a cat"))
    assert models.memory is not None
    models = replace(networks, memory=None, source=None)
    models.vqgan = type("Other", (), {"codebook": torch.zeros(4, 2), "architecture": networks.vqgan.architecture})()
    models._take_memory(configs.make_config("a cat"))
    assert models.memory is None and "another VQGAN" in models.declined["memory"]
    with pytest.raises(WeightsError, match="another VQGAN"):
        models._take_memory(configs.make_config("a cat", init={"kind": "sketch"}))
