"""What a film's tracks are told of its sound, on sounds whose bands and beats are known."""

import subprocess
import wave

import numpy as np
import pytest

from vqclip.animation.sound import FEATURES, Sound
from vqclip.errors import UsageError
from vqclip.writers import ffmpeg

RATE = 44100


def times(seconds):
    return np.arange(round(RATE * seconds)) / RATE


def tone(frequency, seconds=2.0, level=0.5):
    return level * np.sin(2 * np.pi * frequency * times(seconds))


def clicks(seconds=4.0, apart=0.5, first=0.25, decay=0.02):
    t, rng = times(seconds), np.random.default_rng(0)
    samples = np.zeros_like(t)
    for begin in np.arange(first, seconds, apart):
        later = t >= begin
        samples[later] += np.exp(-(t[later] - begin) / decay) * rng.normal(0, 0.3, later.sum())
    return samples


def sound_of(folder, samples, channels=1):
    path = folder / "a.wav"
    data = (np.clip(samples, -1, 1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.repeat(data, channels).tobytes())
    return Sound.read(path)


@pytest.mark.parametrize(("frequency", "band"), [(60, "bass"), (120, "bass"), (1000, "mid"), (6000, "treble")])
def test_a_tone_is_in_its_band_alone(tmp_path, frequency, band):
    sound = sound_of(tmp_path, tone(frequency))
    features = sound.features(20, 40)
    assert sound.seconds == pytest.approx(2.0, abs=1e-3) and set(features) == set(FEATURES)
    for name in ("bass", "mid", "treble"):
        assert features[name].shape == (40,)
        assert features[name].min() > 0.95 if name == band else features[name].max() < 0.3, name
    assert features["loudness"].min() > 0.95 and features["beat"][8:].max() == 0


def test_two_tones_after_each_other(tmp_path):
    sound = sound_of(tmp_path, np.concatenate([tone(60, 1), tone(6000, 1)]))
    features = sound.features(10, 20)
    assert features["bass"][:9].min() > 0.9 and features["bass"][11:].max() < 0.05
    assert features["treble"][11:].min() > 0.9 and features["treble"][:9].max() < 0.05
    assert abs(sound.onsets[sound.onsets > 0.1] - 1).max() < 0.03


def test_levels_follow_the_loudness(tmp_path):
    swell = np.linspace(0, 1, 2 * RATE) * tone(1000, 2, 0.8)
    loudness = sound_of(tmp_path, swell).features(20, 40)["loudness"]
    assert (np.diff(loudness[:37]) > 0).all() and loudness[20] == pytest.approx(0.5 / 0.95, abs=0.05)
    assert loudness.max() == 1 and loudness[0] < 0.05


@pytest.mark.parametrize("fps", [10, 24, 30])
def test_clicks_are_beats(tmp_path, fps):
    sound = sound_of(tmp_path, clicks())
    wanted = np.arange(0.25, 4, 0.5)
    assert len(sound.onsets) == len(wanted) and np.abs(sound.onsets - wanted).max() < 0.03
    beat = sound.features(fps, 4 * fps)["beat"]
    for begin in wanted:
        first = int(begin * fps + 0.5)
        assert beat[first] == 1 and (first == 0 or beat[first - 1] < 0.5)
        fading = beat[first : first + int(0.45 * fps)]
        assert (np.diff(fading) <= 0).all() and (fading[-1] == 0 or begin > 3.5)


def test_beats_are_found_over_a_pad(tmp_path):
    t = times(4)
    pad = 0.2 * np.sin(2 * np.pi * 440 * t) + 0.1 * np.sin(2 * np.pi * 660 * t)
    kicks = np.zeros_like(t)
    for begin in np.arange(0.5, 4, 0.5):
        later = t >= begin
        kicks[later] += 0.6 * np.exp(-(t[later] - begin) / 0.1) * np.sin(2 * np.pi * 60 * (t[later] - begin))
    onsets = sound_of(tmp_path, pad + kicks).onsets
    inner = onsets[(onsets > 0.2) & (onsets < 3.9)]
    assert len(inner) == 7 and np.abs(inner - np.arange(0.5, 4, 0.5)).max() < 0.03


def test_steady_noise_has_no_beat(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.2, 4 * RATE)
    sound = sound_of(tmp_path, noise)
    assert (sound.onsets < 0.05).all() and sound.features(20, 80)["loudness"].min() > 0.8


@pytest.mark.parametrize("level", [0.0, 1e-5])
def test_silence_gives_zeros(tmp_path, level):
    samples = np.random.default_rng(0).normal(0, level, RATE)
    features = sound_of(tmp_path, samples).features(25, 30)
    assert all(values.shape == (30,) and not values.any() for values in features.values())


def test_after_the_end_all_is_zero(tmp_path):
    features = sound_of(tmp_path, tone(100, 0.5)).features(10, 20)
    assert features["bass"][:5].min() > 0.9
    assert all(len(values) == 20 and not values[9:].any() for values in features.values())


def test_how_many_frames_are_asked_for_changes_none(tmp_path):
    sound = sound_of(tmp_path, clicks() + tone(300, 4, 0.1))
    few, many = sound.features(12, 10), sound.features(12, 60)
    assert all(np.array_equal(few[name], many[name][:10]) for name in FEATURES)
    assert all(len(values) == 0 for values in sound.features(12, 0).values())
    for fps, frames in ((0, 3), (-1, 3), (float("inf"), 3), (float("nan"), 3), (10, -1)):
        with pytest.raises(ValueError, match="rate over 0"):
            sound.features(fps, frames)


def test_channels_are_mixed(tmp_path):
    one, two = sound_of(tmp_path, clicks(1)), sound_of(tmp_path, clicks(1), channels=2)
    assert np.allclose(one.levels, two.levels, atol=2e-3) and two.seconds == pytest.approx(1)


@pytest.mark.parametrize("seconds", [0.001, 0.01, 0.03, 0.5003])
def test_short_sounds_are_read(tmp_path, seconds):
    sound = sound_of(tmp_path, tone(1000, seconds))
    features = sound.features(30, 5)
    assert sound.seconds == pytest.approx(seconds, abs=1e-3)
    assert all(np.isfinite(values).all() and values.max() <= 1 for values in features.values())


def test_one_block_or_many_give_the_same(tmp_path, monkeypatch):
    whole = sound_of(tmp_path, clicks(2))
    monkeypatch.setattr("vqclip.writers.sounds._BLOCK", 2 * 1111)
    parts = Sound.read(tmp_path / "a.wav")
    assert np.allclose(whole.levels, parts.levels, atol=1e-6) and np.array_equal(whole.onsets, parts.onsets)


def test_files_without_sound_end_in_one_line(tmp_path):
    (tmp_path / "text.mp3").write_text("la la la " * 100)
    (tmp_path / "empty.wav").write_bytes(b"")
    graph = ("-f", "lavfi", "-i", "color=size=16x16:duration=0.2")
    subprocess.run([ffmpeg.find_program(), "-v", "error", *graph, str(tmp_path / "silent.mp4")], check=True)
    for name, words in (
        ("text.mp3", "no sound"),
        ("empty.wav", "empty"),
        ("silent.mp4", "has no sound"),
        ("x", "no file"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            Sound.read(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
