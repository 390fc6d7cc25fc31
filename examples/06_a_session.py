"""Watch a session from the outside: its events, a pause, and a stop from another thread, after which it goes on.

python examples/06_a_session.py
"""

import os
import threading

import vqclip
from vqclip.session import events

STEPS = int(os.environ.get("VQCLIP_EXAMPLE_STEPS", "60"))


def watch(session: vqclip.Session, stop_at: int | None = None) -> vqclip.Outcome:
    """Print what happens; let another thread stop the session when it comes to a step."""
    for event in session:
        if isinstance(event, events.NoticeGiven):
            print("notice:", event.text)
        elif isinstance(event, events.PreviewWritten):
            print("preview:", *event.files)
        elif isinstance(event, events.Paused):
            print("paused at step", event.step)
        elif isinstance(event, events.Stepped):
            print(f"step {event.snapshot.step}, loss {event.snapshot.loss:.3f}")
            if event.snapshot.step == stop_at:
                # as a button of a web page would: wait a little, then stop
                session.pause()
                threading.Timer(0.5, session.stop).start()
    return session.outcome


def main() -> None:
    """Draw half of a picture, stop, and go on to its end."""
    output = {"file": "owl.png", "metrics": "owl.csv", "save_every": 10}
    config = vqclip.make_config("an owl at night", seed=5, steps=STEPS, output=output)
    stopped = watch(vqclip.Session.start(vqclip.Job(config)), STEPS // 2)
    print("stopped at step", stopped.step, "with", *stopped.pictures)

    finished = watch(vqclip.Session.start(vqclip.Job(resume=vqclip.Resume(stopped.folder))))
    print("finished:", *finished.pictures, "and the numbers of every step:", *finished.others)


if __name__ == "__main__":
    main()
