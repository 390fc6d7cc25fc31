"""Videos read with the real ffmpeg: tiny ones of every awkward kind, made here."""

import subprocess
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from vqclip.errors import UsageError
from vqclip.writers import clips, ffmpeg, probing
from vqclip.writers.clips import VideoSource
from vqclip.writers.video import Codec, VideoWriter

WIDTH, HEIGHT = 64, 48
RED, GREEN = (200, 30, 60), (20, 180, 90)


def encode(path, *arguments):
    command = [ffmpeg.find_program(), "-v", "error", "-y", "-nostdin", *map(str, arguments), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


def pattern(seconds=0.5, rate=20, size=(WIDTH, HEIGHT), kind="testsrc"):
    return "-f", "lavfi", "-i", f"{kind}=size={size[0]}x{size[1]}:rate={rate}:duration={seconds}"


def numbered(path, count=8, fps=10, size=(WIDTH, HEIGHT)):
    """Write a video whose frame n is of one gray, 10 + 20 n."""
    writer = VideoWriter(path, path.parent / f"{path.stem}.run", size, fps, codec=Codec(crf=1))
    for n in range(count):
        writer.write(np.full((size[1], size[0], 3), 10 + 20 * n, np.uint8))
    return writer.finish()


def numbers(frames):
    return [round((float(frame.mean()) - 10) / 20) for frame in frames]


def test_a_video_is_looked_at_and_read(tmp_path):
    source = VideoSource.open(numbered(tmp_path / "a.mp4"))
    assert (source.size, source.fps, source.stored, source.counted) == ((WIDTH, HEIGHT), 10, 8, True)
    assert source.seconds == pytest.approx(0.8) and not source.has_sound and source.count() == 8
    frames = list(source.frames())
    assert numbers(frames) == list(range(8)) and source.notices == []
    assert frames[0].shape == (HEIGHT, WIDTH, 3) and frames[0].dtype == np.uint8 and frames[0].flags.writeable


def test_colors_come_back_as_they_were_written(tmp_path):
    pixels = np.full((HEIGHT, WIDTH, 3), RED, np.uint8)
    pixels[:, 32:] = GREEN
    writer = VideoWriter(tmp_path / "a.mp4", tmp_path, (WIDTH, HEIGHT), 10, codec=Codec(crf=1))
    writer.write(pixels)
    (frame,) = VideoSource.open(writer.finish()).frames()
    difference = np.abs(frame.astype(int) - pixels)
    assert difference[:, :28].max() <= 3 and difference[:, 36:].max() <= 3


@pytest.mark.parametrize("start", [0, 1, 5, 7, 8, 30])
def test_reading_begins_at_any_frame(tmp_path, start):
    source = VideoSource.open(numbered(tmp_path / "a.mp4"))
    whole, part = list(source.frames()), list(source.frames(start))
    assert len(part) == len(whole[start:])
    assert all(np.array_equal(a, b) for a, b in zip(part, whole[start:], strict=True))


def test_another_rate_repeats_or_leaves_out(tmp_path):
    source = VideoSource.open(numbered(tmp_path / "a.mp4"))
    assert numbers(source.frames(fps=20)) == [n // 2 for n in range(16)] and source.count(20) == 16
    half = numbers(source.frames(fps=5))
    assert len(half) == 4 == source.count(5) and half == sorted(set(half))
    assert numbers(source.frames(start=3, fps=20)) == [n // 2 for n in range(3, 16)]


def test_frames_cover_a_size_and_are_cut_around_the_center(tmp_path):
    pixels = np.full((HEIGHT, WIDTH, 3), GREEN, np.uint8)
    pixels[:, :8] = pixels[:, -8:] = RED  # what a square does not show
    writer = VideoWriter(tmp_path / "a.mp4", tmp_path, (WIDTH, HEIGHT), 10, codec=Codec(crf=1))
    writer.write(pixels)
    source = VideoSource.open(writer.finish())
    for size in ((48, 48), (96, 96), (25, 31), (200, 10)):
        (frame,) = source.frames(size=size)
        assert frame.shape == (size[1], size[0], 3)
    (square,) = source.frames(size=(96, 96))
    assert np.abs(square[:, 6:-6].astype(int) - GREEN).max() <= 8


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_the_rotation_flag_is_followed(tmp_path, degrees):
    plain = encode(tmp_path / "a.mp4", *pattern())
    turned = encode(tmp_path / "b.mp4", "-display_rotation", degrees, "-i", plain, "-c", "copy")
    source = VideoSource.open(turned)
    assert source.size == ((HEIGHT, WIDTH) if degrees != 180 else (WIDTH, HEIGHT))
    # ffmpeg's own way of turning
    raw = encode(tmp_path / "b.rgb", "-i", turned, "-frames:v", "1", "-pix_fmt", "rgb24", "-f", "rawvideo")
    width, height = source.size
    wanted = np.frombuffer(raw.read_bytes(), np.uint8).reshape(height, width, 3).astype(int)
    assert np.abs(next(iter(source.frames())).astype(int) - wanted).mean() < 4


def test_pixels_that_are_no_squares_are_stretched(tmp_path):
    path = encode(tmp_path / "a.mp4", *pattern(), "-vf", "setsar=2/1")
    source = VideoSource.open(path)
    assert source.size == (2 * WIDTH, HEIGHT) and next(iter(source.frames())).shape == (HEIGHT, 2 * WIDTH, 3)


def test_a_variable_frame_rate_becomes_a_constant_one(tmp_path):
    graph = "setpts='if(lt(N,6),N,6+(N-6)*4)/20/TB'"
    path = encode(tmp_path / "a.mkv", *pattern(0.6), "-vf", graph, "-fps_mode", "passthrough")
    source = VideoSource.open(path)
    assert "variable frame rate" in source.notices[0]
    assert source.stored == 12 and 5 <= source.fps <= 20
    assert abs(len(list(source.frames(fps=20))) - source.count(20)) <= 1
    assert 26 <= source.count(20) <= 31


@pytest.mark.parametrize("rate", ["24000/1001", "30000/1001", "25"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_usual_rates_are_exact(tmp_path, rate, suffix):
    source = VideoSource.open(encode(tmp_path / f"a.{suffix}", *pattern(1, rate)))
    assert source.fps == Fraction(rate) and not source.notices
    assert len(list(source.frames())) == source.count() == source.stored


def test_ten_bits_become_eight(tmp_path):
    path = encode(tmp_path / "a.mp4", *pattern(), "-pix_fmt", "yuv420p10le", "-c:v", "libx264")
    source = VideoSource.open(path)
    eight = VideoSource.open(encode(tmp_path / "b.mp4", *pattern(), "-pix_fmt", "yuv420p", "-c:v", "libx264"))
    assert source.header.pixel_format == "yuv420p10le"
    for ten, plain in zip(source.frames(), eight.frames(), strict=True):
        assert ten.dtype == np.uint8 and np.abs(ten.astype(int) - plain).mean() < 4


def test_hdr_is_mapped_to_a_usual_screen(tmp_path):
    tags = "format=yuv420p10le,setparams=range=tv:colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084"
    path = encode(tmp_path / "a.mkv", *pattern(), "-vf", tags, "-c:v", "ffv1")
    source = VideoSource.open(path)
    assert "HDR" in source.notices[0] and source.header.colors == ("bt2020nc", "bt2020", "smpte2084")
    frames = list(source.frames())
    # PQ's full signal is 10 000 cd/m2: shown as it is, the picture of bars would be dull
    assert len(frames) == 10 and frames[0].max() > 200 and frames[0].min() < 40


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
def test_the_matrix_of_a_file_is_followed(tmp_path, matrix):
    name = "bt601" if matrix == "smpte170m" else matrix
    graph = f"scale=out_color_matrix={name}:out_range=tv,format=yuv444p,setparams=range=tv:colorspace={matrix}"
    color = ("-f", "lavfi", "-i", "color=c=0xC81E3C:size=64x48:rate=10:duration=0.1,format=gbrp")
    path = encode(tmp_path / "a.mkv", *color, "-vf", graph, "-c:v", "ffv1")
    (frame,) = VideoSource.open(path).frames()
    assert np.abs(frame[20, 20].astype(int) - RED).max() <= 3


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_gif_and_webp_are_read_too(tmp_path, name):
    pictures = [Image.new("RGB", (WIDTH, HEIGHT), (10 + 20 * n,) * 3) for n in range(8)]
    pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=100, lossless=True)
    formats = subprocess.run([ffmpeg.find_program(), "-v", "error", "-demuxers"], capture_output=True, text=True).stdout
    if name.endswith("webp") and "webp_anim" not in formats:
        with pytest.raises(UsageError, match="WebP that this ffmpeg cannot read"):
            VideoSource.open(tmp_path / name)
        return
    source = VideoSource.open(tmp_path / name)
    assert source.size == (WIDTH, HEIGHT) and source.fps == 10 and numbers(source.frames()) == list(range(8))


def test_transparency_is_laid_on_white(tmp_path):
    pictures = [Image.new("RGBA", (16, 16), (0, 0, 0, 0)) for _ in range(3)]
    for n, picture in enumerate(pictures):
        picture.paste((200, 0, 0, 255), (n * 4, 0, n * 4 + 4, 16))
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100, disposal=2)
    frames = list(VideoSource.open(tmp_path / "a.gif").frames(fps=10))
    assert len(frames) == 3
    for n, frame in enumerate(frames):
        assert (frame[8, (n * 4 + 8) % 16] == 255).all() and abs(int(frame[8, n * 4 + 1, 0]) - 200) < 3


def test_one_frame_is_a_film(tmp_path):
    source = VideoSource.open(numbered(tmp_path / "a.mp4", 1))
    assert source.stored == source.count() == 1 and len(list(source.frames())) == 1 and source.notices == []


def test_sound_is_seen(tmp_path):
    path = encode(tmp_path / "a.mp4", *pattern(), "-f", "lavfi", "-i", "sine=duration=0.5")
    source = VideoSource.open(path)
    assert source.has_sound and len(list(source.frames())) == 10


def test_a_size_that_changes_is_brought_to_the_first(tmp_path):
    for name, size in (("a", (64, 48)), ("b", (96, 48))):
        encode(tmp_path / f"{name}.h264", *pattern(size=size), "-pix_fmt", "yuv420p", "-c:v", "libx264")
    joined = tmp_path / "ab.h264"
    joined.write_bytes((tmp_path / "a.h264").read_bytes() + (tmp_path / "b.h264").read_bytes())
    source = VideoSource.open(joined)
    frames = list(source.frames())
    assert {frame.shape for frame in frames} == {(48, 64, 3)} and len(frames) >= 19
    assert any("changes its size" in notice for notice in source.notices)
    later = list(source.frames(start=12))
    assert all(np.array_equal(a, b) for a, b in zip(later, frames[12:], strict=True))


def test_of_a_file_that_breaks_off_what_was_read_is_kept(tmp_path):
    graph = ("-f", "lavfi", "-i", "nullsrc=size=64x48:rate=20:duration=2,geq=random(1)*255:128:128")
    whole = encode(tmp_path / "a.mp4", *graph, "-c:v", "libx264", "-g", "10", "-movflags", "+faststart")
    data = whole.read_bytes()
    (tmp_path / "b.mp4").write_bytes(data[: len(data) * 6 // 10])
    source = VideoSource.open(tmp_path / "b.mp4")
    frames = list(source.frames())
    assert 15 <= len(frames) < 40
    assert any(f"{len(frames)} of about 40 frames" in notice for notice in source.notices)
    assert np.array_equal(frames[0], next(iter(VideoSource.open(whole).frames())))


def test_reading_may_be_given_up_and_begun_again(tmp_path):
    source = VideoSource.open(encode(tmp_path / "a.mp4", *pattern(5, 30)))
    frames = source.frames()
    first = next(frames)
    frames.close()
    assert np.array_equal(first, next(iter(source.frames()))) and source.notices == []


def bad_files(folder):
    (folder / "text.txt").write_text("a film about a cat\n" * 50)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    secret = numbered(folder / "secret.mp4")
    (folder / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{secret.name}'\n")
    (folder / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret.name}\n#EXT-X-ENDLIST\n")
    (folder / "list.sdp").write_text("v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n")
    encode(folder / "sound.mp4", "-f", "lavfi", "-i", "sine=duration=0.2")
    cover = folder / "cover.png"
    Image.new("RGB", (16, 16)).save(cover)
    encode(folder / "song.mp3", "-f", "lavfi", "-i", "sine=duration=0.2", "-i", cover, "-map", "0", "-map", "1",
           "-disposition:v", "attached_pic")  # fmt: skip
    data = bytearray(secret.read_bytes())
    place = data.index(b"mdat") + 4
    data[place:] = bytes(len(data) - place)
    (folder / "zeros.mp4").write_bytes(data)


def test_what_is_no_video_ends_in_one_line(tmp_path):
    bad_files(tmp_path)
    for name, words in {
        "text.txt": "no video", "empty.mp4": "empty", "noise.mp4": "no video", "list.mp4": "no video",
        "list.m3u8": "no video", "list.sdp": "no video", "sound.mp4": "sound but no video",
        "song.mp3": "sound but no video", "zeros.mp4": "no frame", "absent.mp4": "no file", ".": "folder",
        "a\0b": "ab",
    }.items():  # fmt: skip
        with pytest.raises(UsageError) as caught:
            VideoSource.open(tmp_path / name)
        message = str(caught.value)
        assert words in message and "\n" not in message and "Traceback" not in message, (name, message)


def test_names_are_files_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    numbered(tmp_path / "a.mp4")
    for name in ("-y.mp4", "concat:a.mp4", "a'b %03d [x].mp4"):
        (tmp_path / name).write_bytes((tmp_path / "a.mp4").read_bytes())
        assert len(list(VideoSource.open(name).frames())) == 8
    with pytest.raises(UsageError, match="no file"):
        VideoSource.open("concat:a.mp4|a.mp4")
    with pytest.raises(UsageError, match="no file"):
        VideoSource.open("http://127.0.0.1/a.mp4")


def test_frames_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    path = numbered(tmp_path / "a.mp4")
    monkeypatch.setattr(probing, "MAX_PIXELS", 1000)
    with pytest.raises(UsageError, match="megapixels"):
        VideoSource.open(path)


def test_an_ffmpeg_that_hangs_is_ended(tmp_path):
    decoder = ffmpeg.Decoder(["sleep", "30"], seconds=0.2)
    assert decoder.read(10) == b"" and decoder.stuck and decoder.close()[0] != 0


def test_frames_that_cannot_be_counted_are_estimated(tmp_path):
    path = numbered(tmp_path / "a.mp4")
    header = probing.read_header(path)
    timing = probing.read_timing(path, header, seconds=0.0)
    assert (timing.counted, timing.stored, timing.rate) == (False, 8, 10)
    assert "about 8" in clips._notices(path, header, timing)[0]


def test_memory_stays_flat(tmp_path):
    source = VideoSource.open(encode(tmp_path / "a.mp4", *pattern(4, 50, (320, 240))))
    tracemalloc.start()
    try:
        count = sum(1 for _ in source.frames())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 200 and peak < 10 * 320 * 240 * 3 + 2**20


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "gif"])
def test_files_with_spoiled_bytes_end_in_frames_or_one_line(tmp_path, suffix):
    good = encode(tmp_path / f"a.{suffix}", *pattern(0.3, 10)).read_bytes()
    path, rng = tmp_path / f"b.{suffix}", np.random.default_rng(1)
    for _ in range(4):
        data = np.frombuffer(good, np.uint8).copy()
        data[rng.integers(0, len(data), 12)] = rng.integers(0, 256, 12)
        path.write_bytes(data.tobytes()[: int(rng.integers(len(data) // 2, len(data) + 1))])
        try:
            source = VideoSource.open(path)
            frames = list(source.frames(size=(32, 32)))
            assert frames and {frame.shape for frame in frames} == {(32, 32, 3)}
        except UsageError as error:
            assert "\n" not in str(error) and path.name in str(error)
