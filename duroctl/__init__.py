"""duroctl: the command line of duro. It parses, calls ``duro.client`` and renders; what happens is decided in duro.

Nothing is imported here: a program that is interrupted before ``__main__`` can catch it ends with a traceback."""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """``__version__``, when it is asked for."""
    if name != "__version__":
        raise AttributeError(f"module 'duroctl' has no attribute {name!r}")
    from duro.version import __version__

    return __version__
