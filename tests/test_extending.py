"""Losses, canvases and other variants from outside, models from Python, callbacks, plugins."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import CommandLine
from support.paths import ROOT
from support.pictures import sha
from support.registries import restored
from support.runs import draw, models, small, snapshots
from torch import Tensor, nn

import vqclip
from vqclip import register
from vqclip.drawables import Medium, Moment
from vqclip.errors import PluginError, UsageError
from vqclip.generation.models import Models
from vqclip.guidance.augmentations import Augmentation
from vqclip.guidance.losses.protocol import LossContext, LossInputs, ViewInputs, needs
from vqclip.registry import LOSSES, plugins
from vqclip.registry.plugins import load_plugin

HERE = Path(__file__).name


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Take out what a test registered."""
    with restored():
        yield


def test_a_loss_from_outside_is_a_function_and_one_line() -> None:
    @register.loss("dark")
    def dark(inputs: LossInputs) -> Tensor:
        return inputs.image.mean((1, 2, 3))

    plain, darker = (snapshots(small(losses=losses)) for losses in ({}, {"dark": 30.0}))
    assert float(darker[-1].image.mean()) < float(plain[-1].image.mean()) - 0.01
    assert torch.allclose(darker[1].losses["dark"], 30 * darker[0].image.mean((1, 2, 3)), rtol=1e-4)


def test_a_loss_from_outside_may_have_options_and_look_at_views() -> None:
    seen: dict[str, Any] = {}

    @register.loss("near")
    @needs("views")
    class Near:
        @dataclass(frozen=True)
        class Options:
            weight: float = 1.0
            power: int = 2

        def __init__(self, options: Options, context: LossContext) -> None:
            self.power = options.power
            self.wanted = context.perceptors[0].encode_text(["a green frog"])

        def __call__(self, inputs: ViewInputs) -> Tensor:
            seen[f"{self.power}"] = tuple(inputs.embeddings.shape), len(inputs.views)
            return (inputs.embeddings - self.wanted).norm(dim=1) ** self.power

    drawn = {power: draw(small(losses={"near": {"power": power, "weight": 3.0}})).image for power in (1, 2)}
    assert len({sha(image) for image in (*drawn.values(), draw(small()).image)}) == 3
    assert seen["1"] == ((2, 256), 1)  # the held-out views judge by it too
    with pytest.raises(UsageError, match="pwoer"):
        draw(small(losses={"near": {"pwoer": 1}}))
    with pytest.raises(UsageError, match="whole number"):
        draw(small(losses={"near": {"power": "much"}}))


def failing(how: str) -> Callable[[LossInputs], Any]:
    """Return a loss that does not do what a loss does."""

    def loss(inputs: LossInputs) -> Any:
        value = inputs.image.mean((1, 2, 3))
        if how == "raises":
            raise KeyError("nothing here")
        return {
            "a number": 1.0,
            "the shape": inputs.image,
            "not finite": value * math.nan,
            "no gradient": value.detach(),
            "gradient that is not finite": (value - value.detach()).sqrt(),
        }[how]

    return loss


@pytest.mark.parametrize(
    ("how", "word"),
    [("raises", "KeyError"), ("a number", "float"), ("the shape", "shape"), ("not finite", "not finite"),
     ("no gradient", "no gradient"), ("gradient that is not finite", "gradient that is not finite")],
)  # fmt: skip
def test_a_loss_that_fails_is_named_with_its_file_and_line(
    how: str, word: str, cli: CommandLine, tmp_path: Path
) -> None:
    register.loss("mine")(failing(how))
    told = cli.draw("a red cat", "-o", "cat.png", "--set", "losses.mine=1", "--steps", "3")
    assert told.code == 2
    assert len(told.complaints) == 1
    assert "the loss 'mine'" in told.complaints[0] and HERE in told.complaints[0] and "line" in told.complaints[0]
    assert word in told.complaints[0]
    assert "Traceback" not in told.err


