"""A preview in each run's folder, replaced every so many steps."""

from __future__ import annotations

from vqclip.config import Config
from vqclip.session.events import PreviewWritten
from vqclip.session.sinks.sink import Sink
from vqclip.types import Snapshot
from vqclip.writers.picture import save_image

NAME = "preview.png"


class PreviewSink(Sink):
    """Writes the current pictures every `output.save_every` steps."""

    @staticmethod
    def wanted(config: Config) -> bool:
        """Whether a config asks for previews."""
        return bool(config.output.save_every)

    def step(self, snapshot: Snapshot) -> None:
        """Write the previews if they are due; the last step has its picture."""
        due = snapshot.step and snapshot.step % self.config.output.save_every == 0 and not snapshot.last
        if due:
            self.batch.attempt("preview", lambda: self.write(snapshot))

    def write(self, snapshot: Snapshot) -> None:
        """Write the current pictures of the batch. Raises OutputError."""
        pictures = snapshot.pictures()
        files = [save_image(pictures[k], folder / NAME, None) for k, folder in self.batch.folders.items()]
        self.batch.emit(PreviewWritten(snapshot.step, tuple(files)))
