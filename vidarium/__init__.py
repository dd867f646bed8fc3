"""Vidarium: a server for video libraries."""

__version__ = "0.1.0"
