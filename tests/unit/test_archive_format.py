"""What stands in a segment, line by line: read as it was written, or refused with what is wrong and where."""

from typing import Any

import msgspec
import pytest

from duro.errors import ArchiveDamagedError
from duro.maintenance.archive.format import (
    MANIFEST_SCHEMA,
    SEGMENT_SCHEMA,
    HistoryHead,
    HistoryRead,
    InstanceLine,
    Manifest,
    SegmentEnd,
    SegmentHead,
    decode_manifest,
    encode_history,
    encode_line,
    encode_manifest,
    read_entries,
    read_head,
)
from duro.model.archive import ArchivableExecution, ArchivedHistory, ArchivedLedgerRow
from duro.model.status import ExecutionStatus
from duro.retention.ledger import removed_range
from tests.support.archives import removed_instance

HEAD = SegmentHead(schema=SEGMENT_SCHEMA, store_id="s", made_at_ms=1, duro_version="0")


class Given:
    """Lines, as a segment has them."""

    def __init__(self, *parts: bytes) -> None:
        self._lines = b"".join(parts).splitlines()

    def take(self, count: int) -> list[bytes]:
        taken, self._lines = self._lines[:count], self._lines[count:]
        return taken


def execution(**fields: Any) -> ArchivableExecution:
    whole: dict[str, Any] = {
        "instance_id": "a",
        "incarnation": 1,
        "execution_id": 2,
        "name": "Order",
        "version": "1.0.0",
        "status": ExecutionStatus.COMPLETED,
        "started_at_ms": 1,
        "completed_at_ms": 2,
        "event_count": 2,
        "history_bytes": 6,
        "input": None,
        "pruned_at_ms": 3,
        "run_id": "",
        "archive": "",
    }
    return ArchivableExecution(**{**whole, **fields})


def written(*events: str, with_instance: bool = False) -> bytes:
    history = ArchivedHistory(execution=execution(), events=events)
    return encode_history(history, with_instance=with_instance)[0]


def end(instances: int = 0, histories: int = 1, events: int = 2, history_bytes: int = 6) -> bytes:
    counts = SegmentEnd(instances=instances, histories=histories, events=events, history_bytes=history_bytes)
    return encode_line(counts)


@pytest.mark.parametrize(
    ("events", "size"),
    [
        ((), 0),
        (('{"a":1}', "[]"), 9),
        (("two\nlines", "[]"), 11),
        (("\ud800", "\u20ac"), 6),
        (("",), 0),
    ],
    ids=["none", "json", "a line break", "what is no text", "an empty one"],
)
def test_events_are_read_as_they_were_stored_whatever_they_are(events: tuple[str, ...], size: int) -> None:
    data, its_bytes = encode_history(ArchivedHistory(execution=execution(), events=events), with_instance=False)
    assert its_bytes == size
    (read, last) = read_entries(Given(data, end(events=len(events), history_bytes=size)))
    assert isinstance(read, HistoryRead)
    assert (read.history.events, read.history.execution, read.instance) == (events, execution(), None)
    assert last == SegmentEnd(instances=0, histories=1, events=len(events), history_bytes=size)


def test_a_history_that_went_with_its_instance_comes_with_it() -> None:
    lines = Given(
        encode_line(InstanceLine(instance=removed_instance())), written("[1]", "[2]", with_instance=True), end(1)
    )
    read, _ = read_entries(lines)
    assert isinstance(read, HistoryRead)
    assert read.instance == removed_instance()


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ((), "it has no end"),
        ((end(),), "it does not begin as a segment does"),
        ((encode_line(msgspec.structs.replace(HEAD, schema="other/9")),), "it is a 'other/9', and this duro reads"),
        ((b"{}\n",), "line 1: "),
        ((b"\xff\n",), "line 1: "),
    ],
)
def test_what_does_not_begin_as_a_segment_is_refused(parts: tuple[bytes, ...], problem: str) -> None:
    with pytest.raises(ArchiveDamagedError, match=problem):
        read_head(Given(*parts))
    assert read_head(Given(encode_line(HEAD))) == HEAD


def head_of(events: int, **fields: Any) -> bytes:
    return encode_line(HistoryHead(execution=execution(), events=events, **fields))


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ((written("[1]", "[2]"),), "it has no end"),
        ((written("[1]", "[2]", with_instance=True), end()), "line 2: the instance of this history is missing"),
        ((written("[1]", "[2]"), end(history_bytes=7)), "line 5: the end does not fit"),
        ((written("[1]", "[2]"), end(), b"more\n"), "line 5: the end does not fit"),
        ((written("[1]", "[2]"), encode_line(HEAD)), "line 5: a segment in a segment"),
        ((head_of(-1),), "line 2: a history of -1 events"),
        ((head_of(10**9),), "line 2: a history of 1000000000 events"),
        ((head_of(3), b"[1]\n[2]\n"), "it ends in the history at line 2"),
        ((head_of(1, as_text=True), b"[1]\n", end()), "in the history at line 2"),
        ((head_of(1), b"\xff\n", end()), "in the history at line 2"),
        ((b"[]\n",), "line 2: "),
    ],
)
def test_what_is_not_as_it_was_written_is_refused_with_its_place(parts: tuple[bytes, ...], problem: str) -> None:
    with pytest.raises(ArchiveDamagedError, match=problem):
        list(read_entries(Given(*parts)))


def test_a_manifest_is_read_as_it_was_written_or_not_at_all() -> None:
    manifest = Manifest(
        schema=MANIFEST_SCHEMA,
        segment="s",
        store_id="s",
        made_at_ms=1,
        duro_version="0",
        instances=0,
        histories=1,
        events=2,
        history_bytes=6,
        content_bytes=100,
        file_bytes=50,
        sha256="0",
    )
    data = encode_manifest(manifest)
    assert decode_manifest(data) == manifest
    for other in (
        data.replace(b",", b", ", 1),
        data[:-1],
        encode_manifest(msgspec.structs.replace(manifest, schema="x")),
    ):
        with pytest.raises(ValueError, match="as it was written"):
            decode_manifest(other)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64, 10**40])
def test_a_number_that_no_store_can_hold_is_damage(number: int) -> None:
    """Python reads it, and SQLite does not take it."""
    head = encode_line(HEAD).replace(b'"made_at_ms":1', b'"made_at_ms":%d' % number)
    with pytest.raises(ArchiveDamagedError, match="more than 64 bits"):
        read_head(Given(head))
    history = written("{}").replace(b'"incarnation":1', b'"incarnation":%d' % number)
    with pytest.raises(ArchiveDamagedError, match="line 2: a number of more than 64 bits"):
        list(read_entries(Given(history, end(events=1, history_bytes=2))))
    row = ArchivedLedgerRow(
        sequence=1,
        range=removed_range(1, 2, (2, 4, 123), rule="", origin="", trigger="purge", removed_at_ms=3),
        run_id=None,
    )
    line = encode_line(InstanceLine(instance=msgspec.structs.replace(removed_instance(), ledger=(row,))))
    damaged = line.replace(b'"history_bytes":123', b'"history_bytes":%d' % number)
    assert damaged != line
    with pytest.raises(ArchiveDamagedError, match="line 2: a number of more than 64 bits"):
        list(read_entries(Given(damaged, end())))


def test_digits_of_a_text_are_no_number() -> None:
    history = ArchivedHistory(execution=execution(instance_id="9" * 40, incarnation=2**63 - 1), events=())
    data, _ = encode_history(history, with_instance=False)
    (read, _) = read_entries(Given(data, end(events=0, history_bytes=0)))
    assert isinstance(read, HistoryRead)
    assert read.history == history
