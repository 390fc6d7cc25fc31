"""`vqclip train clip`: the bundled CLIP, trained to be robust so that its gradients draw.

Contrastive learning (Radford et al. 2021) on captioned scenes seen through the same views as in generation, on noisy
(Kaur et al. 2019) and on adversarially perturbed ones (Madry et al. 2018, one L2 step; Ganz and Elad 2023, "CLIPAG"):
a robust CLIP has gradients that look like the thing named instead of noise.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vqclip import cutouts, images
from vqclip.models.clip import CLIP
from vqclip.training.batches import Captioner, grouped_batch
from vqclip.training.runner import TrainOptions, maybe_compile
from vqclip.training.scenes import SceneSet
from vqclip.types import CLIPArchitecture
from vqclip.weights import files
from vqclip.world import captions, load_world
from vqclip.writers.image import save_image

SIDE = 64
_SCENE_SIDE = 128
_MERGES = 4096


def architecture() -> CLIPArchitecture:
    """The bundled CLIP: a ConvNeXt of 4 M parameters and a text transformer of 3 layers over a short vocabulary."""
    model = {
        "embed_dim": 256,
        "vision_cfg": {
            "timm_model_name": "vqclip_convnext_s",
            "timm_pool": "avg",
            "timm_proj": "linear",
            "image_size": SIDE,
        },
        "text_cfg": {"context_length": 40, "vocab_size": _MERGES + 514, "width": 192, "heads": 3, "layers": 3},
    }
    return CLIPArchitecture(model, merges=_MERGES, words=load_world().words)


class CLIPTask:
    """Training of the bundled CLIP."""

    name = "clip"
    lr = 1e-3
    noise = 0.25
    epsilon = 0.85

    def __init__(self, options: TrainOptions) -> None:
        self.options = options
        self.device = options.torch_device()
        torch.manual_seed(options.seed)
        self.batch = options.batch or 128
        self.clip = CLIP(architecture()).to(self.device)
        self.clip.network.visual.to(memory_format=torch.channels_last)
        self.modules = nn.ModuleDict({"network": self.clip.network})
        decayed = [p for p in self.clip.parameters() if p.ndim >= 2]
        plain = [p for p in self.clip.parameters() if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=(0.9, 0.98))
        self._embed = maybe_compile(self._embed_eager, options.compile)
        self.scenes = SceneSet(options.folder, options.seed, options.scenes, _SCENE_SIDE)
        self.scenes.render(options.font, options.workers)
        self.held_out = SceneSet(options.folder, options.seed + 1001, min(options.scenes, 1024), SIDE).render(
            options.font, options.workers
        )
        self.captioner = Captioner(self.scenes.scenes)
        self.plan = cutouts.ViewPlan(
            count=self.batch,
            overview=0.7,
            smallest=0.55,
            largest=0.95,
            overshoot=0.15,
            strengths={
                "rotate": 8.0, "shear": 4.0, "perspective": 0.15, "brightness": 0.08, "contrast": 0.15,
                "saturation": 0.2, "hue": 0.01, "erase": 0.1,
            },
        )  # fmt: skip

    def step(self, index: int, progress: float) -> dict[str, float]:
        """One batch, seen clean or noisy and, once the ramp has begun, one L2 step of the adversary further."""
        rng = np.random.default_rng([self.options.seed, index])
        chosen = grouped_batch(self.captioner.attributes, self.batch, rng)
        texts, wrong = self.captioner.captions(chosen, rng)
        x = self._views(chosen, index)
        text = self._embed_text(texts)
        wrong = wrong.to(self.device)
        x.requires_grad_()
        loss = self._contrast(x, text, wrong)
        self.optimizer.zero_grad(set_to_none=True)
        (0.5 * loss).backward(retain_graph=True)
        epsilon = self.epsilon * min(max((progress - 0.02) / 0.3, 0.0), 1.0)
        direction = x.grad / x.grad.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
        adversarial = self._contrast((x + epsilon * direction).detach(), text, wrong)
        adversarial.backward()
        nn.utils.clip_grad_norm_(self.clip.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            self.clip.network.logit_scale.clamp_(max=math.log(50))
        return {"clean": float(loss.detach()), "robust": float(adversarial.detach()), "eps": epsilon}

    def validate(self, folder: Path, index: int) -> dict[str, float]:
        """Zero-shot accuracies on held-out scenes, clean and under L2 PGD-10; writes `validation.png`."""
        del index
        x = torch.from_numpy(np.array(self.held_out.images)).permute(0, 3, 1, 2).float().to(self.device) / 255
        clip = self.clip.eval()
        self._sheet(clip, x[:48], folder / "validation.png")
        return zero_shot(clip, x, self.held_out.scenes, self.epsilon)

    @torch.no_grad()
    def _sheet(self, clip: CLIP, x: Tensor, path: Path) -> None:
        """Write held-out scenes (n, 3, S, S) with the caption, of all of theirs, that fits each best."""
        texts = [captions(scene, load_world()) for scene in self.held_out.scenes[: len(x)]]
        chosen = (clip.encode_image(x) @ clip.encode_text(texts).t()).argmax(1).tolist()
        sheet = images.contact_sheet([images.to_pil(view.cpu()) for view in x], [texts[i] for i in chosen], 8, 2 * SIDE)
        save_image(sheet, path, None)

    def export(self, path: Path, info: dict[str, Any]) -> None:
        """Write the weight file."""
        files.save(path, "clip", self.clip.architecture.to_json(), self.clip.network.state_dict(), info)

    def _views(self, chosen: np.ndarray, index: int) -> Tensor:
        """One augmented view (S x S) of each chosen scene, three quarters of them noisy."""
        pictures = torch.from_numpy(self.scenes.images[chosen]).permute(0, 3, 1, 2).float() / 255
        drawn = cutouts.draw(self.plan, self.options.seed, index, (1.0, 1.0), SIDE)
        # a view's place in the batch decides whether it is an overview: shuffle that against the grouped pictures
        order = torch.randperm(self.batch, generator=torch.Generator().manual_seed(index)).tolist()
        x = cutouts.render(pictures, [drawn.part(k, k + 1) for k in order], SIDE)
        generator = torch.Generator().manual_seed(index)
        sigma = torch.rand(self.batch, 1, 1, 1, generator=generator) * self.noise
        sigma = sigma * (torch.rand(self.batch, 1, 1, 1, generator=generator) < 0.75)
        x = x + sigma * torch.randn(x.shape, generator=generator)
        return x.to(self.device, memory_format=torch.channels_last)

    def _contrast(self, x: Tensor, text: Tensor, wrong: Tensor) -> Tensor:
        """InfoNCE in both directions; `wrong` (n, n) marks the captions that truly do not fit a picture."""
        logits = self.clip.network.logit_scale.exp() * self._embed(x) @ text.t()
        # a caption that fits another picture of the batch too is no negative for it
        logits = logits.masked_fill(~wrong & ~torch.eye(len(x), dtype=torch.bool, device=x.device), -1e4)
        target = torch.arange(len(x), device=x.device)
        return (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.t(), target)) / 2

    def _embed_eager(self, x: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16):
            return self.clip.encode_image(x)

    def _embed_text(self, texts: list[str]) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16):
            return self.clip.encode_text(texts)


def zero_shot(clip: CLIP, x: Tensor, scenes: list, epsilon: float) -> dict[str, float]:
    """Accuracy of naming subject, style and setting of pictures x (n, 3, S, S) by the nearest prompt.

    `robust_subject` is the subject's under L2 PGD-10 of radius `epsilon`.
    """
    world = load_world()
    subjects, styles, settings = list(world.subjects), list(world.styles), list(world.settings)
    scores = {}
    subject_text = clip.encode_text([f"a picture of a {name}" for name in subjects]).detach()
    named = [i for i, scene in enumerate(scenes) if scene.subject]
    truth = torch.tensor([subjects.index(scenes[i].subject) for i in named], device=x.device)
    scores["subject"] = _accuracy(clip, x[named], subject_text, truth)
    plain = torch.tensor([scenes[i].style is None for i in named], device=x.device)
    scores["subject_unstyled"] = _accuracy(clip, x[named][plain], subject_text, truth[plain])
    attacked = _pgd(clip, x[named][plain][:256], subject_text, truth[plain][:256], epsilon)
    scores["subject_unstyled_robust"] = _accuracy(clip, attacked, subject_text, truth[plain][:256])
    for key, names, template in (("style", styles, "a picture in {} style"), ("setting", settings, "a picture {}")):
        text = clip.encode_text([template.format(name) for name in names]).detach()
        having = [i for i, scene in enumerate(scenes) if getattr(scene, key)]
        true = torch.tensor([names.index(getattr(scenes[i], key)) for i in having], device=x.device)
        scores[key] = _accuracy(clip, x[having], text, true)
    return scores


@torch.no_grad()
def _accuracy(clip: CLIP, x: Tensor, text: Tensor, truth: Tensor) -> float:
    guesses = torch.cat([(clip.encode_image(part) @ text.t()).argmax(1) for part in x.split(128)])
    return round(float((guesses == truth).float().mean()), 4)


def _pgd(clip: CLIP, x: Tensor, text: Tensor, truth: Tensor, epsilon: float, steps: int = 10) -> Tensor:
    delta = torch.zeros_like(x)
    for _ in range(steps):
        delta.requires_grad_()
        loss = nn.functional.cross_entropy(50 * clip.encode_image((x + delta).clamp(0, 1)) @ text.t(), truth)
        (gradient,) = torch.autograd.grad(loss, delta)
        with torch.no_grad():
            norm = gradient.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
            delta = delta + 2.5 * epsilon / steps * gradient / norm
            size = delta.flatten(1).norm(dim=1).clamp(min=epsilon).view(-1, 1, 1, 1)
            delta = delta * epsilon / size
    return (x + delta).clamp(0, 1).detach()
