"""The progress video, with the real ffmpeg: whole, playable, and never lost to a failing encoder."""

import os
import re
import signal
import stat
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

from vqclip.errors import OutputError, UsageError
from vqclip.writers import ffmpeg, video
from vqclip.writers.video import VideoWriter

WIDTH, HEIGHT = 64, 48
posix = pytest.mark.skipif(os.name == "nt", reason="scripts as programs, limits and groups of processes are POSIX")


def frame(index, size=(WIDTH, HEIGHT)):
    pixels = np.full((size[1], size[0], 3), (200, 30, 60), np.uint8)
    pixels[:, : 2 + index % size[0]] = (20, 180, 90)
    return pixels


def writer(tmp_path, name="a.mp4", size=(WIDTH, HEIGHT), **options):
    return VideoWriter(tmp_path / name, tmp_path / "a.run", size, 30, **options)


def filled(target, frames=7):
    for index in range(frames):
        target.write(frame(index, target.size))
    return target


def probe(path):
    return subprocess.run([video.check_encoder(), "-i", path], capture_output=True).stderr.decode("utf-8", "replace")


def decode(path, width, height):
    command = [video.check_encoder(), "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert not done.stderr
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


def script(tmp_path, monkeypatch, body):
    path = tmp_path / "ffmpeg.sh"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(path))


def test_mp4_plays_everywhere(tmp_path):
    path = filled(writer(tmp_path, segment_frames=3, comment="a $(touch x) 狐 \0\ud800;=#\\\nSteps: 7")).finish()
    data, report = path.read_bytes(), probe(path)
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    assert re.search(r"h264.*yuv420p\(tv, bt709, progressive\), 64x48", report) and "30 fps" in report
    assert "a $(touch x) 狐 \ufffd;=#\\" in report and "Duration: 00:00:00.23" in report
    frames = decode(path, WIDTH, HEIGHT)
    assert len(frames) == 7
    for index, pixels in enumerate(frames):
        assert np.abs(pixels[24, 63].astype(int) - (200, 30, 60)).max() <= 6
        assert np.abs(pixels[24, 0].astype(int) - (20, 180, 90)).max() <= 12
        assert abs(int((pixels[24, :, 1] > 100).sum()) - (2 + index)) <= 1
    assert stat.S_IMODE(path.stat().st_mode) & 0o444 and not (tmp_path / "x").exists()


def test_frames_are_evenly_spaced_over_segments(tmp_path):
    path = filled(writer(tmp_path, segment_frames=3), 7).finish()
    command = [video.check_encoder(), "-i", path, "-vf", "showinfo", "-fps_mode", "passthrough", "-f", "null", "-"]
    report = subprocess.run(command, capture_output=True, text=True).stderr
    times = re.findall(r"pts: *(\d+) .*?duration: *(\d+)", report)
    assert [(int(time), int(length)) for time, length in times] == [(512 * n, 512) for n in range(7)]


@pytest.mark.parametrize(("size", "padded"), [((65, 49), (66, 50)), ((1, 1), (2, 2)), ((64, 31), (64, 32))])
def test_odd_sides_are_padded_with_the_edge(tmp_path, size, padded):
    frames = decode(filled(writer(tmp_path, size=size), 3).finish(), *padded)
    assert len(frames) == 3
    assert np.abs(frames[:, -1].astype(int) - frames[:, -2]).max() <= 8


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_gif_and_webp_have_all_frames_in_the_true_size(tmp_path, name):
    path = filled(writer(tmp_path, name, (65, 49), segment_frames=3)).finish()
    with Image.open(path) as image:
        assert image.size == (65, 49) and image.n_frames == 7 and image.info["loop"] == 0
        image.seek(6)
        pixels = np.asarray(image.convert("RGB"), int)
        assert np.abs(pixels[24, 63] - (200, 30, 60)).max() <= 8
        assert 20 <= image.info["duration"] <= 40


def test_webp_of_equal_frames(tmp_path):
    target = writer(tmp_path, "a.webp")
    for _ in range(5):
        target.write(frame(0))
    with Image.open(target.finish()) as image:
        assert image.size == (WIDTH, HEIGHT)


