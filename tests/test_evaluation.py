"""Evaluation: prompts read back, the judge, the measures, and `vqclip evaluate` from drawing to report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.command_line import CommandLine

from vqclip import world as worlds
from vqclip.errors import UsageError, VqclipError, WeightsError
from vqclip.evaluation import judging, listing, metrics
from vqclip.evaluation.judging import Share
from vqclip.evaluation.pictures import Picture
from vqclip.models.judge import FEATURES, Judge, JudgeArchitecture, features
from vqclip.weights.load import load_judge
from vqclip.world import SceneShares, caption, load_world, mentioned, rivals, sample_scene

WORLD = load_world()
KEYS = ("subject", "shape", "color", "setting", "background", "style")
QUICK = ("--set", "steps=1", "--set", "size=[64,64]", "--set", "views.count=2", "--set", "best.views=2",
         "--set", "stages=['full:1']", "--set", "models.prior=")  # fmt: skip

try:
    HAS_FONT = bool(worlds.find_font())
except UsageError:
    HAS_FONT = False

pytestmark = pytest.mark.usefixtures("one_thread")


def texture(side: int, seed: int) -> np.ndarray:
    """Soft blotches, uint8 (side, side, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


# --- what prompts say ------------------------------------------------------------------------------------------------


def test_every_caption_is_read_back_as_what_it_describes() -> None:
    for index in range(600):
        rng = np.random.default_rng([17, index])
        scene = sample_scene(WORLD, rng)
        wanted = {key: value for key in KEYS if (value := getattr(scene, key))}
        text = caption(scene, WORLD, rng)
        assert mentioned(text, WORLD) == wanted, text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a kitty", {"subject": "cat"}),
        ("A CAT FACE", {"subject": "cat face"}),
        ("an orange circle", {"shape": "circle", "color": "orange"}),
        ("an orange on an orange background", {"subject": "orange", "background": "orange"}),
        ("concatenation of catalogues", {}),
        ("", {}),
        ("a cat by Vincent van Gogh", {"subject": "cat", "style": "Van Gogh"}),
    ],
)
def test_words_are_read_as_a_person_would(text: str, found: dict[str, str]) -> None:
    assert mentioned(text, WORLD) == found


def test_rivals_differ_from_the_prompt_in_exactly_one_thing() -> None:
    text = "a cat in the snow in Van Gogh style"
    found = rivals(text, WORLD)
    wanted = mentioned(text, WORLD)
    assert len(found) == len(set(found)) == 185 + 9 + 12 + 1
    for other in found:
        named = mentioned(other, WORLD)
        assert sum(named.get(key) != wanted.get(key) for key in KEYS) == 1, other


def test_a_prompt_from_outside_the_world_has_no_rivals() -> None:
    assert rivals("a quasar in Van Gogh style", WORLD) == []


# --- lists -----------------------------------------------------------------------------------------------------------


def test_the_bundled_list_covers_the_world_in_200_different_prompts() -> None:
    prompts = listing.read_list()
    assert len(prompts) == len(set(prompts)) == 200
    labels = [mentioned(prompt, WORLD) for prompt in prompts]
    for key, names in (("subject", WORLD.subjects), ("shape", WORLD.shapes), ("style", WORLD.styles),
                       ("setting", WORLD.settings), ("background", WORLD.colors), ("color", WORLD.colors)):  # fmt: skip
        assert {label[key] for label in labels if key in label} == set(names), key


def test_a_subset_is_spread_over_the_styles() -> None:
    prompts = listing.read_list()
    chosen = listing.subset(prompts, 40)
    assert len(set(chosen)) == 40
    styles = [mentioned(prompts[i], WORLD).get("style") for i in chosen]
    assert styles.count(None) == 20
    assert len(set(styles)) == 14
    with pytest.raises(UsageError, match="give 1 to 200"):
        listing.subset(prompts, 201)


