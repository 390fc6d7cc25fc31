"""The second world's painter: settings, seasons, weather, times of day, styles; the first ten stay as they were."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import PIL
import pytest

from vqclip.errors import UsageError, VqclipError
from vqclip.world import load_world
from vqclip.world.atmosphere import SEASONS, TIMES, WEATHERS, before, behind, scenery
from vqclip.world.backgrounds import (
    ALL_SETTINGS,
    SETTINGS,
    floats,
    ground,
    indoors,
    landscape,
    open_air,
    paint,
    standing,
)
from vqclip.world.fields import luma
from vqclip.world.heavens import guess_sky
from vqclip.world.renderer import Renderer
from vqclip.world.second import load_second
from vqclip.world.second_sheet import AIRS, scene_picture, second_sheet
from vqclip.world.sheet import main
from vqclip.world.styles import ALL_STYLES, MORE_STYLES, STYLES, StyleContext

NEW = [name for name in ALL_SETTINGS if name not in SETTINGS]
# what the first world's painter drew before it became a package: a sum of twelve pictures each, and the mean colour
# of one, with the libraries of `DRAWN_WITH`
FIRST = {
    "in a meadow": ("0440c4167e44f8db", (103.0, 165.7, 123.0)),
    "in the desert": ("61c505184603cedf", (192.0, 177.9, 138.9)),
    "in the snow": ("2520f06a9be87624", (195.3, 209.1, 223.2)),
    "by the sea": ("44a6473bf313b632", (133.3, 178.2, 199.6)),
    "under water": ("d8276f701c2c6bff", (69.2, 151.9, 194.2)),
    "in the night sky": ("0650220c9b0def4f", (37.3, 40.1, 84.0)),
    "in a forest": ("69e86e6756418007", (65.5, 83.1, 51.7)),
    "in the mountains": ("43f5c70c24b43fdb", (111.2, 135.1, 153.2)),
    "in the city": ("2eb84cc84eee2c37", (126.3, 138.3, 148.8)),
    "at sunset": ("cc8697a54b53c0ef", (165.3, 87.8, 83.3)),
}
DRAWN_WITH = ("13.", "2.")
# settings of the open air by day: what a season or a time of day does to them can be seen in their mean colours
DAYS = [name for name in ALL_SETTINGS if open_air(name) and name not in ("in the night sky", "at night", "at sunset")]
Air = dict[str, str]
EVERY: list[Air] = [
    *({"season": name} for name in SEASONS),
    *({"weather": name} for name in WEATHERS),
    *({"time": name} for name in TIMES),
]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean()) * 255


def thumbnail(picture: np.ndarray, side: int) -> np.ndarray:
    edge = picture.shape[0] // side
    return picture.reshape(side, edge, side, edge, -1).mean((1, 3))


def saturation(picture: np.ndarray) -> float:
    return float((picture.max(-1) - picture.min(-1)).mean())


def outdoors(name: str, seed: int = 1, size: int = 64, **air: str) -> np.ndarray:
    return scenery(name, size, rng(seed), **air)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_first_ten_settings_are_painted_as_before(name: str) -> None:
    total = hashlib.sha256()
    for size in (16, 64, 97):
        for seed in range(4):
            total.update(np.round(landscape(name, size, rng(seed)) * 255).astype(np.uint8).tobytes())
    expected, mean = FIRST[name]
    if total.hexdigest()[:16] != expected:
        same_stack = PIL.__version__.startswith(DRAWN_WITH[0]) and np.__version__.startswith(DRAWN_WITH[1])
        assert not same_stack, "the picture changed"
        assert np.allclose(landscape(name, 64, rng(0)).mean((0, 1)) * 255, mean, atol=2.0)


def test_the_first_world_keeps_its_list() -> None:
    assert tuple(SETTINGS) == load_world().settings == tuple(FIRST)
    assert tuple(ALL_SETTINGS)[:10] == tuple(SETTINGS) and len(ALL_SETTINGS) == 20
    assert tuple(ALL_STYLES)[:13] == tuple(STYLES) == tuple(load_world().styles) and len(ALL_STYLES) == 15


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("size", [16, 33, 64, 512])
def test_a_setting_is_the_same_with_its_seed_and_another_with_another(name: str, size: int) -> None:
    one = landscape(name, size, rng(3))
    assert one.shape == (size, size, 3) and one.dtype == np.float32
    assert one.min() >= 0.0 and one.max() <= 1.0
    assert np.array_equal(one, landscape(name, size, rng(3)))
    assert distance(one, landscape(name, size, rng(4))) > 4


@pytest.mark.parametrize("name", NEW)
def test_sizes_show_the_same_setting(name: str) -> None:
    small, large = landscape(name, 64, rng(2)), landscape(name, 256, rng(2))
    assert distance(thumbnail(small, 16), thumbnail(large, 16)) < 6


def test_settings_are_told_from_each_other_by_their_coarse_colors() -> None:
    """A picture's nearest neighbour among other seeds, at 8 x 8 colours, is of the same setting."""
    pictures = {
        name: np.stack([thumbnail(landscape(name, 32, rng(seed)), 8).ravel() for seed in range(8)])
        for name in ALL_SETTINGS
    }
    right = []
    for name, own in pictures.items():
        for seed in range(8):
            away = {
                other: np.linalg.norm(np.delete(rest, seed, axis=0) - own[seed], axis=1).min()
                for other, rest in pictures.items()
            }
            right.append(min(away, key=away.__getitem__) == name)
    assert np.mean(right) >= 0.95


