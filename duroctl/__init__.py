"""duroctl: the command line of duro. It parses, calls ``duro.client`` and renders; what happens is decided in duro."""

from duro.version import __version__

__all__ = ["__version__"]
