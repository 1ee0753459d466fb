"""What can be done with an archive that is there: look things up, read them, check it, and bring histories back into
the store they came from."""

import contextlib
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from duro.disk import DISK, Disk
from duro.errors import ArchiveDamagedError, ArchiveError, ArchiveUnavailableError, NotArchivedError, UsageError
from duro.maintenance.archive.catalogue import ArchivedExecution, ArchivedPlace, Catalogue
from duro.maintenance.archive.format import HistoryRead, Manifest
from duro.maintenance.archive.place import ArchivePlace, linked
from duro.maintenance.archive.segments import measure_segment, read_segment
from duro.model.archive import ArchivableExecution, ArchivableInstance, ArchivedHistory, Restoration, RestoreResult
from duro.model.ledger import RunSource
from duro.model.records import ExecutionRecord
from duro.naming import check_count, command_on, not_a_cursor
from duro.stores.base import Store

_RESTORE_EVENTS_MAX: Final = 2_000
"""Events one transaction of a restoration writes, about: a few milliseconds that other writers wait."""


_EXECUTIONS_A_PAGE: Final = 500

_LIVES_SHOWN: Final = 5
"""Lives of an id that an error names."""

_LOST: Final = "take it from a copy of the archive; what was removed on purpose was removed with its manifest"


class SegmentCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What ``verify`` found of one segment; ``problem`` "": it is as it was written. ``histories`` and ``events`` were
    read."""

    segment: str
    problem: str = ""
    histories: int = 0
    events: int = 0
    file_bytes: int = 0


class ArchivedPage(msgspec.Struct, frozen=True, kw_only=True):
    """``next`` is the cursor for the next page, None on the last one."""

    executions: tuple[ArchivedExecution, ...]
    next: str | None


class Archive:
    """An archive that is there; a context manager. ``store_id``: only histories of that store are looked at; None: of
    any.

    Raises (the constructor):
        ArchiveUnavailableError: it is not there, or cannot be read.
    """

    def __init__(self, path: Path, *, store_id: str | None = None, disk: Disk = DISK) -> None:
        self._place = ArchivePlace(path, disk)
        self._place.check()
        self.path = self._place.path
        self.store_id = store_id
        self.problems: list[ArchiveError] = []
        """Segments that could not be read when the catalogue was brought up to date."""
        self._catalogue = self._open()

    def close(self) -> None:
        self._catalogue.close()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Catalogue:
        """Up to date: in its file if that can be done now, else in memory."""
        with contextlib.suppress(ArchiveUnavailableError), self._place.locked(0.0) as mine:
            if mine:
                return self._opened(writable=True)
        return self._opened(writable=False)

    def _opened(self, *, writable: bool) -> Catalogue:
        catalogue = Catalogue(self._place, writable=writable)
        try:
            self.problems = catalogue.bring_up_to_date(repair=writable)
        except BaseException:
            catalogue.close()
            raise
        return catalogue

    # --- looking -----------------------------------------------------------------------------------------------

    def executions(
        self, *, instance_id: str | None = None, incarnation: int | None = None, limit: int = 0
    ) -> tuple[ArchivedExecution, ...]:
        """Archived executions (of one life), those that were archived last, first. ``limit`` 0: all.

        Raises:
            UsageError: the limit is no whole number of at least 0.
        """
        check_count(limit, "limit")
        return self._catalogue.executions(
            store_id=self.store_id, instance_id=instance_id, incarnation=incarnation, limit=limit
        )

    def list_executions(
        self,
        limit: int,
        cursor: str | None,
        *,
        instance_id: str | None = None,
        incarnation: int | None = None,
        name: str | None = None,
    ) -> ArchivedPage:
        """A page of archived executions, those that were archived last, first. ``name``: of orchestrations of this name
        or pattern. What is archived meanwhile is not in the pages that follow. ``limit`` 0: all.

        Raises:
            UsageError: the cursor is not one this method returned, or the limit no whole number of at least 0.
        """
        check_count(limit, "limit")
        found = self._catalogue.executions(
            store_id=self.store_id,
            instance_id=instance_id,
            incarnation=incarnation,
            name=name,
            limit=limit and limit + 1,
            after=_place(cursor),
        )
        more = 0 < limit < len(found)
        return ArchivedPage(executions=found[: limit or None], next=_cursor(found[limit - 1].place) if more else None)

    def find(
        self, instance_id: str, execution_id: int | None = None, *, incarnation: int | None = None
    ) -> ArchivedExecution | None:
        """The execution (None: the last one there is), of this life of the instance (None: the latest that anything
        is there of, whichever executions that has).

        Raises:
            UsageError: several stores have archived one there.
        """
        found = self._catalogue.executions(
            store_id=self.store_id,
            instance_id=instance_id,
            execution_id=execution_id,
            incarnation=incarnation,
        )
        self._of_one_store(found, instance_id if execution_id is None else f"{instance_id}/{execution_id}")
        if not found:
            return None
        life = self.latest_lives(found)[found[0].store_id, instance_id] if incarnation is None else incarnation
        return max((each for each in found if each.incarnation == life), key=attrgetter("execution_id"), default=None)

    def latest_lives(self, executions: Iterable[ArchivedExecution]) -> dict[tuple[str, str], int]:
        """The incarnation of the latest life that is there of each of their instances, by store and id."""
        return self._catalogue.latest_lives({each.instance_id for each in executions})

    def has_several_lives(self) -> bool:
        """Whether an id that was used again has histories of more than one life here."""
        return self._catalogue.has_several_lives(self.store_id)

    def _of_one_store(self, found: Iterable[ArchivedExecution], what: str) -> None:
        """Raises UsageError: they are of several, whose incarnations have nothing to do with each other."""
        stores = sorted({each.store_id for each in found})
        if len(stores) > 1:
            raise UsageError(
                f"archive {str(self.path)!r} has {what} of {stores_text(stores)}",
                hint=f"say which with --store-id {stores[0]}",
            )

    def stores(self) -> tuple[str, ...]:
        """The ids of all stores that something was archived from, whichever of them is looked at."""
        return self._catalogue.stores()

    def count(self) -> tuple[int, int]:
        """Histories and segments."""
        return self._catalogue.count(self.store_id)

    def without(self, what: str) -> NotArchivedError:
        """The error ``what`` says, such as "has nothing of", as far as the archive can be read."""
        broken = len(self.problems) + len(self._place.lost())
        where = f"--archive {shlex.quote(str(self.path))}"
        said, hint = f"archive {str(self.path)!r} {what}", f"`duroctl archive list {where}` shows what it has"
        if broken:
            said += " in what can be read of it"
            hint = f"`duroctl archive verify {where}` says what cannot ({broken} of its files)"
        return NotArchivedError(said, hint=hint)

    def nothing_of(
        self, instance_id: str, execution_id: int | None = None, incarnation: int | None = None
    ) -> NotArchivedError:
        """As ``without``, or ``has_otherwise``, if it does."""
        what = instance_id if execution_id is None else f"{instance_id}/{execution_id}"
        otherwise = self.has_otherwise(instance_id, execution_id, incarnation)
        return otherwise or self.without(f"has nothing of {what!r}")

    def has_otherwise(
        self, instance_id: str, execution_id: int | None = None, incarnation: int | None = None
    ) -> NotArchivedError | None:
        """The error that says of which other lives of the instance, or other stores, it is there; None: of none."""
        found = self._catalogue.executions(
            store_id=self.store_id, instance_id=instance_id, execution_id=execution_id, incarnation=None
        )
        lives = sorted({each.incarnation for each in found} - {incarnation}, reverse=True)
        if not lives:
            return self._of_another_store(instance_id, execution_id)
        what = instance_id if execution_id is None else f"{instance_id}/{execution_id}"
        shown = ", ".join(map(str, lives[:_LIVES_SHOWN])) + (", ..." if len(lives) > _LIVES_SHOWN else "")
        of_life = "the latest life" if incarnation is None else f"incarnation {incarnation}"
        return NotArchivedError(
            f"archive {str(self.path)!r} has nothing of {what!r} of {of_life} of that id, but of incarnation {shown}",
            hint=f"--incarnation {lives[0]} says that this one is meant",
        )

    def _of_another_store(self, instance_id: str, execution_id: int | None) -> NotArchivedError | None:
        if self.store_id is None:
            return None
        found = self._catalogue.executions(instance_id=instance_id, execution_id=execution_id)
        others = sorted({each.store_id for each in found} - {self.store_id})
        if not others:
            return None
        what = instance_id if execution_id is None else f"{instance_id}/{execution_id}"
        option = f" --archive {shlex.quote(str(self.path))} --store-id {others[0]}"
        return NotArchivedError(
            f"archive {str(self.path)!r} has nothing of {what!r} of this store, but of store {', '.join(others)}",
            hint=f"{command_on('history show', what, option)} reads it",
        )

    def is_segment(self, name: str) -> bool:
        """Whether there is a segment of this name."""
        return self._place.is_segment(name)

    def manifest(self, segment: str) -> Manifest:
        """Raises ArchiveDamagedError: it has none."""
        manifest = self._place.manifest_of(segment)
        if manifest is None:
            raise ArchiveDamagedError(
                f"segment {segment} has no manifest", hint="`duroctl archive verify` makes it, where it may write"
            )
        return manifest

    def read(self, executions: Sequence[ArchivedExecution]) -> Iterator[tuple[ArchivedExecution, HistoryRead]]:
        """Their histories, segment by segment.

        Raises:
            ArchiveDamagedError: a segment is not as it was written, or does not have what the catalogue says.
        """
        for segment, of_segment in groupby(sorted(executions, key=attrgetter("segment")), key=attrgetter("segment")):
            wanted = {(each.incarnation, each.execution_id): each for each in of_segment}
            manifest = self.manifest(segment)
            for read in read_segment(self._place, manifest):
                execution = read.history.execution
                found = wanted.pop((execution.incarnation, execution.execution_id), None)
                if found is not None:
                    yield found, read
            if wanted:
                raise ArchiveDamagedError(
                    f"segment {segment} does not have what the catalogue says it has",
                    hint=f"{command_on('archive verify --archive', str(self.path))} puts the catalogue right",
                )

    def read_one(self, execution: ArchivedExecution) -> ArchivedHistory:
        """Raises: as ``read``."""
        ((_, read),) = self.read([execution])
        return read.history

    # --- checking ----------------------------------------------------------------------------------------------

    def verify(self) -> Iterator[SegmentCheck]:
        """Read every segment whole and compare it with its manifest, one after another; the catalogue says then what
        was read, if it can be written. At last what is missing: segments of which there is a manifest, and months that
        are no directories."""
        for segment in self._place.segments():
            histories = events = 0
            found: list[tuple[ArchivableExecution, int, bool]] = []
            instances: dict[int, ArchivableInstance] = {}
            try:
                manifest = self._place.manifest_of(segment)
                if manifest is None:
                    measured = measure_segment(self._place, segment)
                    with self._place.locked(0.0) as nobody_writes:
                        manifest = self._place.manifest_of(segment)
                        if manifest is None and nobody_writes:
                            manifest = self._with_manifest(measured)
                    if manifest is None:
                        continue  # it is being written just now
                for read in read_segment(self._place, manifest):
                    histories += 1
                    events += len(read.history.events)
                    found.append((read.history.execution, len(read.history.events), read.instance is not None))
                    if read.instance is not None:
                        instances[read.instance.incarnation] = read.instance
                with contextlib.suppress(ArchiveUnavailableError):  # the catalogue's trouble, not the segment's
                    self._catalogue.add(manifest, found, list(instances.values()))
            except ArchiveError as error:
                yield SegmentCheck(segment=segment, problem=str(error), histories=histories, events=events)
            else:
                yield SegmentCheck(segment=segment, histories=histories, events=events, file_bytes=manifest.file_bytes)
        yield from self.lost()

    def lost(self) -> Iterator[SegmentCheck]:
        """What is not there of what should be: segments of which the manifest is there, and whole months. Quick."""
        for name in self._place.lost():
            problem = f"{name} of archive {str(self.path)!r} is not there, or is no directory: {_LOST}"
            if (self.path / name).is_symlink():
                problem = f"{linked(self.path / name)}: put the directory that it leads to in its place"
            yield SegmentCheck(segment=name, problem=problem)

    def _with_manifest(self, measured: Manifest) -> Manifest:
        """The manifest of a segment that had lost it, written. The caller has the archive's lock.

        Raises:
            ArchiveDamagedError: it cannot be written.
        """
        try:
            self._place.write_manifest(measured)
        except OSError:
            return self.manifest(measured.segment)
        return measured

    def life_in(self, store: Store, instance_id: str) -> int | None:
        """The life of an instance that is in ``store``, if something of it is here; None: nothing is, or there is no
        such instance."""
        there = store.get_instance(instance_id)
        if there is None or not self.executions(instance_id=instance_id, incarnation=there.incarnation, limit=1):
            return None
        return there.incarnation

    # --- restoring ---------------------------------------------------------------------------------------------

    def chosen(
        self,
        instance_id: str,
        execution_ids: Iterable[int] | None = None,
        *,
        everything: bool = False,
        incarnation: int | None = None,
    ) -> tuple[ArchivedExecution, ...]:
        """What a restoration is about: these executions of this life of the instance (``incarnation`` None: the latest
        that the archive has); None: what was live when the instance was removed, if it was, else all that was pruned of
        it. ``everything``: both.

        Raises:
            NotArchivedError: the archive does not have it.
            UsageError: several stores have archived some of it there.
        """
        found = self.executions(instance_id=instance_id)
        self._of_one_store(found, instance_id)
        life = max((each.incarnation for each in found), default=0) if incarnation is None else incarnation
        there = {each.execution_id: each for each in found if each.incarnation == life}
        if not there:
            raise self.nothing_of(instance_id, incarnation=incarnation)
        if execution_ids is None:
            removed = [number for number in sorted(there) if there[number].with_instance]
            return tuple(there[number] for number in (removed if removed and not everything else sorted(there)))
        missing = sorted(set(execution_ids) - there.keys())
        if missing:
            raise self.nothing_of(instance_id, missing[0], incarnation)
        return tuple(there[number] for number in sorted(set(execution_ids)))

    def restore(
        self,
        store: Store,
        chosen: Sequence[ArchivedExecution],
        *,
        run_id: str,
        hold_until_ms: int,
        by: str,
        source: RunSource,
        progress: Callable[[RestoreResult], bool | None] | None = None,
    ) -> RestoreResult:
        """Write them into the store, in small transactions, the last one of a life first: what a removed instance comes
        back with. What the store has already is compared before anything is written. ``progress`` is called after each
        transaction; when it returns False, the rest stays where it is.

        Raises:
            NotArchivedError: they are of another store.
            RestoreRefusedError, InstanceNotFoundError: something else is in their place. Nothing was restored, unless
                somebody put it there meanwhile.
            ArchiveError. What was restored by then stays.
        """
        store_id = store.store_id()
        if any(each.store_id != store_id for each in chosen):
            raise NotArchivedError(
                "this was archived from another store", hint="`duroctl history show` reads it from the archive"
            )
        total = RestoreResult()
        standing = _standing(store, chosen)
        missing = [each for each in chosen if (each.incarnation, each.execution_id) not in standing]
        newest = {each.incarnation: each.execution_id for each in sorted(missing, key=attrgetter("execution_id"))}
        there = [each for each in chosen if (each.incarnation, each.execution_id) in standing]
        lasts = [each for each in missing if newest[each.incarnation] == each.execution_id]
        others = [each for each in missing if newest[each.incarnation] != each.execution_id]
        for part in chain(self._parts(there), self._parts(lasts), self._parts(others)):
            execution = part[0].history.execution
            done = store.restore(
                Restoration(
                    run_id=run_id,
                    instance_id=execution.instance_id,
                    incarnation=execution.incarnation,
                    histories=tuple(each.history for each in part),
                    instance=_instance_of(part),
                    hold_until_ms=hold_until_ms,
                    by=by,
                    source=source,
                    archive=str(self.path),
                )
            )
            total = total.plus(done)
            if progress is not None and progress(total) is False:
                break
        return total

    def _parts(self, chosen: Sequence[ArchivedExecution]) -> Iterator[list[HistoryRead]]:
        """Of one life each, about as many events as one transaction writes."""
        part: list[HistoryRead] = []
        events = 0
        for _, read in self.read(chosen):
            other = bool(part) and part[0].history.execution.incarnation != read.history.execution.incarnation
            if part and (other or events + len(read.history.events) > _RESTORE_EVENTS_MAX):
                yield part
                part, events = [], 0
            part.append(read)
            events += len(read.history.events)
        if part:
            yield part


def stores_text(store_ids: Sequence[str]) -> str:
    """Several stores by their ids, such as "2 stores, A and B"."""
    return f"{len(store_ids)} stores, {', '.join(store_ids[:-1])} and {store_ids[-1]}"


def _standing(store: Store, chosen: Iterable[ArchivedExecution]) -> set[tuple[int, int]]:
    """Those of which the store has a row, by incarnation and execution; marked ones, too."""
    lives: dict[tuple[str, int], set[int]] = {}
    for each in chosen:
        lives.setdefault((each.instance_id, each.incarnation), set()).add(each.execution_id)
    found: set[tuple[int, int]] = set()
    are_marked = bool(store.marked().executions)
    for (instance_id, incarnation), wanted in lives.items():
        instance = store.get_instance(instance_id)
        if instance is None or instance.incarnation != incarnation:
            continue
        live = {each.execution_id for each in _live(store, instance_id)} & wanted
        marked = (each for each in (wanted - live if are_marked else ()) if _is_marked(store, instance_id, each))
        found.update((incarnation, each) for each in chain(live, marked))
    return found


def _live(store: Store, instance_id: str) -> Iterator[ExecutionRecord]:
    page = store.list_executions(instance_id, _EXECUTIONS_A_PAGE, None)
    yield from page.executions
    while page.next is not None:
        page = store.list_executions(instance_id, _EXECUTIONS_A_PAGE, page.next)
        yield from page.executions


def _is_marked(store: Store, instance_id: str, execution_id: int) -> bool:
    pruned = store.find_pruned(instance_id, execution_id)
    return pruned is not None and pruned.removal is not None


def _instance_of(part: Sequence[HistoryRead]) -> ArchivableInstance | None:
    return next((each.instance for each in part if each.instance is not None), None)


def _cursor(place: ArchivedPlace) -> str:
    archived_at_ms, segment, incarnation, execution_id = place
    return f"a:{archived_at_ms}:{incarnation}:{execution_id}:{segment}"


def _place(cursor: str | None) -> ArchivedPlace | None:
    if cursor is None:
        return None
    if not isinstance(cursor, str):
        raise not_a_cursor(cursor)
    kind, *numbers, segment = [*cursor.split(":", 4), *[""] * 5][:5]
    if kind != "a" or not all(each.isascii() and each.isdigit() and len(each) <= 18 for each in numbers):
        raise not_a_cursor(cursor)
    archived_at_ms, incarnation, execution_id = map(int, numbers)
    return archived_at_ms, segment, incarnation, execution_id
