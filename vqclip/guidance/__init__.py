"""From an image to the gradient of its losses: views, embeddings, targets."""

from vqclip.guidance.guide import Guidance
from vqclip.guidance.precision import autocast

__all__ = ["Guidance", "autocast"]
