"""Captioned compositions: readings and their wordings, what holds for which picture, and the CLIP that learns them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vqclip.cli.main import run
from vqclip.errors import VqclipError
from vqclip.models.clip import CLIP
from vqclip.sketch.sampling import meaning, sample_reading, say
from vqclip.training import captioned, guide, rendering
from vqclip.training.captioned import CaptionedSet
from vqclip.training.clip import SIDE
from vqclip.training.compositions import HELD_OUT
from vqclip.training.contrast import UNSAID
from vqclip.training.guide import GuideTask, borrow
from vqclip.training.negatives import Chains
from vqclip.training.runner import TrainOptions, train
from vqclip.training.sayings import Sayer, facts, foil, shortened, shown
from vqclip.weights import files
from vqclip.weights.load import load_clip, locate
from vqclip.words import read
from vqclip.words.reading import Reading
from vqclip.world.atlas import Atlas
from vqclip.world.drawings import Drawing, drawings_of, load_drawings

NAMES = ("cat", "dog", "owl", "chair", "apple", "box", "hat", "ship", "tree", "fork")
# two drawings of each subject, one of them held out
TABLE = tuple(
    Drawing(name, f"noto:{name} {k}", "flat emoji", "MIT", "drawing" if k else "", name)
    for name in NAMES
    for k in (0, 1)
)


def readings(count: int, seed: int = 0, subjects: tuple[str, ...] = tuple(drawings_of())) -> list[Reading]:
    rng = np.random.default_rng(seed)
    return [sample_reading(rng, subjects) for _ in range(count)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an atlas of made-up drawings, rendered from without processes of their own."""

    def made(where: Path) -> Atlas:
        atlas = Atlas(where / f"atlas-{captioned.SIDE}", captioned.SIDE)
        if not atlas.holds(TABLE):
            with atlas.writing(TABLE, [drawing.id for drawing in TABLE]) as pixels:
                for row in range(len(TABLE)):
                    pixels[row, 10:-10, 10 + 3 * row : -10 - 3 * row] = (25 * (row // 2), 200 - 9 * row, 9 * row, 255)
        return atlas

    monkeypatch.setattr(captioned, "gather", made)
    monkeypatch.setattr(captioned, "load_drawings", lambda: TABLE)
    monkeypatch.setattr(captioned, "drawings_of", lambda held: drawings_of(TABLE, held))
    monkeypatch.setattr(rendering.multiprocessing, "get_context", lambda kind: InOrder)
    for cached in (captioned._drawings, captioned._atlas, captioned._painter, captioned._extents):
        cached.cache_clear()
    yield tmp_path
    captioned._drawings.cache_clear()


# --- readings and wordings


def test_a_wording_is_read_as_what_it_words() -> None:
    rng = np.random.default_rng(1)
    own = readings(2000)
    assert [r.caption() for r in own if meaning(read(r.caption())) != meaning(r)] == []
    wrong = [text for r in own if meaning(read(text := say(r, rng))) != meaning(r)]
    assert len(wrong) <= 0.03 * len(own), wrong[:20]


def test_one_reading_is_worded_in_many_ways_and_another_word_still_means_it() -> None:
    reading = read("two big red dogs next to a sofa on the beach, watercolor")
    texts = [say(reading, np.random.default_rng(seed), nearer=0.5) for seed in range(60)]
    assert len(set(texts)) > 50 and say(reading, np.random.default_rng(3), nearer=0.5) == texts[3]
    assert all([n.subject for n in read(text).nouns] == [n.subject for n in reading.nouns] for text in texts)
    assert any(read(text).replaced for text in texts)  # some words are drawn as their nearest neighbour
    assert not any(read(say(reading, np.random.default_rng(seed))).replaced for seed in range(60))


def test_readings_are_of_all_subjects_and_kinds() -> None:
    found = readings(6000, seed=2)
    places = {"beach", "city", "desert", "sunset", "sunrise", "rain"}
    assert {n.subject for r in found for n in r.nouns if n.kind == "subject"} >= set(drawings_of()) - places
    styled = sum(r.style is not None for r in found) / len(found)
    assert 0.57 < styled < 0.63 and len({r.style for r in found}) == 16
    assert len({r.setting for r in found}) == 21 and {n.count for r in found for n in r.nouns} == {1, 2, 3, 4, 5}
    assert {x.kind for r in found for x in r.relations} >= {
        "on",
        "under",
        "left of",
        "right of",
        "in",
        "with",
        "behind",
    }
    assert {r.framing for r in found} == {None, "portrait", "close-up", "field", "pattern", "landscape", "logo"}
    held_out = set(drawings_of(held=("subject",)))
    assert not held_out & {n.subject for r in found for n in r.nouns}


# --- what holds


def test_a_shortened_caption_holds_and_a_foil_is_wrong_in_one_thing() -> None:
    rng = np.random.default_rng(0)
    changed = set()
    for number, true in enumerate(readings(800, seed=4)):
        said = shortened(true, rng)
        assert facts(said) <= shown(true)
        other = foil(said, true, rng, NAMES, detail=number % 4 == 0)
        assert not facts(other) <= shown(true), (said.caption(), other.caption())
        keys = [key for key, value in vars(said).items() if key != "text" and getattr(other, key) != value]
        assert len(keys) == 1, (said, other)
        if keys == ["nouns"]:
            (before, after), *more = [pair for pair in zip(said.nouns, other.nouns, strict=True) if pair[0] != pair[1]]
            assert not more
            keys = [key for key in ("subject", "count", "color") if getattr(before, key) != getattr(after, key)][:1]
        if number % 4 == 0:
            assert keys[0] in ("style", "setting", "background")
        changed.update(keys)
    assert changed >= {"subject", "count", "color", "relations", "setting", "background", "style", "weather"}


@pytest.mark.parametrize(
    ("caption", "picture", "holds"),
    [
        ("a cat", "a red cat in the snow, watercolor", True),
        ("two cats", "a cat", False),
        ("a blue cat", "a red cat", False),
        ("a dog right of a cat", "a cat left of a dog", True),
        ("a dog left of a cat", "a cat left of a dog", False),
        ("a dog next to a cat", "a cat next to a dog", True),
        ("a dog next to a cat", "a cat and a dog", True),
        ("a cat, watercolor", "a cat, oil painting", False),
        ("a cat on the beach", "a cat in a garden", False),
        ("a dog behind a cat", "a cat in front of a dog", True),
    ],
)
def test_a_caption_holds_where_all_that_it_says_is_shown(caption: str, picture: str, holds: bool) -> None:
    assert (facts(read(caption)) <= shown(read(picture))) is holds


def test_a_batch_says_what_is_true_and_details_leave_open_what_they_show() -> None:
    subjects = tuple(drawings_of())
    sayer = Sayer(readings(400), subjects)
    chosen, detail = list(range(24)), [k >= 16 for k in range(24)]
    texts, wrong, labels = sayer.batch(chosen, detail, np.random.default_rng(0))
    assert len(texts) == 48 and wrong.shape == (24, 24) and labels.shape == (24, 13)
    assert not wrong.diagonal().any() and wrong.float().mean() > 0.8
    assert wrong[:16, 16:].all() and all(text.startswith("a detail of ") for text in (*texts[16:24], *texts[40:]))
    first = sayer.readings[0]
    assert subjects[labels[0, 0]] == first.nouns[0].subject
    assert (labels[16:, :7] == UNSAID).all() and (labels[16:, 7] != UNSAID).all()
    again = sayer.batch(chosen, detail, np.random.default_rng(0))
    assert again[0] == texts and sayer.batch(chosen, detail, np.random.default_rng(1))[0] != texts


# --- pictures


def test_pictures_depend_on_seed_and_number_alone_and_show_held_in_drawings(folder: Path) -> None:
    few, more = CaptionedSet(folder, 3, 3, 32).render(), CaptionedSet(folder / "b", 3, 5, 32).render()
    assert np.array_equal(few.images, more.images[:3]) and few.readings == more.readings[:3]
    drawn = {thing.drawing for k in range(60) for thing in few.captioned(k).composition.things}
    assert {name for name in drawn if name.startswith("noto:")} <= {d.id for d in TABLE if not d.held}
    held = CaptionedSet(folder, 3, 3, 32, HELD_OUT)
    drawn = {thing.drawing for k in range(60) for thing in held.captioned(k).composition.things}
    assert {name for name in drawn if name.startswith("noto:")} <= {d.id for d in TABLE if d.held}


def test_rendering_goes_on_where_it_stopped_and_adds_to_a_smaller_set(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "_CHUNK", 2)
    monkeypatch.setattr(rendering, "_NOTED", 1)
    painted: list[int] = []
    paint = CaptionedSet.paint

    def counted(self: CaptionedSet, index: int) -> np.ndarray:
        if len(painted) == 5:
            raise KeyboardInterrupt
        painted.append(index)
        return paint(self, index)

    monkeypatch.setattr(CaptionedSet, "paint", counted)
    monkeypatch.setattr(rendering.multiprocessing, "get_context", lambda kind: InOrder)
    with pytest.raises(KeyboardInterrupt):
        CaptionedSet(folder, 0, 8, 16).render()
    painted.clear()
    whole = CaptionedSet(folder, 0, 8, 16).render()
    assert painted == [4, 5, 6, 7]
    before = np.array(whole.images)
    painted.clear()
    longer = CaptionedSet(folder, 0, 12, 16).render()
    assert painted == [8, 9, 10, 11] and np.array_equal(longer.images[:8], before)
    painted.clear()
    with pytest.raises(KeyboardInterrupt):  # another series is another one
        CaptionedSet(folder, 0, 12, 16, styled=0.0).render()
    assert painted[0] == 0


def test_damaged_records_and_files_cut_short_are_rendered_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "_CHUNK", 2)
    monkeypatch.setattr(rendering.multiprocessing, "get_context", lambda kind: InOrder)
    data = CaptionedSet(folder, 0, 4, 16)
    before = np.array(data.render().images)
    file = data.file
    record, part = file.with_suffix(".json"), file.with_suffix(".part.json")
    for damaged in ("[1]", "null", '"x"', '{"wanted": [], "done": 2}', '{"shape": 4}', "[" * 100_000):
        file.write_bytes(bytes(before.size))
        record.write_text(damaged)
        part.write_text(damaged)
        assert np.array_equal(CaptionedSet(folder, 0, 4, 16).render().images, before)
    file.write_bytes(file.read_bytes()[: before[0].size * 3])
    assert np.array_equal(CaptionedSet(folder, 0, 4, 16).render().images, before)


class InOrder:
    """A pool of no processes."""

    def __init__(self, processes: int) -> None:
        self.processes = processes

    Pool = classmethod(lambda cls, processes: cls(processes))

    def __enter__(self) -> InOrder:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    imap = staticmethod(map)


def test_every_thing_has_the_box_where_it_is_painted(folder: Path) -> None:
    pictures = CaptionedSet(folder, 7, 40, 64)
    captioned.gather(folder / "drawings")
    seen = 0
    for index in range(40):
        one = pictures.captioned(index)
        for thing, (owner, box) in zip(one.composition.things, pictures.boxes(index), strict=True):
            if thing.drawing.startswith("noto:"):
                assert thing.drawing.startswith(f"noto:{one.reading.nouns[owner].subject} ")
            if box is not None and abs(thing.angle) < 3 and 0.25 < thing.x < 0.75 and thing.scale < 0.6:
                assert abs((box[0] + box[2]) / 2 - thing.x) < 0.08
                seen += 1
    assert seen > 5


# --- training


@pytest.fixture
def quick(folder: Path, monkeypatch: pytest.MonkeyPatch) -> TrainOptions:
    monkeypatch.setattr(GuideTask, "chained", 0.0)
    monkeypatch.setattr("vqclip.training.clip.Chains", lambda count, taken, side: Chains(4, taken=2, side=side))
    monkeypatch.setattr("vqclip.training.clip._CALIBRATION", 2)
    monkeypatch.setattr(guide, "_VALIDATE_EVERY", 2)
    monkeypatch.setattr(guide, "_VALIDATED", 8)
    monkeypatch.setattr(guide, "_ATTACKED", 4)
    return TrainOptions(folder=folder, steps=3, batch=8, scenes=24, compile=False, restart=True, world=2, workers=1)


def test_the_guide_resumes_as_if_trained_at_one_go_and_loads(quick: TrainOptions, capsys) -> None:
    output = quick.folder / "a.safetensors"
    info = train(GuideTask(quick), replace(quick, output=output))
    assert "step 2: subject" in capsys.readouterr().err
    assert info["world"] == 2 and all(np.isfinite(value) for value in info["scores"].values())
    interrupted = GuideTask(quick)
    step = interrupted.step

    def stop(index: int, progress: float, batch: guide.Batch) -> dict[str, float]:
        if index == 2:
            raise KeyboardInterrupt
        return step(index, progress, batch)

    interrupted.step = stop
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, quick)
    assert json.loads((quick.folder / "clip" / "plan.json").read_text())["index"] == 2
    goes_on = replace(quick, restart=False, output=quick.folder / "b.safetensors")
    train(GuideTask(goes_on), goes_on)
    one, other = (files.read(path, "clip").tensors for path in (output, goes_on.output))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    clip, _ = load_clip(str(output))
    assert {"watercolor", "poodle", "astronaut", "beach"} <= clip.words and clip.image_size == SIDE


