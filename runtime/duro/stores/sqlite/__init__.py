"""The SQLite store: one file, any number of threads and processes of one machine."""

from duro.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
