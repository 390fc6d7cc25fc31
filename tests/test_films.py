"""Films written with the real ffmpeg: their sound, their comment, and a sheet of their frames."""

import re
import subprocess

import numpy as np
import pytest
from PIL import Image

from vqclip import images
from vqclip.errors import OutputError, UsageError
from vqclip.writers import ffmpeg, sounds, video
from vqclip.writers.boxes import read_comment
from vqclip.writers.clips import VideoSource
from vqclip.writers.films import film_remarks, write_film

SIZE = (64, 48)


def frames(count=8, size=SIZE):
    for n in range(count):
        yield np.full((size[1], size[0], 3), 10 + 20 * n, np.uint8)


def tone(path, seconds, *, frequency=440, options=()):
    graph = f"sine=frequency={frequency}:duration={seconds}:sample_rate=16000,volume=4"
    command = [ffmpeg.find_program(), "-v", "error", "-y", "-f", "lavfi", "-i", graph, *options, str(path)]
    subprocess.run(command, check=True)
    return path


def film(folder, name="a.mp4", count=8, size=SIZE, **options):
    return write_film(frames(count, size), folder / name, size, 10, folder=folder / "run", **options)


def heard(path):
    return np.concatenate(list(sounds.decode_sound(path, 16000)))


def report_of(path):
    return subprocess.run([ffmpeg.find_program(), "-i", path], capture_output=True, text=True, errors="replace").stderr


def level(samples):
    return float(np.sqrt(np.mean(samples**2)))


def test_a_film_without_sound(tmp_path):
    path = film(tmp_path, comment="seed 7")
    source = VideoSource.open(path)
    assert (source.size, source.fps, source.stored, source.has_sound) == (SIZE, 10, 8, False)
    assert read_comment(path) == "seed 7"


def test_a_longer_sound_is_cut_with_a_fade(tmp_path):
    path = film(tmp_path, sound=tone(tmp_path / "a.wav", 3), comment="seed 7")
    source, sound = VideoSource.open(path), heard(path)
    assert source.has_sound and source.stored == 8 and "aac" in report_of(path) and read_comment(path) == "seed 7"
    assert abs(len(sound) / 16000 - 0.8) < 0.07
    full = level(sound[4000:8000])
    # of the last 50 ms the first third is loud, the last third nearly silent; before them nothing is faded
    end = int(0.8 * 16000)
    assert level(sound[end - 1200 : end - 900]) > 0.8 * full
    assert level(sound[end - 800 : end - 550]) > 2 * level(sound[end - 250 : end]) and full > 0.1
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["segments"]


def test_a_shorter_sound_ends_in_silence(tmp_path):
    path = film(tmp_path, sound=tone(tmp_path / "a.wav", 0.3))
    sound = heard(path)
    assert abs(len(sound) / 16000 - 0.8) < 0.07 and VideoSource.open(path).seconds == pytest.approx(0.8, abs=0.03)
    assert level(sound[1000:4000]) > 0.1 and level(sound[6000:12000]) < 1e-3


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "m4a", "mkv"])
def test_sound_of_any_kind_is_taken(tmp_path, suffix):
    options = ("-c:a", "libopus") if suffix == "mkv" else ()
    path = film(tmp_path, sound=tone(tmp_path / f"a.{suffix}", 0.5, options=options))
    assert level(heard(path)[2000:6000]) > 0.1


def test_the_sound_of_a_video_is_taken_from_it(tmp_path):
    first = film(tmp_path, "a.mp4", sound=tone(tmp_path / "a.wav", 1))
    second = film(tmp_path, "b.mp4", sound=first)
    assert level(heard(second)[2000:10000]) == pytest.approx(level(heard(first)[2000:10000]), rel=0.05)


@pytest.mark.parametrize("size", [(65, 49), (1, 1)])
def test_odd_sizes_are_written(tmp_path, size):
    path = film(tmp_path, size=size, sound=tone(tmp_path / "a.wav", 1))
    width, height = (side + side % 2 for side in size)
    assert VideoSource.open(path).size == (width, height)
    assert f"{width}x{height}" in film_remarks(path, size)[0]


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_gif_and_webp_are_silent_and_it_is_said(tmp_path, name):
    sound = tone(tmp_path / "a.wav", 1)
    path = film(tmp_path, name, sound=sound)
    with Image.open(path) as image:
        assert image.size == SIZE and image.n_frames == 8
    assert "no sound" in film_remarks(path, SIZE, sound)[0]
    assert film_remarks(path, SIZE) == film_remarks("a.mp4", SIZE, sound) == []


def test_a_gif_has_the_colors_of_all_its_frames(tmp_path):
    with Image.open(film(tmp_path, "a.gif")) as image:
        for n in range(8):
            image.seek(n)
            assert np.abs(np.asarray(image.convert("RGB"), int) - (10 + 20 * n)).max() <= 2


def test_equal_frames_give_equal_bytes(tmp_path):
    sound = tone(tmp_path / "a.wav", 1)
    first, second = (film(tmp_path, name, sound=sound, comment="x").read_bytes() for name in ("a.mp4", "b.mp4"))
    assert first == second and b"Lavf" not in first


