"""What is optimized, behind one small protocol: a grid of latents, a pyramid of pixels, or what you register."""

from vqclip.drawables.init_image import InitImage
from vqclip.drawables.protocol import Drawable, Medium, Moment, joined

__all__ = ["Drawable", "InitImage", "Medium", "Moment", "joined"]
