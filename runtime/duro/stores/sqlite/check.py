"""What one check of a store is."""

from typing import Final, NamedTuple

DAMAGED: Final = "keep a copy of the file and report it; restore a backup if work is missing"


class Check(NamedTuple):
    """``select`` gives (subject, text) rows. ``deletes``: statements that remove what it finds. ``deep``: it costs what
    the histories weigh, and is done only when that is asked for."""

    name: str
    severity: str
    looks_for: str
    remedy: str
    select: str
    deletes: tuple[str, ...] = ()
    deep: bool = False
