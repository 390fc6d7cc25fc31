"""The command line: what its words and options mean, what it writes and prints, and drawing a picture again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest
import torch
import yaml
from PIL import Image
from support.command_line import CommandLine, start_cli
from support.paths import ROOT
from support.pictures import photo, sha
from support.runs import SMALL_FLAGS

from vqclip.cli.progress import Progress
from vqclip.session.sinks.preview import PreviewSink
from vqclip.types import Snapshot
from vqclip.version import __version__
from vqclip.writers import metadata
from vqclip.writers.picture import save_image

DRAW = ("a red cat", "--steps", "1")


pytestmark = pytest.mark.usefixtures("one_thread")


def printed(cli: CommandLine, *args: str | Path) -> dict[str, Any]:
    """Return the config that --print-config prints for these arguments."""
    ran = cli("generate", *args, "--print-config")
    assert (ran.code, ran.err) == (0, "")
    return yaml.safe_load(ran.out)


def record(file: Path | str) -> dict[str, Any]:
    return metadata.read(file)["record"]


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "prompts"),
    [
        (["a cat"], ["a cat"]),
        (["a", "red", "cat"], ["a red cat"]),
        (["generate", "train"], ["train"]),
        (["--", "train"], ["train"]),
        (["generate", "generate"], ["generate"]),
        (["trains"], ["trains"]),
        (["Train"], ["Train"]),
        (["--steps", "3", "info"], ["info"]),
        (["--steps", "3", "a cat"], ["a cat"]),
        (["a", "--steps", "3", "cat"], ["a cat"]),
        (["-p", "a cat", "-p", "a dog"], ["a cat", "a dog"]),
        (["a cat", "-p", "a dog"], ["a cat", "a dog"]),
        (["a cat:0.5 | a dog:-1:0.2"], ["a cat:0.5 | a dog:-1:0.2"]),
        (["--", "-dash"], ["-dash"]),
        (["@"], ["@"]),
        (["an @ sign"], ["an @ sign"]),
    ],
)
def test_the_first_word_is_a_subcommand_only_on_an_exact_match(
    cli: CommandLine, args: list[str], prompts: list[str]
) -> None:
    ran = cli("--print-config", *args) if args[0] != "generate" else cli("generate", "--print-config", *args[1:])
    assert ran.code == 0, ran.err
    assert yaml.safe_load(ran.out)["prompts"] == prompts


def test_prompts_come_from_a_file_or_stdin(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("prompts.txt").write_text("a red cat\n\n  ein Käfer:0.5 \n", encoding="utf-8-sig")
    assert printed(cli, "@prompts.txt")["prompts"] == ["a red cat", "ein Käfer:0.5"]
    with Path("prompts.txt").open(encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert printed(cli, "-")["prompts"] == ["a red cat", "ein Käfer:0.5"]


def test_without_arguments_it_explains_itself(cli: CommandLine) -> None:
    for args in ([], ["--help"], ["-h"], ["generate", "--help"], ["info", "--help"], ["models"]):
        ran = cli(*args)
        assert ran.code == 0
        assert "Usage: vqclip" in ran.out + ran.err
    assert cli("--version").out.split()[-1] == __version__


def test_the_models_are_listed(cli: CommandLine) -> None:
    ran = cli("models", "list")
    assert ran.code == 0
    rows = [line.split() for line in ran.out.splitlines()]
    bundled = [row[:2] for row in rows if "bundled" in row]
    assert bundled == [[kind, "tiny"] for kind in ("vqgan", "clip", "prior", "upsampler", "judge", "memory")]
    assert ["vqgan", "imagenet_f16_16384"] in [row[:2] for row in rows]
    assert ["clip", "ViT-B-32/openai"] in [row[:2] for row in rows]
    assert Path(cli("models", "where").out.splitlines()[0]).is_dir()


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "key", "value"),
    [
        (["-i", "3"], "steps", 3),
        (["--steps", "0"], "steps", 0),
        (["-s", "96", "64"], "size", [96, 64]),
        (["--size", "96x64"], "size", [96, 64]),
        (["--size", "96"], "size", [96, 96]),
        (["-sd", "5"], "seed", 5),
        (["--seed", "0"], "seed", 0),
        (["-se", "9"], "output.save_every", 9),
        (["-se", "0"], "output.save_every", 0),
        (["-cuts", "5"], "views.count", 5),
        (["-lr", "0.3"], "optimizer.lr", 0.3),
        (["--lr", "0"], "optimizer.lr", 0.0),
        (["-m", "tiny"], "models.clip", ["tiny"]),
        (["--clip", "a", "--clip", "b"], "models.clip", ["a", "b"]),
        (["--model", "tiny"], "models.vqgan", "tiny"),
        (["-ii", "in.png"], "init.image", "in.png"),
        (["-ii", "in.png"], "init.kind", "image"),
        (["-ii", "in.png", "--init", "random"], "init.kind", "random"),
        (["--strength", "0"], "init.strength", 0.0),
        (["-iw", "0.7"], "init.weight", 0.7),
        (["-iw", "0"], "init.weight", 0.0),
        (["-ip", "a.png", "-ip", "b.png:2"], "image_prompts", ["a.png", "b.png:2"]),
        (["-opt", "sgd"], "optimizer.name", "sgd"),
        (["--negative", "a dog"], "negative", ["a dog"]),
        (["--stages", "64:0.5, full:0.5"], "stages", ["64:0.5", "full:0.5"]),
        (["--deterministic"], "run.deterministic", True),
        (["--no-metadata"], "output.metadata", False),
        (["--keep-run"], "output.keep_run", True),
        (["--set", "views.count=5"], "views.count", 5),
        (["--set", "views.augmentations={rotate: 3}"], "views.augmentations.rotate", 3.0),
        (["--set", "views.augmentations.rotate=3"], "views.augmentations.rotate", 3.0),
        (["--set", "init.image=none"], "init.image", None),
        (["--set", "run.deterministic=on"], "run.deterministic", True),
        (["--set", "best.every=2", "--set", "best.every=3"], "best.every", 3),
    ],
)
def test_every_option_sets_its_key(cli: CommandLine, args: list[str], key: str, value: Any) -> None:
    found: Any = printed(cli, "a cat", *args)
    for part in key.split("."):
        found = found[part]
    assert found == value
    assert type(found) is type(value)


def test_a_word_is_a_seed(cli: CommandLine) -> None:
    seeds = [printed(cli, "a cat", "--seed", word)["seed"] for word in ("fox", "fox", "owl", "007", "-1")]
    assert seeds[0] == seeds[1] != seeds[2]
    assert seeds[3] == 7
    assert seeds[4] == -1 or 0 <= seeds[4] < 2**32


def test_the_printed_config_is_read_back_as_it_was(cli: CommandLine) -> None:
    args = ("ein ${Käfer} 🐱: yes", "no", "--negative", "null", "--size", "96x64", "--seed", "5", "--fps", "12.5",
            "--stages", "64:0.5,full:0.5", "--set", "losses={tv: 0.1}", "-lr", "1e-5")  # fmt: skip
    Path("my.yaml").write_text(cli("generate", *args, "--print-config").out, encoding="utf-8")
    assert printed(cli, "-c", "my.yaml") == printed(cli, *args)


def test_later_sources_win(cli: CommandLine) -> None:
    assert printed(cli, "a cat")["views"]["smallest"] == 0.5, "preset over defaults"
    Path("a.yaml").write_text("views: {count: 3}\nsteps: 30\nprompts: from a file\n")
    Path("b.yaml").write_text("steps: 40\n")
    both = ("-c", "a.yaml", "-c", "b.yaml")
    assert printed(cli, *both)["prompts"] == ["from a file"]
    found = printed(cli, "a cat", *both)
    assert (found["views"]["count"], found["steps"], found["prompts"]) == (3, 40, ["a cat"])
    assert printed(cli, *both, "--set", "steps=50")["steps"] == 50
    assert printed(cli, *both, "--steps", "60", "--set", "steps=50")["steps"] == 60
    assert printed(cli, *both)["optimizer"] == printed(cli)["optimizer"], "a file changes only what it names"


# --- files -----------------------------------------------------------------------------------------------------------


def test_names_are_numbered_and_stdout_holds_nothing_else(cli: CommandLine) -> None:
    first, second = (cli.draw("A réd/cat!", "--steps", "1") for _ in range(2))
    assert [ran.code for ran in (first, second)] == [0, 0]
    assert first.files[0].name == "0001-7-a-red-cat.png"
    assert second.files[0].name == "0002-7-a-red-cat.png"
    assert len(first.files) == len(second.files) == 1
    assert sorted(file.name for file in first.files[0].parent.iterdir()) == [f"000{n}-7-a-red-cat.png" for n in (1, 2)]


def test_a_given_name_is_never_overwritten_without_yes(cli: CommandLine) -> None:
    names = [cli.draw(*DRAW, "--seed", str(seed), "-o", "new/cat.png").files[0].name for seed in (1, 2, 3)]
    assert names == ["cat.png", "cat-1.png", "cat-2.png"]
    before = sha("new/cat-1.png")
    assert cli.draw(*DRAW, "--seed", "2", "-o", "new/cat.png", "--yes").files == [Path("new/cat.png")]
    assert sha("new/cat.png") == sha("new/cat-1.png") == before


@pytest.mark.parametrize("suffix", ["mp4", "webp"])
def test_picture_and_video_of_one_name_keep_it(cli: CommandLine, suffix: str) -> None:
    ran = cli.draw("a red cat", "-o", "cat.png", "--video", f"cat.{suffix}")
    assert ran.files == [Path("cat.png"), Path(f"cat.{suffix}")]
    assert sorted(file.name for file in Path().iterdir()) == sorted(map(str, ran.files))


@pytest.mark.parametrize("more", [[], ["--yes"]])
def test_picture_and_video_are_never_the_same_file(cli: CommandLine, more: list[str]) -> None:
    ran = cli.draw("a red cat", "-o", "cat.webp", "--video", "cat.webp", "--lr", "1", *more)
    assert (ran.code, len(set(ran.files))) == (0, 2)
    assert [Image.open(file).n_frames > 1 for file in ran.files] == [False, True]


@pytest.mark.parametrize("batch", ["1", "2"])
def test_several_pictures_have_names_of_their_own(cli: CommandLine, batch: str) -> None:
    args = ("--count", "2", "--batch-size", batch, "-o", "cat.png", "--video", "film.gif", "--deterministic")
    ran = cli.draw("a red cat", *args)
    assert ran.code == 0, ran.err
    assert sorted(ran.files) == [Path(name) for name in ("cat-1.png", "cat.png", "film-1.gif", "film.gif")]
    assert sorted(file.name for file in Path().iterdir()) == sorted(map(str, ran.files))
    assert [record(name)["seed"] for name in ("cat.png", "cat-1.png")] == [7, 8]
    assert sha("cat.png") != sha("cat-1.png")


@pytest.mark.parametrize("name", ["cat.jpg", "cat.jpeg", "cat.webp", "CAT.PNG"])
def test_the_ending_names_the_format(cli: CommandLine, name: str) -> None:
    ran = cli.draw(*DRAW, "-o", name)
    assert ran.files == [Path(name)]
    with Image.open(name) as image:
        assert image.size == (64, 64)
        formats = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".png": "PNG"}
        assert image.format == formats[Path(name).suffix.lower()]
    assert record(name)["seed"] == 7


@pytest.mark.parametrize(("suffix", "frames"), [("mp4", 3), ("gif", 3)])
def test_a_video_has_a_frame_a_step(cli: CommandLine, suffix: str, frames: int) -> None:
    ran = cli.draw("a red cat", "--size", "70x50", "--video", f"film.{suffix}", "-o", "cat.png")
    assert ran.code == 0, ran.err
    assert imageio_ffmpeg.count_frames_and_secs(f"film.{suffix}")[0] == frames


def test_a_run_folder_with_config_and_preview_stands_beside_the_picture_and_goes(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    preview = PreviewSink.step

    def watched(sink: PreviewSink, snapshot: Any) -> None:
        preview(sink, snapshot)
        seen.append(sorted(file.name for file in sink.batch.lead.iterdir()))

    monkeypatch.setattr(PreviewSink, "step", watched)
    assert cli.draw("a red cat", "-o", "cat.png", "--save-every", "2").code == 0
    saved = ["config.yaml", "lock", "state.safetensors"]
    assert seen == [saved, saved, *[sorted([*saved, "preview.png"])] * 2]
    assert [file.name for file in Path().iterdir()] == ["cat.png"]
    assert cli.draw("a red cat", "-o", "kept.png", "--save-every", "2", "--keep-run").code == 0
    assert Image.open("kept.run/preview.png").size == (64, 64)
    assert yaml.safe_load(Path("kept.run/config.yaml").read_text())["seed"] == 7


# --- progress --------------------------------------------------------------------------------------------------------


def test_quiet_shows_nothing_but_the_names(cli: CommandLine) -> None:
    ran = cli.draw("a red zeppelin", "--steps", "1", "--quiet", "-o", "cat.png")
    assert (ran.code, ran.out, ran.err) == (0, "cat.png\n", "")


def test_progress_in_a_log_tells_rate_time_and_how_good_the_picture_is(cli: CommandLine) -> None:
    lines = [line for line in cli.draw("a red cat", "-o", "cat.png").err.splitlines() if line.startswith("step")]
    assert len(lines) == 3 and "loss 0." in lines[0]
    # the held-out views judge at the end
    assert all(word in lines[-1] for word in ("step 3/3", "score 0.", "steps/s", "s left")) and "loss" not in lines[-1]


def test_the_score_that_is_shown_never_rises_within_a_stage(cli: CommandLine) -> None:
    told = cli.draw("a red cat", "-o", "cat.png", "--steps", "8", "--set", "best.every=1", "--lr", "0.5")
    scores = [float(line.partition("score ")[2].split()[0]) for line in told.err.splitlines() if "score " in line]
    assert len(scores) == 8 and scores == sorted(scores, reverse=True)


def test_progress_of_several_pictures_names_the_one_that_is_drawn(cli: CommandLine) -> None:
    ran = cli.draw("a red cat", "-o", "cat.png", "--steps", "1", "--count", "3", "--batch-size", "2")
    steps = [line.partition("  ")[0] for line in ran.err.splitlines() if "step" in line]
    assert steps == ["seeds 7 to 8: step 1/1", "seed 9: step 1/1"]


def test_a_loss_that_is_none_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("lines")
    for step, losses in enumerate(({}, {}, {"prompt": torch.tensor([0.25])})):
        progress.snapshot(Snapshot(step, 2, (7,), (8, 8), torch.zeros(1, 3, 8, 8), losses))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("step 1/2  ") and "loss" not in first and "nan" not in first
    assert second.startswith("step 2/2  loss 0.2500  ")


@pytest.mark.parametrize(
    ("columns", "rows", "shown"), [(0, 0, 79), (60, 0, 59), (0, 30, 79), (70, 2, 69), (70, 30, 69)]
)
def test_the_bar_is_shown_whatever_the_terminal_says_of_its_size(columns: int, rows: int, shown: int) -> None:
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    with open(slave, "w", encoding="utf-8") as stream, contextlib.redirect_stderr(stream):
        progress = Progress.of(quiet=False, as_json=False, several=True)
        for step in range(3):
            losses = {"prompt": torch.tensor([0.25])}
            progress.snapshot(Snapshot(step, 2, (7,), (8, 8), torch.zeros(1, 3, 8, 8), losses, work=step / 2))
        told = b""
        while b"\n" not in told:  # the kernel hands it out in pieces
            told += os.read(master, 9999)
    os.close(master)
    lines = told.decode().replace("\n", "\r").split("\r")
    assert progress.style == "bar" and any("2/2" in line and line.startswith("seed 7: ") for line in lines)
    assert max(map(len, lines)) == shown


def test_json_progress_is_a_json_line_an_event(cli: CommandLine) -> None:
    ran = cli.draw("a red zeppelin", "-o", "cat.png", "--json-progress")
    events = [json.loads(line) for line in ran.err.splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    assert [step["step"] for step in steps] == [0, 1, 2, 3]
    assert steps[0]["loss"] is None
    assert all(step["steps"] == 3 and step["seeds"] == [7] for step in steps)
    assert all(isinstance(step["loss"], float) for step in steps[1:])
    assert any("zeppelin" in event["text"] for event in events if event["event"] == "notice")
    assert ran.out == "cat.png\n"


# --- processes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_keeps_picture_and_video(tmp_path: Path, name: str, code: int) -> None:
    args = ("a red cat", *SMALL_FLAGS, "--steps", "100000", "--set", "best.every=1", "-o", "cat.png",
            "--video", "film.mp4", "--json-progress")  # fmt: skip
    process = start_cli(*args, cwd=tmp_path)
    for line in process.stderr:
        if json.loads(line).get("step") == 3:
            break
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.split()) == (code, ["cat.png", "film.mp4"]), err
    assert "Traceback" not in err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cat.png", "cat.run", "film.mp4"]
    assert "vqclip resume cat.run" in err
    stopped = record(tmp_path / "cat.png")["stopped_at_step"]
    assert stopped >= 3
    assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "film.mp4"))[0] == stopped


@pytest.mark.parametrize("code", [
    "import vqclip; vqclip.make_config; vqclip.Config",
    "from vqclip.cli.main import run; assert run(['--help']) == 0",
    "from vqclip.cli.main import run; assert run(['generate', '--help']) == 0",
    "from vqclip.cli.main import run; assert run(['cat', '--print-config']) == 0",
    "from vqclip.cli.main import run; assert run(['cat:1:abc']) == 2",
])  # fmt: skip
def test_what_needs_no_network_loads_no_torch_and_makes_no_file(tmp_path: Path, code: str) -> None:
    check = "; import sys; assert not {'torch', 'open_clip', 'kornia'} & set(sys.modules)"
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-B", "-c", code + check], cwd=tmp_path, env=os.environ | home,
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["--help", "generate --help", "info --help"])
def test_help_waits_for_nothing_that_it_does_not_need(command: str) -> None:
    code = f"import sys; from vqclip.cli.main import run; assert run({command.split()!r}) == 0; "
    check = "assert not {'numpy', 'PIL', 'tqdm', 'omegaconf'} & set(sys.modules), sorted(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code + check], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-300:]


def test_a_broken_pipe_is_no_traceback(tmp_path: Path) -> None:
    process = start_cli("cat", "--print-config", cwd=tmp_path)
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.wait(timeout=60)
    process.stderr.close()


def test_a_picture_without_metadata_says_nothing(cli: CommandLine) -> None:
    assert cli.draw(*DRAW, "-o", "cat.png", "--no-metadata").code == 0
    assert metadata.read("cat.png") == {"parameters": None, "record": None}
    assert Image.open("cat.png").info == {}
    assert cli("info", "cat.png").code == 2
    save_image(Image.open(photo(Path("in.png"))), "foreign.png", None)
    assert cli("info", "foreign.png", "--json").code == 2
