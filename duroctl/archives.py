"""Which archive a command is about, opened; and what is named in it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from duro.errors import (
    ArchiveUnavailableError,
    ExecutionPrunedError,
    InstanceNotFoundError,
    InstanceRemovedError,
    InvalidIdError,
    NotArchivedError,
    SettingsError,
    StoreError,
    StoreNotFoundError,
    UsageError,
)
from duroctl.parsing import Reference, parse_count

if TYPE_CHECKING:
    from duro.client import Client
    from duro.maintenance.archive.catalogue import ArchivedExecution
    from duro.maintenance.archive.reader import Archive
    from duro.maintenance.archive_client import FoundExecutions
    from duro.model.archive import ArchivedHistory, ArchiveOutcome
    from duro.model.records import HistoryRecord
    from duroctl.session import Session


def directory_of(session: "Session", given: str | None) -> str | None:
    """``--archive``, or the ``[archive] directory`` of the configuration file; None: neither says one.

    Raises:
        SettingsError: the file cannot be used.
    """
    if given is not None:
        return given
    return None if session.config_file is None else _configured(session.config_file, if_enabled=False)


def enabled_directory(session: "Session") -> str | None:
    """Where removals keep what they remove, if the configuration file says ``enabled``; None: what workers publish
    decides.

    Raises:
        SettingsError: the file cannot be used.
    """
    file = session.config_file
    if file is None or not _may_say_archive(file):
        return None
    return _configured(file, if_enabled=True)


def _may_say_archive(file: Path) -> bool:
    """Whether the file is worth the time it takes to read TOML; also where that will say what is wrong with it."""
    try:
        return not file.is_file() or b"archive" in file.read_bytes()
    except OSError:
        return True


def _configured(file: Path, *, if_enabled: bool) -> str | None:
    from duro.settings.files import load_settings
    from duro.settings.places_of_stores import archive_directory

    said = load_settings(file, str(file)).archive
    if said.directory is None or (if_enabled and not said.enabled):
        return None
    return str(archive_directory(said.directory, str(file)))


@contextmanager
def opened(
    session: "Session", given: str | None, *, any_store: bool = False, store_id: str | None = None
) -> "Iterator[tuple[Archive, Client | None]]":
    """The archive and a client of the store, None where there is no store that can be read (any more) and the archive
    was named. ``store_id`` (the beginning of one is enough): only histories of that store are looked at.

    Raises:
        UsageError, NotArchivedError: no or several stores are meant by ``store_id``.
        ArchiveUnavailableError, StoreError, SettingsError.
    """
    if any_store and store_id is not None:
        raise UsageError("--any-store and --store-id do not go together", hint="choose one")
    directory = directory_of(session, given)
    with ExitStack() as stack:
        client: Client | None = None
        try:
            client = stack.enter_context(session.client(read_only=True))
            found = stack.enter_context(client.open_archive(directory, any_store=any_store or store_id is not None))
        except ArchiveUnavailableError as error:
            waiting_note(session, client)
            if given is not None or client is None or directory is None:
                raise
            raise _configured_unavailable(error, client, directory) from error
        except StoreError as error:
            if directory is None:
                raise
            if not isinstance(error, StoreNotFoundError):
                session.note(f"{error.message}: the archive is read without the store")
            from duro.maintenance.archive.reader import Archive

            client, found = None, stack.enter_context(Archive(Path(directory)))
        if store_id is not None:
            found.store_id = _meant(found, store_id)
        yield found, client


def _configured_unavailable(
    error: ArchiveUnavailableError, client: "Client", directory: str
) -> ArchiveUnavailableError:
    """The same, with the other archives that the store has used; and that nothing is lost yet, if nothing is."""
    known = [each.directory for each in client.store.known_archives()]
    message, hint = error.message, error.hint
    if directory not in known and not os.path.lexists(directory):
        message, hint = f"{message} yet", "it is made when something is removed that is to be kept in it"
    others = [each for each in known if each != directory]
    if others:
        hint = f"{hint}; this store has also used {', '.join(map(repr, others))}"
    return ArchiveUnavailableError(message, hint=hint)


class ArchivedReference(NamedTuple):
    """``execution_id`` None: the instance. ``incarnation``: of which life of it; None: nobody says."""

    instance_id: str
    execution_id: int | None
    incarnation: int | None


def life_asked(incarnation: str | None) -> int | None:
    """``--incarnation``. Raises UsageError: it is no number."""
    return None if incarnation is None else parse_count(incarnation, "--incarnation", least=1)


def _readings(text: str, incarnation: int | None) -> Iterator[ArchivedReference]:
    """What ``text`` may name, the likelier first: INSTANCE/EXECUTION, INSTANCE, either with #INCARNATION."""
    if (one := _as_execution(text)) is not None:
        yield ArchivedReference(*one, incarnation)
    yield ArchivedReference(text, None, incarnation)
    head, sign, tail = text.rpartition(_LIFE)
    if incarnation is None and sign and head and _is_number(tail):
        yield from _readings(head, int(tail))


