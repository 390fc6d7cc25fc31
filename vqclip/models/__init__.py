"""Networks only: no files, no prints."""
