"""From an image to the gradient of its losses: views, embeddings, targets, losses."""

from vqclip.guidance.guide import Guidance

__all__ = ["Guidance"]