def test_a_file_without_sound_is_refused_before_the_first_frame(tmp_path):
    def never():
        raise AssertionError("a frame was asked for")
        yield

    (tmp_path / "text.wav").write_text("la la la " * 100)
    silent = film(tmp_path, "silent.mp4")
    for name, words in (("text.wav", "no sound"), ("absent.wav", "no file"), (silent.name, "has no sound")):
        with pytest.raises(UsageError, match=words) as caught:
            write_film(never(), tmp_path / "b.mp4", SIZE, 10, folder=tmp_path / "run", sound=tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"\.mp4"):
        write_film(never(), tmp_path / "b.mkv", SIZE, 10, folder=tmp_path / "run")


def test_a_film_appears_whole_or_not_at_all(tmp_path):
    def broken():
        yield from frames(3)
        raise RuntimeError("the drawing failed")

    path = film(tmp_path, sound=tone(tmp_path / "a.wav", 1))
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="the drawing failed"):
        write_film(broken(), path, SIZE, 10, folder=tmp_path / "run", sound=tmp_path / "a.wav")
    assert path.read_bytes() == before
    with pytest.raises(OutputError, match="not one frame"):
        film(tmp_path, "c.mp4", count=0)
    assert not (tmp_path / "c.mp4").exists()


def test_when_sound_cannot_be_added_the_silent_film_is_named(tmp_path, monkeypatch):
    def other(path):
        return path

    monkeypatch.setattr("vqclip.writers.films.check_sound", other)
    (tmp_path / "text.wav").write_text("la la la " * 100)
    with pytest.raises(OutputError, match=r"the film without it is .*silent\.mp4") as caught:
        film(tmp_path, sound=tmp_path / "text.wav")
    assert "\n" not in str(caught.value) and len(list(VideoSource.open(tmp_path / "run/silent.mp4").frames())) == 8
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize(
    "comment",
    ["seed 7", '=;#\\ a\nb\\\\\nc = {"x": [1, 2]}', "狐 é \U0001f98a", "x" * 7999 + "=;#\\\n", "x=;#\\\n狐" * 9000],
)
def test_a_comment_comes_back_as_it_was(tmp_path, comment):
    assert read_comment(film(tmp_path, count=1, comment=comment)) == comment


def test_a_long_comment_is_cut(tmp_path):
    assert read_comment(film(tmp_path, count=1, comment="x" * 300_000)) == "x" * video.MAX_COMMENT


def test_comments_of_other_files_are_none(tmp_path):
    good = film(tmp_path, count=1, comment="seed 7").read_bytes()
    assert read_comment(tmp_path / "absent.mp4") is None and read_comment(tmp_path) is None
    plain = film(tmp_path, "b.mp4", count=1)
    assert read_comment(plain) is None
    path = tmp_path / "c.mp4"
    place = good.index(b"\xa9cmt")
    endless = good[: place - 4] + b"\xff\xff\xff\xff" + good[place:]
    looping = good[: place - 4] + b"\0\0\0\0" + good[place:]
    for data in (
        b"",
        b"text",
        good[: place + 6],
        endless,
        looping,
        b"\0\0\0\x08free" * 30_000,
        b"\0\0\0\1moov" + b"\xff" * 8,
    ):
        path.write_bytes(data)
        assert read_comment(path) in (None, "seed 7")


def test_any_flipped_byte_is_survived(tmp_path):
    good = bytearray(film(tmp_path, count=1, comment="seed 7").read_bytes())
    path, rng = tmp_path / "c.mp4", np.random.default_rng(0)
    start = good.index(b"moov")
    for place in rng.integers(start - 4, len(good), 200):
        data = bytearray(good)
        data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        text = read_comment(path)
        assert text is None or len(text) < 100


def test_a_storyboard_has_each_frame_above_its_time():
    pictures = [Image.new("RGB", (64, 48), color) for color in ("red", "green", "blue", "white", "black")]
    sheet = images.storyboard(pictures, [f"{n / 10:.1f} s" for n in range(5)])
    assert sheet.size == (3 * (64 + 4) + 4, 2 * (64 + 16 + 4) + 4)
    assert sheet.getpixel((36, 36)) == (255, 0, 0) and sheet.getpixel((36 + 2 * 68, 36)) == (0, 0, 255)
    labelled = np.asarray(sheet.convert("L"))[70:84, 4:68]
    assert labelled.min() < 100
    assert images.storyboard(pictures, [""] * 5, columns=5).width == 5 * 68 + 4
    assert images.storyboard([Image.new("RGB", (800, 600))] * 2, ["0", "1"]).width == 2 * 196 + 4
    with pytest.raises(ValueError, match="labels"):
        images.storyboard(pictures, ["0"])
    with pytest.raises(ValueError, match="frames"):
        images.storyboard([], [])


def test_decoded_sound_is_mono_and_bounded(tmp_path):
    path = tone(tmp_path / "a.wav", 2, frequency=1000, options=("-ac", "2"))
    samples = np.concatenate(list(sounds.decode_sound(path, 8000, 1.0)))
    assert samples.dtype == np.float32 and len(samples) == 8000
    spectrum = np.abs(np.fft.rfft(samples))
    assert int(spectrum.argmax()) == 1000 and not re.search("nan", str(samples.max()))
