"""Things from outside that fail, at any place: one line that names them, and nothing lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.command_line import CommandLine
from support.paths import ROOT
from support.registries import restored
from support.runs import draw, small
from torch import Tensor, nn

import vqclip
from vqclip import register
from vqclip.errors import PluginError, UsageError
from vqclip.generation.models import Models
from vqclip.guidance.augmentations import Augmentation
from vqclip.session.session import run_job

HEAD = "import torch, vqclip\nfrom dataclasses import dataclass\nfrom vqclip.session.sinks import Sink\n"
BLOCKS = (ROOT / "examples" / "plugins" / "blocks.py").read_text("utf-8")
MEAN = "    def __call__(self, inputs): return inputs.image.mean((1, 2, 3))\n"


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Work in a folder of its own, and take out what a test registered."""
    monkeypatch.chdir(tmp_path)
    with restored():
        yield


def loss(body: str) -> str:
    return f"{HEAD}@vqclip.register.loss('mine')\nclass Mine:\n{body}"


def sink(body: str) -> str:
    return f"{HEAD}@vqclip.register.sink('mine')\nclass Mine(Sink):\n    {body}\n"


LOSS = ("--set", "losses.mine=1")
CANVAS = ("--canvas", "blocks", "--set", "stages=[32:0.5,full:0.5]")
STEPS = {
    "options of no dataclass": (loss("    Options = dict\n" + MEAN), LOSS, "no dataclass"),
    "options that raise": (
        loss(
            "    @dataclass\n    class Options:\n        weight: float = 1.0\n"
            "        def __post_init__(self): raise ValueError('odd')\n" + MEAN
        ),
        LOSS,
        "odd",
    ),
    "options without a default": (
        loss("    @dataclass\n    class Options:\n        weight: float\n        path: str\n" + MEAN),
        LOSS,
        "lacks path",
    ),
    "options of no plain type": (
        loss(
            "    @dataclass\n    class Options:\n        weight: float = 1.0\n        kind: torch.dtype = None\n" + MEAN
        ),
        LOSS,
        "no config holds",
    ),
    "options of an unknown type": (
        loss("    @dataclass\n    class Options:\n        weight: 'Much' = 1.0\n" + MEAN),
        LOSS,
        "'Much' is not defined",
    ),
    "needs of one text": (loss("    needs = 'views'\n" + MEAN), LOSS, "mark it with @needs"),
    "a score that raises": (
        loss("    def __init__(self, options, context): pass\n    def score(self, image): return 1 / 0\n" + MEAN),
        LOSS,
        "ZeroDivisionError",
    ),
    "a backward that raises": (
        f"{HEAD}class Odd(torch.autograd.Function):\n"
        "    @staticmethod\n    def forward(c, x): return x.mean((1, 2, 3))\n"
        "    @staticmethod\n    def backward(c, g): raise ValueError('odd')\n"
        "vqclip.register.loss('mine')(lambda inputs: Odd.apply(inputs.image))\n",
        LOSS,
        "odd",
    ),
    "a loss that exits": (loss("    def __init__(self, *given): raise SystemExit(0)\n" + MEAN), LOSS, "SystemExit"),
    "a plugin that exits": (f"{HEAD}raise SystemExit(0)\n", (), "SystemExit"),
    **{
        f"a canvas whose {name} raises": (
            f"{BLOCKS}\nBlocks.{name} = lambda *given: 1 / 0\n",
            CANVAS,
            "ZeroDivisionError",
        )
        for name in ("blank", "parameters", "cells", "at", "settle", "random", "resize", "keep_outside", "pack")
    },
    "a canvas without a factor": (f"{BLOCKS}\nBlocks.factor = 0\n", CANVAS, "factor 0"),
    "a canvas with nothing to move": (f"{BLOCKS}\nBlocks.parameters = lambda self: {{}}\n", CANVAS, "no parameters"),
    "a canvas that is a function": (f"{HEAD}vqclip.register.drawable('blocks')(print)\n", CANVAS, "lacks blank"),
    "a canvas that lacks most": (
        f"{HEAD}@vqclip.register.drawable('blocks')\nclass Mine:\n    blank = classmethod(lambda cls, medium: cls())\n",
        CANVAS,
        "lacks offers, factor",
    ),
    "a canvas of another size": (
        f"{BLOCKS}\nrender = Blocks.render\nBlocks.render = lambda self, moment=None: render(self, moment)[..., :7]\n",
        CANVAS,
        "rendered (1, 3, ",
    ),
    "an optimizer that raises": (
        f"{HEAD}@vqclip.register.optimizer('mine')\nclass Mine(torch.optim.SGD):\n    def step(self): return 1 / 0\n",
        ("--optimizer", "mine"),
        "ZeroDivisionError",
    ),
    "no optimizer": (
        f"{HEAD}vqclip.register.optimizer('mine')(lambda parameters, lr: None)\n",
        ("--optimizer", "mine"),
        "NoneType",
    ),
    "an optimizer that keeps lists": (
        f"{HEAD}@vqclip.register.optimizer('mine')\nclass Mine(torch.optim.SGD):\n    def step(self):\n"
        "        for p in self.param_groups[0]['params']: self.state[p]['past'] = [p]\n",
        ("--optimizer", "mine"),
        "keeps 'past' of the type list",
    ),
    "an augmentation that is a function": (
        f"{HEAD}vqclip.register.augmentation('mine')(print)\n",
        ("--set", "views.augmentations.mine=1"),
        "an Augmentation",
    ),
    **{
        f"a sink whose {name} raises": (sink(f"{name} = lambda *given: 1 / 0"), (), "ZeroDivisionError")
        for name in ("__init__", "begin", "step", "may_keep", "fields", "finish", "close")
    },
    **{
        f"a sink whose {name} raises": (sink(f"{name} = staticmethod(lambda config: 1 / 0)"), (), "ZeroDivisionError")
        for name in ("wanted", "check")
    },
    "a sink of another kind": (sink("kind = 'tables'"), (), "writes the kind 'tables'"),
    "a sink with fields of its own": (
        sink("fields = lambda self, position: {'mine': 1}"),
        (),
        "fields of no Savepoint",
    ),
    "a sink of no class of sinks": (f"{HEAD}vqclip.register.sink('mine')(dict)\n", (), "no subclass"),
}


