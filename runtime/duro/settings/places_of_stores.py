"""Where the store and the archive are that a configuration file names."""

import os
from pathlib import Path


def anchored(url: str, base: Path) -> str:
    """``url`` with a relative SQLite path taken from ``base``, the directory of the file that says it."""
    prefix = "sqlite:///"
    path = url.removeprefix(prefix)
    if not url.startswith(prefix) or path.startswith("/"):
        return url
    return f"{prefix}{base.resolve() / path}"


def archive_directory(directory: str, file: str) -> Path:
    """``[archive] directory`` as an absolute path; a relative one starts at the directory of ``file``. Links in it
    stay, as the user wrote them."""
    return Path(os.path.abspath(Path(file).parent / directory))  # noqa: PTH100 - resolve() would hide the links