def test_what_a_failing_plugin_leaves_is_kept(cli: CommandLine) -> None:
    @register.loss("later")
    def later(inputs: LossInputs) -> Tensor:
        if inputs.moment.step == 2:
            raise RuntimeError("that was enough")
        return inputs.image.mean((1, 2, 3))

    told = cli.draw("a red cat", "-o", "cat.png", "--set", "losses.later=1", "--steps", "5")
    assert told.code == 2 and "that was enough" in told.err and Path("cat.png").is_file()
    assert "vqclip resume cat.run" in told.err


def test_augmentations_of_every_kind_come_from_outside() -> None:
    register.augmentation("half_turn")(
        Augmentation("geometry", 1, lambda u, s: torch.diag(torch.tensor([-1.0, -1.0, 1.0])).expand(len(u), 3, 3), "")
    )
    swapped = torch.tensor([[0.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]])
    register.augmentation("swap")(Augmentation("color", 1, lambda u, s: swapped.expand(len(u), 3, 4), ""))
    register.augmentation("dim")(Augmentation("pixel", 1, lambda views, u, s, noise: views * (1 - s), ""))
    pictures = [draw(small(views={"count": 4, "augmentations": {name: 0.5}})).image
                for name in ("half_turn", "swap", "dim")]  # fmt: skip
    assert len({sha(image) for image in (*pictures, draw(small()).image)}) == 4
    register.augmentation("broken")(Augmentation("color", 1, lambda u, s: u, ""))
    with pytest.raises(PluginError, match=r"augmentation 'broken' \(test_extending.py, line \d+\) returned"):
        draw(small(views={"count": 4, "augmentations": {"broken": 1.0}}))


class Colors:
    """One color a picture: the smallest canvas there is."""

    offers = frozenset[str]()
    factor, refusal, codes = 1, "", None

    def __init__(self, medium: Medium, color: Tensor | None = None, size: tuple[int, int] = (0, 0)) -> None:
        self.medium, self.size = medium, size
        self.color = torch.zeros(0, 3) if color is None else color

    @classmethod
    def blank(cls, medium: Medium) -> Colors:
        return cls(medium)

    def parameters(self) -> dict[str, Tensor]:
        return {"color": self.color}

    def cells(self) -> dict[str, Tensor]:
        return {}

    def at(self, values: Mapping[str, Tensor]) -> Colors:
        return type(self)(self.medium, values["color"], self.size)

    def render(self, moment: Moment | None = None) -> Tensor:
        return self.color.sigmoid()[:, :, None, None].expand(-1, -1, *self.size)

    def settle(self) -> None:
        return None

    def random(self, seeds: Sequence[int], height: int, width: int) -> Colors:
        return Colors(self.medium, torch.zeros(len(seeds), 3), (height, width))

    def encode(self, image: Tensor, height: int, width: int) -> Colors:
        return Colors(self.medium, image.mean((2, 3)).clamp(0.1, 0.9).logit(), (height, width))

    def from_codes(self, codes: Tensor, height: int, width: int, seeds: Sequence[int]) -> Colors:
        return self.random(seeds, height, width)

    def resize(self, height: int, width: int, seeds: Sequence[int]) -> Colors:
        return Colors(self.medium, self.color, (height, width))

    def mix(self, other: Colors, share: float) -> Colors:
        return self

    def keep_outside(self) -> Colors:
        return self

    def pack(self) -> dict[str, Tensor]:
        return {"color": self.color, "size": torch.tensor(self.size)}

    def unpack(self, tensors: Mapping[str, Tensor]) -> Colors:
        return Colors(self.medium, tensors["color"], tuple(tensors["size"].tolist()))


