"""Sinks: what becomes of the steps of pictures that are drawn together, a file and a record of `SINKS` each."""

from vqclip.session.sinks.sink import Sink

__all__ = ["Sink"]
