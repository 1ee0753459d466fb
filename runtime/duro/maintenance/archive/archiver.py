"""Takes what waits for its archive out of a store, a segment at a time, and tells the store what is there."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from duro.disk import DISK, Disk
from duro.errors import ArchiveError, ArchiveUnavailableError
from duro.maintenance.archive.catalogue import Catalogue
from duro.maintenance.archive.format import Manifest
from duro.maintenance.archive.place import ArchivePlace
from duro.maintenance.archive.segments import Entry, write_segment
from duro.maintenance.room import Room
from duro.model.archive import CONFIGURED, ArchivableExecution, ArchivableInstance, ArchivedHistory, ArchiveOutcome
from duro.model.limits import MARK_RECLAIM_EVENTS_MAX
from duro.stores.base import Store

SEGMENT_EVENTS_MAX: Final = 100_000
SEGMENT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of one segment, about: one more history may stand in it. To read one history a whole segment is unpacked, a second of
work at most."""

_SMALL_SEGMENT_BYTES: Final = 16 * 1024
"""A segment, its manifest and a month's directory, a block each of most file systems."""

LEVEL: Final = 3
"""Of the compression: zstd's own default."""

_EXECUTIONS_A_SEGMENT: Final = 10_000
_INSTANCES_A_SEGMENT: Final = 500
_EVENTS_A_READ: Final = 5_000
_BYTES_A_READ: Final = 8 * 1024 * 1024
_NOTES_A_BATCH: Final = 500
"""Executions one transaction notes, with ``MARK_RECLAIM_EVENTS_MAX`` events together: what is past its grace goes in
it."""


class ArchiveStep(msgspec.Struct, frozen=True, kw_only=True):
    """What one step wrote to ``archive``. ``more``: there may be more that waits. ``busy``: somebody else is writing to
    it."""

    archive: str = ""
    segments: int = 0
    instances: int = 0
    histories: int = 0
    events: int = 0
    file_bytes: int = 0
    more: bool = False
    busy: bool = False


def usable_place(store: Store, path: Path, disk: Disk = DISK, *, any_archive: bool = False) -> ArchivePlace:
    """The archive in ``path``, which is made if the store has never written to one there, and remembered. What is there
    in its place is refused, unless it is to be ``any_archive``: a volume that is not mounted is not stood in for.

    Raises:
        ArchiveUnavailableError: it cannot be used.
    """
    place = ArchivePlace(path, disk)
    known = _known(store, place)
    if known is None and not any_archive:
        place.check_mounted()
    if known is None or any_archive:
        place.prepare(again=any_archive, archive_id=known)
    found = place.check() if any_archive else _check_known(place, known)
    if known != found:
        store.remember_archive(str(place.path), found)
    return place


def unusable(store: Store, path: Path) -> str:
    """Why an archive cannot be used now, as far as that can be seen without writing to it; "": nothing is seen."""
    place = ArchivePlace(path)
    known = _known(store, place)
    try:
        if known is not None:
            _check_known(place, known)
        elif not place.path.exists():  # it is made when it is written to
            place.check_mounted()
            if not place.path.parent.is_dir():
                return f"there is no directory {str(place.path.parent)!r}"
        there = path if path.exists() else path.parent
    except ArchiveUnavailableError as error:
        return str(error)
    except OSError as error:
        return f"it cannot be looked at: {error.strerror}"
    if not os.access(there, os.W_OK | os.X_OK):
        return "it may not be written to"
    return "" if _has_room(there) else "its disk is full"


def _has_room(directory: Path) -> bool:
    """Whether a small segment could be written; where the file system does not say, it could."""
    usage = os.statvfs(directory)
    free = usage.f_bfree if os.geteuid() == 0 else usage.f_bavail  # some of it is for the administrator alone
    return not usage.f_blocks or free * usage.f_frsize >= _SMALL_SEGMENT_BYTES


def _known(store: Store, place: ArchivePlace) -> str | None:
    """The id of the archive that the store has written to there."""
    return {each.directory: each.archive_id for each in store.known_archives()}.get(str(place.path))


def _check_known(place: ArchivePlace, known: str | None) -> str:
    found = place.check()
    if known is not None and known != found:
        raise ArchiveUnavailableError(
            f"{str(place.path)!r} is not the archive that this store has written to",
            hint="is its volume mounted? `duroctl archive write --to DIR` takes what is there now",
        )
    return found


