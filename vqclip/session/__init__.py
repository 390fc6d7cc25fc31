"""A run with its files: Python API, savepoints, drawing again."""
