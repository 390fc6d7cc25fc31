"""Everything a run needs before its first step, from a resolved config: targets, files, stages, first grids."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vqclip import images, prompts, world
from vqclip.config import Config, Resolved
from vqclip.errors import ResumeError, UsageError, WeightsError
from vqclip.generation import initial, recover, stages
from vqclip.generation.canvas import Canvas, padded, read_canvas, read_outside
from vqclip.generation.models import Models
from vqclip.generation.proposer import Proposer
from vqclip.generation.run import Run
from vqclip.generation.scaler import Scaler, ToldUpsampler
from vqclip.generation.sketching import Sketcher, paint_canvas, styled
from vqclip.generation.state import State
from vqclip.guidance import Guidance, encoding
from vqclip.guidance.losses.prompt import Rivals, Targets
from vqclip.models.vqgan import NO_ENCODER
from vqclip.priors.embeddings import sample_embeddings
from vqclip.prompts import Prompt, parse_image_prompt
from vqclip.types import Notice, PackedState, Perceptor

# cells of a side below which no picture was ever recognized
_FEWEST_CELLS = 4


@dataclass
class Prepared:
    """What all batches of a run share; `canvas` is what it begins with, `proposer` its prior, if there are any.

    `scaler` moves its pictures to finer grids; `sketcher` draws what it begins with, if that is a sketch.

    `outside` tells of each file that came from outside its name and sha256, `forced` of changes that a resumed run was
    forced to take: from which step, and what.
    """

    config: Resolved
    models: Models
    guidance: Guidance
    stages: list[stages.Stage]
    canvas: Canvas | None
    proposer: Proposer | None
    scaler: Scaler
    notices: list[Notice]
    sketcher: Sketcher | None = None
    outside: dict[str, dict[str, Any]] = field(default_factory=dict)
    forced: list[dict[str, Any]] = field(default_factory=list)

    def run(self, seeds: Sequence[int]) -> Run:
        """Return the run that draws one picture per seed."""
        z, candidates = initial.first_grid(self, tuple(seeds))
        painted = self.painted(tuple(seeds))
        run = self._run(seeds, State.start(z, self.config), painted)
        run.candidates = candidates
        return run

    def resumed(self, seeds: Sequence[int], packed: PackedState) -> Run:
        """Return the run of these pictures as it was when its state was packed; ResumeError if that does not fit."""
        try:
            state = State.unpack(packed, self.config, self.models.vqgan.codebook.device)
            stage = self.stages[state.stage]
            fits = state.z.shape == (len(seeds), self.models.vqgan.codebook.shape[1], stage.height, stage.width)
        except (IndexError, KeyError, TypeError, ValueError, ArithmeticError, RuntimeError):
            fits = False
        if not fits or not 0 <= packed.step <= self.config.total_steps:
            raise ResumeError("the saved state does not fit its config: draw the picture anew")
        run = self._run(seeds, state, self.painted(tuple(seeds)))
        if run.plateaued:
            run.waits_from = state.step
        return run

    def painted(self, seeds: tuple[int, ...]) -> Tensor | None:
        """Return what each picture is held to, (B, 3, H, W) in [0, 1]: its sketch, or the init image in a style."""
        device = self.models.vqgan.codebook.device
        if not self.config.init.paint:
            return None
        if self.sketcher is not None:
            factor = self.models.vqgan.factor
            return torch.cat([padded(self.sketcher.picture(seed), factor) for seed in seeds]).to(device)
        style = styled(self.config) if self.canvas is not None else None
        if not style:
            return None
        return torch.cat([paint_canvas(self.canvas, style, seed) for seed in seeds]).to(device)

    def _run(self, seeds: Sequence[int], state: State, painted: Tensor | None) -> Run:
        run = Run(self.config, self.models.vqgan, self.guidance, self.stages, seeds, state, self.scaler, self.proposer)
        run.hold_to(painted)
        recover.keep(run)
        return run


def prepare(config: Resolved, models: Models) -> Prepared:
    """Read what the resolved config refers to and encode its prompts; raises UsageError and WeightsError."""
    outside: dict[str, dict[str, Any]] = {}
    texts = prompts.parse_all(config.prompts, config.negative)
    pictures = [parse_image_prompt(text) for text in config.image_prompts]
    check_weights([*texts, *pictures])
    compared = config.init.kind == "prior" and config.init.candidates > 1 and config.init.rivals
    targets, notices = [], [Notice(text) for kind, text in models.declined.items() if getattr(config.models, kind)]
    unreached = models.out_of_reach(config) if config.models.prior and config.init.kind != "image" else ""
    if unreached and config.init.kind == "prior":
        raise WeightsError(f"the prior {config.models.prior!r} cannot begin this run: {unreached}; give --init random")
    if unreached:
        notices.append(Notice(f"going on without the prior {config.models.prior!r}: {unreached}"))
    template = prompts.clean(config.views.detail_prompt)
    sketcher = Sketcher.of(config, models, outside, notices) if config.init.kind == "sketch" else None
    given = texts
    for clip in models.clips:
        texts = given if sketcher is None else [sketcher.guiding(prompt, clip.words) for prompt in given]
        embeddings, told = encoding.encode_prompts(clip, texts)
        notices += told
        for index, picture in enumerate(pictures):
            image = images.to_tensor(read_outside(picture.text, f"image_prompts.{index}", outside))
            embeddings.append(encoding.encode_picture(clip, image.to(clip.mean.device), config.run.precision))
        rivals = _rivals(clip, texts, embeddings) if config.contrast.weight or compared else []
        details = []
        if template:
            details, told_of_details = encoding.encode_prompts(clip, texts, template)
            details += embeddings[len(texts) :]
            notices += [] if told else told_of_details
        targets.append(encoding.targets_of(embeddings, [*texts, *pictures], rivals, details))
    texts = given
    notices += [Notice(text) for text in prompts.remarks([*config.prompts, *config.negative])]
    if sketcher is None:
        notices += _unknown_words([*texts, Prompt(template.replace("{}", " "))], models)
    own = _imagined(config, models, targets, texts)
    guidance = Guidance(models.clips, targets, config.views, config.run.precision, config.contrast, own)
    canvas = read_canvas(config, models.vqgan.factor, models.clips[0].mean.device, outside, notices)
    if canvas is None and (config.init.weight or config.losses.get("init_image")):
        raise UsageError("a weight of the init image needs one: give --init-image FILE")
    _check_kept(config)
    notices += _without_effect(config, canvas)
    notices += _too_few_cells(config, models.vqgan.factor)
    plan = stages.plan(config.stages, config.steps, config.size, models.vqgan.factor, config.extra_steps)
    if not models.vqgan.architecture.encoder and (len(plan) > 1 or canvas is not None):
        raise WeightsError(f"the VQGAN {config.models.vqgan!r} {NO_ENCODER}")
    proposer = Proposer.of(config, models, guidance, texts) if config.init.kind == "prior" else None
    network = models.upsampler if config.models.upsampler else None
    told = network and ToldUpsampler.of(network, targets[models.teller(network)], config.upsampling)
    scaler = Scaler(models.vqgan, canvas, config.run.precision, told)
    told = list(dict.fromkeys(notices))
    return Prepared(config, models, guidance, plan, canvas, proposer, scaler, told, sketcher, outside)


def _too_few_cells(config: Config, factor: int) -> list[Notice]:
    """Say that a grid of a few cells draws nothing that could be recognized."""
    width, height = (-(-side // factor) for side in config.size)
    if min(width, height) >= _FEWEST_CELLS:
        return []
    least = _FEWEST_CELLS * factor
    grid = f"{config.size[0]}x{config.size[1]} pixels are a grid of {width}x{height} cells"
    return [Notice(f"{grid}, too few to show anything: give --size {least} or more")]


def _without_effect(config: Config, canvas: Canvas | None) -> list[Notice]:
    """Say which settings of the start do nothing for the kind that it has."""
    init, found = config.init, []
    if init.paint and init.kind != "sketch" and canvas is None:
        found.append(f"init.paint does nothing: a start of the kind {init.kind} is not painted")
    if init.strength and init.kind != "image":
        found.append(f"--strength does nothing: a start of the kind {init.kind} is no picture of yours")
    return [Notice(text) for text in found]


def _check_kept(config: Config) -> None:
    """Raise UsageError if more candidates are to be kept, or a later one of them drawn, than there will be."""
    if config.init.kind == "prior":
        return
    if config.init.keep > 1:
        raise UsageError(
            f"init.keep is {config.init.keep} and the first grid {config.init.kind}: only a prior has more"
        )
    if config.only is not None and config.only >= min(config.count, config.batch_size):
        raise UsageError(f"only is {config.only}: give the place, from 0, of one of count pictures drawn in one batch")


def check_wanted(config: Config) -> None:
    """Raise UsageError for prompts that cannot be read, or that leave nothing to draw."""
    texts = prompts.parse_all(config.prompts, config.negative)
    check_weights([*texts, *(parse_image_prompt(text) for text in config.image_prompts)])


def check_weights(parsed: Sequence[Prompt]) -> None:
    """Raise UsageError if there is nothing to draw."""
    if not parsed:
        raise UsageError("there is no prompt: say what to draw, such as vqclip 'a cat'")
    if not any(prompt.weight for prompt in parsed):
        raise UsageError("all prompts have weight 0: give at least one of them another weight")


def _rivals(clip: Perceptor, texts: Sequence[Prompt], embeddings: Sequence[Tensor]) -> list[Rivals]:
    """Return the rivals of every wanted prompt that is of the picture world, embedded."""
    found = []
    for prompt, own in zip(texts, embeddings, strict=False):  # image prompts follow the texts and have no rivals
        others = world.rivals(prompt.text, world.load_world()) if prompt.weight > 0 else []
        if others:
            with torch.no_grad():
                found.append(Rivals(own, clip.encode_text(others), prompt.weight))
    return found


def _imagined(
    config: Config, models: Models, targets: Sequence[Targets], texts: Sequence[Prompt]
) -> dict[int, Callable[[int], Targets]]:
    """Return, by the CLIP's place, what pictures of the wanted texts might mean, mixed with what the texts mean."""
    network, c = models.embedding, config.target
    if c.kind != "prior":
        return {}
    if network is None:
        raise WeightsError("--target prior needs an embedding prior: give --set models.embedding=FILE before loading")
    place = models.teller(network)
    given = targets[place]
    wanted = [index for index, text in enumerate(texts) if text.weight > 0]

    @functools.cache
    def of_seed(seed: int) -> Targets:
        embeddings = given.embeddings.clone()
        if wanted:
            drawn = sample_embeddings(network, embeddings[wanted], [seed], c.guidance)[0]
            embeddings[wanted] = torch.nn.functional.normalize(torch.lerp(embeddings[wanted], drawn, c.mix), dim=1)
        return dataclasses.replace(given, embeddings=embeddings)

    return {place: of_seed}


def _unknown_words(texts: Sequence[Prompt], models: Models) -> list[Notice]:
    known = frozenset.intersection(*(clip.words for clip in models.clips))
    unknown = prompts.unknown_words(texts, known)
    if not unknown:
        return []
    listed = ", ".join(repr(word[:40]) for word in unknown[:8]) + (", ..." if len(unknown) > 8 else "")
    return [
        Notice(
            f"the models do not know {listed} and will guess: 'vqclip models list' says what they draw, and README.md "
            "where the words stand"
        )
    ]
