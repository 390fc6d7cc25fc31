"""The picture world: everything in world.yaml is there, pictures are deterministic, captions keep to their words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vqclip.errors import UsageError, VqclipError
from vqclip.world import (
    STYLES,
    Renderer,
    Scene,
    SceneShares,
    caption,
    caption_words,
    captions,
    find_font,
    load_world,
    replace,
    sample_scene,
)
from vqclip.world.backgrounds import SETTINGS
from vqclip.world.font import load_glyphs
from vqclip.world.shapes import SHAPES
from vqclip.world.sheet import sheet
from vqclip.world.styles import StyleContext

WORLD = load_world()


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    try:
        font = find_font()
    except UsageError as error:
        pytest.skip(f"no colour emoji font: {error}")
    return Renderer(font)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def test_world_is_complete() -> None:
    assert len(WORLD.subjects) == 186
    assert set(WORLD.shapes) == set(SHAPES)
    assert set(WORLD.settings) == set(SETTINGS)
    assert set(WORLD.styles) == set(STYLES) and len(STYLES) == 13
    assert len(WORLD.colors) == 12
    assert WORLD.subjects["cat"].synonyms == ("kitty", "kitten")
    assert not WORLD.subjects["clock"].mirrorable


def test_world_is_frozen() -> None:
    with pytest.raises(AttributeError):
        WORLD.shapes = ()
    with pytest.raises(TypeError):
        WORLD.colors["mauve"] = (1, 2, 3)


def test_no_name_means_two_subjects() -> None:
    names = [name for subject in WORLD.subjects.values() for name in subject.names]
    assert len(names) == len(set(names))


def test_unreadable_world_is_reported(tmp_path: Path) -> None:
    broken = tmp_path / "world.yaml"
    broken.write_text("subjects: {cat: []}", encoding="utf-8")
    with pytest.raises(VqclipError, match="world description"):
        load_world(broken)


def test_sampling_follows_the_shares() -> None:
    rng = np.random.default_rng(0)
    scenes = [sample_scene(WORLD, rng) for _ in range(4000)]
    share = {
        "shape": np.mean([scene.shape is not None for scene in scenes]),
        "style": np.mean([scene.style is not None for scene in scenes]),
        "setting": np.mean([scene.setting is not None for scene in scenes]),
    }
    assert share["shape"] == pytest.approx(0.2, abs=0.03)
    assert share["style"] == pytest.approx(0.6, abs=0.03)
    assert share["setting"] == pytest.approx(0.45, abs=0.03)
    for scene in scenes:
        assert (scene.subject is None) != (scene.shape is None)
        assert scene.setting is None or scene.background is None
        assert scene.shape is None or scene.color != scene.background
        assert scene.subject is None or WORLD.subjects[scene.subject].mirrorable or not scene.flip


def test_sampling_is_deterministic_and_can_be_narrowed() -> None:
    assert sample_scene(WORLD, np.random.default_rng(3)) == sample_scene(WORLD, np.random.default_rng(3))
    scene = sample_scene(
        WORLD, np.random.default_rng(3), SceneShares(styled=1.0, shapes=0.0), subjects=["fox"], styles=["neon"]
    )
    assert (scene.subject, scene.style) == ("fox", "neon")


def test_a_framed_scene_is_the_same_one_large_and_in_the_middle() -> None:
    for seed in range(300):
        plain, framed = (sample_scene(WORLD, np.random.default_rng(seed), framed=framed) for framed in (False, True))
        assert framed.scale >= max(plain.scale, 0.66)
        assert abs(framed.x - 0.5) <= 0.06 and abs(framed.y - 0.51) <= 0.06 and abs(framed.angle) <= 22.5
        assert not framed.flip
        places = {"x": 0, "y": 0, "scale": 0, "angle": 0, "flip": False}
        assert replace(plain, **places) == replace(framed, **places)


def test_captions_hold_only_known_words() -> None:
    rng = np.random.default_rng(1)
    words = set(WORLD.words)
    assert list(WORLD.words) == sorted(words)
    for _ in range(4000):
        scene = sample_scene(WORLD, rng)
        for text in (caption(scene, WORLD, rng), captions(scene, WORLD)):
            assert set(caption_words(text)) <= words, text
            assert "{" not in text and "None" not in text


def test_canonical_captions() -> None:
    cat = Scene(subject="cat", setting="in the snow", style="Van Gogh")
    assert captions(cat, WORLD) == "a cat in the snow in Van Gogh style"
    shape = Scene(shape="circle", color="orange", background="blue")
    assert captions(shape, WORLD) == "an orange circle on a blue background"
    assert captions(Scene(subject="unicorn"), WORLD) == "a unicorn"
    assert captions(Scene(subject="grapes"), WORLD) == "grapes"
    assert captions(Scene(shape="polka dots", color="red"), WORLD) == "red polka dots"
    assert captions(Scene(subject="sun"), WORLD) == "the sun"


def test_captions_vary() -> None:
    rng = np.random.default_rng(2)
    scene = Scene(subject="rabbit", style="watercolor")
    texts = {caption(scene, WORLD, rng) for _ in range(200)}
    assert len(texts) > 15
    assert any("bunny" in text.lower() for text in texts) and any("rabbit" in text.lower() for text in texts)


@pytest.mark.parametrize("size", [32, 64])
def test_every_subject_is_painted(renderer: Renderer, size: int) -> None:
    for name in WORLD.subjects:
        on_black = renderer.render(Scene(subject=name, background="black", seed=1), size)
        on_pink = renderer.render(Scene(subject=name, background="pink", seed=1), size)
        assert on_black.shape == (size, size, 3) and on_black.dtype == np.uint8
        covered = (np.abs(on_black.astype(int) - on_pink.astype(int)).sum(-1) < 40).mean()
        assert covered > 0.03, name


def test_every_shape_shows_its_color(renderer: Renderer) -> None:
    for name in WORLD.shapes:
        picture = renderer.render(Scene(shape=name, color="red", background="blue", scale=0.9), 64).astype(int)
        red = (picture[..., 0] - picture[..., 2] > 60).mean()
        assert 0.06 < red < 0.85, name


def test_every_setting_differs_and_varies(renderer: Renderer) -> None:
    pictures = [renderer.render(Scene(subject="cat", setting=name, scale=0.4), 64) for name in WORLD.settings]
    for i, one in enumerate(pictures):
        for other in pictures[i + 1 :]:
            assert difference(one, other) > 12
    for name, picture in zip(WORLD.settings, pictures, strict=True):
        assert difference(picture, renderer.render(Scene(subject="cat", setting=name, scale=0.4, seed=9), 64)) > 2


def test_same_scene_same_bytes(renderer: Renderer) -> None:
    rng = np.random.default_rng(5)
    scenes = [sample_scene(WORLD, rng) for _ in range(40)]
    before = [renderer.render(scene, 48) for scene in scenes]
    np.random.seed(0)
    fresh = Renderer(renderer.font)
    for scene, picture in zip(reversed(scenes), reversed(before), strict=True):
        assert np.array_equal(fresh.render(scene, 48), picture)


def test_sizes_show_the_same_scene(renderer: Renderer) -> None:
    for style in (None, *WORLD.styles):
        scene = Scene(subject="fox", setting="by the sea", style=style, seed=4)
        small = renderer.render(scene, 64).reshape(16, 4, 16, 4, 3).mean((1, 3))
        large = renderer.render(scene, 256).reshape(16, 16, 16, 16, 3).mean((1, 3))
        assert difference(small, large) < 22, style


def test_pairs_differ_in_one_attribute(renderer: Renderer) -> None:
    scene = Scene(subject="dog", setting="in a forest", scale=0.4, seed=7)
    dog, fox = renderer.render(scene, 64), renderer.render(replace(scene, subject="fox"), 64)
    # the corners show the ground only, and the ground must not depend on the subject
    for rows, columns in ((slice(0, 12), slice(0, 12)), (slice(52, 64), slice(52, 64))):
        assert np.array_equal(dog[rows, columns], fox[rows, columns])
    assert difference(dog, fox) > 1
    moved = renderer.render(replace(scene, setting="in the snow"), 64)
    assert difference(dog[26:38, 28:36], moved[26:38, 28:36]) < difference(dog[:12, :12], moved[:12, :12])


def test_every_style_changes_the_picture_and_no_two_are_alike(renderer: Renderer) -> None:
    scene = Scene(subject="parrot", setting="in the mountains", seed=2)
    pictures = {style: renderer.render(replace(scene, style=style), 64) for style in (None, *WORLD.styles)}
    names = list(pictures)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert difference(pictures[one], pictures[other]) > 6, (one, other)


@pytest.mark.parametrize("name", sorted(STYLES))
@pytest.mark.parametrize("size", [16, 50, 96])
def test_styles_work_on_any_picture(name: str, size: int) -> None:
    picture = np.random.default_rng(0).random((size, size, 3), dtype=np.float32)
    for given in (picture, np.zeros_like(picture), np.ones_like(picture)):
        before = given.copy()
        painted = STYLES[name](given, StyleContext(size, np.random.default_rng(1)))
        assert painted.shape == given.shape and np.isfinite(painted).all()
        assert np.array_equal(before, given)


def test_sheet_has_every_scene(renderer: Renderer) -> None:
    page = sheet([[Scene(subject="cat")] * 3, [Scene(subject="dog")]], renderer, 32, [["a", "b", "c"], ["d"]])
    assert page.width > 96 and page.height > 64


def test_unknown_names_are_refused(renderer: Renderer) -> None:
    for bad in (
        Scene(subject="griffin"),
        Scene(subject="cat", style="rococo"),
        Scene(),
        Scene(subject="cat", shape="circle", color="red"),
        Scene(shape="circle"),
    ):
        with pytest.raises(UsageError):
            renderer.render(bad, 64)
    with pytest.raises(UsageError, match="16"):
        renderer.render(Scene(subject="cat"), 8)


def test_missing_font_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VQCLIP_FONT", raising=False)
    with pytest.raises(UsageError, match=r"fonts-noto-color-emoji.*--font"):
        find_font(folders=[tmp_path, tmp_path / "absent"])
    with pytest.raises(UsageError, match="--font"):
        find_font(tmp_path / "no.ttf")
    monkeypatch.setenv("VQCLIP_FONT", str(tmp_path / "no.ttf"))
    with pytest.raises(UsageError, match="VQCLIP_FONT"):
        find_font()


def test_font_is_found_in_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VQCLIP_FONT", raising=False)
    font = tmp_path / "deep" / "NotoColorEmoji.ttf"
    font.parent.mkdir()
    font.write_bytes(b"not a font")
    assert find_font(folders=[tmp_path]) == font
    with pytest.raises(UsageError, match="no usable colour emoji font"):
        load_glyphs(font, {"cat": "🐈"})


def test_missing_glyphs_are_named(renderer: Renderer) -> None:
    with pytest.raises(UsageError, match="griffin"):
        load_glyphs(renderer.font, {"cat": "🐈", "griffin": "\U0010fffc"})
