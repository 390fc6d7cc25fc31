"""Prompts as embeddings: texts, split where they exceed CLIP's context, and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from vqclip.errors import UsageError
from vqclip.guidance.views import ViewPlan, aspect_of, cut_views, sample_views
from vqclip.precision import autocast
from vqclip.prompts import Prompt, split_long
from vqclip.types import Notice, Perceptor


def encode_prompts(
    perceptor: Perceptor, parsed: Sequence[Prompt], template: str = "{}"
) -> tuple[list[Tensor], list[Notice]]:
    """Return the embedding (D,) of each prompt; one that exceeds the context is split and averaged, with a notice.

    In what is embedded the prompt, or each of its parts, stands for `{}` in the template; prompts of negative weight
    are embedded as they are. Raises UsageError for a template that leaves no room in the context.
    """
    if perceptor.count_tokens(template) > perceptor.context_length // 2:
        raise UsageError(
            f"views.detail_prompt has {perceptor.count_tokens(template)} tokens: give at most "
            f"{perceptor.context_length // 2}, or leave it out"
        )
    embeddings, notices = [], []
    for prompt in parsed:
        in_template = partial(str.replace, template if prompt.weight > 0 else "{}", "{}")

        def count(text: str, in_template: Callable[[str], str] = in_template) -> int:
            return perceptor.count_tokens(in_template(text))

        parts = split_long(prompt.text, perceptor.context_length, count)
        if len(parts) > 1:
            notices.append(
                Notice(
                    f"the prompt has {perceptor.count_tokens(prompt.text)} tokens and CLIP reads "
                    f"{perceptor.context_length}: it was split into {len(parts)} parts, whose meanings are averaged"
                )
            )
        with torch.no_grad():
            mean = perceptor.encode_text([in_template(part) for part in parts]).mean(0)
        embeddings.append(torch.nn.functional.normalize(mean, dim=0))
    return embeddings, notices


def encode_picture(perceptor: Perceptor, image: Tensor, precision: str) -> Tensor:
    """Return the embedding (D,) of an image prompt (1, 3, H, W): its whole and eight mild crops, averaged."""
    plan = ViewPlan(count=9, overview=0.34, smallest=0.7, largest=0.95, overshoot=0.0)
    aspect = aspect_of(image)
    views = [sample_views(plan, 0, 0, aspect, perceptor.image_size)]
    with torch.no_grad():
        cuts = cut_views(image, views, perceptor.image_size)
        with autocast(image.device.type, precision):
            mean = perceptor.encode_image(cuts).float().mean(0)
    return torch.nn.functional.normalize(mean, dim=0)
