"""One step of a run: latents to picture to views to losses and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vqclip import optim, schedules
from vqclip.config import Config
from vqclip.drawables import latents
from vqclip.errors import NumericError
from vqclip.generation import recover
from vqclip.generation.canvas import scaled
from vqclip.generation.proposer import Proposer
from vqclip.generation.scaler import Scaler
from vqclip.generation.stages import Stage
from vqclip.generation.state import Best, State
from vqclip.guidance import Guidance, autocast
from vqclip.guidance.losses.regularizers import LossInputs
from vqclip.registry import INTERVENTIONS, REGULARIZERS
from vqclip.types import Candidates, ImageTokenizer, Notice, PackedState


class Run:
    """B pictures drawn together: the networks, the guidance, and the state that steps change."""

    def __init__(
        self,
        config: Config,
        vqgan: ImageTokenizer,
        guidance: Guidance,
        stages: Sequence[Stage],
        seeds: Sequence[int],
        state: State,
        scaler: Scaler,
        proposer: Proposer | None = None,
    ) -> None:
        self.config, self.vqgan, self.guidance = config, vqgan, guidance.apart()
        self.stages, self.seeds = list(stages), tuple(seeds)
        self.scaler, self.canvas, self.proposer = scaler, scaler.canvas, proposer
        self.painted: Tensor | None = None
        self._painted_codes: Tensor | None = None
        self.candidates: dict[int, Candidates] = {}
        self.low, self.high = latents.bounds(vqgan.codebook)
        self.interventions = [INTERVENTIONS.load(name)() for name in INTERVENTIONS]
        weights = dict(config.losses)
        if config.init.weight:
            weights["init_image"] = config.init.weight
        self.regularizers = {name: (REGULARIZERS.load(name), weight) for name, weight in weights.items() if weight}
        self.state = state
        if state.chunks:
            self.guidance.chunk = state.chunks[max(state.chunks)]
        # the state to go back to in trouble, how often that was tried, how far the run had come, and what to tell
        self.packed: PackedState | None = None
        self.tries, self.trouble_at = 0, 0
        # the step from which there is patience again: where a run that had ended early goes on
        self.waits_from = 0
        self.notices: list[Notice] = []

    def hold_to(self, painted: Tensor | None) -> None:
        """Hold the run to painted pictures (B, 3, H, W) in [0, 1], as strongly as its config says."""
        self.painted, weight = painted, self.config.init.paint
        if painted is not None and weight:
            self.regularizers["painted"] = (REGULARIZERS.load("painted"), weight)

    def step(self) -> Tensor:
        """Do one optimization step and return the picture (B, 3, H, W) it began with.

        Raises NumericError if a loss, a gradient or a latent is not finite: see `recover.step`.
        """
        for intervention in self.interventions:
            intervention(self)
        state, config = self.state, self.config
        # steps beyond those that were planned are as the last of these
        planned = min(state.step, max(config.steps - 1, 0))
        progress = planned / max(config.steps, 1)
        rate = schedules.factor(config.optimizer.schedule, planned, config.steps, config.optimizer.warmup)
        optim.set_lr(state.optimizer, config.optimizer.lr * rate * state.slowed)
        image, state.losses = recover.in_memory(self, lambda: self._backward(progress))
        self._check_finite([*state.losses.values(), state.z.grad])
        cells = self.cells(state.z)
        if cells is not None:
            state.z.grad.mul_(cells)
        if config.optimizer.clip_norm:
            clip_norm(state.z.grad, config.optimizer.clip_norm)
        before = None if cells is None else state.z.detach().clone()
        state.optimizer.step()
        if before is not None:
            with torch.no_grad():  # weight decay moves cells without a gradient too
                state.z.copy_(torch.where(cells, state.z, before))
        self._check_finite([state.z.detach()])
        self._settle()
        state.step += 1
        recover.in_memory(self, self._score)
        return image

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

    def decode(self, z: Tensor) -> Tensor:
        """Return the picture (B, 3, H, W) of the nearest codes to latents; no gradient passes the quantization."""
        return torch.cat([self.decode_codes(self.vqgan.quantize(z[part])[0]) for part in self.parts()])

    def parts(self) -> list[slice]:
        """Return the pictures that go through the networks together: all, or with `deterministic` each alone."""
        count = len(self.seeds)
        size = 1 if self.config.run.deterministic else count
        return [slice(b, b + size) for b in range(0, count, size)]

    def cells(self, z: Tensor) -> Tensor | None:
        """Return which cells (1, 1, h, w) of latents (B, C, h, w) a mask lets change; None if all may."""
        return None if self.canvas is None else self.canvas.cells(*z.shape[-2:])

    def composite(self, image: Tensor) -> Tensor:
        """Return pictures (B, 3, H, W) with everything outside a mask as it is in the init image."""
        return image if self.canvas is None else self.canvas.composite(image)

    def decode_codes(self, z_q: Tensor) -> Tensor:
        """Return the picture (b, 3, H, W) of codes (b, C, h, w), of any number of pictures."""
        with autocast(z_q.device.type, self.config.run.precision):
            return self.composite(self.vqgan.decode(z_q))

    def _backward(self, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Leave the gradient of all losses in `z.grad`; return picture and losses.

        With `deterministic` each picture of a batch goes alone: float kernels round differently in other batches.
        """
        self.state.optimizer.zero_grad(set_to_none=True)
        parts = [self._backward_part(part, progress) for part in self.parts()]
        images, losses = zip(*parts, strict=True)
        return torch.cat(images), {name: torch.cat([part[name] for part in losses]) for name in losses[0]}

    def _backward_part(self, part: slice, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        z, seeds = self.state.z[part], self.seeds[part]
        z_q, _ = self.vqgan.quantize(self._shaken(z, seeds, progress))
        image = self.decode_codes(latents.straight_through(z, z_q))
        leaf = image.detach().requires_grad_()
        losses = {"prompt": self.guidance.backward(leaf, seeds, self.state.step, progress)}
        if self.regularizers:
            init = None if self.canvas is None else self.canvas.at(*leaf.shape[-2:])
            inputs = LossInputs(leaf, z, z_q, init, *self._painted(part, leaf, z))
            terms = {name: weight * loss(inputs) for name, (loss, weight) in self.regularizers.items()}
            torch.stack(list(terms.values())).sum().backward(retain_graph=True)
            losses |= {name: value.detach() for name, value in terms.items()}
        # the same gradient from a number: given one of the picture's shape, torch first imports its symbolic shapes
        (image * leaf.grad).sum().backward()
        return leaf.detach(), losses

    def _painted(self, part: slice, image: Tensor, z: Tensor) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """Return what pictures are held to, at the side of `image`, and its codes on the grid of `z`, if anything."""
        if self.painted is None:
            return None, None
        if self._painted_codes is None or self._painted_codes.shape[-2:] != z.shape[-2:]:
            # one by one, so that a picture is the same beside others
            codes = [self.scaler.encode(one[None], *z.shape[-2:]) for one in self.painted]
            self._painted_codes = torch.cat(codes)
        return scaled(self.painted[part], *image.shape[-2:], "bicubic"), self._painted_codes[part]

    def _strayed(self, image: Tensor) -> Tensor:
        """Return how far pictures (B, 3, H, W) are from the painted ones, weighed as in the steps, (B,).

        Only pixels count: it is a score of what is shown.
        """
        if "painted" not in self.regularizers:
            return image.new_zeros(len(image))
        loss, weight = self.regularizers["painted"]
        wanted = scaled(self.painted, *image.shape[-2:], "bicubic")
        return weight * loss(LossInputs(image, image, image, painted=wanted))

    def _shaken(self, z: Tensor, seeds: Sequence[int], progress: float) -> Tensor:
        """Return latents with noise that fades to nothing at two thirds of the run, so that no cell settles early."""
        strength = self.config.latent.noise * max(1 - 1.5 * progress, 0.0)
        if not strength:
            return z
        noise = strength * latents.noise(z.shape, seeds, self.state.step).to(z)
        cells = self.cells(z)
        return z + noise if cells is None else z + noise * cells

    def _check_finite(self, values: Sequence[Tensor]) -> None:
        if not all(bool(value.isfinite().all()) for value in values):
            raise NumericError(
                f"the loss is not a finite number at step {self.state.step + 1}: give a lower --lr or --precision fp32"
            )

    @torch.no_grad()
    def _settle(self) -> None:
        """After the optimizer: clamp, moving average."""
        state, config = self.state, self.config
        if config.latent.clamp:
            state.z.copy_(state.z.clamp(self.low, self.high))
        if state.average:
            state.average.update(state.z)

    @torch.no_grad()
    def _score(self) -> None:
        """Let the held-out views judge every so many steps, at the end of a stage, and at the end of all.

        The end of extra steps moves when there are more of them: its score is shown, and forgotten if the run goes on.
        """
        state, every = self.state, self.config.best.every
        planned = state.step % every == 0 or state.step == min(self.stages[state.stage].stop, self.config.steps)
        state.shown = None
        if not planned and state.step != self.config.total_steps:
            return
        image = self.decode(state.output)
        parts = [self.guidance.score(image[p], self.seeds[p], self.config.best.views) for p in self.parts()]
        now = Best(torch.cat(parts) + self._strayed(image), state.output.clone(), image, state.step)
        best = now if state.best is None else state.best.better(now)
        if planned:
            state.best = best
        else:
            state.shown = best


def clip_norm(grad: Tensor, largest: float) -> None:
    """Scale the gradient (B, C, h, w) of each picture down to a norm of at most `largest`, whatever its neighbours'."""
    norm = grad.flatten(1).norm(dim=1).clamp(min=1e-30).view(-1, 1, 1, 1)
    grad.mul_((largest / norm).clamp(max=1))
