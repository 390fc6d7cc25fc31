"""What several test files share. Fixtures that several need are in `conftest.py`."""
