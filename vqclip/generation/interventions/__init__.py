"""What may happen between two steps; the registry `vqclip.registries.INTERVENTIONS` lists them all."""
