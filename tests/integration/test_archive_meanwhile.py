"""Archives, and what the campaigns found in them: segments that come and go while somebody looks, and what cannot be
put back."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from duro.disk import Disk
from duro.errors import RestoreRefusedError, UsageError
from duro.maintenance.archive.archiver import Archiver
from duro.maintenance.archive.place import ArchivePlace
from duro.maintenance.archive.reader import Archive
from duro.maintenance.pruning import reclaim_all
from duro.model.archive import Restoration
from duro.model.ledger import RunSource
from duro.stores.memory import MemoryStore
from duro.testing.builders import prune_batch
from duro.testing.clock import ManualClock
from duro.testing.invariants import check_invariants
from tests.support.archives import full, marked_loops
from tests.support.pruning import open_sqlite


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    opened = MemoryStore(clock=ManualClock(), new_id=lambda: "id")
    yield opened
    check_invariants(opened)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.mark.parametrize("taken_back", [False, True])
def test_what_is_written_or_taken_back_while_an_archive_is_looked_through_is_not_lost(
    store: MemoryStore, place: Path, monkeypatch: pytest.MonkeyPatch, taken_back: bool
) -> None:
    """A segment comes before its manifest, and goes after it."""
    loops, _ = marked_loops(store, str(place))
    Archiver(store, None).write_all()
    segments = ArchivePlace.segments
    looks: list[list[str]] = []

    def meanwhile(of: ArchivePlace) -> list[str]:
        found = segments(of)
        looks.append(found)
        if taken_back:
            of.take_back(of.path_of(found[0]))
            return []
        if len(looks) == 1:
            loops.go_on()
            store.prune(prune_batch((loops.incarnation("a"), 1), archive=str(place)))
            Archiver(store, None).write_all()
        return found

    with monkeypatch.context() as patched:
        patched.setattr(ArchivePlace, "segments", meanwhile)
        assert ArchivePlace(place).lost() == []
    assert len(ArchivePlace(place).segments()) == (0 if taken_back else 2)


class UnsyncedManifest(Disk):
    """Once, a directory cannot be synced that has a manifest in it."""

    failed = False

    def sync_directory(self, path: Path) -> None:
        if not self.failed and any(path.glob("*.manifest.json")):
            self.failed = True
            raise full()
        super().sync_directory(path)


def test_a_manifest_whose_directory_cannot_be_synced_is_taken_back_with_its_segment(
    store: MemoryStore, place: Path
) -> None:
    """A cut of power could leave the one without the other."""
    _, before = marked_loops(store, str(place))
    disk = UnsyncedManifest()
    (outcome,) = Archiver(store, None, disk=disk).write_all()
    assert (disk.failed, outcome.segments, bool(outcome.problem)) == (True, 0, True)
    assert (ArchivePlace(place).segments(), ArchivePlace(place).lost()) == ([], [])
    assert [path.name for path in place.glob("*/*")] == []
    (outcome,) = Archiver(store, None, disk=disk).write_all()
    assert (outcome.segments, outcome.problem) == (1, "")
    assert before["executions"]


def test_an_event_that_is_not_text_is_kept_and_shown_and_not_put_into_a_file_of_sqlite(
    tmp_path: Path, place: Path
) -> None:
    with closing(open_sqlite(tmp_path / "duro.db", ManualClock())) as file:
        marked_loops(file, str(place))
        Archiver(file, None).write_all()
        reclaim_all(file)
        with Archive(place) as archive:
            (first, *_) = [read.history for _, read in archive.read(archive.chosen("a"))]
        odd = msgspec.structs.replace(first, events=("\ud800", *first.events[1:]))
        before = file.dump()
        restoration = Restoration(
            run_id="r",
            instance_id="a",
            incarnation=first.execution.incarnation,
            histories=(first, odd),
            hold_until_ms=10**15,
            by="me",
            source=RunSource(),
        )
        with pytest.raises(
            RestoreRefusedError, match=f"a/{first.execution.execution_id} has an event that is not text"
        ):
            file.restore(restoration)
        assert file.dump() == before
        check_invariants(file)


@pytest.mark.parametrize(
    "wrong", [5, -1, True, b"x", ["a"], {}, "x", "e:1:2", "a:1:2", 10**5000], ids=lambda wrong: type(wrong).__name__
)
def test_a_cursor_and_a_limit_that_are_none_are_refused(store: MemoryStore, place: Path, wrong: Any) -> None:
    marked_loops(store, str(place))
    Archiver(store, None).write_all()
    with Archive(place, store_id=store.store_id()) as archive:
        with pytest.raises(UsageError, match="is not a cursor of this listing"):
            archive.list_executions(10, wrong)
        if wrong != 5:
            for call in (lambda: archive.list_executions(wrong, None), lambda: archive.executions(limit=wrong)):
                with pytest.raises(UsageError, match="limit must be a whole number"):
                    call()
        assert archive.list_executions(2, archive.list_executions(1, None).next).executions == archive.executions()[1:3]
        everything = archive.list_executions(0, None)
        assert (everything.executions, everything.next) == (archive.executions(), None)