def test_same_frames_same_bytes(tmp_path):
    first = filled(writer(tmp_path, "a.mp4", comment="x", segment_frames=3)).finish().read_bytes()
    assert filled(writer(tmp_path, "b.mp4", comment="x", segment_frames=3)).finish().read_bytes() == first


def test_a_resumed_video_equals_a_straight_one(tmp_path):
    straight = VideoWriter(tmp_path / "s.mp4", tmp_path / "s.run", (WIDTH, HEIGHT), 30, segment_frames=3)
    filled(straight).finish()
    killed = writer(tmp_path, segment_frames=3)
    for index in range(5):
        killed.write(frame(index))
    assert killed.segment == 1
    killed.abort()
    resumed = writer(tmp_path, segment_frames=3, start_segment=1)
    assert resumed.frames == 3
    for index in range(3, 7):
        resumed.write(frame(index))
    assert resumed.finish().read_bytes() == straight.path.read_bytes()


def test_a_new_run_removes_old_segments_and_a_resumed_one_misses_none(tmp_path):
    filled(writer(tmp_path, segment_frames=2)).close()
    (tmp_path / "a.run/segments/0009.part.mp4").touch()
    assert len(decode(filled(writer(tmp_path), 2).finish(), WIDTH, HEIGHT)) == 2
    with pytest.raises(OutputError, match="1 of 2 segments"):
        writer(tmp_path, start_segment=2)


def test_close_and_abort_may_be_called_again(tmp_path):
    target = filled(writer(tmp_path))
    assert target.cut() == 1 and target.cut() == 1
    target.close()
    target.close()
    target.write(frame(0))
    target.abort()
    target.abort()
    assert len(decode(target.finish(), WIDTH, HEIGHT)) == 7
    assert sorted(p.name for p in (tmp_path / "a.run/segments").iterdir()) == ["0000.mp4", "segments.txt"]


@pytest.mark.parametrize("whole", [0, 3])
def test_a_frame_torn_by_ctrl_c_is_left_out(tmp_path, whole):
    target = filled(writer(tmp_path), whole + 1)
    target.cut() if whole == 0 else None
    target._encoder = target._encoder or ffmpeg.Encoder(target._command(), target.segments)
    target._encoder._process.stdin.write(b"1" * 1000)
    target._encoder.torn = True
    assert len(decode(target.finish(), WIDTH, HEIGHT)) == whole + 1


def test_no_frame_no_video(tmp_path):
    with pytest.raises(OutputError, match="not one frame"):
        writer(tmp_path).finish()


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH + 2, 3), (WIDTH, HEIGHT, 3), (HEIGHT, WIDTH), (HEIGHT, WIDTH, 4)])
def test_wrong_frames_are_refused(tmp_path, shape):
    target = writer(tmp_path)
    with pytest.raises(ValueError, match="a frame is uint8"):
        target.write(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="a frame is uint8"):
        target.write(np.zeros((HEIGHT, WIDTH, 3)))


def test_an_unusual_folder_needs_no_quoting(tmp_path):
    folder = tmp_path / 'it\'s: a "run" %04d $(x) 狐 -y'
    path = filled(VideoWriter(folder / "a.gif", folder / "r.run", (WIDTH, HEIGHT), 30)).finish()
    with Image.open(path) as image:
        assert image.n_frames == 7


def test_missing_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere"))
    with pytest.raises(OutputError, match=r"no video encoder: .*install"):
        video.check_encoder("a.mp4")
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    monkeypatch.setattr("imageio_ffmpeg._utils._get_ffmpeg_exe", lambda: None)
    with pytest.raises(OutputError, match="No ffmpeg exe"):
        writer(tmp_path)


@posix
@pytest.mark.parametrize("body", ["echo 'Unknown encoder libx264' >&2; exit 1", "exit 1", "kill -9 $$"])
def test_unfit_ffmpeg(tmp_path, monkeypatch, body):
    script(tmp_path, monkeypatch, body)
    with pytest.raises(OutputError, match="cannot encode with libx264"):
        video.check_encoder("a.mp4")
    target = writer(tmp_path)
    with pytest.raises(OutputError, match="no frames could be kept"):
        filled(target, 200).finish()


