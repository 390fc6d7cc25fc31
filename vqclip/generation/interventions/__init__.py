"""What may happen between two steps; the registry `vqclip.registry.INTERVENTIONS` lists them all."""
