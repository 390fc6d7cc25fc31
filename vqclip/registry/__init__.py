"""What vqclip knows by name: lazy records, and the tables of all variants."""

from vqclip.registry.lazy import Registry
from vqclip.registry.tables import AUGMENTATIONS, CANVASES, INTERVENTIONS, LOSSES, OPTIMIZERS, SCHEDULES, SINKS

__all__ = ["AUGMENTATIONS", "CANVASES", "INTERVENTIONS", "LOSSES", "OPTIMIZERS", "SCHEDULES", "SINKS", "Registry"]
