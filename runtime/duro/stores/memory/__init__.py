"""A store in this process's memory; see ``store``."""

from duro.stores.memory.store import MemoryStore as MemoryStore
