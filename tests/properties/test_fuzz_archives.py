"""Archives that were edited, damaged or made up, with checksums that fit: read or refused with a documented error, in
bounded work, and what is beside them is read; a restoration overwrites nothing. ``make fuzz`` runs many
more."""

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from duro.errors import ArchiveDamagedError, ArchiveError, ArchiveUnavailableError, DuroError
from duro.maintenance.archive import catalogue
from duro.maintenance.archive import format as archive_format
from duro.maintenance.archive.archiver import Archiver
from duro.maintenance.archive.format import Manifest
from duro.maintenance.archive.place import ArchivePlace
from duro.maintenance.archive.reader import Archive
from duro.maintenance.archive.segments import read_segment
from duro.maintenance.pruning import reclaim_all
from duro.model.archive import Restoration, RestoreResult
from duro.model.families import PurgeOptions
from duro.model.ledger import RunSource
from duro.model.pruning import Hold, HoldTarget
from duro.stores.sqlite import SqliteStore
from duro.testing.builders import child_completed, child_scheduled, completed, prune_batch, removal_batch, start_request
from tests.support.fuzz_stores import opened
from tests.support.fuzzing import (
    ODD_TEXTS,
    as_json,
    count,
    damaged,
    falsifies,
    fuzz,
    json_values,
    mutated_documents,
    outcome_of,
)
from tests.support.pruning import Loops

_PURGED: Final = PurgeOptions(completed_before=10**14)
_OPERATIONS: Final = 300_000
_NUMBER: Final = re.compile(rb":-?[0-9]+")
_WHOLE: Final = "20000101T000000000Z-00000000000000aa.jsonl.zst"
"""The name of a segment that nothing was done to, beside the one that was edited."""


class Made(NamedTuple):
    """A store whose histories are in its archive and in itself no more, as a file; the archive's marker; the name of
    one segment with all of them, its lines, and a manifest like its own."""

    store: bytes
    marker: bytes
    segment: str
    lines: tuple[bytes, ...]
    manifest: dict[str, Any]


@cache
def made() -> Made:
    """Two loops that were pruned, one of them more than once, and a parent with its child that were purged."""
    with tempfile.TemporaryDirectory(prefix="duro-archives-") as directory:
        path, place = Path(directory) / "duro.db", Path(directory) / "archive"
        with closing(opened(path)) as store:
            loops = Loops(store)
            store.start_instances([start_request("p")])
            loops.worker.run(loops.worker.take("p"), child_scheduled("c"))
            loops.worker.run(loops.worker.take("c"), completed())
            loops.worker.run(loops.worker.take("p"), child_completed(2), completed())
            loops.start("a", "b")
            loops.go_on(3)
            archive = str(place)
            store.prune(prune_batch((loops.incarnation("a"), 1), (loops.incarnation("b"), 1), archive=archive))
            store.remove(removal_batch((loops.incarnation("p"), _PURGED), archive=archive))
            Archiver(store, None).write_all()
            reclaim_all(store)
            store.add_hold(Hold(hold_id="kept", target=HoldTarget(instance_id="a"), reason="evidence", created_at_ms=1))
        contents = [unpacked(segment.read_bytes()) for segment in sorted(place.glob("*/*.jsonl.zst"))]
        head, whole = contents[0][0], [line for content in contents for line in content[1:-1]]
        (one, *_) = sorted(place.glob("*/*.manifest.json"))
        lines = counted([head, *whole])
        manifest = {**json.loads(one.read_bytes()), **counts_of(lines)}
        marker = (place / "archive.json").read_bytes()
        return Made(path.read_bytes(), marker, manifest["segment"], tuple(lines), manifest)


def unpacked(segment: bytes) -> list[bytes]:
    return zstandard.ZstdDecompressor().decompressobj().decompress(segment).splitlines()


class Forged(NamedTuple):
    """What stands in the place of the segment, and of its manifest; None: there is none, and it is made anew."""

    segment: bytes
    manifest: bytes | None


def packed(lines: list[bytes]) -> bytes:
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(b"".join(line + b"\n" for line in lines))