@pytest.mark.parametrize(
    ("text", "words"),
    [("a cat\n\na dog\n", "line 2 is empty"), ("# a\na cat:1:abc\n", "line 2"), ("# nothing\n", "holds no prompt"),
     ("a cat:1e999\n", "line 1")],
)  # fmt: skip
def test_a_broken_list_is_refused_with_its_line(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text(text)
    with pytest.raises(UsageError, match=words):
        listing.read_list(file)


# --- the judge -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not HAS_FONT, reason="the Noto Color Emoji font is not installed")
def test_the_bundled_judge_names_what_renders_show() -> None:
    judge, _ = load_judge("tiny")
    renderer = worlds.Renderer()
    scenes = [
        sample_scene(WORLD, np.random.default_rng([5005, i]), SceneShares(styled=0.0, shapes=0.0, settings=0.3))
        for i in range(60)
    ]
    big = [worlds.replace(scene, scale=0.8, angle=0.0) for scene in scenes]
    verdict = judging.look(judge, [Image.fromarray(renderer.render(scene, 256)) for scene in big])
    names = [judging.named(judge, verdict, row, "subject") for row in range(len(big))]
    assert np.mean([name == scene.subject for name, scene in zip(names, big, strict=True)]) >= 0.9


def test_the_features_of_a_picture_do_not_depend_on_its_company() -> None:
    pictures = [Image.fromarray(texture(128, seed)) for seed in (1, 2)]
    judge, _ = load_judge("tiny")
    together = judging.look(judge, pictures)
    alone = judging.look(judge, pictures[1:])
    for key, found in together.log_probabilities.items():
        torch.testing.assert_close(found[1:], alone.log_probabilities[key])
        torch.testing.assert_close(found.exp().sum(1), torch.ones(2))


@pytest.mark.parametrize("wrong", [np.zeros((64, 64, 3), np.uint8), np.zeros((128, 128, 3))])
def test_features_refuse_other_pictures(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="the judge sees"):
        features(wrong)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"names": 3, "hidden": [4, 4]}', '{"names": {}, "hidden": [4, 4]}',
                                  '{"names": {"a": ["x", "y"]}, "hidden": [4]}',
                                  '{"names": {"a": ["x", "y"]}, "hidden": [1e9, 4]}'])  # fmt: skip
def test_a_damaged_judge_architecture_is_refused(text: str) -> None:
    with pytest.raises(WeightsError, match="damaged judge"):
        JudgeArchitecture.from_json(text)


def small_judge() -> Judge:
    return Judge(
        JudgeArchitecture({"subject": ("none", "cat", "dog", "bee"), "style": ("none", "neon", "oil")}, (8, 4))
    )


def verdict_of(judge: Judge, subject: list[list[float]], style: list[list[float]]) -> judging.Verdict:
    found = {"subject": torch.tensor(subject), "style": torch.tensor(style)}
    return judging.Verdict({k: v.log_softmax(1) for k, v in found.items()}, torch.eye(len(subject), 4))


def test_ranks_count_names_and_leave_none_out() -> None:
    judge = small_judge()
    verdict = verdict_of(judge, [[9.0, 1, 2, 3], [0.0, 5, 1, 2]], [[0.0, 1, 2], [9.0, 2, 1]])
    labels = [{"subject": "cat", "style": "oil"}, {"subject": "cat", "setting": "at sea"}]
    assert judging.ranks(judge, verdict, labels) == [{"subject": 3, "style": 1}, {"subject": 1}]
    shares = judging.shares(judging.ranks(judge, verdict, labels), labels)
    assert shares["subject"] == Share(1, 2)
    assert shares["subject, top 5"] == Share(2, 2)
    assert shares["subject, oil"] == Share(0, 1)
    assert shares["subject, unstyled"] == Share(1, 1)


def test_likelihood_is_highest_for_what_is_shown_and_nothing_else() -> None:
    judge = small_judge()
    verdict = verdict_of(judge, [[0.0, 5, 0, 0]], [[5.0, 0, 0]])
    table = judging.likelihood(judge, verdict, [{"subject": "cat"}, {"subject": "cat", "style": "neon"}, {}])
    assert table.shape == (1, 3)
    assert table[0].argmax() == 0


# --- measures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "count", "low", "high"), [(8, 10, 0.490, 0.943), (0, 20, 0.0, 0.161), (40, 40, 0.912, 1.0)]
)
def test_intervals_are_wilsons(right: int, count: int, low: float, high: float) -> None:
    found = Share(right, count).interval
    assert found == pytest.approx((low, high), abs=6e-4)


def test_r_precision_counts_pictures_that_fit_their_own_prompt_best() -> None:
    prompts = ["a", "b", "c", "a"]
    scores = torch.eye(4) + torch.tensor([[0.0, 0, 0, 9], [0, 0, 5, 0], [0, 0, 0, 0], [9, 0, 0, 0]])
    assert judging.r_precision(scores, prompts) == Share(3, 4)


