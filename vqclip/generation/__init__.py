"""The run: one loop that yields a snapshot a step, and what surrounds it."""
