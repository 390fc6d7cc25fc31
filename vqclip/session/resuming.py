"""Going on with a run: its folder is looked at, and compared with what it is to go on with.

Only `Continuation.prepare` needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqclip import config as configs
from vqclip.config import Config
from vqclip.config.text import nest, parse_set, read_file
from vqclip.errors import ResumeError, UsageError
from vqclip.registry import plugins
from vqclip.session import savepoint
from vqclip.session.savepoint import Savepoint
from vqclip.types import Notice
from vqclip.writers import names

if TYPE_CHECKING:
    from vqclip.generation.models import Models
    from vqclip.generation.prepare import Prepared
    from vqclip.generation.run import Callback
    from vqclip.session.job import Resume

# what a run that is drawn on changes by itself
_EXTENDED = {"extra_steps", "output.keep_run"}


@dataclass(frozen=True)
class Continuation:
    """A run that can go on: its folder, its savepoint, the config to go on with, and the keys that were changed."""

    folder: Path
    point: Savepoint
    config: Config
    changed: tuple[str, ...]
    force: bool

    @classmethod
    def find(cls, resume: Resume) -> Continuation:
        """Look for a run and return how it goes on; raises UsageError and ResumeError, before torch is loaded."""
        folder = savepoint.find(Path(resume.run))
        savepoint.lock(folder).release()  # a run that is being drawn is told of before seconds of loading
        point = savepoint.read(folder)
        plugins.check_loaded(point.outside, str(folder))
        config, changed = _config_of(folder, point, resume)
        if point.ended and config.total_steps <= point.step:
            raise UsageError(f"{folder} has done all its {point.step} steps: give --steps above that to draw on")
        _check_places(folder, point, config, resume.force)
        return cls(folder, point, config, tuple(changed), resume.force)

    def prepare(self, models: Models, callbacks: Sequence[Callback] = ()) -> Prepared:
        """Return the prepared run; ResumeError for weights and files that have changed, unless they are forced."""
        from vqclip.generation.prepare import prepare
        from vqclip.session import replay

        point = self.point
        prepared = prepare(models.resolve(self.config), models, callbacks)
        # what was loaded and not used is not loaded again
        weights = {name: digest for name, digest in models.recorded_hashes().items() if name in point.weights}
        other = [f"weights of {n}" for n in weights if weights[n] != point.weights[n]]
        was, now = ({key: _sum(seen) for key, seen in seens.items()} for seens in (point.outside, prepared.outside))
        other += [f"the file of {name}" for name in _differing(was, now)]
        _refuse(self.folder, other, self.force)
        changed = [*self.changed, *other]
        forced = [{"from_step": point.step, "changed": changed}] if changed else []
        prepared.forced = [dict(each) for each in point.forced] + forced
        versions = replay.changed_versions(point.versions)
        if versions:
            text = f"the run began with other {', '.join(versions)}: its picture may differ in detail"
            prepared.notices.append(Notice(text))
        return prepared


def _check_places(folder: Path, point: Savepoint, config: Config, force: bool) -> None:
    """Raise ResumeError if files are to be written neither beside the run nor in the present folder.

    The state may be a stranger's.
    """
    output = config.output
    later = [] if len(point.pictures) >= config.count else [output.file or output.folder]
    others = [name for name in (output.video, output.metrics, output.tensorboard) if name]
    allowed = [folder.resolve().parent, Path().resolve()]
    for name in [*point.videos, *point.files.values(), *later, *others]:
        place = Path(name).resolve()
        if not force and not any(place.is_relative_to(each) for each in allowed):
            raise ResumeError(f"{folder} is to write {place}: go on from the folder it began in, or give --force")


def _config_of(folder: Path, point: Savepoint, resume: Resume) -> tuple[Config, list[str]]:
    """Return the config to go on with, and what was changed in it; ResumeError for changes without force."""
    was = configs.from_dict(point.config)
    given = nest(parse_set(text, Config) for text in resume.changes)
    file = folder / names.CONFIG
    config = configs.from_dict(read_file(file), given) if file.is_file() else configs.from_dict(point.config, given)
    if resume.steps is not None:
        if resume.steps < was.steps:
            raise UsageError(f"--steps {resume.steps}: the run was planned for {was.steps}, give no fewer")
        config.extra_steps = resume.steps - config.steps
    config.output.keep_run = config.output.keep_run or resume.keep_run
    if "chunk" not in given.get("views", {}):
        config.views.chunk = was.views.chunk
    keys = _differing(*(dict(_leaves(each.to_dict())) for each in (was, config)))
    changed = [key for key in keys if key not in _EXTENDED]
    _refuse(folder, changed, resume.force)
    if config.extra_steps < was.extra_steps and not resume.force:
        raise UsageError(f"the run was told to go to step {was.total_steps}: give no fewer --steps")
    return config, changed


def _refuse(folder: Path, changed: Sequence[str], force: bool) -> None:
    if changed and not force:
        listed = ", ".join(changed[:6]) + (", ..." if len(changed) > 6 else "")
        raise ResumeError(f"{folder} was drawn with other settings ({listed}): give --force to go on with the new ones")


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    return [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]


def _sum(seen: Any) -> Any:
    return seen.get("sha256") if isinstance(seen, Mapping) else None


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield above + name, value
