"""Modules that are imported when they are first used: whoever only reads a store loads what reading takes."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any


class LateModule:
    """Stands for the module ``name``; what is asked of it is looked up there each time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._module: Any = None

    def __getattr__(self, attribute: str) -> Any:
        if self._module is None:
            self._module = import_module(self._name)
        return getattr(self._module, attribute)


def load(names: Sequence[str]) -> None:
    """Import modules of this package now: whoever will need them at once."""
    for name in names:
        import_module(f"duro.stores.sqlite.{name}")