def test_a_canvas_from_outside_is_drawn_scaled_saved_and_gone_on_with(cli: CommandLine) -> None:
    register.drawable("colors")(Colors)
    values = {"canvas": {"name": "colors"}, "stages": ["32:0.5", "full:0.5"], "init": {"kind": "random"}}
    pixels = draw(small("a red circle", steps=8, **values)).image
    assert pixels.size == (64, 64) and len(pixels.getcolors()) == 1 and pixels.getpixel((0, 0)) != (128, 128, 128)
    flags = ("a red circle", "--canvas", "colors", "--set", "init.kind=random", "-o")
    assert cli.draw(*flags, "one.png", "--keep-run").code == 0
    assert cli("resume", "one.run", "--steps", "6").code == 0
    assert cli.draw("a red circle", "--canvas", "colour").code == 2
    with pytest.raises(UsageError, match=r"losses.commitment needs codes, which the canvas 'colors' does not have"):
        draw(small(canvas={"name": "colors"}, losses={"commitment": 1.0}, init={"kind": "random"}))


def test_a_canvas_that_renders_something_else_is_named() -> None:
    class Flat(Colors):
        def render(self, moment: Moment | None = None) -> Tensor:
            return self.color

        @classmethod
        def blank(cls, medium: Medium) -> Flat:
            return cls(medium)

        def random(self, seeds: Sequence[int], height: int, width: int) -> Flat:
            return Flat(self.medium, torch.zeros(len(seeds), 3), (height, width))

    register.drawable("flat")(Flat)
    with pytest.raises(PluginError, match=r"the canvas \(test_extending.py, line \d+\) rendered \(1, 3\)"):
        draw(small(canvas={"name": "flat"}, init={"kind": "random"}))


def test_an_intervention_from_outside_acts_where_the_config_names_it() -> None:
    steps: list[tuple[int, float]] = []

    @register.intervention("watch")
    class Watch:
        @dataclass(frozen=True)
        class Options:
            factor: float = 1.0

        def __init__(self, options: Options, run: Any) -> None:
            self.factor = options.factor

        def __call__(self, run: Any) -> None:
            steps.append((run.state.step, self.factor))

    draw(small())
    assert not steps
    draw(small(interventions={"watch": {"factor": 2.5}}))
    assert steps == [(0, 2.5), (1, 2.5), (2, 2.5)]
    with pytest.raises(UsageError, match="acts by settings of its own"):
        draw(small(interventions={"remask": True}))


def test_schedules_and_optimizers_come_from_outside() -> None:
    register.schedule("off")(lambda progress: 0.0)
    register.optimizer("plain")(type("Plain", (torch.optim.SGD,), {"__module__": __name__}))
    first, *_, last = snapshots(small(optimizer={"schedule": "off", "lr": 1.0}))
    assert torch.equal(first.image, last.image)
    assert sha(draw(small(optimizer={"name": "plain", "lr": 5.0})).image) != sha(draw(small()).image)
    register.schedule("wrong")(lambda progress: "fast")
    with pytest.raises(PluginError, match="the schedule 'wrong'"):
        draw(small(optimizer={"schedule": "wrong"}))


def test_names_that_are_taken_or_odd_are_refused_and_ones_own_replaced() -> None:
    with pytest.raises(UsageError, match="vqclip's own"):
        register.loss("tv")(lambda inputs: inputs.image.mean((1, 2, 3)))
    for name in ("", "a b", "a.b", 3):
        with pytest.raises(UsageError, match="letters"):
            register.loss(name)
    with pytest.raises(UsageError, match="function or a class"):
        register.loss("mine")("text")
    for factor in (1.0, 2.0):  # as a notebook's cell that runs twice
        register.loss("mine")(lambda inputs, factor=factor: factor * inputs.image.mean((1, 2, 3)))
    found = snapshots(small(losses={"mine": 1.0}, steps=1))
    assert torch.allclose(found[1].losses["mine"], 2 * found[0].image.mean((1, 2, 3)), rtol=1e-4)


# --- models from Python ----------------------------------------------------------------------------------------------


