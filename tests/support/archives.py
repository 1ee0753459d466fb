"""Disks that fail, and stores with something to archive, for the tests of archives."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from duro.disk import Disk
from duro.maintenance.archive.reader import Archive
from duro.model.archive import ArchivableInstance
from duro.model.status import InstanceStatus
from duro.stores.base import Store, StoreDump
from duro.testing.builders import prune_batch
from tests.support.pruning import Loops


class Crash(BaseException):
    """The process ends here."""


class FailingDisk(Disk):
    """Does ``at`` operations, and then fails at every one. ``after``: the one that fails was done. ``lost``: what was
    not synced of a file by then is gone, but for its first half."""

    def __init__(
        self,
        at: int,
        failure: Callable[[], BaseException] = Crash,
        *,
        after: bool = False,
        lost: bool = False,
        once: bool = False,
    ) -> None:
        self._left = at
        self._failure = failure
        self._after = after
        self._lost = lost
        self._once = once
        self._unsynced: dict[Path, int] = {}
        self.failed = 0

    def make_directory(self, path: Path) -> None:
        self._do(lambda: super(FailingDisk, self).make_directory(path))

    def create(self, path: Path) -> None:
        self._do(lambda: super(FailingDisk, self).create(path))
        self._unsynced[path] = 0

    def write(self, file: BinaryIO, data: bytes) -> None:
        def both() -> None:
            super(FailingDisk, self).write(file, data)
            file.flush()

        self._do(both)

    def sync(self, path: Path) -> None:
        self._do(lambda: super(FailingDisk, self).sync(path))
        self._unsynced.pop(path, None)

    def link(self, part: Path, target: Path) -> None:
        self._do(lambda: super(FailingDisk, self).link(part, target))

    def unlink(self, path: Path) -> None:
        if self.failed and issubclass(type(self._failure()), Crash):
            return  # nobody tidies up after a crash
        self._do(lambda: super(FailingDisk, self).unlink(path))

    def sync_directory(self, path: Path) -> None:
        self._do(lambda: super(FailingDisk, self).sync_directory(path))

    def _do(self, operation: Callable[[], None]) -> None:
        if self._left == 0 and not (self._once and self.failed):
            self.failed += 1
            if self._after:
                operation()
            if self._lost:
                for path in self._unsynced:
                    if path.exists():
                        data = path.read_bytes()
                        path.write_bytes(data[: len(data) // 2])
            raise self._failure()
        self._left = max(self._left - 1, 0)
        operation()


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def broken() -> OSError:
    return OSError(errno.EIO, "Input/output error")


def read_only() -> OSError:
    return OSError(errno.EROFS, "Read-only file system")


def marked_loops(store: Store, archive: str, count: int = 4) -> tuple[Loops, StoreDump]:
    """Two loops of ``count`` executions, pruned to one each, waiting for ``archive``; and all there was before."""
    loops = Loops(store)
    loops.start("a", "b")
    loops.go_on(count - 1)
    before = store.dump()
    store.prune(prune_batch((loops.incarnation("a"), 1), (loops.incarnation("b"), 1), archive=archive))
    return loops, before


def kept(archive: Path) -> set[tuple[int, int]]:
    """The executions (incarnation, execution) an archive has, as far as it can be read."""
    with Archive(archive) as found:
        return {(each.incarnation, each.execution_id) for each in found.executions()}


def histories(dump: StoreDump) -> dict[tuple[int, int], list[str]]:
    """The events of every execution."""
    found: dict[tuple[int, int], list[str]] = {
        (row["incarnation"], row["execution_id"]): [] for row in dump["executions"]
    }
    for row in dump["history"]:
        found.setdefault((row["incarnation"], row["execution_id"]), []).append(row["data"])
    return found


def removed_instance() -> ArchivableInstance:
    """One of two executions, as it goes into an archive."""
    return ArchivableInstance(
        incarnation=1,
        instance_id="a",
        name="Order",
        version="1.0.0",
        status=InstanceStatus.COMPLETED,
        execution_id=2,
        created_at_ms=1,
        updated_at_ms=2,
        completed_at_ms=2,
        start_request_id="",
        custom_status=None,
        turn_sequence=2,
        last_commit_token=None,
        lease_epoch=1,
        cancel_requested_at_ms=None,
        cancel_reason=None,
        cancel_delivered=False,
        prune_policy=None,
        pruned_through=0,
        prune_due_at_ms=None,
        swept_at_ms=None,
        live_from=1,
        removed_at_ms=3,
        run_id="",
        archive="",
        lineage=None,
        ledger=(),
    )
