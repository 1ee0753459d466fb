"""Which archive a command is about, opened; and what is named in it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from duro.errors import InvalidIdError, StoreNotFoundError, UsageError
from duroctl.parsing import Reference

if TYPE_CHECKING:
    from duro.client import Client
    from duro.maintenance.archive.reader import Archive
    from duro.model.archive import ArchiveOutcome
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
    if file is None or b"archive" not in file.read_bytes():
        return None
    return _configured(file, if_enabled=True)


def _configured(file: Path, *, if_enabled: bool) -> str | None:
    from duro.settings.files import load_settings
    from duro.settings.places_of_stores import archive_directory

    said = load_settings(file, str(file)).archive
    if said.directory is None or (if_enabled and not said.enabled):
        return None
    return str(archive_directory(said.directory, str(file)))


@contextmanager
def opened(session: "Session", given: str | None, *, any_store: bool) -> "Iterator[tuple[Archive, Client | None]]":
    """The archive and a client of the store, None where there is no store (any more) and the archive was named.

    Raises:
        ArchiveUnavailableError, StoreError, SettingsError.
    """
    from duro.maintenance.archive.reader import Archive

    directory = directory_of(session, given)
    with ExitStack() as stack:
        client: Client | None = None
        try:
            client = stack.enter_context(session.client(read_only=True))
        except StoreNotFoundError:
            if directory is None:
                raise
        if client is None:
            assert directory is not None, "raised before"
            yield stack.enter_context(Archive(Path(directory))), None
        else:
            yield stack.enter_context(client.open_archive(directory, any_store=any_store)), client


def reference_in(archive: "Archive", text: str, *, listed: bool = False) -> Reference:
    """Which instance or execution ``text`` names in the archive. Instance ids may contain slashes: what is there
    decides. ``listed``: a line as ``-o ids`` prints it, INSTANCE/EXECUTION where it can be one.

    Raises:
        NotArchivedError: it has neither.
        UsageError: it has both.
    """
    whole = bool(archive.executions(instance_id=text, limit=1))
    one = _as_execution(text)
    if one is not None and archive.find(one.instance_id, one.execution_id) is not None:
        if whole and not listed:
            raise UsageError(
                f"the archive has an instance {text!r}, and execution {one.execution_id} of {one.instance_id!r}",
                hint=f"name executions of the first ({text}/N), or send {text} on standard input (-) for the other",
            )
        return one
    if whole:
        return Reference(text, None)
    raise archive.without(f"has nothing of {text!r}")


def _as_execution(text: str) -> Reference | None:
    head, slash, tail = text.rpartition("/")
    is_number = tail.isascii() and tail.isdigit() and len(tail) <= _DIGITS_MAX
    return Reference(head, int(tail)) if slash and head and is_number else None


_DIGITS_MAX = 18


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


def archived_history(session: "Session", client: "Client", text: str, execution: str | None) -> "HistoryRecord | None":
    """The history ``text`` (INSTANCE or INSTANCE/EXECUTION) names in an archive of the store, which is noted. None:
    no archive that can be read has it.

    Raises:
        ArchiveDamagedError: the one that has it is damaged.
    """
    from duro.model.records import ExecutionRecord, HistoryRecord
    from duroctl.parsing import parse_count

    if execution is not None:
        readings = [Reference(text, parse_count(execution, "--execution"))]
    else:
        one = _as_execution(text)
        readings = [*([one] if one is not None else []), Reference(text, None)]
    own = directory_of(session, None)
    for instance_id, execution_id in readings:
        try:
            found = client.find_archived(
                instance_id,
                execution_id,
                directories=[own] if own else [],
                unreadable=lambda error: session.note(error.message),
            )
        except InvalidIdError:  # one of two readings may be too long for an id
            continue
        if found is not None:
            archived = found.history.execution
            session.note(f"{archived.instance_id}/{archived.execution_id} is from archive {found.directory}")
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
            return HistoryRecord(execution=record, events=found.history.events, input=archived.input)
    return None
