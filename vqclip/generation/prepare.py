"""Everything a run needs before its first step, from a resolved config: targets, files, stages, first grids."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vqclip import prompts
from vqclip.config import Config, Resolved
from vqclip.drawables import Drawable, InitImage, Medium
from vqclip.drawables.init_image import Beginning, padded
from vqclip.drawables.protocol import new_blank
from vqclip.drawables.scaler import Scaler
from vqclip.errors import ResumeError, UsageError, WeightsError
from vqclip.generation import initial, recover, stages
from vqclip.generation.control import Control
from vqclip.generation.encoded import encode_all, imagined
from vqclip.generation.init_image import read_init_image
from vqclip.generation.interventions.build import build_interventions, check_interventions
from vqclip.generation.judging import judging
from vqclip.generation.models import Models
from vqclip.generation.proposer import Proposer
from vqclip.generation.run import Callback, Parts, Run
from vqclip.generation.sketching import Sketcher, paint_init_image, styled
from vqclip.generation.state import State
from vqclip.guidance import Guidance, tokens
from vqclip.guidance.losses.build import build_terms, check_terms
from vqclip.guidance.losses.protocol import LossContext
from vqclip.guidance.targets import PromptTargets, Targets
from vqclip.priors.conditioning import ConditionedUpsampler
from vqclip.prompts import Prompt, parse_image_prompt
from vqclip.registry import AUGMENTATIONS, CANVASES, INTERVENTIONS, LOSSES, OPTIMIZERS, SCHEDULES, Registry
from vqclip.registry.outside import blamed
from vqclip.registry.plugins import used
from vqclip.types import CodeUpsampler, Notice, PackedState

# cells of a side below which no picture was ever recognized
_FEWEST_CELLS = 4


@dataclass
class Prepared:
    """What all batches of a run share: networks and guidance, stages, what it begins with, and what makes drawables.

    `blank` is a drawable of no pictures; `init_image` is empty where there is none; `proposer` is the run's prior and
    `sketcher` draws what it begins with, if it begins with a sketch; `scaler` moves grids of codes.
    `context` is what losses are built from. `beginning` is the picture that the runs go on from, instead of what the
    config says; see `begun`.

    `outside` tells of each file that came from outside its name and sha256, `forced` of changes that a resumed run was
    forced to take: from which step, and what. `callbacks` are told of every step. `control` stops and pauses all of it
    from outside.
    """

    config: Resolved
    models: Models
    guidance: Guidance
    stages: list[stages.Stage]
    blank: Drawable
    init_image: InitImage
    proposer: Proposer | None
    scaler: Scaler
    context: LossContext
    notices: list[Notice]
    sketcher: Sketcher | None = None
    outside: dict[str, dict[str, Any]] = field(default_factory=dict)
    forced: list[dict[str, Any]] = field(default_factory=list)
    callbacks: list[Callback] = field(default_factory=list)
    control: Control = field(default_factory=Control)
    beginning: Beginning | None = None

    @property
    def device(self) -> torch.device:
        """Where the networks lie."""
        return self.models.device

    def run(self, seeds: Sequence[int]) -> Run:
        """Return the run that draws one picture per seed."""
        start, candidates = initial.first_pictures(self, tuple(seeds))
        run = self._run(seeds, State.start(start, self.config))
        run.candidates = candidates
        return run

    def resumed(self, seeds: Sequence[int], packed: PackedState) -> Run:
        """Return the run of these pictures as it was when its state was packed; ResumeError if that does not fit."""
        try:
            state = State.unpack(packed, self.config, self.blank, self.device)
            stage = self.stages[state.stage]
            whole = all(len(value) == len(seeds) for value in state.parameters.values())
            fits = whole and state.drawable.size == (stage.height, stage.width)
        except (IndexError, KeyError, TypeError, ValueError, ArithmeticError, RuntimeError):
            fits = False
        if not fits or not 0 <= packed.step <= self.config.total_steps:
            raise ResumeError("the saved state does not fit its config: draw the picture anew")
        run = self._run(seeds, state)
        if run.plateaued:
            run.waits_from = state.step
        return run

    def begun(
        self, beginning: Beginning, targets: Sequence[Targets] | None = None, seed: int | None = None
    ) -> Prepared:
        """Return the same for a run that goes on from a picture.

        It may have other `targets`, one for each CLIP, and another `seed`.
        """
        guidance = self.guidance.apart()
        # the judge has read the prompts of the run only
        guidance.judging = None if targets else guidance.judging
        guidance.targets = list(targets or guidance.targets)
        factor, painted = self.blank.factor, beginning.painted
        # its edges repeated up to the sides of the grid, as the pictures of a run have them
        beginning = dataclasses.replace(
            beginning,
            image=padded(beginning.image, factor),
            known=padded(beginning.known, factor),
            painted=None if painted is None else padded(painted, factor),
        )
        config = self.config if seed is None else dataclasses.replace(self.config, seed=seed)
        context = dataclasses.replace(self.context, beginning=beginning)
        return dataclasses.replace(self, config=config, beginning=beginning, context=context, guidance=guidance)

    def painted(self, seeds: tuple[int, ...]) -> Tensor | None:
        """Return what each picture is held to, (B, 3, H, W) in [0, 1]: its sketch, or the init image, in the style."""
        device = self.device
        if not self.config.init.paint:
            return None
        if self.beginning is not None:
            return self.beginning.painted
        if self.sketcher is not None:
            factor = self.blank.factor
            return torch.cat([padded(self.sketcher.picture(seed), factor) for seed in seeds]).to(device)
        if self.init_image.image is None:
            return None
        style = styled(self.config)
        if not style:
            return self.init_image.image.expand(len(seeds), -1, -1, -1)
        return torch.cat([paint_init_image(self.init_image, style, seed) for seed in seeds]).to(device)

    def _run(self, seeds: Sequence[int], state: State) -> Run:
        painted = self.painted(tuple(seeds))
        context = dataclasses.replace(self.context, seeds=tuple(seeds), painted=painted)
        sections = picture_sections(self.config, painted is not None)
        if self.beginning is not None:
            sections["beginning"] = self.beginning.hold
        terms = build_terms(sections, context)
        pictures = [term for term in terms if not term.of_views]
        parts = Parts(self.blank, self.guidance, pictures, self.proposer, self.callbacks)
        run = Run(self.config, parts, self.stages, seeds, state)
        run.interventions = build_interventions(run)
        recover.keep(run)
        return run


@blamed()
def prepare(
    config: Resolved, models: Models, callbacks: Sequence[Callback] = (), init_image: InitImage | None = None
) -> Prepared:
    """Read what the resolved config refers to and encode its prompts; raises UsageError and WeightsError.

    `init_image` stands in for the files that the config names.
    """
    if not isinstance(callbacks, Sequence) or not all(callable(each) for each in callbacks):
        raise UsageError("callbacks are a list of functions, each of a StepReport: give [my_callback]")
    outside: dict[str, dict[str, Any]] = {
        f"plugin.{plugin.name}": {"name": plugin.name, "sha256": plugin.sha256} for plugin in used(variants_of(config))
    }
    texts = prompts.parse_all(config.prompts, config.negative)
    pictures = [parse_image_prompt(text) for text in config.image_prompts]
    check_weights([*texts, *pictures])
    notices = [Notice(text) for kind, text in models.declined.items() if getattr(config.models, kind)]
    notices += _prior_out_of_reach(config, models)
    if not config.init.anyway and not any(picture.weight > 0 for picture in pictures):
        _check_scripts(texts, models)
    sketcher = Sketcher.of(config, models, outside, notices) if config.init.kind == "sketch" else None
    encoded = encode_all(config, models.clips, texts, pictures, sketcher, outside)
    notices += encoded.notices
    notices += [Notice(text) for text in prompts.remarks([*config.prompts, *config.negative])]
    if sketcher is None:
        template = prompts.clean(config.views.detail_prompt)
        notices += _unknown_words([*texts, Prompt(template.replace("{}", " "))], models)
    targets = imagined(config, models, encoded.targets, texts)
    network = models.upsampler if config.models.upsampler else None
    upsampler = None if network is None else _conditioned(network, encoded.targets[models.clip_index(network)], config)
    device = models.device
    without = Scaler(models.vqgan, InitImage(), config.run.precision)
    medium = Medium(config, models.vqgan, device, config.canvas.options, without)
    if init_image is None:
        init_image = read_init_image(config, new_blank(config.canvas.name, medium).factor, device, outside, notices)
    scaler = Scaler(models.vqgan, init_image, config.run.precision, upsampler)
    blank = new_blank(config.canvas.name, dataclasses.replace(medium, init_image=init_image, scaler=scaler))
    context = LossContext(config, models.clips, encoded.rivals, blank=blank, init_image=init_image)
    check_terms(picture_sections(config, False), context)
    check_interventions(config.interventions)
    _check_kept(config)
    notices += _without_effect(config, init_image)
    notices += _too_few_cells(config, blank.factor)
    plan = stages.plan(config.stages, config.steps, config.size, blank.factor, config.extra_steps)
    if blank.refusal and (len(plan) > 1 or init_image):
        raise WeightsError(f"the VQGAN {config.models.vqgan!r} {blank.refusal}")
    terms = [term for term in build_terms(view_sections(config), context) if term.of_views]
    tokens.check(models.clips, config.models.clip, config.views.tokens)
    guidance = Guidance(models.clips, targets, terms, config.views, config.run.precision, encoded.rivals)
    guidance.judging = judging(
        config, models.judge_clip if config.models.judge_clip else None, texts, pictures, context
    )
    proposer = Proposer.of(config, models, encoded.targets, texts) if config.init.kind == "prior" else None
    shared = list(dict.fromkeys(notices))
    return Prepared(
        config, models, guidance, plan, blank, init_image, proposer, scaler, context, shared, sketcher, outside,
        callbacks=list(callbacks),
    )  # fmt: skip


def variants_of(config: Resolved) -> set[tuple[str, str]]:
    """Return the registered variants that a config names, as (kind, name)."""
    named: list[tuple[Registry, Iterable[str]]] = [
        (LOSSES, config.losses),
        (AUGMENTATIONS, config.views.augmentations),
        (INTERVENTIONS, config.interventions),
        (CANVASES, [config.canvas.name]),
        (OPTIMIZERS, [config.optimizer.name]),
        (SCHEDULES, [config.optimizer.schedule]),
    ]
    return {(registry.kind, name) for registry, names in named for name in names}


def picture_sections(config: Resolved, painted: bool) -> dict[str, Any]:
    """Return the sections of the losses that a config names, of pictures and views; `painted` if one holds to that."""
    sections = {name: value for name, value in config.losses.items() if name != "prompt"}
    if config.init.weight:
        sections["init_image"] = config.init.weight
    if painted:
        sections["painted"] = config.init.paint
    return sections


def view_sections(config: Resolved) -> dict[str, Any]:
    """Return the sections of all losses that may look at views: the prompt loss first."""
    contrast = {"weight": config.contrast.weight, "scale": config.contrast.scale}
    first = {"prompt": config.losses.get("prompt", 1.0), "contrast": contrast}
    return first | {name: value for name, value in config.losses.items() if name != "prompt"}


def _prior_out_of_reach(config: Resolved, models: Models) -> list[Notice]:
    """Say that the prior draws nothing of a run's size; WeightsError if it is to begin the run."""
    unreached = models.out_of_reach(config) if config.models.prior and config.init.kind != "image" else ""
    if unreached and config.init.kind == "prior":
        raise WeightsError(f"the prior {config.models.prior!r} cannot begin this run: {unreached}; give --init random")
    return [Notice(f"going on without the prior {config.models.prior!r}: {unreached}")] if unreached else []


