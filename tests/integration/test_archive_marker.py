"""An archive whose ``archive.json`` is lost or damaged: what is said of it, and how it is made anew."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import duro
from duro.errors import ArchiveUnavailableError
from duro.maintenance.archive.archiver import Archiver
from duro.maintenance.archive.reader import Archive
from duro.stores.memory import MemoryStore
from duro.testing.builders import prune_batch
from duro.testing.clock import ManualClock
from duro.testing.invariants import check_invariants
from tests.support.archives import marked_loops
from tests.support.pruning import Loops


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    opened = MemoryStore(clock=ManualClock(), new_id=lambda: "id")
    yield opened
    check_invariants(opened)


@pytest.fixture
def place(tmp_path: Path, store: MemoryStore) -> Path:
    """An archive that ``store`` has written to."""
    place = tmp_path / "my archive"
    marked_loops(store, str(place))
    Archiver(store, None).write_all()
    return place


def segments(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.glob("*/*.zst")}


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "damaged"])
def test_an_archive_without_its_marker_says_how_it_is_made_anew(store: MemoryStore, place: Path, lost: bool) -> None:
    marker = place / "archive.json"
    before, kept = marker.read_bytes(), segments(place)
    if lost:
        marker.unlink()
    else:
        marker.write_text("{")
    with pytest.raises(ArchiveUnavailableError) as refused:
        Archive(place)
    assert f"archive.json of archive '{place}' is {'gone' if lost else 'damaged'}" in str(refused.value)
    assert f"`duroctl archive write --to '{place}'`" in str(refused.value)
    if not lost:
        marker.rename(place / "archive.json.damaged")
    assert duro.Client(store).write_archive(to=place) == ()
    assert json.loads(marker.read_bytes()) == json.loads(before)
    assert segments(place) == kept
    with Archive(place) as archive:
        assert archive.executions()
        assert all(not each.problem for each in archive.verify())


def test_nobody_makes_a_marker_anew_unasked(store: MemoryStore, place: Path) -> None:
    (place / "archive.json").unlink()
    loops = Loops(store)
    loops.go_on(2)
    store.prune(prune_batch((loops.incarnation("a"), 1), archive=str(place)))
    (outcome,) = Archiver(store, None).write_all()
    assert outcome.waiting
    assert "is gone" in outcome.problem
    other = MemoryStore(clock=ManualClock(), new_id=lambda: "other")
    marked_loops(other, str(place))
    (outcome,) = Archiver(other, None).write_all()
    assert "neither empty nor an archive" in outcome.problem
    assert not (place / "archive.json").exists()


def test_another_archive_in_its_place_has_an_id_of_its_own(store: MemoryStore, place: Path) -> None:
    """The volume may come back."""
    before = json.loads((place / "archive.json").read_bytes())
    place.rename(place.parent / "away")
    assert duro.Client(store).write_archive(to=place) == ()
    assert json.loads((place / "archive.json").read_bytes()) != before
