"""The pictures themselves, at the end, and whenever the user wants them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vqclip.config import Config
from vqclip.session.api import Picture, of_snapshot
from vqclip.session.sinks.sink import Sink
from vqclip.types import Snapshot
from vqclip.writers import metadata, names
from vqclip.writers.picture import FORMATS, save_image


class PictureSink(Sink):
    """Writes the best pictures so far, with their metadata unless the config wants none."""

    kind = "pictures"
    rank = 2

    @staticmethod
    def check(config: Config) -> None:
        """Raise UsageError or OutputError for pictures that could not be written."""
        if config.output.file:
            names.check_suffix(config.output.file, "image")
            names.check_writable(Path(config.output.file).parent)
        else:
            names.check_writable(Path(config.output.folder))

    def save(self, snapshot: Snapshot) -> Sequence[Path]:
        """Write the best pictures so far. Raises OutputError."""
        batch = self.batch
        pictures = of_snapshot(batch.prepared, snapshot)
        return [
            batch.outputs.note(self._write(picture, batch.outputs.in_place(batch.paths[k], snapshot.last)))
            for k, picture in zip(batch.wanted, pictures, strict=True)
        ]

    def finish(self, snapshot: Snapshot, hurry: bool) -> Sequence[Path]:
        """Write the best pictures of all. Raises OutputError."""
        return self.save(snapshot)

    def _write(self, picture: Picture, path: Path) -> Path:
        # outside a mask every pixel must stay as it was
        lossless, kind = self.config.init.mask is not None, FORMATS[path.suffix.lower()]
        if lossless and kind == "JPEG":
            self.batch.notice(f"{path.name} changes pixels outside the mask a little: save as PNG")
        if not self.config.output.metadata:
            return save_image(picture.image, path, None, lossless=lossless)
        if not metadata.fits(picture.record, kind):
            self.batch.notice(f"{path.name} holds only a part of its metadata: save as PNG to keep all")
        return save_image(picture.image, path, picture.record, lossless=lossless)