@contextmanager
def archive_with(forged: Forged) -> Iterator[Path]:
    """Beside what is forged stands a whole segment, of another store."""
    with tempfile.TemporaryDirectory(prefix="duro-archives-") as directory:
        place = Path(directory) / "archive"
        for name, data, manifest in (
            (made().segment, forged.segment, forged.manifest),
            (_WHOLE, packed(list(of_another_store())), None),
        ):
            month = place / f"{name[:4]}-{name[4:6]}"
            month.mkdir(parents=True, exist_ok=True)
            (month / name).write_bytes(data)
            if manifest is not None:
                (month / name).with_name(name.removesuffix(".jsonl.zst") + ".manifest.json").write_bytes(manifest)
        (place / "archive.json").write_bytes(made().marker)
        yield place


@cache
def of_another_store() -> tuple[bytes, ...]:
    head, *others = made().lines
    return (as_json({**json.loads(head), "store_id": "another"}).encode(), *others)


def is_read_or_refused(forged: Forged) -> None:
    """And what is beside it is read in any case."""
    with archive_with(forged) as place:
        archive, refused = outcome_of(lambda: Archive(place), ArchiveError, operations=_OPERATIONS)
        assert refused is None, f"one segment takes the archive with it: {refused}"
        with archive:
            found, _ = outcome_of(archive.executions, operations=_OPERATIONS)
            others = [each for each in found if each.store_id == "another" and each.segment == _WHOLE]
            assert len(others) == made().manifest["histories"]
            checks, _ = outcome_of(lambda: list(archive.verify()), operations=_OPERATIONS)
            problems = {each.segment: each.problem for each in checks}
            assert not problems[_WHOLE]
            count("damaged" if problems[made().segment] else "read")
            for each in found:
                outcome_of(partial(archive.read_one, each), ArchiveError, operations=_OPERATIONS)


@contextmanager
def store_of_its_own() -> Iterator[SqliteStore]:
    with tempfile.TemporaryDirectory(prefix="duro-archives-") as directory:
        path = Path(directory) / "duro.db"
        path.write_bytes(made().store)
        with closing(opened(path)) as store:
            yield store


def brought_back(store: SqliteStore, archive: Archive, instance_id: str) -> None:
    archive.restore(
        store,
        archive.chosen(instance_id, everything=True),
        run_id=f"restore {instance_id}",
        hold_until_ms=10**15,
        by="me",
        source=RunSource(),
    )


def restores_or_refuses(forged: Forged) -> None:
    """One instance after another. No history that was there, and nothing that was said about it, is changed by what
    comes back."""
    with archive_with(forged) as place, store_of_its_own() as store, Archive(place, store_id="id") as archive:
        for instance_id in dict.fromkeys(each.instance_id for each in archive.executions()):
            before = store.dump()
            _, refused = outcome_of(
                partial(brought_back, store, archive, instance_id), DuroError, operations=_OPERATIONS
            )
            count("refused" if refused else "restored")
            after = store.dump()
            for table in ("history", "executions", "ledger", "prune_runs", "holds"):
                assert [row for row in before[table] if row not in after[table]] == [], table
            assert len(after["instances"]) >= len(before["instances"])


# --- what is forged ------------------------------------------------------------------------------------------


def counted(lines: list[bytes]) -> list[bytes]:
    """With an end that fits them, as far as that can be told."""
    instances = histories = events = size = left = 0
    for line in lines[1:]:
        if left:
            left, events, size = left - 1, events + 1, size + len(line)
            continue
        try:
            document = json.loads(line)
            kind = document["line"]
        except (ValueError, LookupError, TypeError, RecursionError):
            continue
        instances += kind == "instance"
        histories += kind == "history"
        if kind == "history" and type(document.get("events")) is int:
            left = min(max(document["events"], 0), len(lines))
    end = {"line": "end", "instances": instances, "histories": histories, "events": events, "history_bytes": size}
    return [*lines, as_json(end).encode()]


