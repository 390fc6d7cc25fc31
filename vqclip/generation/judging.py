"""A CLIP that is held out of guidance: it scores what is drawn, and nothing is ever optimized against it.

A picture comes to please the CLIP that guides it beyond what others see in it. One that never guided tells which step
was the best, and how good the picture is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from vqclip.config import Resolved
from vqclip.generation.encoded import encode_all
from vqclip.guidance import Guidance
from vqclip.guidance.losses.build import build_terms
from vqclip.guidance.losses.protocol import LossContext
from vqclip.models.clip import CLIP
from vqclip.prompts import Prompt

# what a judge looks at: how near the views are to the prompts
_SECTIONS: Mapping[str, Any] = {"prompt": 1.0}


def judging(
    config: Resolved,
    judge: CLIP | None,
    texts: Sequence[Prompt],
    pictures: Sequence[Prompt],
    context: LossContext,
) -> Guidance | None:
    """Return what scores by a judge CLIP, on the same held-out views as the guides would; None without a judge."""
    if judge is None:
        return None
    # what a sketch shows in its own way is left out for guides; a judge reads the prompts as they are
    encoded = encode_all(config, [judge], texts, pictures, None, {})
    terms = build_terms(_SECTIONS, dataclasses.replace(context, perceptors=[judge], rivals=encoded.rivals))
    return Guidance([judge], encoded.targets, terms, config.views, config.run.precision)
