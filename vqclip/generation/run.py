"""One step of a run: parameters to picture to views to losses and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vqclip import optim, schedules
from vqclip.config import Resolved
from vqclip.drawables import Drawable, Moment
from vqclip.drawables.protocol import part_of, rendered
from vqclip.errors import NumericError
from vqclip.generation import recover
from vqclip.generation.interventions.protocol import Intervention
from vqclip.generation.proposer import Proposer
from vqclip.generation.stages import Stage
from vqclip.generation.state import Best, State
from vqclip.guidance import Guidance
from vqclip.guidance.losses.build import Term
from vqclip.guidance.losses.protocol import LossInputs
from vqclip.registry.outside import run_outside
from vqclip.types import Candidates, Notice, PackedState


@dataclass(frozen=True)
class StepReport:
    """What callbacks get to see of a step, after its backward pass and before the optimizer moves anything.

    `image` (B, 3, H, W) is the picture the step began with, `losses` (B,) the weighted losses by name, `views` (B, N)
    those of each view, and `gradients`, shaped as the parameters, what the optimizer is about to follow.
    """

    step: int
    seeds: tuple[int, ...]
    image: Tensor
    losses: dict[str, Tensor]
    views: dict[str, Tensor]
    gradients: dict[str, Tensor]


Callback = Callable[[StepReport], None]


@dataclass(frozen=True)
class Parts:
    """What a run is made of beside its state: the guidance, losses of pictures, interventions, and the prior if any.

    `blank` makes drawables of the run's kind.
    """

    blank: Drawable
    guidance: Guidance
    terms: Sequence[Term]
    proposer: Proposer | None = None
    callbacks: Sequence[Callback] = ()


class Run:
    """B pictures that are optimized together, and the state that steps change."""

    def __init__(
        self, config: Resolved, parts: Parts, stages: Sequence[Stage], seeds: Sequence[int], state: State
    ) -> None:
        self.config, self.stages, self.seeds, self.state = config, list(stages), tuple(seeds), state
        self.blank, self.proposer, self.terms = parts.blank, parts.proposer, list(parts.terms)
        self.guidance, self.callbacks = parts.guidance.apart(), list(parts.callbacks)
        self.interventions: list[Intervention] = []
        self.candidates: dict[int, Candidates] = {}
        if state.chunks:
            self.guidance.chunk = state.chunks[max(state.chunks)]
        # the state to go back to in trouble, how often that was tried, how far the run had come, and what to tell
        self.packed: PackedState | None = None
        self.tries, self.trouble_at = 0, 0
        # the step from which there is patience again: where a run that had ended early goes on
        self.waits_from = 0
        self.notices: list[Notice] = []

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return next(iter(self.state.parameters.values())).device

    def step(self) -> Tensor:
        """Do one optimization step and return the picture (B, 3, H, W) it began with.

        Raises NumericError if a loss, a gradient or a parameter is not finite: see `recover.step`.
        """
        for intervention in self.interventions:
            intervention(self)
        state, config = self.state, self.config
        # steps beyond those that were planned are as the last of these
        planned = min(state.step, max(config.steps - 1, 0))
        moment = Moment(self.seeds, state.step, planned / max(config.steps, 1))
        rate = schedules.factor(config.optimizer.schedule, planned, config.steps, config.optimizer.warmup)
        optim.set_lr(state.optimizer, config.optimizer.lr * rate * state.slowed)
        report = recover.in_memory(self, lambda: self._backward(moment))
        # callbacks may do with the report what they like
        state.losses = dict(report.losses)
        parameters = list(state.parameters.values())
        self._check_finite([*state.losses.values(), *(p.grad for p in parameters if p.grad is not None)])
        self._move(parameters, report)
        self._check_finite([parameter.detach() for parameter in parameters])
        with torch.no_grad():
            state.drawable.settle()
            if state.average:
                state.average.update(state.parameters)
        state.step += 1
        recover.in_memory(self, self._score)
        return report.image

    @property
    def plateaued(self) -> bool:
        """Whether the last stage has gone on for as many scores as there is patience for and none was better."""
        best, patience = self.config.best, self.config.best.patience
        if not patience or self.state.best is None or self.state.stage < len(self.stages) - 1:
            return False
        return self.state.step - max(self.state.best.step, self.waits_from) >= patience * best.every

    @property
    def ended(self) -> bool:
        """Whether there is no step left to do."""
        return self.state.step >= self.config.total_steps or self.plateaued

    def render(self, drawable: Drawable) -> Tensor:
        """Return the pictures (B, 3, H, W) in [0, 1] that a drawable shows."""
        return torch.cat([rendered(part_of(drawable, part)) for part in self.parts()])

    def parts(self) -> list[slice]:
        """Return the pictures that go through the networks together: all, or with `deterministic` each alone."""
        count = len(self.seeds)
        size = 1 if self.config.run.deterministic else count
        return [slice(b, b + size) for b in range(0, count, size)]

    def _backward(self, moment: Moment) -> StepReport:
        """Leave the gradient of all losses at the parameters; return picture and losses.

        With `deterministic` each picture of a batch goes alone: float kernels round differently in other batches.
        """
        self.state.optimizer.zero_grad(set_to_none=True)
        results = [self._backward_part(part, moment.part(part)) for part in self.parts()]
        image = torch.cat([image for image, _, _ in results])
        losses = {name: torch.cat([part[name] for _, part, _ in results]) for name in results[0][1]}
        views = {name: torch.cat([part[name] for _, _, part in results]) for name in results[0][2]}
        gradients = {name: p.grad for name, p in self.state.parameters.items() if p.grad is not None}
        return StepReport(moment.step, self.seeds, image, losses, views, gradients)

    def _backward_part(self, part: slice, moment: Moment) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        drawable = part_of(self.state.drawable, part)
        image = rendered(drawable, moment)
        leaf = image.detach().requires_grad_()
        guided = self.guidance.backward(leaf, moment)
        losses = dict(guided.losses)
        if self.terms:
            parameters = drawable.parameters()
            inputs = LossInputs(leaf, moment, part, parameters, drawable.codes)
            roots = [leaf, *parameters.values()]
            values = {term.name: term(inputs, len(leaf), roots) for term in self.terms}
            torch.stack(list(values.values())).sum().backward(retain_graph=True)
            losses |= {name: value.detach() for name, value in values.items()}
        # the same gradient from a number: given one of the picture's shape, torch first imports its symbolic shapes
        gradient = leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
        (image * gradient).sum().backward()
        return leaf.detach(), losses, guided.views

    def _move(self, parameters: list[Tensor], report: StepReport) -> None:
        """Let the optimizer do a step; what a mask keeps stays."""
        config, cells = self.config, self.state.drawable.cells()
        masked = [(self.state.parameters[name], where) for name, where in cells.items()]
        for parameter, where in masked:
            if parameter.grad is not None:
                parameter.grad.mul_(where)
        if config.optimizer.clip_norm:
            optim.clip_norm(parameters, config.optimizer.clip_norm)
        for callback in self.callbacks:
            run_outside("a callback", callback, report)
        before = [parameter.detach().clone() for parameter, _ in masked]
        self.state.optimizer.step()
        with torch.no_grad():  # weight decay moves cells without a gradient too
            for (parameter, where), kept in zip(masked, before, strict=True):
                parameter.copy_(torch.where(where, parameter, kept))

    def _check_finite(self, values: Sequence[Tensor]) -> None:
        if not all(bool(value.isfinite().all()) for value in values):
            raise NumericError(
                f"the loss is not a finite number at step {self.state.step + 1}: give a lower --lr or --precision fp32"
            )

    @torch.no_grad()
    def _score(self) -> None:
        """Let the held-out views judge every so many steps, at the end of a stage, and at the end of all.

        The end of extra steps moves when there are more of them: its score is shown, and forgotten if the run goes on.
        """
        state, interval = self.state, self.config.best.every
        planned = state.step % interval == 0 or state.step == min(self.stages[state.stage].stop, self.config.steps)
        state.shown = None
        if not planned and state.step != self.config.total_steps:
            return
        output = state.output
        image = self.render(output)
        parts = [self.guidance.judge(image[p], self.seeds[p], self.config.best.views) for p in self.parts()]
        score = torch.cat(parts)
        for term in self.terms:
            if hasattr(term.loss, "score"):
                score = score + term.weight * term.loss.score(image)
        values = {name: value.clone() for name, value in output.parameters().items()}
        now = Best(score, values, image, state.step)
        best = now if state.best is None else state.best.better(now)
        if planned:
            state.best = best
        else:
            state.shown = best