class MyVQGAN(nn.Module):
    """The bundled VQGAN with no more than a run asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = models().vqgan
        self.factor = self.kept.factor

    @property
    def codebook(self) -> Tensor:
        return self.kept.codebook

    def encode(self, image: Tensor) -> Tensor:
        return self.kept.encode(image)

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.kept.quantize(z)

    def decode(self, z_q: Tensor) -> Tensor:
        return self.kept.decode(z_q)


class MyCLIP(nn.Module):
    """The bundled CLIP with no more than a run asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = models().clips[0]
        self.image_size, self.context_length = self.kept.image_size, self.kept.context_length

    def encode_image(self, views: Tensor) -> Tensor:
        return self.kept.encode_image(views)

    def encode_text(self, texts: list[str]) -> Tensor:
        return self.kept.encode_text(texts)

    def count_tokens(self, text: str) -> int:
        return self.kept.count_tokens(text)


def test_models_from_python_draw_and_pictures_say_what_they_were() -> None:
    mine = Models(vqgan=MyVQGAN(), clips=[MyCLIP()])
    result = vqclip.generate(small(), mine)
    assert result.config.models.vqgan == f"python:{__name__}.MyVQGAN"
    assert result.config.models.clip == [f"python:{__name__}.MyCLIP"]
    weights = result.pictures[0].record["weights"]
    assert {name: len(digest) for name, digest in weights.items()} == {
        f"vqgan:python:{__name__}.MyVQGAN": 64, f"clip:python:{__name__}.MyCLIP": 64
    }  # fmt: skip
    assert sha(vqclip.generate(result.config, mine).image) == sha(result.image)
    # a codebook with dead codes and folded words apart, they are the bundled ones
    assert result.image.size == (64, 64)


@pytest.mark.parametrize(("what", "lacking"), [("vqgan", "quantize"), ("clips", "encode_text")])
def test_models_of_another_interface_are_named_with_what_is_missing(what: str, lacking: str) -> None:
    class Half:
        factor, image_size, context_length = 8, 64, 77
        codebook = torch.zeros(4, 4)
        encode = decode = encode_image = count_tokens = staticmethod(lambda *arguments: None)

    given = {"vqgan": MyVQGAN(), "clips": [MyCLIP()]} | {what: Half() if what == "vqgan" else [Half()]}
    with pytest.raises(UsageError, match=f"Half lacks {lacking}: give what vqclip.types"):
        Models(**given)
    with pytest.raises(UsageError, match="at least one"):
        Models(vqgan=MyVQGAN(), clips=[])


def test_loaded_models_that_a_config_does_not_name_are_refused(tmp_path: Path) -> None:
    other = small(models={"vqgan": str(tmp_path / "other.safetensors")})
    with pytest.raises(UsageError, match="load them with"):
        vqclip.generate(other, models())


# --- callbacks -------------------------------------------------------------------------------------------------------


def test_callbacks_are_told_losses_views_and_gradients_of_every_step() -> None:
    reports: list[vqclip.StepReport] = []
    result = vqclip.generate(small(losses={"tv": 1.0}), models(), callbacks=[reports.append])
    assert [report.step for report in reports] == [0, 1, 2]
    first = reports[0]
    assert set(first.losses) == {"prompt", "tv"}
    assert first.views["prompt"].shape == (1, 4)
    assert torch.allclose(first.views["prompt"].mean(1), first.losses["prompt"], rtol=1e-5)
    assert first.gradients["z"].abs().sum() > 0 and first.image.shape == (1, 3, 64, 64)
    assert sha(result.image) == sha(draw(small(losses={"tv": 1.0})).image)

    def broken(report: vqclip.StepReport) -> None:
        raise ValueError("no more")

    with pytest.raises(PluginError, match=r"a callback \(test_extending.py, line \d+\) raised ValueError: no more"):
        vqclip.generate(small(), models(), callbacks=[broken])


# --- plugins ---------------------------------------------------------------------------------------------------------


def plugin(path: Path, body: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"import vqclip\n{body}\n", "utf-8")
    return path


LOSS = "@vqclip.register.loss('bright')\ndef bright(inputs):\n    return -inputs.image.mean((1, 2, 3))"


