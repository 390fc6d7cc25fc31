"""`vqclip train clip`: the bundled CLIP, trained to be robust so that its gradients draw.

Contrastive learning (Radford et al. 2021) on captioned scenes, whole and in detail, seen through the same
augmentations as in generation, noisy (Kaur et al. 2019) and moved by an adversary (Madry et al. 2018; Ganz and Elad
2023, "CLIPAG"), with pictures of its own making as negatives: its gradients then look like the thing named, not noise.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from vqclip import images
from vqclip.errors import UsageError
from vqclip.guidance.views import ViewPlan, cut_each, sample_views
from vqclip.models.clip import CLIP
from vqclip.training.batches import Captioner, grouped_batch
from vqclip.training.captioned import CaptionedSet
from vqclip.training.contrast import UNSAID, contrast, fooled, named
from vqclip.training.negatives import Chains
from vqclip.training.precision import autocast
from vqclip.training.runner import TrainOptions, maybe_compile, start_from
from vqclip.training.scenes import SceneSet
from vqclip.training.zero_shot import l2_step, zero_shot
from vqclip.types import CLIPArchitecture
from vqclip.weights import files
from vqclip.world import captions, detail_of, load_world
from vqclip.writers.picture import save_image

SIDE = 64
SCENE_SIDE = 128
_MERGES = 4096  # of the tokenizer's vocabulary
_NEARNESS = 3.0
# what the loss of fakes counts
_FOOLED = 0.3
_SMALLEST_BATCH = 8  # scenes a step
_CALIBRATION = 30  # batches that the norms of the tower are averaged over
# views (n, 3, S, S); a caption of each, then one that is wrong in one thing of each; which captions are wrong for
# which (n, n); labels (n, 6)
Batch: TypeAlias = tuple[Tensor, list[str], Tensor, Tensor]


def _gradient(x: Tensor) -> Tensor:
    """Return the gradient that a backward pass has left at a leaf."""
    return cast("Tensor", x.grad)


def architecture() -> CLIPArchitecture:
    """The bundled CLIP: a ResNet of 5 M parameters and a text transformer of 3 layers over a short vocabulary."""
    model = {
        "embed_dim": 256,
        "vision_cfg": {
            "timm_model_name": "vqclip_resnet_s",
            "timm_pool": "avg",
            "timm_proj": "linear",
            "image_size": SIDE,
        },
        "text_cfg": {"context_length": 40, "vocab_size": _MERGES + 514, "width": 192, "heads": 3, "layers": 3},
    }
    return CLIPArchitecture(model, merges=_MERGES, words=load_world().words)


class CLIPTask:
    """Training of the bundled CLIP."""

    scenes: SceneSet | CaptionedSet
    large: SceneSet | CaptionedSet
    held_out: SceneSet | CaptionedSet
    name = "clip"
    file_kind = "clip"
    lr = 2e-3
    noise = 0.2
    epsilon = 0.85
    # the adversary trained against is stronger than the one measured with: its gradients draw better
    strongest = 1.5
    # the share of it that it begins with: a CLIP that is robust already meets a real adversary at once
    weakest = 0.0
    # shares of the training at which one and two steps of the adversary begin, at which it has its full length, and
    # at which pictures that the CLIP itself optimizes become negatives
    one_step, full_length, two_steps, chained = 0.2, 0.6, 0.7, 0.4

    def __init__(self, options: TrainOptions) -> None:
        self.options = options
        self.device = options.torch_device()
        torch.manual_seed(options.seed)
        self.batch = options.batch or (512 if self.device.type == "cuda" else 128)
        if self.batch < _SMALLEST_BATCH:
            raise UsageError(f"--batch {self.batch}: a CLIP learns from at least {_SMALLEST_BATCH} scenes a step")
        self.clip = CLIP(self.architecture()).to(self.device)
        self._begin()
        self.chains = Chains(count=self.batch, taken=self.batch // 8, side=SIDE)
        self.clip.network.visual.to(memory_format=torch.channels_last)
        sizes = self._gather()
        width = self.clip.network.visual.head.proj.out_features
        self.heads = nn.ModuleDict({key: nn.Linear(width, n) for key, n in sizes.items()})
        self.heads.to(self.device)
        self.chains.to(self.device)
        self.modules = nn.ModuleDict({"network": self.clip.network, "heads": self.heads, "chains": self.chains})
        decayed = [p for p in self.modules.parameters() if p.ndim >= 2]
        plain = [p for p in self.modules.parameters() if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=(0.9, 0.98))
        # eager on a CPU: its bf16 convolutions already run at the speed of the machine
        self.embed = maybe_compile(self._embed_eager, options.compile and self.device.type == "cuda")
        strengths = {
            "rotate": 8.0, "shear": 4.0, "perspective": 0.15, "brightness": 0.08, "contrast": 0.15,
            "saturation": 0.2, "hue": 0.01,
        }  # fmt: skip
        self.detailed = self.batch // 4
        self.whole = ViewPlan(self.batch - self.detailed, 0.6, 0.7, 0.95, 0.15, strengths)
        self.detail = ViewPlan(self.detailed, 0.0, 0.25, 0.6, 0.0, strengths)

    def architecture(self) -> CLIPArchitecture:
        """What is trained."""
        return architecture()

    def _begin(self) -> None:
        """Put in the weights that training begins with, if not random ones."""
        if self.options.start:
            start_from(self.options, self.name, self.clip.architecture, self.clip.network)
            self.one_step = self.chained = 0.0
            self.weakest = 0.4

    def _gather(self) -> dict[str, int]:
        """Render what is learned from; return how many values each attribute has that a layer names."""
        options = self.options
        scenes = SceneSet(options.folder, options.seed, options.scenes, SCENE_SIDE)
        large = SceneSet(options.folder, options.seed + 1, max(options.scenes // 8, 1), 2 * SCENE_SIDE)
        self.scenes = scenes.render(options.font, options.workers)
        self.large = large.render(options.font, options.workers)
        held_out = SceneSet(options.folder, options.seed + 1001, min(options.scenes, 2048), SIDE)
        self.held_out = held_out.render(options.font, options.workers)
        self.shown = held_out.scenes
        self.captioner = Captioner([*scenes.scenes, *large.scenes])
        return self.captioner.sizes

    @property
    def epoch(self) -> int:
        """Steps that show as many scenes as were rendered."""
        return -(-self.scenes.count // (self.batch - self.detailed - self.chains.taken))

    def batch_of(self, index: int) -> Batch:
        """Return views, captions and labels of step `index`, on the CPU, drawn from (seed, index) alone."""
        rng = np.random.default_rng([self.options.seed, index])
        of_chains = self.chains.scenes(index, self.options.seed, self.scenes.count)
        rest = self.batch - len(of_chains) - self.detailed
        chosen = np.concatenate([
            np.array(of_chains, int),
            grouped_batch(self.captioner.attributes[: self.scenes.count], rest, rng),
            self.scenes.count + rng.integers(self.large.count, size=self.detailed),
        ])  # fmt: skip
        texts, wrong = self.captioner.captions(chosen, rng)
        labels = torch.from_numpy(self.captioner.attributes[chosen] + 1)
        zoomed = torch.arange(self.batch) >= self.batch - self.detailed
        texts += self.captioner.foils(chosen, zoomed.tolist(), rng)
        near = zoomed.repeat(2).tolist()
        texts = [detail_of(text) if part else text for text, part in zip(texts, near, strict=True)]
        labels[zoomed, :3] = UNSAID  # what a detail shows of the subject or shape is left open
        return self._views(chosen, index), texts, wrong | (zoomed[:, None] != zoomed), labels

    def step(self, index: int, progress: float, batch: Batch) -> dict[str, float]:
        """One batch, seen as it is, then moved by one or two L2 steps of the adversary, each with its own update.

        The gradient that trains the weights is also the adversary's next step (Shafahi et al. 2019, "Adversarial
        training for free"), and moves the pictures of the chains. The first scenes of a batch are the chains' own.
        """
        views, texts, wrong, labels = batch
        x = views.to(self.device, memory_format=torch.channels_last)
        wrong, labels = wrong.to(self.device), labels.to(self.device)
        text = self.embed_text(texts)
        ramp = (progress - self.one_step) / (self.full_length - self.one_step)
        epsilon = self.strongest * min(max(ramp, self.weakest), 1.0)
        attacks = (progress >= self.one_step) + (progress >= self.two_steps)
        chains = self.chains if progress >= self.chained else None
        fake = x[:0] if chains is None else chains.take(index, x[-chains.taken :])
        delta, shown = torch.zeros_like(x), {}
        for attack in range(attacks + 1):
            seen, fake = (x + delta).requires_grad_(), fake.detach().requires_grad_()
            embedding = self.embed(seen)
            loss = self._loss(embedding, text, wrong, labels)
            if chains is not None:
                real, fakes = self.embed_alone(torch.cat([seen[: len(fake)], fake])).chunk(2)
                tricked = fooled(self.scale, real, fakes, text[: len(fake)])
                loss = loss + _FOOLED * tricked
                shown["fooled"] = float(tricked.detach())
            self._update(loss)
            shown["robust" if attack else "clean"] = float(loss.detach())
            text = text.detach()
            if attack < attacks:
                length = 1.5 * epsilon / attacks if attacks > 1 else epsilon
                delta = l2_step(delta, _gradient(seen), epsilon, length)
            if chains is not None:
                fake = chains.moved(index, fake, _gradient(fake))
        if chains is not None:
            chains.keep(index, fake)
        return shown | {"eps": epsilon}

    @property
    def scale(self) -> Tensor:
        """The factor from cosines to logits, which is learned."""
        scale: Tensor = self.clip.network.logit_scale.exp()
        return scale

    def _update(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            self.clip.network.logit_scale.clamp_(max=math.log(50))

    def validate(self, folder: Path, index: int) -> dict[str, float]:
        """Zero-shot accuracies on held-out scenes, clean and under L2 PGD-10; writes `validation.png`."""
        del index
        self.calibrate()
        x = torch.from_numpy(np.array(self.held_out.images)).permute(0, 3, 1, 2).float().to(self.device) / 255
        clip = self.clip.eval()
        self._sheet(clip, x[:48], folder / "validation.png")
        return zero_shot(clip, x, self.shown, self.epsilon)

    @torch.no_grad()
    def calibrate(self) -> None:
        """Measure the statistics of the norms afresh, on scenes as they are, as the mean of 30 batches.

        Those kept in training are of attacked views too, and of weights that were averaged they hold nothing (Izmailov
        et al. 2018, section 3.2).
        """
        visual = self.clip.network.visual
        for module in visual.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None
        visual.train()
        generator = torch.Generator().manual_seed(self.options.seed)
        for index in range(_CALIBRATION):
            chosen = np.arange(index * self.batch, (index + 1) * self.batch) % self.scenes.count
            x = torch.from_numpy(self.scenes.images[chosen]).permute(0, 3, 1, 2).float() / 255
            x = nn.functional.avg_pool2d(x, SCENE_SIDE // SIDE)
            x = x + 0.05 * torch.randn(x.shape, generator=generator)
            self.embed(x.to(self.device, memory_format=torch.channels_last))
        visual.eval()

    @torch.no_grad()
    def _sheet(self, clip: CLIP, x: Tensor, path: Path) -> None:
        """Write held-out scenes (n, 3, S, S) with the caption, of all of theirs, that fits each best."""
        texts = [captions(scene, load_world()) for scene in self.shown[: len(x)]]
        chosen = (clip.encode_image(x) @ clip.encode_text(texts).t()).argmax(1).tolist()
        sheet = images.contact_sheet([images.to_pil(view.cpu()) for view in x], [texts[i] for i in chosen], 8, 2 * SIDE)
        save_image(sheet, path, None)

    def export(self, path: Path, info: dict[str, Any]) -> None:
        """Write the weight file."""
        files.save(path, "clip", self.clip.architecture.to_json(), self.clip.network.state_dict(), info)

    def _views(self, chosen: np.ndarray, index: int) -> Tensor:
        """One augmented view (S x S) of each chosen scene, half of them noisy: wholes first, then details."""
        generator = torch.Generator().manual_seed(index)
        parts: list[Tensor] = []
        for scenes, plan, first in ((self.scenes, self.whole, 0), (self.large, self.detail, self.scenes.count)):
            numbers = chosen[: plan.count] if not parts else chosen[-plan.count :]
            pictures = torch.from_numpy(scenes.images[numbers - first]).permute(0, 3, 1, 2).float() / 255
            if first and index % 2:  # details of a small picture are blurred
                pictures = nn.functional.avg_pool2d(pictures, 2)
            drawn = sample_views(plan, self.options.seed + first, index, (1.0, 1.0), SIDE)
            # a view's place in the batch decides its size: shuffle that against the grouped pictures
            order = torch.randperm(plan.count, generator=generator)
            parts.append(cut_each(pictures, drawn.select(order), SIDE))
        x = torch.cat(parts)
        sigma = torch.rand(self.batch, 1, 1, 1, generator=generator) * self.noise
        sigma = sigma * (torch.rand(self.batch, 1, 1, 1, generator=generator) < 0.5)
        return x + sigma * torch.randn(x.shape, generator=generator)

    def _loss(self, embedding: Tensor, text: Tensor, wrong: Tensor, labels: Tensor) -> Tensor:
        """Contrast with the captions, nearness to them, and naming each attribute by a layer dropped after training.

        The labels (n, 6) teach the tower in a tenth of the time that captions alone take; the captions tie the text
        to it. Contrast alone leaves a gap between all texts and all pictures (Liang et al. 2022, "Mind the gap"), and
        a picture that crosses it to come nearer to a text than any real one shows nothing real: so nearness counts.
        """
        true, foils = text.chunk(2)
        loss = contrast(self.scale, embedding, true, foils, wrong)
        loss = loss + _NEARNESS * (1 - (embedding * true).sum(1)).mean()
        return loss + self._named(embedding, labels)

    def _named(self, embedding: Tensor, labels: Tensor) -> Tensor:
        return named(self.heads.items(), embedding, labels)

    def _embed_eager(self, x: Tensor) -> Tensor:
        with autocast(self.device):
            return self.clip.encode_image(x)

    def embed_alone(self, x: Tensor) -> Tensor:
        """Embed pictures as in use: normalized by the running statistics, which fakes must neither set nor share.

        Through the statistics of a batch its other members' losses would reach the gradient that moves the fakes. What
        is compared goes this way together: real pictures normalized otherwise are told from fakes by that alone, and
        the weights learn to embed badly whatever comes this way.
        """
        visual = self.clip.network.visual
        visual.eval()
        try:
            out: Tensor = self.embed(x)
            return out
        finally:
            visual.train()

    def embed_text(self, texts: list[str]) -> Tensor:
        """Return the embeddings (n, D) of texts."""
        with autocast(self.device):
            return self.clip.encode_text(texts)
