"""Pictures on their way in and out of tensors: reading files safely, PIL to float and back, contact sheets."""

from vqclip.images.conversion import cover, crop_center, frames, to_pil, to_tensor, to_uint8
from vqclip.images.reading import (
    DAMAGE,
    FORMATS,
    MAX_BYTES,
    MAX_PIXELS,
    open_image,
    read_cut_out,
    read_image,
    read_mask,
)
from vqclip.images.sheets import contact_sheet, storyboard

__all__ = [
    "DAMAGE",
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "contact_sheet",
    "cover",
    "crop_center",
    "frames",
    "open_image",
    "read_cut_out",
    "read_image",
    "read_mask",
    "storyboard",
    "to_pil",
    "to_tensor",
    "to_uint8",
]