def test_a_state_of_another_world_or_architecture_is_named_and_left_as_it_is(
    quick: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = GuideTask(quick)
    train(task, quick)
    state = (quick.folder / "clip" / "state.pt").read_bytes()
    goes_on = replace(quick, restart=False, steps=5)
    with pytest.raises(VqclipError, match="it is of world 2, this training of world 1; give --restart"):
        train(task, replace(goes_on, world=1))
    wider = guide.architecture()
    model = dict(wider.model) | {"embed_dim": 64}
    monkeypatch.setattr(guide, "architecture", lambda: replace(wider, model=model))
    with pytest.raises(VqclipError, match=r"it is of another architecture: \S+ is of \(.*\), here of \(.*\)"):
        train(GuideTask(goes_on), goes_on)
    assert (quick.folder / "clip" / "state.pt").read_bytes() == state


def test_the_guide_begins_with_what_the_first_worlds_clip_has() -> None:
    clip = CLIP(guide.architecture())
    first = files.read(locate("clip", "tiny"), "clip").tensors
    assert borrow(clip, "tiny") == len(first)
    own = clip.network.state_dict()
    assert torch.equal(own["visual.trunk.layer4.1.conv2.weight"], first["visual.trunk.layer4.1.conv2.weight"].float())
    # a word of the first vocabulary has its old token, and the end mark is the last one in both
    old, new = load_clip("tiny")[0].tokenizer, clip.tokenizer
    (cat,) = new.encode("cat")
    assert old.encode("cat") == [cat]
    rows = own["token_embedding.weight"], first["token_embedding.weight"].float()
    assert torch.equal(rows[0][cat], rows[1][cat]) and torch.equal(rows[0][-1], rows[1][-1])


def test_every_word_that_is_understood_is_known_and_takes_few_tokens() -> None:
    words, clip = guide.known_words(), CLIP(guide.architecture())
    subjects = {word for name in drawings_of() for word in name.replace("-", " ").replace(".", "").split()}
    assert {word for word in subjects if word.isascii() and word.isalpha()} <= set(words)
    tokens = [clip.count_tokens(word) - 2 for word in sorted(subjects)]
    assert np.mean(tokens) < 2 and max(tokens) <= 8
    assert max(clip.count_tokens(r.caption()) for r in readings(500)) <= 64


def test_what_learns_from_the_first_world_only_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "judge", "--world", "2", "--folder", str(tmp_path)]) == 2
    assert "a judge learns from the first world only; of the second are clip, vqgan" in capsys.readouterr().err
    assert run(["train", "clip", "--plan"]) == 2
    assert "'vqclip train all --plan'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_plan_names_stages_and_hours_and_trains_nothing(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vqclip.training.plan._GUIDE_BATCH", 4)
    monkeypatch.setattr("vqclip.training.plan._DECODER_BATCH", 1)
    monkeypatch.setattr("vqclip.training.plan._PAINTED", 2)
    assert run(["train", "all", "--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    commands = ["train drawings", "train memory", "train clip --world 2", "train vqgan --world 2"]
    assert [command for command, line in zip(commands, lines[1:], strict=False) if command in line] == commands
    assert float(lines[3].split(" h ")[0]) > 0 and "measured here" in lines[0] and not list(tmp_path.iterdir())


def test_the_table_still_has_what_the_sampler_counts_on() -> None:
    assert len({d.subject for d in load_drawings() if not d.held}) == 949