def where_else(
    client: "Client | None", given: str | None, archive: "Archive", text: str, incarnation: int | None = None
) -> str:
    """Which other archive of the store has what ``text`` names, where none was ``given``; "": none."""
    if given is not None or client is None:
        return ""
    for instance_id, execution_id, life in _readings(text, incarnation):
        with suppress(InvalidIdError):  # one of two readings may be too long for an id
            found = client.find_archived_executions(instance_id, execution_id, incarnation=life)
            if found is not None and found.directory != str(archive.path):
                return f"archive {found.directory!r} has it:{_option(found.directory)}"
    return ""


@contextmanager
def elsewhere_told(
    client: "Client | None", given: str | None, archive: "Archive", text: str, incarnation: int | None = None
) -> Iterator[None]:
    """Raises NotArchivedError: as raised inside, with the other archive of the store that has it, if one does."""
    try:
        yield
    except NotArchivedError as error:
        if elsewhere := where_else(client, given, archive, text, incarnation):
            raise NotArchivedError(error.message, hint=elsewhere) from error
        raise


def _meant(archive: "Archive", beginning: str) -> str:
    stores = archive.stores()
    found = [each for each in stores if beginning and each.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    here = f"archive {str(archive.path)!r}"
    if found:
        raise UsageError(f"--store-id {beginning!r} is the beginning of {_named(found)}", hint="write more of it")
    raise NotArchivedError(
        f"{here} has nothing of a store {beginning!r}", hint=f"it has of {' and '.join(stores) or 'none'}"
    )


def _named(stores: Sequence[str]) -> str:
    from duro.maintenance.archive.reader import stores_text

    return stores_text(stores)


def mixed_stores(archive: "Archive") -> bool:
    """Whether what is looked at is of several stores."""
    return archive.store_id is None and len(archive.stores()) > 1


def stores_note(session: "Session", archive: "Archive") -> None:
    """Say so, if what is listed is of several stores: nothing in an id tells them apart."""
    if mixed_stores(archive):
        session.note(f"this is of {_named(archive.stores())}; --store-id shows one")


def reference_in(
    archive: "Archive",
    text: str,
    *,
    incarnation: int | None = None,
    of_store: "Client | None" = None,
    listed: bool = False,
) -> ArchivedReference:
    """Which instance or execution ``text`` names in the archive, of life ``incarnation``; where none is named, of the
    one that is there in a store (``of_store``). Ids of instances may contain slashes, and the sign that stands before a
    life: what is there decides. ``listed``: a line as ``-o ids`` prints it, INSTANCE/EXECUTION where it can be one.

    Raises:
        NotArchivedError: it has neither.
        UsageError: it has both.
    """

    def life_of(instance_id: str) -> int | None:
        there = None if of_store is None else archive.life_in(of_store.store, instance_id)
        return there if incarnation is None else incarnation

    whole = bool(archive.executions(instance_id=text, incarnation=incarnation, limit=1))
    one = _as_execution(text)
    life = None if one is None else life_of(one.instance_id)
    if one is not None and archive.find(one.instance_id, one.execution_id, incarnation=life) is not None:
        if whole and not listed:
            raise UsageError(
                f"the archive has an instance {text!r}, and execution {one.execution_id} of {one.instance_id!r}",
                hint=f"name executions of the first ({text}/N), or send {text} on standard input (-) for the other",
            )
        return ArchivedReference(*one, life)
    if whole:
        return ArchivedReference(text, None, life_of(text))
    head, sign, tail = text.rpartition(_LIFE)
    if incarnation is None and sign and head and _is_number(tail):
        with suppress(NotArchivedError):
            return reference_in(archive, head, incarnation=int(tail), listed=listed)
    raise (archive.has_otherwise(*one, life) if one else None) or archive.nothing_of(text, None, incarnation)


def archived_id(execution: "ArchivedExecution", latest: "Mapping[tuple[str, str], int]") -> str:
    """As ``-o ids`` prints it, and ``reference_in`` reads it: with its life, if a later one of that id is there."""
    text = f"{execution.instance_id}/{execution.execution_id}"
    life = execution.incarnation
    is_latest = latest.get((execution.store_id, execution.instance_id), life) == life
    return text if is_latest else f"{text}{_LIFE}{life}"


def _as_execution(text: str) -> Reference | None:
    head, slash, tail = text.rpartition("/")
    return Reference(head, int(tail)) if slash and head and _is_number(tail) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX


_LIFE: Final = "#"
_DIGITS_MAX: Final = 18


def others_note(session: "Session", archive: "Archive") -> None:
    """Say so, if all that an archive has is of other stores than the one that is looked at."""
    others = [each for each in archive.stores() if each != archive.store_id]
    if archive.store_id is not None and others and not any(archive.count()):
        stores = _named(others) if len(others) > 1 else f"store {others[0]}"
        session.note(
            f"archive {str(archive.path)!r} has nothing of this store, but of {stores}: --any-store, or --store-id, "
            "shows it"
        )


def waiting_note(session: "Session", client: "Client | None") -> None:
    """Say what waits to be archived, if anything does."""
    from duroctl.render.archives import waiting_line

    if client is not None and (line := waiting_line(client.waiting_archives())):
        session.note(line)


def check_kept(outcome: "ArchiveOutcome | None") -> None:
    """Raises PartlyDoneError: something was removed and could not be archived yet."""
    from duroctl.errors import PartlyDoneError

    if outcome is not None and outcome.problem:
        raise PartlyDoneError(
            "not everything could be archived: what was not stays in the store",
            hint="`duroctl archive write` tries again, and workers do",
        )


def named_history(
    session: "Session",
    given: str | None,
    store_id: str | None,
    reference: Reference | str,
    *,
    incarnation: int | None,
    listed: bool,
) -> "HistoryRecord":
    """The history an archive has of an execution, or of the last one of an instance, whatever a store has: for when the
    store is lost. ``reference``: a text is read by what is in the archive, see ``reference_in``.

    Raises:
        NotArchivedError: it does not have it. UsageError: it has it of several stores.
        ArchiveUnavailableError, ArchiveDamagedError, StoreError, SettingsError.
    """
    with opened(session, given, store_id=store_id) as (archive, _):
        if isinstance(reference, str):
            wanted = reference_in(archive, reference, incarnation=incarnation, listed=listed)
        else:
            wanted = ArchivedReference(*reference, incarnation)
        found = archive.find(wanted.instance_id, wanted.execution_id, incarnation=wanted.incarnation)
        if found is None:
            raise archive.nothing_of(*wanted)
        return _noted(session, archive.read_one(found), str(archive.path))


def archived_history(
    session: "Session", client: "Client", text: str, execution: str | None, incarnation: int | None = None
) -> "HistoryRecord | None":
    """The history ``text`` (INSTANCE or INSTANCE/EXECUTION) names in an archive of the store, which is noted. None:
    no archive that can be read has it, of this life (None: as ``find_archived`` has it).

    Raises:
        ArchiveDamagedError: the one that has it is damaged.
    """
    readings = [*_readings(text, incarnation)]
    if execution is not None:
        readings = [ArchivedReference(text, parse_count(execution, "--execution"), incarnation)]
    own = directory_of(session, None)
    told: set[str] = set()

    def tell(error: ArchiveUnavailableError) -> None:
        if error.message not in told:  # of each of two readings
            session.note(error.message)
        told.add(error.message)

    for instance_id, execution_id, life in readings:
        try:
            found = client.find_archived(
                instance_id,
                execution_id,
                incarnation=life,
                directories=[own] if own else [],
                unreadable=tell,
            )
        except InvalidIdError:  # one of two readings may be too long for an id
            continue
        if found is not None:
            return _noted(session, found.history, found.directory)
    return None


@contextmanager
def archive_told(session: "Session", client: "Client", instance_id: str) -> Iterator[None]:
    """Whoever asks for an instance that is gone is told which archive has it, if one does.

    Raises:
        InstanceRemovedError: that. InstanceNotFoundError: no archive that can be read has it, as it was raised inside.
    """
    try:
        yield
    except InstanceNotFoundError as error:
        removed = client.store.find_removed(instance_id)
        if removed is not None and not removed.reclaiming:  # an undo brings it back, which the error says
            raise
        found, _ = _found(session, client, instance_id)
        if found is None:
            raise
        from duro.naming import command_on
        from duroctl.render.units import counted

        where = _option(found.directory)
        lists = f"{command_on('archive show', instance_id, where)} lists them"
        whole = any(each.with_instance for each in found.executions)
        then = f"{command_on('archive restore', instance_id, where)} brings it back" if whole else _READS
        raise InstanceRemovedError(
            f"instance {instance_id!r} was removed, and archive {found.directory!r} has "
            f"{counted(len(found.executions), 'execution')} of it",
            hint=f"{lists}, {then}",
        ) from error


@contextmanager
def execution_told(session: "Session", client: "Client") -> Iterator[None]:
    """Whoever asks for an execution that was pruned and reclaimed is told which archive has it, if one does.

    Raises:
        ExecutionPrunedError: that; or, where no archive that can be read has it, as it was raised inside.
    """
    try:
        yield
    except ExecutionPrunedError as error:
        pruned = error.pruned
        if pruned.removal is not None:  # an undo brings it back, which the error says
            raise
        found, _ = _found(session, client, pruned.instance_id, pruned.execution_id)
        if found is None:
            raise
        from duro.naming import command_on

        again = command_on("archive restore", f"{pruned.instance_id}/{pruned.execution_id}", _option(found.directory))
        hint = f"archive {found.directory!r} has its history, and {again} brings it back"
        raise ExecutionPrunedError(error.message, pruned, hint=hint) from error


def kept_in(session: "Session", client: "Client", run_or_instance: str) -> str | None:
    """The option that names the archive in which what was reclaimed of it is, or may be, kept: "" where commands find
    that by themselves. None: it went without one."""
    run = client.get_prune_run(run_or_instance)
    if run is not None:
        return None if run.archive is None else _option(_used(client, run.archive))
    found, unread = _found(session, client, run_or_instance)
    if found is None:
        return "" if unread else None
    return _option(found.directory)


def _used(client: "Client", noted: str) -> str:
    """The archive of a run, of which the ledger has ``noted``: the only one there is, where it does not know or where
    nothing was ever written to that one (`archive write --to` takes another)."""
    known = [each.directory for each in client.store.known_archives()]
    return known[0] if noted not in known and len(known) == 1 else noted


def _found(
    session: "Session", client: "Client", instance_id: str, execution_id: int | None = None
) -> "tuple[FoundExecutions | None, bool]":
    """What an archive has of an instance (that has a certain execution of it); and whether some could not be read,
    which is noted."""
    unread: list[ArchiveUnavailableError] = []
    own = None
    with suppress(SettingsError):  # a file that cannot be used is not what was asked about
        own = directory_of(session, None)
    found = client.find_archived_executions(
        instance_id, execution_id, directories=[own] if own else [], unreadable=unread.append
    )
    for error in unread:
        session.note(error.message)
    return found, bool(unread)


def _option(directory: str) -> str:
    import shlex

    return f" --archive {shlex.quote(directory)}" if directory else ""


_READS: Final = "`duroctl history show` reads them"


def _noted(session: "Session", history: "ArchivedHistory", directory: str) -> "HistoryRecord":
    """As a store would have given it; where it is from is said."""
    from duro.model.records import ExecutionRecord, HistoryRecord

    archived = history.execution
    session.note(f"{archived.instance_id}/{archived.execution_id} is from archive {directory}")
    record = ExecutionRecord(
        instance_id=archived.instance_id,
        incarnation=archived.incarnation,
        execution_id=archived.execution_id,
        name=archived.name,
        version=archived.version,
        status=archived.status,
        started_at_ms=archived.started_at_ms,
        completed_at_ms=archived.completed_at_ms,
        event_count=archived.event_count,
        history_bytes=archived.history_bytes,
    )
    return HistoryRecord(execution=record, events=history.events, input=archived.input)


def clock_ms() -> int:
    """Now, where there may be no store to ask."""
    import time

    return time.time_ns() // 1_000_000