def test_diversity_compares_seeds_of_one_prompt() -> None:
    pictures = [Picture(Path("x.png"), prompt, seed) for prompt, seed in (("a", 0), ("a", 1), ("b", 0))]
    embeddings = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    assert judging.diversity(embeddings, pictures) == {"same prompt": 0.0, "other prompt": 1.0}
    assert judging.diversity(embeddings[1:], pictures[1:]) is None


def test_kid_and_fid_are_small_for_like_sets_and_large_for_others(tmp_path: Path) -> None:
    judge, _ = load_judge("tiny")
    order = torch.randperm(len(judge.reference), generator=torch.Generator().manual_seed(0))
    like = judge.reference[order[:300]]
    other = like + 2 * judge.reference.std()
    found = {}
    for name, embeddings in (("like", like), ("other", other)):
        verdict = judging.Verdict({"subject": torch.zeros(300, 187).log_softmax(1)}, embeddings)
        found[name] = metrics.compute(["kid", "fid"], [], judge, verdict, "judge", None)
    assert abs(found["like"]["kid"]) < 0.1 * found["other"]["kid"]
    assert found["like"]["fid"] < 0.5 * found["other"]["fid"]


def test_psnr_and_ssim_compare_pictures_of_one_name(tmp_path: Path) -> None:
    judge, _ = load_judge("tiny")
    other = tmp_path / "other"
    other.mkdir()
    picture = texture(64, 3)
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(np.clip(picture.astype(int) + 16, 0, 255).astype(np.uint8)).save(other / "a.png")
    found = metrics.compute(["psnr", "ssim"], [tmp_path / "a.png"], judge, None, "judge", other)
    error = (np.clip(picture.astype(int) + 16, 0, 255) - picture.astype(int)).astype(float)
    assert found["psnr"] == pytest.approx(10 * np.log10(255**2 / np.mean(error**2)), abs=0.01)
    assert 0.5 < found["ssim"] < 1
    Image.fromarray(texture(32, 3)).save(other / "a.png")
    with pytest.raises(UsageError, match="differ in size"):
        metrics.compute(["psnr"], [tmp_path / "a.png"], judge, None, "judge", other)


def test_metrics_are_refused_before_anything_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="unknown metric 'kidd'"):
        metrics.check(["kidd"], "judge", None)
    with pytest.raises(UsageError, match="--reference FOLDER"):
        metrics.check(["psnr"], "judge", None)
    monkeypatch.setattr(metrics, "available", lambda: False)
    with pytest.raises(VqclipError, match=r"pip install 'vqclip\[eval\]'"):
        metrics.check(["kid"], "judge", None)


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path) -> Path:
    file = tmp_path / "list.txt"
    file.write_text("a cat\n# rest\na red circle on a blue background\na dog in Van Gogh style:1\n")
    return file


def test_a_list_is_drawn_judged_and_gone_on_with(cli: CommandLine, three: Path) -> None:
    ran = cli("evaluate", "--list", str(three), "--seeds", "0,1", "--folder", "out", *QUICK)
    assert ran.code == 0, ran.err
    assert "| subject, top 5 |" in ran.out
    names = [f"00{k}-{seed}.png" for k in (1, 2, 3) for seed in (0, 1)]
    assert sorted(file.name for file in Path("out").glob("*-*.png")) == names
    report = json.loads(Path("out/report.json").read_text())
    assert report["pictures"] == 6
    assert report["judged"]["subject"]["count"] == 4
    assert report["judged"]["background"]["count"] == 2
    assert {"kid", "seconds a picture", "distance, same prompt", "CLIPScore"} <= set(report["numbers"])
    assert [row["prompt"] for row in report["each"][:2]] == ["a cat", "a red circle on a blue background"]
    for name in ("sheet.jpg", "plots.png"):
        assert Image.open(f"out/{name}").size > (200, 60)
    before = {name: Path("out", name).stat().st_mtime_ns for name in names}
    Path("out/002-1.png").unlink()
    assert cli("evaluate", "--list", str(three), "--seeds", "0,1", "--folder", "out", *QUICK).code == 0
    after = {name: Path("out", name).stat().st_mtime_ns for name in names}
    assert [name for name in names if before[name] != after[name]] == ["002-1.png"]


def test_a_folder_of_other_pictures_is_not_added_to(cli: CommandLine, three: Path) -> None:
    arguments = ["evaluate", "--list", str(three), "--folder", "out", "--metric", "is", "--clip", "none", *QUICK]
    assert cli(*arguments).code == 0
    ran = cli(*arguments, "--set", "optimizer.lr=0.3")
    assert ran.code == 2
    assert "drawn with other optimizer.lr: give another --folder" in ran.err
    three.write_text("a bee\n")
    ran = cli(*arguments)
    assert ran.code == 2
    assert "from another prompt" in ran.err