def test_a_file_that_is_no_program(tmp_path, monkeypatch):
    (tmp_path / "ffmpeg").write_bytes(b"\0\1\2")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "ffmpeg"))
    with pytest.raises(OutputError, match=r"does not run|no program"):
        video.check_encoder("a.mp4")
    with pytest.raises(OutputError, match="ffmpeg failed"):
        writer(tmp_path).write(frame(0))


def test_unknown_ending_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="known are"):
        video.check_encoder("a.avi")
    with pytest.raises(UsageError, match="known are"):
        writer(tmp_path, "a.mov")


@posix
def test_a_failing_encoder_keeps_the_segments_and_says_where(tmp_path):
    target = filled(writer(tmp_path, segment_frames=3), 4)
    os.kill(target._encoder._process.pid, signal.SIGKILL)
    with pytest.raises(OutputError, match=r"3 frames are kept in .*segments, where .*ffmpeg -f concat") as error:
        filled(target, 200)
    assert "\n" not in str(error.value)
    assert len(decode(tmp_path / "a.run/segments/0000.mp4", WIDTH, HEIGHT)) == 3
    assert len(decode(target.finish(), WIDTH, HEIGHT)) == 3


@posix
def test_a_failing_join_keeps_the_old_video_and_the_segments(tmp_path, monkeypatch):
    old = tmp_path / "a.mp4"
    old.write_bytes(b"old")
    target = filled(writer(tmp_path))
    target.cut()
    (tmp_path / "a.run/segments/0000.mp4").write_bytes(b"damaged")
    with pytest.raises(OutputError, match="7 frames are kept"):
        target.finish()
    assert old.read_bytes() == b"old" and not list(tmp_path.glob("a.run/segments/joined*"))

    def full(*args):
        raise OSError(28, "No space left on device")

    target = filled(writer(tmp_path))
    target.cut()
    monkeypatch.setattr("vqclip.atomic.os.fsync", full)
    with pytest.raises(OutputError, match="disk is full"):
        target.finish()
    assert old.read_bytes() == b"old" and (tmp_path / "a.run/segments/0000.mp4").exists()


@posix
def test_a_full_disk_is_an_output_error(tmp_path):
    """A limit on file sizes is a full disk that needs no root: ffmpeg must not fail unnoticed."""
    code = """
        import resource, sys
        import numpy as np
        from vqclip.errors import OutputError
        from vqclip.writers.video import VideoWriter
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        noise = np.random.default_rng(0)
        target = VideoWriter(sys.argv[1] + "/a.mp4", sys.argv[1] + "/a.run", (256, 256), 30, segment_frames=100)
        try:
            for index in range(130):
                target.write(noise.integers(0, 255, (256, 256, 3), np.uint8) if index > 100 else
                             np.full((256, 256, 3), index, np.uint8))
            target.finish()
        except OutputError as error:
            print(error)
    """
    (tmp_path / "a.mp4").write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "100 frames are kept" in done.stdout, done
    assert (tmp_path / "a.mp4").read_bytes() == b"old"
    assert sorted(p.name for p in (tmp_path / "a.run/segments").iterdir()) == ["0000.mp4", "segments.txt"]


@posix
def test_ctrl_c_for_the_whole_group_does_not_reach_ffmpeg(tmp_path):
    code = """
        import os, signal, sys, time
        import numpy as np
        from vqclip.writers.video import VideoWriter
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
        target = VideoWriter(sys.argv[1] + "/a.mp4", sys.argv[1] + "/a.run", (64, 48), 30)
        try:
            for _ in range(5):
                target.write(np.zeros((48, 64, 3), np.uint8))
            os.killpg(os.getpgrp(), signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt:
            time.sleep(0.2)
            print(target.finish())
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    subprocess.run(command, check=True, start_new_session=True, capture_output=True)
    assert len(decode(tmp_path / "a.mp4", WIDTH, HEIGHT)) == 5
