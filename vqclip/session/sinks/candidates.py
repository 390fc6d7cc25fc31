"""Contact sheets of what a prior proposed, one beside the picture of each seed."""

from __future__ import annotations

from vqclip.config import Config
from vqclip.session.sinks.sink import Sink
from vqclip.types import Candidates, Snapshot
from vqclip.writers import names
from vqclip.writers.picture import candidates_sheet, save_image


class CandidatesSink(Sink):
    """Writes a sheet of the candidates of each seed, best first."""

    @staticmethod
    def wanted(config: Config) -> bool:
        """Whether candidates are to be shown."""
        return config.output.save_candidates

    def step(self, snapshot: Snapshot) -> None:
        """Write the sheets, if the snapshot brings candidates."""
        if snapshot.candidates:
            self.batch.attempt("sheet of candidates", lambda: self.write(snapshot))

    def write(self, snapshot: Snapshot) -> None:
        """Write the sheet of each seed whose picture is drawn. Raises OutputError."""
        for seed, candidates in snapshot.candidates.items():
            first = next((k for k in self.batch.wanted if snapshot.seeds[k] == seed), None)
            if first is not None:
                self._write_sheet(first, candidates, snapshot.size)

    def _write_sheet(self, place: int, candidates: Candidates, size: tuple[int, int]) -> None:
        path = self.batch.paths[place].with_suffix(".candidates.png")
        replaced = self.batch.outputs.replace and names.is_replaceable(path)
        path = path if replaced else names.free_path(path)
        save_image(candidates_sheet(candidates, size), path, None)
        self.batch.notice(f"the prior's candidates, best first: {path}")