def test_where_things_stand() -> None:
    assert standing("on the beach") == (0.72, 0.93)
    assert standing(None) == (0.7, 0.92)
    for name in ALL_SETTINGS:
        far, near = standing(name)
        assert 0.5 < far < near < 1.0
    assert {name for name in ALL_SETTINGS if floats(name)} == {"under water", "in the night sky", "in space"}
    assert {name for name in ALL_SETTINGS if indoors(name)} == {"in a room", "in a kitchen"}
    assert not floats(None) and not indoors(None) and open_air(None)
    assert not open_air("in a room") and not open_air("under water") and open_air("in a garden")


@pytest.mark.parametrize("name", [name for name in ALL_SETTINGS if not floats(name)])
def test_feet_stand_on_the_ground_and_not_in_the_sky(name: str) -> None:
    for seed in range(6):
        sky = paint(name, 64, rng(seed)).sky
        far, near = standing(name)
        assert sky[int(far * 64) : int(near * 64)].mean() < 0.05


@pytest.mark.parametrize("name", ALL_SETTINGS)
def test_the_painter_knows_where_the_sky_is(name: str) -> None:
    place = paint(name, 64, rng(5))
    assert np.array_equal(place.picture, landscape(name, 64, rng(5)))
    assert place.sky.shape == (64, 64) and place.sky.dtype == np.float32
    assert place.sky.min() >= 0.0 and place.sky.max() <= 1.0
    share = float(place.sky.mean())
    if name in ("under water", "in space"):
        assert share == 0.0
    elif indoors(name):
        assert 0.02 < share < 0.15
    elif name == "in the night sky":
        assert share == 1.0
    else:
        assert 0.02 < share < 0.8 and place.sky[32:].mean() < place.sky[:32].mean()


def test_a_sky_is_guessed_where_nobody_tells() -> None:
    for name in ("in a meadow", "by the sea", "on the beach", "in a garden", "on a farm", "by a lake", "in the street"):
        place = paint(name, 64, rng(7))
        assert np.abs(guess_sky(place.picture) - place.sky).mean() < 0.1, name
    plain = guess_sky(ground((45, 90, 200), 64, rng(1)))
    assert plain[:32].min() > 0.9 and plain[50:].max() < 0.1


