"""A view of SQLite's files from below: which of them have been written to and not synced since."""

import contextlib
import itertools
from collections.abc import Iterator

import apsw

_numbers = itertools.count()


class FileSyncs:
    """What happened to the files that were opened since this was made, by their names."""

    def __init__(self) -> None:
        self.unsynced: set[str] = set()
        self.syncs = 0

    def written(self, name: str) -> None:
        self.unsynced.add(name)

    def synced(self, name: str) -> None:
        self.unsynced.discard(name)
        self.syncs += 1


@contextlib.contextmanager
def watched_files() -> Iterator[FileSyncs]:
    """Every database that is opened inside is watched (not its shared memory, which needs no sync)."""
    seen = FileSyncs()
    base = f"watched-{next(_numbers)}"

    class Watching(apsw.VFS):
        def __init__(self) -> None:
            super().__init__(base, "unix", makedefault=True)

        def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
            return WatchedFile(name, flags)

    class WatchedFile(apsw.VFSFile):
        def __init__(self, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
            self._name = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
            super().__init__("unix", name, flags)

        def xWrite(self, data: bytes, offset: int) -> None:
            super().xWrite(data, offset)
            seen.written(self._name)

        def xSync(self, flags: int) -> None:
            super().xSync(flags)
            seen.synced(self._name)

    watching = Watching()
    try:
        yield seen
    finally:
        watching.unregister()
