"""Weight files: names become networks."""
