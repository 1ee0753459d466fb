"""Where the store is that a configuration file names."""

from pathlib import Path


def anchored(url: str, base: Path) -> str:
    """``url`` with a relative SQLite path taken from ``base``, the directory of the file that says it."""
    prefix = "sqlite:///"
    path = url.removeprefix(prefix)
    if not url.startswith(prefix) or path.startswith("/"):
        return url
    return f"{prefix}{base.resolve() / path}"