@st.composite
def edited_lines(draw: st.DrawFn) -> list[bytes]:
    lines = list(made().lines[:-1])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["number", "number", "edit", "edit", "damage", "remove", "double", "move", "put"])):
            case "edit":
                document = draw(mutated_documents(st.just(json.loads(made().lines[at % len(made().lines)]))))
                lines[at] = as_json(document).encode("utf-8", "surrogatepass")
            case "number":
                places = list(_NUMBER.finditer(lines[at]))
                if places:
                    place, number = draw(st.sampled_from(places)), draw(st.sampled_from([0, -1, 9, 2**63, 10**30]))
                    lines[at] = lines[at][: place.start()] + b":%d" % number + lines[at][place.end() :]
            case "damage":
                lines[at] = draw(damaged(st.just(lines[at])))
            case "remove" if len(lines) > 1:
                del lines[at]
            case "double":
                lines.insert(at, lines[at])
            case "move":
                lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
            case _:
                text = draw(st.one_of(st.sampled_from(ODD_TEXTS), json_values.map(as_json)))
                lines.insert(at, text.encode("utf-8", "surrogatepass"))
    return counted(lines) if draw(st.integers(0, 3)) else [*lines, made().lines[-1]]


def manifest_of(segment: bytes, lines: list[bytes]) -> dict[str, Any]:
    """The one that was there, with the sizes and the checksum of ``segment``."""
    return {
        **made().manifest,
        **counts_of(lines),
        "content_bytes": sum(len(line) + 1 for line in lines),
        "file_bytes": len(segment),
        "sha256": hashlib.sha256(segment).hexdigest(),
    }


def counts_of(lines: list[bytes]) -> dict[str, int]:
    """As the end of ``lines`` says."""
    return {key: count for key, count in json.loads(lines[-1]).items() if key != "line"}


def as_manifest(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


@st.composite
def edited_segments(draw: st.DrawFn) -> Forged:
    """With a manifest that fits, or without one."""
    lines = draw(edited_lines())
    segment = packed(lines)
    return Forged(segment, draw(st.sampled_from([None, as_manifest(manifest_of(segment, lines))])))


@st.composite
def edited_manifests(draw: st.DrawFn) -> Forged:
    lines = list(made().lines)
    segment = packed(lines)
    whole = manifest_of(segment, lines)
    if draw(st.booleans()):
        return Forged(segment, draw(damaged(st.just(as_manifest(whole)))))
    return Forged(segment, as_manifest(draw(mutated_documents(st.just(whole), times=1))))


@st.composite
def damaged_files(draw: st.DrawFn) -> Forged:
    """Not a frame any more, or more than one; with or without a manifest that has its checksum."""
    lines = list(made().lines)
    segment = draw(st.one_of(damaged(st.just(packed(lines))), st.binary(max_size=30)))
    return Forged(segment, draw(st.sampled_from([None, as_manifest(manifest_of(segment, lines))])))


segments = st.one_of(edited_segments(), edited_segments(), edited_manifests(), damaged_files())


@fuzz(part=2)
@given(segments)
def test_a_forged_segment_is_read_or_refused_and_takes_no_other_with_it(forged: Forged) -> None:
    is_read_or_refused(forged)


@fuzz(part=2)
@given(edited_segments())
def test_a_forged_segment_is_restored_or_refused_and_overwrites_nothing(forged: Forged) -> None:
    restores_or_refuses(forged)


def test_a_reader_that_believes_every_number_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_format, "_fits", lambda _: True)
    falsifies(edited_segments(), is_read_or_refused, OverflowError)


def test_a_damaged_segment_that_takes_the_archive_with_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fatal(place: ArchivePlace, manifest: Manifest) -> Iterator[archive_format.HistoryRead]:
        try:
            yield from read_segment(place, manifest)
        except ArchiveDamagedError as error:
            raise ArchiveUnavailableError(error.message) from error

    monkeypatch.setattr(catalogue, "read_segment", fatal)
    falsifies(segments, is_read_or_refused, AssertionError)


def test_a_restoration_that_overwrites_what_is_there_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    restore = SqliteStore.restore

    def careless(store: SqliteStore, restoration: Restoration) -> RestoreResult:
        done = restore(store, restoration)
        store.remove_hold("kept")
        return done

    monkeypatch.setattr(SqliteStore, "restore", careless)
    falsifies(edited_segments(), restores_or_refuses, AssertionError)
