"""Losses of a CLIP in training: contrast with captions, names of attributes, pictures of its own making."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

HEAD_SCALE = 16.0
# the label of an attribute that is left open
UNSAID = -100
# by how much, in logits, a fake must fit its caption worse than the real picture
_MARGIN = 5.0
# what a name counts for that a layer gives an attribute; subject and style are what people ask for most
_NAMED, _OTHERS_NAMED = {"subject": 1.0, "style": 1.0}, 0.3


def contrast(scale: Tensor, image: Tensor, text: Tensor, foils: Tensor, wrong: Tensor) -> Tensor:
    """Return InfoNCE in both directions of embeddings (n, D); `wrong` (n, n) marks captions that truly do not fit.

    Each picture must also prefer its caption to its foil (n, D), which is wrong in one thing only: the other captions
    of a batch differ in so many that a style hardly counts (Yuksekgonul et al. 2023, "NegCLIP"). `scale` is the factor
    from cosines to logits.
    """
    logits = scale * image @ text.t()
    # a caption that fits another picture of the batch too is no negative for it
    logits = logits.masked_fill(~wrong & ~torch.eye(len(image), dtype=torch.bool, device=image.device), -1e4)
    target = torch.arange(len(image), device=image.device)
    tempting = scale * (image * foils).sum(1, keepdim=True)
    by_image = nn.functional.cross_entropy(torch.cat([logits, tempting], 1), target)
    return (by_image + nn.functional.cross_entropy(logits.t(), target)) / 2


def named(heads: Iterable[tuple[str, nn.Module]], embedding: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropies of naming each attribute by its layer, weighed by how much its name counts.

    `labels` (n, heads) hold the index of each attribute's name, UNSAID where it is left open.
    """
    loss = embedding.new_zeros(())
    for column, (key, head) in enumerate(heads):
        said = nn.functional.cross_entropy(head(HEAD_SCALE * embedding), labels[:, column], ignore_index=UNSAID)
        loss = loss + weight_of(key) * said
    return loss


def weight_of(attribute: str) -> float:
    """Return what the name of an attribute counts."""
    return _NAMED.get(attribute, _OTHERS_NAMED)


def fooled(scale: Tensor, real: Tensor, fake: Tensor, text: Tensor) -> Tensor:
    """Return how much better fakes fit their captions than the real pictures do: the logistic loss of the difference.

    All are embeddings (n, D). An optimizer follows the way up to the real picture, so a fake must not only lose but
    stand well below.
    """
    ahead = scale * ((fake - real) * text).sum(1)
    return nn.functional.softplus(ahead + _MARGIN).mean()