@pytest.mark.parametrize("size", [16, 33, 64, 512])
@pytest.mark.parametrize("air", EVERY, ids=lambda air: next(iter(air.values())))
def test_every_air_gives_a_picture_in_range_and_leaves_what_it_was_given(air: Air, size: int) -> None:
    coverage = np.zeros((size, size), dtype=np.float32)
    coverage[size // 3 : -size // 4, size // 3 : -size // 3] = 1.0
    names = ("in a garden",) if size == 512 else (*ALL_SETTINGS, None)
    for name in names:
        place = paint(name, size, rng(1)) if name else None
        picture = place.picture if place else ground((45, 90, 200), size, rng(1))
        given, mask = picture.copy(), coverage.copy()
        for sky in {id(place): place.sky if place else None, 0: None}.values():
            back = behind(picture, rng(2), **air, setting=name, sky=sky)
            front = before(back, coverage, rng(2), **air, setting=name)
            for result in (back, front):
                assert result.shape == picture.shape and result.dtype == np.float32, name
                assert result.min() >= 0.0 and result.max() <= 1.0, name
            assert np.array_equal(back, behind(picture, rng(2), **air, setting=name, sky=sky))
            assert np.array_equal(front, before(back, coverage, rng(2), **air, setting=name))
        assert np.array_equal(picture, given) and np.array_equal(coverage, mask)


@pytest.mark.parametrize("air", EVERY, ids=lambda air: next(iter(air.values())))
def test_another_seed_gives_another_air(air: Air) -> None:
    place = paint("in a garden", 64, rng(1))
    one, other = (behind(place.picture, rng(seed), **air, setting="in a garden", sky=place.sky) for seed in (1, 2))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("name", [name for name in ALL_SETTINGS if open_air(name)])
def test_every_air_shows_in_the_open_and_no_two_look_alike(name: str) -> None:
    coverage = np.zeros((64, 64), dtype=np.float32)
    coverage[24:56, 20:44] = 1.0
    shown = [outdoors(name, 3)]
    for air in EVERY:
        shown.append(before(outdoors(name, 3, **air), coverage, rng(4), **air, setting=name))
    for i, one in enumerate(shown):
        for j in range(i):
            # night over night is the one pair that may be alike; everything else differs in a tenth of the pixels
            if {i, j} == {0, len(EVERY)} and name in ("at night", "in the night sky"):
                continue
            # a season in the night sky is a branch and what falls from it
            assert (np.abs(one - shown[j]).max(-1) > 0.06).mean() > (0.02 if floats(name) else 0.04), (i, j)


@pytest.mark.parametrize("name", DAYS)
def test_what_light_does_to_a_day(name: str) -> None:
    day = outdoors(name)
    night, sunset, dawn = (outdoors(name, time=time) for time in ("night", "sunset", "dawn"))
    assert luma(night).mean() < 0.62 * luma(day).mean()
    assert luma(night).mean() < 0.8 * luma(sunset).mean() < 0.95 * luma(dawn).mean()
    assert (sunset[..., 0] - sunset[..., 2]).mean() > (day[..., 0] - day[..., 2]).mean()
    # dawn is pink: its sky is redder and less green than the day's
    sky = paint(name, 64, rng(1)).sky > 0.9
    assert (dawn[..., 0] - dawn[..., 1])[sky].mean() > (day[..., 0] - day[..., 1])[sky].mean() + 0.05
    assert (night[..., 2] - night[..., 0]).mean() > 0.02


@pytest.mark.parametrize("name", DAYS)
def test_what_weather_does_to_a_day(name: str) -> None:
    day = outdoors(name)
    shown = {weather: outdoors(name, weather=weather) for weather in WEATHERS}
    assert luma(shown["stormy"]).mean() < luma(shown["rainy"]).mean() < luma(shown["cloudy"]).mean()
    assert luma(shown["stormy"]).mean() < 0.8 * luma(day).mean()
    # fog takes the edges away from what is far
    edges = {kind: np.abs(np.diff(luma(one)[:40], axis=1)).mean() for kind, one in (("day", day), *shown.items())}
    assert edges["foggy"] < 0.5 * edges["day"]
    for weather in ("rainy", "cloudy", "foggy", "snowy"):
        # snow and rain have no colour to lose
        assert saturation(shown[weather]) < saturation(day) or name in ("in the snow", "in the rain"), weather


@pytest.mark.parametrize("name", [name for name in DAYS if name != "in the rain"])
def test_what_seasons_do_to_a_day(name: str) -> None:
    shown = {season: outdoors(name, season=season) for season in SEASONS}
    low = slice(40, 64)
    assert luma(shown["winter"])[low].mean() > luma(shown["summer"])[low].mean()
    assert saturation(shown["winter"]) < 0.7 * saturation(shown["summer"])
    assert saturation(shown["summer"]) > saturation(shown["spring"]) > saturation(shown["winter"])
    warmth = {season: float((picture[..., 0] - picture[..., 2]).mean()) for season, picture in shown.items()}
    assert warmth["autumn"] > max(warmth["spring"], warmth["winter"])


def test_green_turns_red_in_autumn_and_white_in_winter() -> None:
    for name in ("in a meadow", "in a forest", "in a garden", "on a farm", "by a lake"):
        summer, autumn, winter = (outdoors(name, season=season) for season in ("summer", "autumn", "winter"))
        green = summer[..., 1] - np.maximum(summer[..., 0], summer[..., 2]) > 0.12
        assert green.mean() > 0.1, name
        assert (autumn[green][:, 0] > autumn[green][:, 1]).mean() > 0.8, name
        assert (winter[green].max(-1) - winter[green].min(-1)).mean() < 0.12, name


def test_a_sun_in_summer_stars_at_night_and_lit_windows() -> None:
    day, night = outdoors("in the city", 4), outdoors("in the city", 4, time="night")
    yellow = (night[..., 0] > 0.6) & (night[..., 0] - night[..., 2] > 0.2)
    assert 0.005 < yellow.mean() < 0.2
    assert ((day[..., 0] > 0.6) & (day[..., 0] - day[..., 2] > 0.2)).mean() < yellow.mean()
    snow = outdoors("in the city", 4, season="winter", time="night")[56:]
    assert not ((snow[..., 0] > 0.6) & (snow[..., 0] - snow[..., 2] > 0.2)).any()
    sky = paint("by the sea", 64, rng(4)).sky > 0.9
    stars = luma(outdoors("by the sea", 4, time="night"))[sky]
    assert stars.max() > 0.6 and np.median(stars) < 0.2
    summer = outdoors("by the sea", 4, season="summer")
    assert ((summer[..., 0] > 0.9) & (summer[..., 2] < 0.6))[sky].mean() > 0.02


@pytest.mark.parametrize("name", ["in a room", "in a kitchen"])
def test_no_weather_comes_into_the_house(name: str) -> None:
    place = paint(name, 64, rng(1))
    coverage = np.zeros((64, 64), dtype=np.float32)
    coverage[20:60, 20:40] = 1.0
    for air in EVERY:
        shown = behind(place.picture, rng(2), **air, setting=name, sky=place.sky)
        wall = place.sky == 0.0
        if "time" in air:
            assert luma(shown[wall]).mean() > 0.55 * luma(place.picture[wall]).mean()
        else:
            assert np.array_equal(shown[wall], place.picture[wall])
            assert np.array_equal(before(shown, coverage, rng(3), **air, setting=name), shown)
        assert distance(shown[place.sky > 0.9], place.picture[place.sky > 0.9]) > 8
        assert np.array_equal(behind(place.picture, rng(2), **air, setting=name)[0, :4], shown[0, :4])


def test_there_is_no_weather_in_space_and_none_under_water() -> None:
    coverage = np.ones((64, 64), dtype=np.float32)
    for name in ("in space", "under water"):
        picture = landscape(name, 64, rng(1))
        for air in EVERY:
            if name == "in space" or "time" not in air:
                assert np.array_equal(behind(picture, rng(1), **air, setting=name), picture)
                assert np.array_equal(before(picture, coverage, rng(1), **air, setting=name), picture)
    assert luma(outdoors("under water", time="night")).mean() < 0.6 * luma(outdoors("under water")).mean()


def test_nothing_asked_nothing_changed() -> None:
    picture = landscape("on a farm", 64, rng(1))
    assert np.array_equal(behind(picture, rng(1)), picture)
    assert np.array_equal(before(picture, np.zeros((64, 64), np.float32), rng(1)), picture)


def test_things_stay_readable_in_every_air() -> None:
    """A checked thing keeps at least a third of its contrast, and stands out from the night."""
    board = np.indices((64, 64)).sum(0) // 8 % 2
    coverage = np.zeros((64, 64), dtype=np.float32)
    coverage[16:48, 16:48] = 1.0
    thing = np.repeat((0.15 + 0.75 * board)[..., None], 3, 2).astype(np.float32)
    for air in EVERY:
        back = outdoors("in a meadow", **air)
        laid = back + (thing - back) * coverage[..., None]
        shown = luma(before(laid, coverage, rng(2), **air, setting="in a meadow"))[16:48, 16:48]
        inner = board[16:48, 16:48] == 1
        assert np.median(shown[inner]) - np.median(shown[~inner]) > 0.25, air
    night = before(np.ones((64, 64, 3), np.float32), np.ones((64, 64), np.float32), rng(1), time="night")
    assert 0.5 < luma(night).mean() < 0.8


def test_leaves_and_petals_fall_beside_the_things() -> None:
    picture = landscape("in a meadow", 64, rng(1))
    full, empty = np.ones((64, 64), dtype=np.float32), np.zeros((64, 64), dtype=np.float32)
    for season in ("spring", "autumn"):
        assert np.array_equal(before(picture, full, rng(1), season=season), picture)
        assert (before(picture, empty, rng(1), season=season) != picture).any(-1).mean() > 0.01


def test_rain_and_snow_fall_over_everything() -> None:
    dark, full = np.full((64, 64, 3), 0.2, dtype=np.float32), np.ones((64, 64), dtype=np.float32)
    for weather, share in (("rainy", 0.06), ("stormy", 0.06), ("snowy", 0.03)):
        assert (luma(before(dark, full, rng(1), weather=weather)) > 0.4).mean() > share, weather
    assert (luma(before(dark, full, rng(1), setting="in the rain")) > 0.4).mean() > 0.06


def test_unknown_seasons_weathers_and_times_are_refused() -> None:
    picture, coverage = np.zeros((16, 16, 3), np.float32), np.zeros((16, 16), np.float32)
    for air, known in (({"season": "fall"}, "autumn"), ({"weather": "hail"}, "snowy"), ({"time": "noon"}, "dawn")):
        with pytest.raises(UsageError, match=known):
            behind(picture, rng(), **air)
        with pytest.raises(UsageError, match=known):
            before(picture, coverage, rng(), **air)


@pytest.mark.parametrize("name", MORE_STYLES)
@pytest.mark.parametrize("size", [16, 33, 64, 128, 512])
def test_the_new_styles_work_on_any_picture(name: str, size: int) -> None:
    picture = rng().random((size, size, 3), dtype=np.float32)
    matte = np.zeros((size, size), dtype=np.float32)
    matte[size // 4 : -size // 4, size // 4 : -size // 4] = 1.0
    for given in (picture, np.zeros_like(picture), np.ones_like(picture)):
        for about in (None, matte):
            copy = given.copy()
            painted = ALL_STYLES[name](given, StyleContext(size, rng(1), about))
            assert painted.shape == given.shape and painted.dtype == np.float32 and np.isfinite(painted).all()
            assert painted.min() > -0.1 and painted.max() < 1.4
            assert np.array_equal(copy, given)
            assert np.array_equal(painted, ALL_STYLES[name](given, StyleContext(size, rng(1), about)))


def disc(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A red disc on green and its coverage."""
    y, x = np.indices((size, size)) / size - 0.5
    inside = (np.hypot(x, y) < 0.3).astype(np.float32)
    color = np.array([0.2, 0.6, 0.25], np.float32) + inside[..., None] * np.array([0.6, -0.5, -0.1], np.float32)
    return color.astype(np.float32), inside


@pytest.mark.parametrize("size", [64, 128, 256])
def test_line_art_is_an_even_black_line_on_white(size: int) -> None:
    picture, inside = disc(size)
    drawn = ALL_STYLES["line art"](picture, StyleContext(size, rng(1), inside))
    assert saturation(drawn) < 0.01
    ink = luma(drawn) < 0.5
    y, x = np.indices((size, size)) / size - 0.5
    away = np.abs(np.hypot(x, y) - 0.3)
    assert not ink[away > 0.04].any()
    # a ring of circumference 2 pi 0.3: its area over its length is the line's width
    width = ink.mean() / (2 * np.pi * 0.3)
    assert 0.006 < width < 0.022
    widths = [
        ink[(np.arctan2(y, x) >= turn) & (np.arctan2(y, x) < turn + 0.785)].sum()
        for turn in np.arange(8) * 0.785 - 3.14
    ]
    assert min(widths) > 0.55 * max(widths)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_low_poly_is_flat_and_follows_the_edges(size: int) -> None:
    picture, inside = disc(size)
    drawn = ALL_STYLES["low poly"](picture, StyleContext(size, rng(1), inside))
    flat = (np.abs(np.diff(drawn, axis=1)).max(-1) < 1e-6).mean()
    assert flat > {64: 0.3, 128: 0.5, 256: 0.7}[size]
    redder = drawn[..., 0] > drawn[..., 1]
    assert (redder == (inside > 0.5)).mean() > 0.97


def test_fifteen_styles_differ() -> None:
    picture = landscape("in a garden", 64, rng(1))
    painted = {name: style(picture, StyleContext(64, rng(2))) for name, style in ALL_STYLES.items()}
    names = list(painted)
    for i, one in enumerate(names):
        for other in names[:i]:
            assert distance(painted[one], painted[other]) > 6, (one, other)


def test_the_second_world_as_data() -> None:
    second = load_second()
    assert tuple(second.settings) == tuple(NEW) and second.all_settings == tuple(ALL_SETTINGS)
    assert tuple(second.styles) == tuple(MORE_STYLES) and tuple(second.all_styles) == tuple(ALL_STYLES)
    assert tuple(second.seasons) == SEASONS and tuple(second.weathers) == WEATHERS and tuple(second.times) == TIMES
    assert "in fall" in second.seasons["autumn"].phrases and second.weathers["foggy"].words == ("foggy", "misty")
    assert second.settings["on the beach"].names[:2] == ("on the beach", "at the beach")
    for style in second.styles.values():
        assert style.description and all("{x}" in phrase or "{bare}" in phrase for phrase in style.phrases)
    names = [name for setting in second.settings.values() for name in setting.names]
    assert len(names) == len(set(names)) and not set(names) & set(load_world().settings)
    assert load_second() is second
    with pytest.raises(TypeError):
        second.settings["on the moon"] = second.settings["in space"]
    with pytest.raises(AttributeError):
        second.settings["in space"].name = "on the moon"


@pytest.mark.parametrize("text", ["settings: {}", "settings: [a]", "[", "styles: 3"])
def test_an_unreadable_second_world_is_reported(tmp_path: Path, text: str) -> None:
    broken = tmp_path / "world2.yaml"
    broken.write_text(text, encoding="utf-8")
    with pytest.raises(VqclipError, match="second world"):
        load_second(broken)
    with pytest.raises(VqclipError, match="absent"):
        load_second(tmp_path / "absent.yaml")


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    try:
        return Renderer()
    except UsageError as error:
        pytest.skip(f"no colour emoji font: {error}")


def test_a_cut_out_thing_is_what_the_renderer_lays_down(renderer: Renderer) -> None:
    picture, coverage = scene_picture(renderer, "dog", "in a garden", AIRS[0], 64, 1)
    assert picture.shape == (64, 64, 3) and 0.05 < coverage.mean() < 0.3
    far, near = standing("in a garden")
    feet = np.nonzero(coverage.max(1) > 0.5)[0][-1] / 64
    assert far - 0.05 < feet < near + 0.03


def test_the_second_sheet_shows_every_setting_in_every_air(renderer: Renderer) -> None:
    assert len(AIRS) == 13
    page = second_sheet(renderer, 16)
    assert page.width > 13 * 16 and page.height > 22 * 16


def test_the_sheet_is_written_from_the_command_line(
    renderer: Renderer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(tmp_path / "new"), "--second", "--size", "16"])
    assert (tmp_path / "new" / "world2.jpg").stat().st_size > 10_000
    with pytest.raises(SystemExit) as refused:
        main([str(tmp_path), "--font", str(tmp_path / "no.ttf")])
    assert refused.value.code == 2 and "no.ttf" in capsys.readouterr().err
    (tmp_path / "file").write_text("x")
    with pytest.raises(SystemExit) as refused:
        main([str(tmp_path / "file"), "--second", "--size", "16"])
    assert refused.value.code == 1
