"""What vqclip knows by name: lazy records, and the tables of all variants."""

from vqclip.registry.lazy import Registry
from vqclip.registry.tables import AUGMENTATIONS, INTERVENTIONS, OPTIMIZERS, REGULARIZERS, SCHEDULES, SINKS

__all__ = ["AUGMENTATIONS", "INTERVENTIONS", "OPTIMIZERS", "REGULARIZERS", "SCHEDULES", "SINKS", "Registry"]
