"""Begin with a picture instead of random codes: how much of it stays, by `strength` and by the init weight.

python examples/04_begin_with_a_picture.py
"""

import os

from PIL import Image, ImageDraw

import vqclip
from vqclip import images

STEPS = int(os.environ.get("VQCLIP_EXAMPLE_STEPS", "100"))


def sketch(path: str) -> Image.Image:
    """Draw a simple landscape with a sun and save it."""
    picture = Image.new("RGB", (256, 256), (150, 200, 240))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 170, 256, 256), fill=(90, 160, 70))
    draw.ellipse((160, 30, 220, 90), fill=(250, 210, 60))
    picture.save(path)
    return picture


def main() -> None:
    """Draw the same prompt from the same sketch in four ways."""
    pictures, captions = [sketch("sketch.png")], ["the sketch"]
    for strength, weight in ((0.0, 0.0), (0.5, 0.0), (0.0, 2.0), (0.0, 20.0)):
        init = {"kind": "image", "image": "sketch.png", "strength": strength, "weight": weight}
        config = vqclip.make_config("a castle in a meadow", steps=STEPS, seed=7, init=init)
        pictures.append(vqclip.generate(config).image)
        captions.append(f"strength {strength}, weight {weight}")
        print("drew", captions[-1])
    images.contact_sheet(pictures, captions, columns=len(pictures), cell=192).save("from_sketch.png")
    print("wrote from_sketch.png")


if __name__ == "__main__":
    main()
