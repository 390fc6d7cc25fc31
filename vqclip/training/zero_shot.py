"""Naming pictures by the nearest prompt, as they are and under attack: how good a CLIP is measured."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqclip.models.clip import CLIP
from vqclip.world import captions, load_world, replace
from vqclip.world.scene import Scene


def zero_shot(clip: CLIP, x: Tensor, scenes: list[Scene], epsilon: float) -> dict[str, float]:
    """Accuracy of naming subject, style and setting of pictures x (n, 3, S, S) by the nearest prompt.

    `subject_unstyled_robust` is that of unstyled subjects under L2 PGD-10 of radius `epsilon`.
    """
    world = load_world()
    subjects, styles, settings = list(world.subjects), list(world.styles), list(world.settings)
    scores = {}
    subject_text = clip.encode_text([f"a picture of a {name}" for name in subjects]).detach()
    subject_of = {i: scene.subject for i, scene in enumerate(scenes) if scene.subject}
    named = list(subject_of)
    truth = torch.tensor([subjects.index(name) for name in subject_of.values()], device=x.device)
    scores["subject"] = accuracy(clip, x[named], subject_text, truth)
    plain = torch.tensor([scenes[i].style is None for i in named], device=x.device)
    if plain.any():
        scores["subject_unstyled"] = accuracy(clip, x[named][plain], subject_text, truth[plain])
        attacked = pgd(clip, x[named][plain][:512], subject_text, truth[plain][:512], epsilon)
        scores["subject_unstyled_robust"] = accuracy(clip, attacked, subject_text, truth[plain][:512])
    for key, names, template in (("style", styles, "a picture in {} style"), ("setting", settings, "a picture {}")):
        text = clip.encode_text([template.format(name) for name in names]).detach()
        having = [i for i, scene in enumerate(scenes) if getattr(scene, key)]
        if not having:
            continue
        true = torch.tensor([names.index(getattr(scenes[i], key)) for i in having], device=x.device)
        scores[key] = accuracy(clip, x[having], text, true)
    scores["style_in_caption"] = _styles_in_captions(clip, x, scenes)
    return scores


@torch.no_grad()
def _styles_in_captions(clip: CLIP, x: Tensor, scenes: list[Scene]) -> float:
    """Share of styled pictures whose caption fits better than it does with any other style: what guides a style."""
    styled = [i for i, scene in enumerate(scenes) if scene.style][:512]
    world, right = load_world(), 0
    for i, embedding in zip(styled, clip.encode_image(x[styled]), strict=True):
        texts = [captions(replace(scenes[i], style=name), world) for name in world.styles]
        right += list(world.styles)[int((clip.encode_text(texts) @ embedding).argmax())] == scenes[i].style
    return round(right / max(len(styled), 1), 4)


@torch.no_grad()
def accuracy(clip: CLIP, x: Tensor, text: Tensor, truth: Tensor, top: int = 1) -> float:
    """Return the share of pictures x (n, 3, S, S) with their text, `truth` (n,) of (m, D), among the `top` nearest."""
    nearest = [(clip.encode_image(part) @ text.t()).topk(top, 1).indices for part in x.split(128)]
    return round(float((torch.cat(nearest) == truth[:, None]).any(1).float().mean()), 4)


def pgd(clip: CLIP, x: Tensor, text: Tensor, truth: Tensor, epsilon: float, steps: int = 10) -> Tensor:
    """Return pictures moved within an L2 ball of radius `epsilon` away from their texts (Madry et al. 2018)."""
    delta = torch.zeros_like(x)
    for _ in range(steps):
        delta.requires_grad_()
        loss = nn.functional.cross_entropy(50 * clip.encode_image((x + delta).clamp(0, 1)) @ text.t(), truth)
        (gradient,) = torch.autograd.grad(loss, delta)
        delta = l2_step(delta.detach(), gradient, epsilon, 2.5 * epsilon / steps)
    return (x + delta).clamp(0, 1).detach()


@torch.no_grad()
def l2_step(delta: Tensor, gradient: Tensor, epsilon: float, length: float) -> Tensor:
    """Move perturbations (n, 3, S, S) by `length` up the gradient, back into the L2 ball of radius `epsilon`."""
    norm = gradient.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
    delta = delta + length * gradient / norm
    size = delta.flatten(1).norm(dim=1).clamp(min=max(epsilon, 1e-12)).view(-1, 1, 1, 1)
    out: Tensor = delta * (epsilon / size)
    return out
