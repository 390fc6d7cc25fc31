"""Losses, learning rate, score and seconds of every step for TensorBoard, where it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from vqclip.config import Config
from vqclip.errors import UsageError
from vqclip.session.sinks.metrics import Stopwatch, rows_of
from vqclip.session.sinks.sink import Sink
from vqclip.types import Snapshot
from vqclip.writers import names

_NO_NUMBERS = ("seed", "picture", "step")


class TensorBoardSink(Sink):
    """Writes the numbers of each picture's steps into a folder of its own within `output.tensorboard`."""

    @staticmethod
    def wanted(config: Config) -> bool:
        """Whether a config asks for them."""
        return bool(config.output.tensorboard)

    @staticmethod
    def check(config: Config) -> None:
        """Raise UsageError without TensorBoard, OutputError for a folder that cannot be written."""
        if not config.output.tensorboard:
            return
        if importlib.util.find_spec("tensorboard") is None:
            raise UsageError(
                f"output.tensorboard is {config.output.tensorboard!r}, which needs the package tensorboard: install "
                "vqclip[tensorboard], or give output.metrics a CSV file instead"
            )
        names.check_writable(config.output.tensorboard)

    def begin(self) -> None:
        """Open a writer for each picture; one that goes on hides the steps that come again."""
        from torch.utils.tensorboard import SummaryWriter

        folder, point = Path(str(self.config.output.tensorboard)), self.batch.point
        first = point.step + 1 if point else None
        self.watch = Stopwatch()
        self.writers: dict[int, Any] = {
            k: SummaryWriter(str(folder / path.stem), purge_step=first) for k, path in self.batch.paths.items()
        }

    def step(self, snapshot: Snapshot) -> None:
        """Write the numbers of a step; the first grid has none, and a state that goes on had its own."""
        if snapshot.step and not snapshot.resumed:
            rows = rows_of(snapshot, self.batch.wanted, self.watch.seconds())
            for writer, row in zip(self.writers.values(), rows, strict=True):
                for name in [name for name in row if name not in _NO_NUMBERS and row[name]]:
                    writer.add_scalar(name.replace(".", "/"), float(row[name]), snapshot.step)
        self.watch.restart()

    def close(self, whole: bool) -> None:
        """Write what is still held back, and close the files."""
        for writer in getattr(self, "writers", {}).values():
            writer.close()