def test_a_plugin_tells_what_it_registered(tmp_path: Path) -> None:
    loaded = load_plugin(plugin(tmp_path / "bright.py", LOSS))
    assert loaded.variants == (("loss", "bright"),)
    assert "bright.py" in loaded.notice() and "the loss 'bright'" in loaded.notice()


@pytest.mark.parametrize(
    ("body", "word"),
    [("x = 1", "registers nothing"), ("raise OSError('no')", "line 2"), ("def :", "line 2"),
     ("vqclip.register.loss('tv')(print)", "vqclip's own")],
)  # fmt: skip
def test_plugins_that_fail_are_named(tmp_path: Path, body: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        load_plugin(plugin(tmp_path / "broken.py", body))
    for name in ("missing.py", "broken.txt"):
        with pytest.raises(UsageError, match="give a file of Python"):
            load_plugin(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "flags", "changed"),
    [("palette", ("--set", "losses.palette=50"), True),
     ("posterize", ("--set", "views.augmentations.posterize=3"), True),
     ("blocks", ("--canvas", "blocks", "--set", "canvas.options.side=8"), True),
     ("shake", ("--set", "interventions.shake={every: 2, strength: 0.5}"), True)],
)  # fmt: skip
def test_the_plugins_among_the_examples_draw(
    name: str, flags: tuple[str, ...], changed: bool, cli: CommandLine
) -> None:
    file = ROOT / "examples" / "plugins" / f"{name}.py"
    assert cli.draw("a red car", "-o", "plain.png", "--set", "init.kind=random").code == 0
    told = cli.draw("a red car", "-o", "mine.png", "--set", "init.kind=random", "--plugin", file, *flags)
    assert told.code == 0 and f"the plugin {name}.py runs as code of yours" in told.err
    assert (sha("mine.png") != sha("plain.png")) is changed
    again = cli("generate", "--from", "mine.png", "-o", "again.png", "--device", "cpu", "--plugin", file)
    assert again.code == 0 and sha("again.png") == sha("mine.png")


def test_a_picture_asks_for_its_plugin_and_never_loads_one(cli: CommandLine, tmp_path: Path) -> None:
    file = plugin(tmp_path / "bright2.py", LOSS.replace("'bright'", "'bright2'"))
    flags = ("a cat", "--set", "losses.bright2=1", "--plugin", file)
    assert cli.draw(*flags, "-o", "cat.png", "--keep-run").code == 0
    LOSSES.remove("bright2")
    plugins._LOADED.clear()
    told = cli("generate", "--from", "cat.png", "-o", "again.png")
    assert told.code == 2 and "--plugin FILE" in told.complaints[0] and "bright2.py" in told.complaints[0]
    told = cli("resume", "cat.run", "--steps", "5")
    assert told.code == 2 and "bright2.py" in told.complaints[0] and "--plugin FILE" in told.complaints[0]
    other = plugin(tmp_path / "other" / "bright2.py", LOSS.replace("'bright'", "'bright2'") + " * 2")
    told = cli("generate", "--from", "cat.png", "-o", "again.png", "--plugin", other)
    assert told.code == 2 and "another sha256" in told.err
    told = cli.draw("a cat", "--plugin", tmp_path / "none.py")
    assert told.code == 2 and "give a file of Python" in told.complaints[0]


def test_a_job_with_a_plugin_is_done_by_another_process(tmp_path: Path) -> None:
    file = plugin(tmp_path / "bright3.py", LOSS.replace("'bright'", "'bright3'"))
    load_plugin(file)
    config = small(losses={"bright3": 2.0}, output={"file": str(tmp_path / "cat.png")})
    job = vqclip.Job(config, plugins=(str(file),))
    with get_context("spawn").Pool(1) as pool:
        (outcome,) = pool.map(vqclip.run_job, [job])
    assert sha(outcome.pictures[0]) == sha(draw(small(losses={"bright3": 2.0})).image)
