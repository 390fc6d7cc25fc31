"""Losses, learning rate, score and seconds of every step, as a table in a CSV file that grows while the run goes on."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vqclip import atomic
from vqclip.config import Config
from vqclip.errors import OutputError, UsageError
from vqclip.session.sinks.sink import Sink
from vqclip.types import Snapshot
from vqclip.writers import names

Row = Mapping[str, str]
COLUMNS = ("seed", "picture", "step", "seconds", "lr", "score", "loss")


def rows_of(snapshot: Snapshot, places: Sequence[int], seconds: float) -> list[dict[str, str]]:
    """Return what a step says in numbers, a row for each of the pictures at these places of its batch.

    `picture` counts the pictures of a batch from 0, as several may have one seed. `score` is the best so far by the
    held-out views, lower being better, empty before they judged; `loss` sums those that follow it.
    """
    losses = {name: values.tolist() for name, values in snapshot.losses.items()}
    scores = None if snapshot.best_score is None else snapshot.best_score.tolist()
    rows = []
    for k in places:
        of_picture = {f"loss.{name}": values[k] for name, values in losses.items()}
        numbers = {
            "seconds": seconds,
            "lr": snapshot.lr,
            "score": None if scores is None else scores[k],
            "loss": sum(of_picture.values()),
            **of_picture,
        }
        row = {"seed": str(snapshot.seeds[k]), "picture": str(k), "step": str(snapshot.step)}
        rows.append(row | {name: "" if value is None else f"{value:.6g}" for name, value in numbers.items()})
    return rows


class Stopwatch:
    """Tells how long steps take, without what becomes of them afterwards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()

    def seconds(self) -> float:
        """Return the seconds since `restart`, or since it was made."""
        return self._clock() - self._since

    def restart(self) -> None:
        """Begin to count."""
        self._since = self._clock()


class Table:
    """A CSV file that grows row by row; it may lack the end of its last row only if the process was killed there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: tuple[str, ...] = COLUMNS

    def start(self) -> None:
        """Write the file anew, without rows. Raises OutputError."""
        self._write(())

    def go_on(self, keep: Callable[[Row], bool]) -> None:
        """Read what is there and leave out the rows that are not to be kept. Raises OutputError for another file."""
        try:
            text = self.path.read_text("utf-8")
        except FileNotFoundError:
            self.start()
            return
        except (OSError, UnicodeDecodeError):
            raise self._foreign() from None
        # the last line may be cut short
        reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
        columns = tuple(reader.fieldnames or ())
        if columns[: len(COLUMNS)] != COLUMNS:
            raise self._foreign()
        self.columns = columns
        self._write([row for row in reader if keep(row)])

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows; columns that are new among them are added to all. Raises OutputError."""
        new = [name for row in rows for name in row if name not in self.columns]
        if new:
            self.columns = (*self.columns, *dict.fromkeys(new))
            before = list(csv.DictReader(io.StringIO(self._read())))
            self._write([*before, *rows])
            return
        try:
            with self.path.open("a", encoding="utf-8", newline="") as stream:
                stream.write(self._lines(rows))
        except OSError as error:
            raise atomic.output_error(self.path, error) from error

    def _read(self) -> str:
        try:
            return self.path.read_text("utf-8")
        except OSError as error:
            raise atomic.output_error(self.path, error) from error

    def _write(self, rows: Sequence[Row]) -> None:
        atomic.write_text(self.path, ",".join(self.columns) + "\n" + self._lines(rows))

    def _lines(self, rows: Sequence[Row]) -> str:
        lines = io.StringIO()
        csv.DictWriter(lines, self.columns, restval="", lineterminator="\n").writerows(rows)
        return lines.getvalue()

    def _foreign(self) -> OutputError:
        return OutputError(f"{self.path} is no table of this run: move it away, or give another --metrics")


class MetricsSink(Sink):
    """Writes a row for each picture and step into `output.metrics`, one file for all batches of a job.

    A run that goes on, and one that goes back after trouble, leaves the rows out that it writes again.
    """

    @staticmethod
    def wanted(config: Config) -> bool:
        """Whether a config asks for the table."""
        return bool(config.output.metrics)

    @staticmethod
    def check(config: Config) -> None:
        """Raise UsageError for another ending than .csv, OutputError if the table could not be written."""
        name = config.output.metrics
        if not name:
            return
        if Path(name).suffix.lower() != ".csv":
            raise UsageError(f"output.metrics is {name!r}: it is written as a table, give a name that ends in .csv")
        names.check_writable(Path(name).parent)

    def begin(self) -> None:
        """Choose the table's name, or go on with that of the job. Raises OutputError."""
        outputs, point = self.batch.outputs, self.batch.point
        known = outputs.shared.get("metrics")
        self.path = known or outputs.next(str(self.config.output.metrics), drawn=False)
        outputs.take(self.path)
        outputs.shared["metrics"] = self.path
        self.table, self.watch, self.reached = Table(self.path), Stopwatch(), point.step if point else 0
        if known is None:
            self.table.start()
        else:
            self._leave_out_after(self.reached if point and point.packed else -1)

    def step(self, snapshot: Snapshot) -> None:
        """Write the rows of a step; the first grid has none, and a state that goes on had its own."""
        if snapshot.step and not snapshot.resumed:
            rows = rows_of(snapshot, self.batch.wanted, self.watch.seconds())
            self.batch.attempt("table of metrics", lambda: self._add(snapshot.step, rows))
        self.reached = snapshot.step
        self.watch.restart()

    def fields(self, position: int) -> dict[str, Any]:
        """Return where the table is."""
        return {"files": {"metrics": os.path.abspath(self.path)}}

    def finish(self, snapshot: Snapshot, hurry: bool) -> Sequence[Path]:
        """Return the table, which is complete."""
        return [self.path]

    def _add(self, step: int, rows: Sequence[Row]) -> None:
        if step <= self.reached:  # after trouble
            self._leave_out_after(step - 1)
        self.table.add(rows)

    def _leave_out_after(self, step: int) -> None:
        seeds = {str(seed) for seed in self.batch.seeds}

        def keep(row: Row) -> bool:
            number = row.get("step") or ""
            return row["seed"] not in seeds or (number.isdecimal() and int(number) <= step)

        self.table.go_on(keep)
