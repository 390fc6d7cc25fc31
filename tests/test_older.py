"""What people bring from older tools: long options, one size as two numbers, and files of prompts."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from support.command_line import CommandLine
from support.pictures import sha
from support.runs import draw, small

from vqclip.cli.generate import generate
from vqclip.cli.options import offered
from vqclip.session.sinks.preview import PreviewSink
from vqclip.types import Snapshot
from vqclip.writers import metadata

pytestmark = pytest.mark.usefixtures("one_thread")


def printed(cli: CommandLine, *args: str) -> dict[str, Any]:
    ran = cli("generate", *args, "--print-config")
    assert ran.code == 0, ran.err
    return yaml.safe_load(ran.out)


@pytest.mark.parametrize(
    ("args", "key", "value"),
    [
        (["--prompts", "a cat | a dog:0.5"], "prompts", ["a cat | a dog:0.5"]),
        (["--prompt", "a cat", "--text", "a dog"], "prompts", ["a cat", "a dog"]),
        (["--iterations", "9"], "steps", 9),
        (["--width", "96", "--height", "64"], "size", [96, 64]),
        (["--width", "96"], "size", [96, 96]),
        (["--size", "96", "64"], "size", [96, 64]),
        (["--image_size", "96"], "size", [96, 96]),
        (["--cutn", "5"], "views.count", 5),
        (["--num_cuts", "5"], "views.count", 5),
        (["--num-cutouts", "5"], "views.count", 5),
        (["--init_image", "in.png"], "init.image", "in.png"),
        (["--init-img", "in.png"], "init.kind", "image"),
        (["--init_weight", "0.5"], "init.weight", 0.5),
        (["--image_prompts", "in.png:2"], "image_prompts", ["in.png:2"]),
        (["--negative_prompt", "a dog"], "negative", ["a dog"]),
        (["--save_every", "7"], "output.save_every", 7),
        (["--learning_rate", "0.3"], "optimizer.lr", 0.3),
        (["--step_size", "0.3"], "optimizer.lr", 0.3),
        (["--optimiser", "sgd"], "optimizer.name", "sgd"),
        (["--clip_model", "tiny"], "models.clip", ["tiny"]),
        (["--vqgan_checkpoint", "my.ckpt", "--vqgan_config", "my.yaml"], "models.vqgan", "my.ckpt"),
        (["-ckpt", "my.ckpt", "-conf", "my.yaml"], "models.vqgan_config", "my.yaml"),
        (["--cuda_device", "cpu"], "run.device", "cpu"),
        (["--video_length", "5"], "output.length", 5.0),
        (["--outdir", "new"], "output.folder", "new"),
        (["--num_images", "3"], "count", 3),
        (["--set", "init.image=my_file.png"], "init.image", "my_file.png"),
    ],
)
def test_a_long_option_of_older_tools_sets_its_key(cli: CommandLine, args: list[str], key: str, value: Any) -> None:
    found: Any = printed(cli, *args)
    for part in key.split("."):
        found = found[part]
    assert found == value


def test_no_name_stands_for_two_options() -> None:
    names = [name for option in generate.params for name in (*option.opts, *option.secondary_opts)]
    assert len(names) == len(set(names)) and set(names) >= {flag for field in offered() for flag in field.setting.flags}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--cut_method", "latest"], "--cut-method is an option of other tools: here views are"),
        (["-aug", "Af"], "--set views.augmentations"),
        (["--init_noise", "pixels"], "--init random"),
        (["--nothing_of_the_kind", "1"], "No such option"),
        (["--width", "0"], "size is 0x0"),
        (["--iterations", "many"], "many"),
    ],
)
def test_an_option_without_a_match_is_one_line(cli: CommandLine, args: list[str], words: str) -> None:
    ran = cli("a cat", *args)
    assert (ran.code, len(ran.complaints)) == (2, 1) and words in ran.err
    assert not list(Path().iterdir())


def test_two_numbers_are_a_size_only_behind_that_option(cli: CommandLine) -> None:
    assert printed(cli, "--size", "96", "a cat", "64")["prompts"] == ["a cat 64"]
    assert printed(cli, "--size", "96x64", "300")["prompts"] == ["300"]
    ran = cli("generate", "--print-config", "--", "--size", "96", "64")
    assert yaml.safe_load(ran.out)["prompts"] == ["--size 96 64"]


def test_a_line_of_older_tools_draws_what_the_newer_one_does(cli: CommandLine) -> None:
    ran = cli.draw("--prompts", "a red cat", "--iterations", "3", "--size", "64", "64", "-o", "cat.png")
    assert ran.code == 0, ran.err
    assert sha("cat.png") == sha(draw(small()).image)


# --- several prompts -------------------------------------------------------------------------------------------------


def write_list() -> None:
    Path("list.txt").write_text("a red cat\n\na dog:0.5 | snow\na fox\n")


def test_each_line_is_a_picture_of_its_own_or_all_are_one(cli: CommandLine) -> None:
    write_list()
    ran = cli.draw("--each", "@list.txt", "-o", "a.png", "--video", "a.gif", "--steps", "1")
    assert ran.code == 0 and "3 prompts, a picture of each" in ran.err
    assert sorted(map(str, ran.files)) == ["a-1.gif", "a-1.png", "a-2.gif", "a-2.png", "a.gif", "a.png"]
    kept = [metadata.read(name)["record"]["config"]["prompts"] for name in ("a.png", "a-1.png", "a-2.png")]
    assert kept == [["a red cat"], ["a dog:0.5 | snow"], ["a fox"]]
    assert sha("a.png") == sha(draw(small(steps=1)).image)
    ran = cli.draw("@list.txt", "-o", "b.png", "--steps", "1")
    assert ran.files == [Path("b.png")]
    assert "3 prompts are drawn into one picture: --each draws a picture of each" in ran.err
    assert metadata.read("b.png")["record"]["config"]["prompts"] == ["a red cat", "a dog:0.5 | snow", "a fox"]


def test_replacing_never_replaces_what_the_same_call_drew(cli: CommandLine) -> None:
    write_list()
    Path("a.png").write_text("old")
    ran = cli.draw("--each", "@list.txt", "-o", "a.png", "--yes", "--steps", "0", "--count", "2")
    assert ran.code == 0 and [str(file) for file in ran.files] == ["a.png", *(f"a-{n}.png" for n in range(1, 6))]
    assert Image.open("a.png").size == (64, 64) and len({sha(file) for file in ran.files}) == 2


def test_several_prompts_that_were_typed_are_no_news(cli: CommandLine) -> None:
    assert "prompts" not in cli.draw("-p", "a cat", "-p", "a dog", "-o", "a.png", "--steps", "0").err
    ran = cli.draw("-p", "a cat", "-p", "a dog", "--each", "-o", "b.png", "--steps", "0")
    assert len(ran.files) == 2 and "2 prompts, a picture of each" in ran.err
    assert len(cli.draw("a cat", "--each", "-o", "c.png", "--steps", "0").files) == 1


@pytest.mark.parametrize(("last", "words"), [("a fox:0", "weight 0"), ("a fox:1e39", "too large"), (":2", "no text")])
def test_a_wrong_line_is_told_before_anything_is_drawn(cli: CommandLine, last: str, words: str) -> None:
    Path("list.txt").write_text(f"a cat\n{last}\n")
    ran = cli.draw("--each", "@list.txt", "-o", "a.png")
    assert ran.code == 2 and words in ran.err and not Path("a.png").exists()


def test_a_signal_ends_the_list_and_says_what_is_not_drawn(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    write_list()
    preview = PreviewSink.step

    def stopped(sink: PreviewSink, snapshot: Snapshot) -> None:
        preview(sink, snapshot)
        if sink.config.prompts == ("a dog:0.5 | snow",) and snapshot.step == 1:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(PreviewSink, "step", stopped)
    ran = cli.draw("--each", "@list.txt", "-o", "a.png")
    assert ran.code == 143 and ran.files == [Path("a.png"), Path("a-1.png")]
    assert "1 of 3 prompts are not drawn" in ran.err and "vqclip resume a-1.run" in ran.err