def _conditioned(network: CodeUpsampler, targets: PromptTargets, config: Resolved) -> ConditionedUpsampler:
    return ConditionedUpsampler.of(network, targets.embeddings, targets.weights, config.upsampling)


def _too_few_cells(config: Resolved, factor: int) -> list[Notice]:
    """Say that a grid of a few cells draws nothing that could be recognized."""
    width, height = (-(-side // factor) for side in config.size)
    if min(width, height) >= _FEWEST_CELLS:
        return []
    least = _FEWEST_CELLS * factor
    grid = f"{config.size[0]}x{config.size[1]} pixels are a grid of {width}x{height} cells"
    return [Notice(f"{grid}, too few to show anything: give --size {least} or more")]


def _without_effect(config: Resolved, init_image: InitImage) -> list[Notice]:
    """Say which settings of the start do nothing for the kind that it has."""
    init, texts = config.init, []
    if init.paint and init.kind != "sketch" and not init_image:
        texts.append(f"init.paint does nothing: a start of the kind {init.kind} is not painted")
    if init.strength and init.kind != "image":
        texts.append(f"--strength does nothing: a start of the kind {init.kind} is no picture of yours")
    return [Notice(text) for text in texts]


def _check_kept(config: Resolved) -> None:
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


def _check_scripts(texts: Sequence[Prompt], models: Models) -> None:
    """Raise UsageError for prompts in scripts that no CLIP reads; those with lists of words say it of each."""
    unread = prompts.unread_scripts(texts)
    if unread and not any(clip.multilingual or clip.words for clip in models.clips):
        raise UsageError(
            f"{unread[0][:40]!r} is in a script that the CLIP does not read, which knows English: say it so, or give "
            "--clip ViT-B-16-SigLIP2/webli or another of many languages ('vqclip models list --clips'); --anyway tries"
        )


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
