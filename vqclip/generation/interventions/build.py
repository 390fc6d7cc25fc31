"""From the config to interventions: those that every run has, and those that the config names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqclip.config.section import section
from vqclip.errors import UsageError
from vqclip.generation.interventions.protocol import Intervention
from vqclip.registry import INTERVENTIONS
from vqclip.registry.outside import is_outside, run_outside

if TYPE_CHECKING:
    from vqclip.generation.run import Run


@dataclass(frozen=True)
class Nothing:
    """The section of an intervention without options."""


def build_interventions(run: Run) -> list[Intervention]:
    """Return the interventions of a run, in the order of their registration.

    vqclip's own act in every run, by the settings that they always had; others if `interventions` names them.
    """
    given = run.config.interventions
    interventions: list[Intervention] = []
    for name in INTERVENTIONS:
        record = INTERVENTIONS.load(name)
        if not is_outside(record):
            interventions.append(record(run))
        elif name in given and given[name] is not False:
            interventions.append(_Guarded(name, run, given[name]))
    return interventions


def check_interventions(given: dict[str, Any]) -> None:
    """Raise UsageError for options of interventions that do not fit, and for those that act anyway."""
    for name, options in given.items():
        record = INTERVENTIONS.load(name)
        if not is_outside(record):
            raise UsageError(f"interventions.{name}: it acts by settings of its own, leave it out")
        if options is not False:
            section(f"interventions.{name}", getattr(record, "Options", Nothing), options)


class _Guarded:
    """An intervention from outside, whose failures name it."""

    def __init__(self, name: str, run: Run, given: Any) -> None:
        record = INTERVENTIONS.load(name)
        options = section(f"interventions.{name}", getattr(record, "Options", Nothing), given)
        self.what = f"the intervention {name!r}"
        self.call = run_outside(self.what, record, options, run)

    def __call__(self, run: Run) -> None:
        """Do what it does before a step."""
        run_outside(self.what, self.call, run)