class Archiver:
    """The state between steps: archives that could not be used (``unavailable``, with why), and how far the first
    instance is that is too large for one segment. It holds nothing that the store does not know.

    ``configured`` is the directory of what has no other; ``instead``: everything goes there, wherever it was to go.
    """

    def __init__(
        self,
        store: Store,
        configured: Path | None,
        *,
        instead: Path | None = None,
        level: int = LEVEL,
        disk: Disk = DISK,
        wait_s: float = 0.0,
        events_max: int = SEGMENT_EVENTS_MAX,
        bytes_max: int = SEGMENT_BYTES_MAX,
    ) -> None:
        self._store = store
        self._configured = configured
        self._instead = instead
        self._level = level
        self._disk = disk
        self._wait_s = wait_s
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._reached: dict[int, int] = {}
        """Of instances of which a part is archived: the last execution of it."""
        self._places: dict[Path, ArchivePlace] = {}
        self._catalogue: Catalogue | None = None
        self._helper: Executor | None = None
        self._left: dict[str, int] | None = None
        """Of what waited for each archive when this round began, how much still does; None: a step begins one."""
        self.unavailable: dict[str, ArchiveError] = {}

    def step(self) -> ArchiveStep:
        """Write one segment, if anything waits for an archive that can be used. Steps are rounds: what comes while one
        goes on is left to the next, for else a loop that never pauses would become a segment for every execution.

        Raises:
            StoreError: the store. What is in the archive by then stays there, and is written once more later.
        """
        if self._left is None:
            self._left = {each.archive: each.executions + each.instances for each in self._store.waiting_archives()}
        excluding = [*self.unavailable, *(archive for archive, left in self._left.items() if left <= 0)]
        executions = self._store.list_unarchived(1, excluding)
        instances = () if executions else self._store.list_unarchived_instances(1, excluding)
        waiting: Sequence[ArchivableExecution | ArchivableInstance] = executions or instances
        if not waiting:
            self._left = None
            return ArchiveStep()
        archive = waiting[0].archive
        try:
            place = self._place(archive)
            with place.locked(self._wait_s) as mine:
                if not mine:
                    return ArchiveStep(archive=archive, busy=True)
                if self._catalogue is None:
                    place.tidy()
                segment = _Segment(self._store, self._events_max, self._bytes_max, self._helper)
                if executions:
                    again = self._store.list_unarchived(_EXECUTIONS_A_SEGMENT, excluding)
                    entries = segment.of_executions([each for each in again if each.archive == archive])
                else:
                    found = self._store.list_unarchived_instances(_INSTANCES_A_SEGMENT, excluding)
                    entries = segment.of_instances([each for each in found if each.archive == archive], self._reached)
                first = next(entries, None)
                if first is None:
                    return ArchiveStep(archive=archive, more=True)
                manifest = write_segment(
                    place,
                    _chained(first, entries),
                    store_id=self._store.store_id(),
                    now_ms=self._store.now_ms(),
                    level=self._level,
                )
                self._finish(place, manifest, segment)
            self._left[archive] = self._left.get(archive, 0) - len(segment.pruned) - len(segment.whole)
        except ArchiveError as error:
            self.unavailable[archive] = error
            return ArchiveStep(archive=archive, more=True)
        return ArchiveStep(
            archive=archive,
            segments=1,
            instances=manifest.instances,
            histories=manifest.histories,
            events=manifest.events,
            file_bytes=manifest.file_bytes,
            more=True,
        )

    def write_all(self, progress: Callable[[int], object] | None = None) -> tuple[ArchiveOutcome, ...]:
        """Step by step until all is written that waits now and can be archived, with a thread that reads ahead; what
        became of each archive. ``progress`` is told how many histories were written so far; False: stop there."""
        written: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        histories, stopped = 0, False
        try:
            with ThreadPoolExecutor(1, "duro-archive") as self._helper:
                while not stopped and (step := self.step()).more:
                    for index, value in enumerate((step.segments, step.histories, step.events, step.file_bytes)):
                        written[step.archive][index] += value
                    histories += step.histories
                    stopped = progress is not None and progress(histories) is False
        finally:
            self._helper = None
            self.close()
        waiting = {each.archive: each.executions + each.instances for each in self._store.waiting_archives()}
        problems = {archive: str(error) for archive, error in self.unavailable.items()}
        if step.busy:
            problems.setdefault(step.archive, "somebody else is writing to it")
        if stopped:
            problems |= {archive: "it was interrupted" for archive in waiting if archive not in problems}
        return tuple(
            ArchiveOutcome(
                archive=archive,
                directory=str(self._path(archive) or ""),
                segments=written[archive][0],
                histories=written[archive][1],
                events=written[archive][2],
                file_bytes=written[archive][3],
                waiting=waiting.get(archive, 0) if archive in problems else 0,  # else it came meanwhile
                problem=problems.get(archive, ""),
            )
            for archive in sorted({*written, *waiting})
        )

    def forget(self) -> None:
        """Try every archive again. One that was there and has vanished is not made again: its volume is not mounted."""
        self.unavailable = {}
        self._left = None

    def _place(self, archive: str) -> ArchivePlace:
        path = self._path(archive)
        if path is None:
            raise ArchiveUnavailableError(
                "no archive is configured here", hint="set [archive] directory, or name one with --to"
            )
        if path in self._places:
            self._places[path].check()
        else:
            self._places[path] = usable_place(self._store, path, self._disk, any_archive=self._instead is not None)
        return self._places[path]

    def _path(self, archive: str) -> Path | None:
        if self._instead is not None:
            return self._instead
        return self._configured if archive == CONFIGURED else Path(archive)

    def _finish(self, place: ArchivePlace, manifest: Manifest, segment: "_Segment") -> None:
        """What was written is there: into the catalogue, and into the store, at the same time if there is a helper.
        Both are done while nobody else writes to the archive, who would take what is not noted yet once more."""
        self._remember_used(place)
        if self._helper is None:
            self._record(place, manifest, segment)
            self._note(segment)
            return
        recorded = self._helper.submit(self._record, place, manifest, segment)
        try:
            self._note(segment)
        finally:
            recorded.result()

    def _remember_used(self, place: ArchivePlace) -> None:
        """The archive that was written to last is the one that is looked into where none is named."""
        directory = str(place.path)
        known = self._store.known_archives()
        if not known or known[0].directory != directory:
            self._store.remember_archive(directory, place.check())

    def _record(self, place: ArchivePlace, manifest: Manifest, segment: "_Segment") -> None:
        """Into the catalogue, with whatever it does not know yet; that it is not there stops nothing."""
        try:
            if self._catalogue is not None and self._catalogue.place is not place:
                self.close()
            if self._catalogue is None:
                self._catalogue = Catalogue(place, writable=True, checked=False)
                self._catalogue.add(manifest, segment.executions, segment.instances)
                self._catalogue.bring_up_to_date(repair=True)
            else:
                self._catalogue.add(manifest, segment.executions, segment.instances)
        except ArchiveError:
            self.close()

    def close(self) -> None:
        """Close the catalogue; the next step opens it again."""
        if self._catalogue is not None:
            self._catalogue.close()
            self._catalogue = None

    def _note(self, segment: "_Segment") -> None:
        room = Room(self._store)
        for part in _batches(segment.pruned):
            room.make(partial(self._noted, part, ()))
            room.leave()
        if segment.whole:
            room.make(partial(self._noted, (), segment.whole))
        room.end()
        for incarnation in segment.whole:
            self._reached.pop(incarnation, None)
        self._reached |= segment.reached

    def _noted(self, pruned: Sequence[tuple[int, int]], whole: Sequence[int], _small: bool) -> None:
        self._store.note_archived(pruned, whole)


