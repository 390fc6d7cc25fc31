"""Watch a picture come into being: take it from the stream eight times on the way, and save one strip.

python examples/02_watch_the_steps.py
"""

import os

import vqclip
from vqclip import images

STEPS = int(os.environ.get("VQCLIP_EXAMPLE_STEPS", "200"))
FRAMES = 8


def main() -> None:
    """Follow the snapshots of a run. Step 0 is the grid it begins with, which has no loss yet."""
    config = vqclip.make_config("a penguin in the snow", steps=STEPS, seed=4)
    wanted = {round(i * STEPS / (FRAMES - 1)) for i in range(FRAMES)}
    frames, captions = [], []
    for snapshot in vqclip.generate_stream(config):
        for notice in snapshot.notices:
            print(notice.text)
        if snapshot.step in wanted:
            loss = f"  loss {snapshot.loss:.4f}" if snapshot.step else ""
            print(f"step {snapshot.step}/{snapshot.steps}{loss}  lr {snapshot.lr:.4f}")
            frames.append(snapshot.pictures()[0])
            captions.append(f"step {snapshot.step}")
    images.contact_sheet(frames, captions, columns=len(frames), cell=128).save("steps.png")
    print("wrote steps.png")


if __name__ == "__main__":
    main()