def test_pictures_that_are_there_are_judged_by_their_own_prompts(cli: CommandLine) -> None:
    Path("mine").mkdir()
    for number, prompt in enumerate(("a cat | a dog:-0.3", "a bee in neon")):
        assert cli("generate", prompt, "-o", f"mine/{number}.png", *QUICK, "--seed", "1").code == 0
    Image.fromarray(texture(64, 1)).save("mine/other.png")
    Path("mine/broken.png").write_bytes(b"\x89PNG broken")
    ran = cli("evaluate", "--pictures", "mine", "--folder", "out", "--metric", "fid")
    assert ran.code == 0, ran.err
    assert "2 pictures without a prompt" in ran.err
    each = json.loads(Path("out/report.json").read_text())["each"]
    assert [(row["file"], row["prompt"]) for row in each] == [
        ("0.png", "a cat | a dog:-0.3"),
        ("1.png", "a bee in neon"),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pictures", "nowhere"], "there is no folder"),
        (["--pictures", "."], "holds no picture"),
        (["--pictures", "plain"], "none of the 1 pictures"),
        (["--pictures", "strange"], "nothing else"),
        (["--list", "nowhere.txt"], "cannot read the prompt list"),
        (["--subset", "0"], "give 1 to 200"),
        (["--seeds", "1,1"], "give different seeds"),
        (["--seeds", ""], "give different seeds"),
        (["--metric", "lpips"], "unknown metric"),
        (["--metric", "ssim"], "--reference"),
        (["--pictures", "good", "--judge", "tinny"], "did you mean 'tiny'"),
        (["--pictures", "good", "--features", "inception"], "--reference"),
        (["--pictures", "good", "--reference", "nowhere"], "there is no folder"),
        (["--pictures", "good", "--metric", "psnr", "--reference", "plain"], "does not exist"),
        (["--pictures", "good", "--metric", "kid", "--reference", "two"], "two are needed"),
        (["--pictures", "good", "--metric", "kid", "--features", "tiny"], "--reference"),
        (["--pictures", "good", "--metric", "is", "--features", "tiny"], "names things"),
        (["--seeds", "-1"], "give different seeds"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_one_line(cli: CommandLine, arguments: list[str], words: str) -> None:
    for folder in ("plain", "strange", "good"):
        Path(folder).mkdir()
    Image.fromarray(texture(64, 1)).save("plain/a.png")
    Path("two").mkdir()
    for name in ("a", "b"):
        Image.fromarray(texture(64, 1)).save(f"two/{name}.png")
    draw = ("--set", "models.prior=", "--set", "steps=0", "--size", "64", "--seed", "1")
    assert cli("generate", "quasar", "--anyway", "-o", "strange/a.png", *draw).code == 0
    assert cli("generate", "a cat", "-o", "good/b.png", *draw).code == 0
    ran = cli("evaluate", "--folder", "out", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.complaints[-1]
    assert not list(Path().glob("out/*.png"))


def test_one_picture_with_a_prompt_beyond_the_context_is_judged(cli: CommandLine) -> None:
    prompt = "a cat, " + ", ".join(["in the snow at night with many flowers around it"] * 6)
    assert (
        cli(
            "generate",
            prompt,
            "-o",
            "one/a.png",
            "--set",
            "steps=0",
            "--size",
            "64",
            "--seed",
            "1",
            "--set",
            "models.prior=",
        ).code
        == 0
    )
    ran = cli("evaluate", "--pictures", "one", "--folder", "out")
    assert ran.code == 0, ran.err
    report = json.loads(Path("out/report.json").read_text())
    assert report["judged"]["subject"]["count"] == 1
    assert not {"kid", "R-precision"} & {*report["numbers"], *report["judged"]}


def test_a_picture_of_ones_own_is_never_overwritten(cli: CommandLine, three: Path) -> None:
    Path("out").mkdir()
    Image.fromarray(texture(64, 1)).save("out/002-0.png")
    before = Path("out/002-0.png").read_bytes()
    ran = cli("evaluate", "--list", str(three), "--folder", "out", *QUICK)
    assert ran.code == 2
    assert "another prompt" in ran.err
    assert Path("out/002-0.png").read_bytes() == before


def test_the_features_are_as_many_as_the_judge_takes() -> None:
    assert features(texture(128, 2)).shape == (FEATURES,)