class _Segment:
    """What goes into one segment, read as it is written. Afterwards: ``executions`` as the catalogue wants them,
    ``pruned`` (incarnation, execution, events), ``instances`` of which something is in it, ``whole`` those that are
    complete with it, ``reached`` the others."""

    def __init__(self, store: Store, events_max: int, bytes_max: int, helper: Executor | None) -> None:
        self._store = store
        self._helper = helper
        self._events_left = events_max
        self._bytes_left = bytes_max
        self.executions: list[tuple[ArchivableExecution, int, bool]] = []
        self.pruned: list[tuple[int, int, int]] = []
        self.instances: list[ArchivableInstance] = []
        self.whole: list[int] = []
        self.reached: dict[int, int] = {}

    @property
    def _is_full(self) -> bool:
        return self._events_left <= 0 or self._bytes_left <= 0

    def of_executions(self, waiting: Sequence[ArchivableExecution]) -> Iterator[Entry]:
        for history in self._histories(waiting):
            execution = history.execution
            self.pruned.append((execution.incarnation, execution.execution_id, len(history.events)))
            yield self._entry(history, with_instance=False)

    def of_instances(self, waiting: Sequence[ArchivableInstance], reached: dict[int, int]) -> Iterator[Entry]:
        for instance in waiting:
            if self._is_full:
                return
            after = reached.get(instance.incarnation, 0)
            self.instances.append(instance)
            yield instance
            while executions := self._store.list_unarchived_of(instance.incarnation, _EXECUTIONS_A_SEGMENT, after):
                for history in self._histories(executions):
                    after = history.execution.execution_id
                    yield self._entry(history, with_instance=history.execution.pruned_at_ms is None)
                if after != executions[-1].execution_id:
                    self.reached[instance.incarnation] = after
                    return
            self.whole.append(instance.incarnation)

    def _entry(self, history: ArchivedHistory, *, with_instance: bool) -> Entry:
        self.executions.append((history.execution, len(history.events), with_instance))
        return history, with_instance

    def _histories(self, executions: Sequence[ArchivableExecution]) -> Iterator[ArchivedHistory]:
        """Of the first executions, until the segment is full."""
        for part, loaded in self._loaded(self._parts(executions)):
            for execution, events in zip(part, loaded, strict=True):
                if len(events) == execution.event_count or self._still_waits(execution):
                    yield ArchivedHistory(execution=execution, events=events)

    def _parts(self, executions: Sequence[ArchivableExecution]) -> Iterator[Sequence[ArchivableExecution]]:
        """What is read at once."""
        start = 0
        while start < len(executions) and not self._is_full:
            part = _part(executions, start, min(self._events_left, _EVENTS_A_READ), _BYTES_A_READ)
            start += len(part)
            self._events_left -= sum(each.event_count for each in part)
            self._bytes_left -= sum(each.history_bytes for each in part)
            yield part

    def _loaded(
        self, parts: Iterator[Sequence[ArchivableExecution]]
    ) -> Iterator[tuple[Sequence[ArchivableExecution], list[tuple[str, ...]]]]:
        """With a helper, the next part is read while this one is written."""
        if self._helper is None:
            yield from ((part, self._load(part)) for part in parts)
            return
        ahead: tuple[Sequence[ArchivableExecution], Future[list[tuple[str, ...]]]] | None = None
        for part in parts:
            following = part, self._helper.submit(self._load, part)
            if ahead is not None:
                yield ahead[0], ahead[1].result()
            ahead = following
        if ahead is not None:
            yield ahead[0], ahead[1].result()

    def _load(self, part: Sequence[ArchivableExecution]) -> list[tuple[str, ...]]:
        return self._store.load_histories([(each.incarnation, each.execution_id) for each in part])

    def _still_waits(self, execution: ArchivableExecution) -> bool:
        """Whether one that has not the events it should have is damaged, and not archived and reclaimed meanwhile by
        somebody who took it elsewhere."""
        key = (execution.incarnation, execution.execution_id)
        of_removed = self._store.list_unarchived_of(execution.incarnation, 1, execution.execution_id - 1)
        there = of_removed or self._store.list_unarchived(_EXECUTIONS_A_SEGMENT)
        return any((each.incarnation, each.execution_id) == key for each in there)


def _batches(pruned: Sequence[tuple[int, int, int]]) -> Iterator[list[tuple[int, int]]]:
    """What one transaction notes."""
    part: list[tuple[int, int]] = []
    events = 0
    for incarnation, execution_id, count in pruned:
        if part and (events + count > MARK_RECLAIM_EVENTS_MAX or len(part) == _NOTES_A_BATCH):
            yield part
            part, events = [], 0
        part.append((incarnation, execution_id))
        events += count
    if part:
        yield part


def _part(
    executions: Sequence[ArchivableExecution], start: int, events_max: int, bytes_max: int
) -> Sequence[ArchivableExecution]:
    """At least one, and then as many as have so many events and bytes together."""
    end, events, size = start, 0, 0
    while end < len(executions):
        events += executions[end].event_count
        size += executions[end].history_bytes
        if end > start and (events > events_max or size > bytes_max):
            break
        end += 1
    return executions[start:end]


def _chained(first: Entry, rest: Iterator[Entry]) -> Iterator[Entry]:
    yield first
    yield from rest