@pytest.mark.parametrize("case", list(STEPS))
def test_what_fails_is_named_in_one_line(case: str, cli: CommandLine, tmp_path: Path) -> None:
    body, flags, word = STEPS[case]
    file = tmp_path / "mine.py"
    file.write_text(body, "utf-8")
    told = cli.draw("a red cat", "-o", "cat.png", "--steps", "6", "--set", "init.kind=random", "--plugin", file, *flags)
    assert told.code == 2 and "Traceback" not in told.err
    complaints = [line for line in told.complaints if "runs as code of yours" not in line]
    assert len(complaints) == 1 and word in complaints[0]


@pytest.mark.parametrize("rank", [0, 9])
def test_a_sink_that_fails_at_the_end_costs_no_picture_whatever_its_rank(
    rank: int, cli: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(sink(f"rank = {rank}\n    finish = lambda *given: 1 / 0"), "utf-8")
    told = cli.draw("a red cat", "-o", "cat.png", "--set", "init.kind=random", "--plugin", file)
    assert told.code == 2 and Path("cat.png").is_file() and "vqclip resume cat.run" in told.err


def test_a_sink_may_return_no_files() -> None:
    @register.sink("silent")
    class Silent(vqclip.session.sinks.Sink):
        def finish(self, snapshot: object, hurry: bool) -> None:  # type: ignore[override]
            return None

    assert run_job(vqclip.Job(small(output={"file": "cat.png"}))).others == ()


def test_augmentations_of_pixels_get_noise_of_the_views_shape_and_keep_the_gradient() -> None:
    shapes: list[tuple[torch.Size, torch.Size]] = []

    def noisy(views: Tensor, u: Tensor, strength: float, noise: Tensor) -> Tensor:
        shapes.append((views.shape, noise.shape))
        return views + strength * noise

    register.augmentation("noisy")(Augmentation("pixel", 1, noisy, "deviation"))
    draw(small(views={"count": 4, "augmentations": {"noisy": 0.1}}))
    assert shapes and all(views == noise for views, noise in shapes)
    register.augmentation("cut")(Augmentation("pixel", 1, lambda views, u, s, noise: views.detach(), ""))
    with pytest.raises(PluginError, match="without a gradient"):
        draw(small(views={"count": 4, "augmentations": {"cut": 1.0}}))
    for kind, draws in (("sound", 1), ("pixel", -1)):
        with pytest.raises(UsageError, match="an augmentation"):
            Augmentation(kind, draws, noisy, "")  # type: ignore[arg-type]


class Tiles(nn.Module):
    """A VQGAN whose codes are colors."""

    factor = 8

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.rand(16, 3, generator=torch.Generator().manual_seed(0)))

    def encode(self, image: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(image, 8)

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        flat = z.permute(0, 2, 3, 1).reshape(-1, 3)
        indices = torch.cdist(flat, self.codebook).argmin(1).view(len(z), *z.shape[2:])
        return self.codebook[indices].permute(0, 3, 1, 2), indices

    def decode(self, z_q: Tensor) -> Tensor:
        return nn.functional.interpolate(z_q, scale_factor=8).clamp(0, 1)


class Glance(nn.Module):
    """A CLIP that sees colors alone."""

    image_size, context_length = 16, 77

    def encode_image(self, views: Tensor) -> Tensor:
        return views.mean((2, 3)) + 0.01

    def encode_text(self, texts: list[str]) -> Tensor:
        return torch.eye(3)[torch.tensor([len(text) % 3 for text in texts])]

    def count_tokens(self, text: str) -> int:
        return len(text.split())


@pytest.mark.parametrize(
    ("which", "attribute", "value", "word"),
    [("vqgan", "decode", lambda self, z: 1 / 0, r"Tiles.decode \(test_outside.py, line \d+\) raised ZeroDivisionError"),
     ("vqgan", "decode", lambda self, z: z, "return a tensor"),
     ("vqgan", "decode", lambda self, z: Tiles.decode(self, z).detach(), "without a gradient"),
     ("vqgan", "quantize", lambda self, z: z, "return the codes"),
     ("vqgan", "factor", 0, "factor 0"),
     ("vqgan", "codebook", None, "no codebook"),
     ("clip", "encode_image", lambda self, views: views.mean((2, 3))[:, :2], "return a tensor"),
     ("clip", "encode_image", lambda self, views: views.mean((2, 3)).detach(), "without a gradient"),
     ("clip", "encode_text", lambda self, texts: ["odd"], "returned list"),
     ("clip", "count_tokens", lambda self, text: 1 / 0, "ZeroDivisionError"),
     ("clip", "image_size", "large", "image_size 'large'")],
)  # fmt: skip
def test_networks_from_python_that_fail_are_named(which: str, attribute: str, value: object, word: str) -> None:
    config = small(init={"kind": "random"})
    assert vqclip.generate(config, Models(vqgan=Tiles(), clips=[Glance()])).pictures
    kinds: dict[str, type] = {"vqgan": Tiles, "clip": Glance}
    broken = type(kinds[which].__name__, (kinds[which],), {attribute: value})() if attribute != "codebook" else Tiles()
    if attribute == "codebook":
        broken.codebook = value
    vqgan, clip = (broken, Glance()) if which == "vqgan" else (Tiles(), broken)
    with pytest.raises(UsageError, match=word):
        vqclip.generate(config, Models(vqgan=vqgan, clips=[clip]))


def test_a_network_from_python_may_have_an_architecture_of_its_own() -> None:
    vqgan, clip = Tiles(), Glance()
    vqgan.architecture, clip.architecture = "tiles", "glance"  # type: ignore[assignment]
    assert vqclip.generate(small(init={"kind": "random"}), Models(vqgan=vqgan, clips=[clip])).pictures
    with pytest.raises(UsageError, match="give Models"):
        Models(vqgan=vqgan, clips=clip)  # type: ignore[arg-type]


def test_callbacks_change_neither_what_is_told_of_a_step_nor_come_as_anything_else() -> None:
    config = small(steps=2, output={"file": "cat.png", "metrics": "cat.csv"})
    run_job(vqclip.Job(config), callbacks=[lambda report: report.losses.clear()])
    assert "loss.prompt" in Path("cat.csv").read_text()
    for odd in (print, [5]):
        with pytest.raises(UsageError, match="give \\[my_callback\\]"):
            vqclip.generate(config, callbacks=odd)  # type: ignore[arg-type]


def test_a_run_to_resume_is_a_resume() -> None:
    with pytest.raises(UsageError, match="give Resume"):
        vqclip.Job(resume="cat.png")  # type: ignore[arg-type]


def test_a_wish_to_save_at_the_end_of_a_batch_is_none_of_the_next() -> None:
    from vqclip.session import events

    session = vqclip.Session.start(vqclip.Job(small(steps=1, count=2, output={"file": "cat.png"})))
    saved = 0
    for event in session:
        if isinstance(event, events.Stepped) and event.snapshot.last and not saved:
            session.save()
        saved += isinstance(event, events.Saved)
    assert not saved
