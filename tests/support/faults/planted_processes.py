"""The same as ``planted``, for processes that are killed and whose calls fail."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final
from unittest.mock import patch

from duro.disk import Disk
from duro.errors import ArchiveUnavailableError
from duro.maintenance.archive import archiver, segments
from duro.maintenance.archive.format import Manifest
from duro.maintenance.archive.place import ArchivePlace
from duro.maintenance.archive.segments import Entry
from tests.support.faults import planted
from tests.support.faults.campaign import Mistake
from tests.support.faults.traced import Fault
from tests.support.power import planted as power


@dataclass(frozen=True)
class Planted:
    """``mistake``: it is made for as long as this is entered. ``only``: the faults that can show it."""

    scenario: str
    mistake: Mistake
    only: Callable[[Fault], bool]


def _killed_at(*calls: str) -> Callable[[Fault], bool]:
    return lambda fault: fault.error is None and fault.call in calls


def _failing(*calls: str) -> Callable[[Fault], bool]:
    return lambda fault: fault.error in (errno.EIO, errno.ENOSPC) and fault.passes and fault.call in calls


@contextlib.contextmanager
def _an_archive_that_failed_is_noted() -> Iterator[None]:
    """Whatever becomes of its segment."""

    def write(place: ArchivePlace, entries: Iterable[Entry], **named: Any) -> Manifest:
        kept = list(entries)
        try:
            return segments.write_segment(place, kept, **named)
        except ArchiveUnavailableError:
            with tempfile.TemporaryDirectory() as elsewhere:
                other = ArchivePlace(Path(elsewhere))
                other.prepare()
                return segments.write_segment(other, kept, **named)

    with patch.object(archiver, "write_segment", write):
        yield


@contextlib.contextmanager
def _a_manifest_that_failed_stays() -> Iterator[None]:
    """Only its segment is taken back."""
    with patch.object(ArchivePlace, "take_back", lambda self, segment: self.disk.unlink(segment)):
        yield


@contextlib.contextmanager
def _a_sync_that_failed_is_ignored() -> Iterator[None]:
    real = Disk.sync

    def sync(self: Disk, path: Path) -> None:
        with contextlib.suppress(OSError):
            real(self, path)

    with patch.object(Disk, "sync", sync):
        yield


@contextlib.contextmanager
def _errors_of_the_system_are_not_translated() -> Iterator[None]:
    with patch("duro.stores.sqlite.store.system_error", lambda error, _path: error):
        yield


@contextlib.contextmanager
def _a_write_that_was_interrupted_is_made_twice() -> Iterator[None]:
    """What has been written in part is written again, behind it, and is not read back."""
    real = Disk.write

    def write(self: Disk, file: BinaryIO, data: bytes) -> None:
        half = len(data) // 2
        try:
            real(self, file, data[:half])
            file.flush()
            os.fsync(file.fileno())
            real(self, file, data[half:])
        except OSError:
            real(self, file, data)

    with patch.object(Disk, "write", write), patch.object(segments, "_compare"):
        yield


PLANTED: Final[dict[str, Planted]] = {
    "the prune of a turn has a transaction of its own": Planted(
        "prune and continue",
        power.PLANTED["the prune of a turn has a transaction of its own"].mistake,
        _killed_at("fdatasync", "pwrite64"),
    ),
    "histories are deleted before they are marked": Planted(
        "prune by hand",
        power.PLANTED["histories are deleted before they are marked"].mistake,
        _killed_at("fdatasync", "pwrite64"),
    ),
    "the store lets go before the archive has it": Planted(
        "archive and prune",
        power.PLANTED["the store lets go before the archive has it"].mistake,
        _killed_at("fsync", "linkat", "write"),
    ),
    "settings are written in place": Planted(
        "settings", power.PLANTED["settings are written in place"].mistake, _killed_at("write", "fsync")
    ),
    "a segment has its name before its contents": Planted(
        "archive and prune",
        power.PLANTED["a segment has its name before its contents"].mistake,
        _killed_at("write", "fsync"),
    ),
    "what the archive could not write is noted": Planted(
        "archive and prune", _an_archive_that_failed_is_noted, _failing("write", "fsync", "linkat")
    ),
    "a manifest that could not be synced stays alone": Planted(
        "archive write", _a_manifest_that_failed_stays, _failing("fsync")
    ),
    "a write that was interrupted is made twice": Planted(
        "archive write", _a_write_that_was_interrupted_is_made_twice, _failing("fsync")
    ),
    "a file that could not be synced has its name": Planted(
        "archive and prune", _a_sync_that_failed_is_ignored, _failing("fsync")
    ),
    "an error of the system reaches the caller": Planted(
        "migration", _errors_of_the_system_are_not_translated, _failing("newfstatat")
    ),
    "a failed commit is reported as done": Planted(
        "prune by hand",
        planted.PLANTED["a failed commit is reported as done"].mistake,
        _failing("pwrite64", "fdatasync"),
    ),
}
