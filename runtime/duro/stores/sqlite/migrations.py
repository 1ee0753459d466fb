"""How a schema comes to be: numbered scripts, each run in one transaction with the record that it ran.

The record is ``PRAGMA user_version``; ``PRAGMA application_id`` says that the file is a duro store at all. Both are in
the file's first page, so neither can be there without the other or without the tables.
"""

import os
import threading
from pathlib import Path
from typing import Final

import apsw
import msgspec

from duro.errors import (
    NotADatabaseError,
    NotADuroStoreError,
    SchemaTooNewError,
    SchemaTooOldError,
    StoreNotFoundError,
)
from duro.stores.sqlite import sql
from duro.stores.sqlite.connection import create_file, open_untouched, read_only, store_error

APPLICATION_ID: Final = 0x4475726F
SCHEMA_VERSION: Final = len(sql.SET_USER_VERSION)

_DATABASE_BYTES_MIN: Final = 512
"""The smallest page SQLite knows."""

_creating = threading.Lock()
"""Closing a descriptor of a file drops this process's locks on it, SQLite's too: nobody opens while one creates."""


class Inspection(msgspec.Struct, frozen=True):
    """What a file holds. ``new``: no store yet, and free to become one. ``version`` is its schema's."""

    new: bool
    version: int


def scripts() -> list[str]:
    """The migrations in order: the file called ``000n_...`` makes version n."""
    from importlib import resources  # only who makes or migrates a store pays for it

    directory = resources.files("duro.stores.sqlite") / "migrations"
    files = [entry for entry in directory.iterdir() if entry.name.endswith(".sql")]
    files.sort(key=lambda entry: entry.name)
    return [entry.read_text(encoding="utf-8") for entry in files]


def prepare_file(
    path: Path, *, create: bool, for_writing: bool, busy_timeout_ms: int, any_older: bool = False
) -> Inspection:
    """Find or make the file, and refuse, untouched, what is not ours to open. ``any_older``: who only reads takes a
    schema that must be migrated as it is.

    Raises:
        StoreNotFoundError, NotADatabaseError, NotADuroStoreError, SchemaTooNewError, SchemaTooOldError,
    """
    with _creating:
        _check_directory(path)
        if not path.exists():
            if not create:
                raise StoreNotFoundError(f"there is no store at {path}", hint="check the path, or run duroctl init")
            create_file(path)
        if not path.is_file():
            raise NotADatabaseError(f"{path} is not a file", hint="name a file in an existing directory")
        if for_writing:
            _check_writable(path)
        inspection = _inspect(path, busy_timeout_ms, for_writing=for_writing)
    if inspection.new and not create:
        raise NotADuroStoreError(f"{path} is empty: no store was made in it", hint="make one: duroctl init")
    if not for_writing and not any_older and inspection.version < SCHEMA_VERSION:
        raise SchemaTooOldError(
            f"{path} has schema {inspection.version}, and this duro reads {SCHEMA_VERSION}",
            hint="a worker migrates it, and so does a command that writes, such as `duroctl compact`; "
            "there is no way back but a backup: `duroctl backup FILE` first",
        )
    return inspection


def _check_directory(path: Path) -> None:
    directory = path.parent
    if not directory.exists():
        raise StoreNotFoundError(f"the directory {directory} does not exist", hint=f"make it: mkdir -p {directory}")
    if not directory.is_dir():
        raise StoreNotFoundError(f"{directory} is not a directory", hint="name a file in an existing directory")


def _check_writable(path: Path) -> None:
    """Raises StoreReadOnlyError: the file, or the directory its log has to be made in, cannot be written."""
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK | os.X_OK):
        raise read_only(path)


def _inspect(path: Path, busy_timeout_ms: int, *, for_writing: bool) -> Inspection:
    size = path.stat().st_size
    if size == 0 and not Path(f"{path}-wal").exists():
        return Inspection(new=True, version=0)
    if 0 < size < _DATABASE_BYTES_MIN:  # one byte SQLite would take for an empty file
        raise NotADatabaseError(f"{path} is not a SQLite database", hint="check the path")
    try:
        connection = open_untouched(path, busy_timeout_ms=busy_timeout_ms, may_recover=for_writing)
        try:
            connection.execute(sql.BEGIN_READ)  # one snapshot: another process may be making the store just now
            application = connection.execute(sql.GET_APPLICATION_ID).get
            version = connection.execute(sql.GET_USER_VERSION).get
            tables = connection.execute(sql.COUNT_TABLES).get
        finally:
            connection.close()
    except apsw.Error as error:
        raise store_error(error, path) from error
    if application == 0 and version == 0 and tables == 0:
        return Inspection(new=True, version=0)
    if application != APPLICATION_ID:
        raise NotADuroStoreError(f"{path} is a database of another application", hint="check the path")
    if version > SCHEMA_VERSION:
        raise SchemaTooNewError(
            f"{path} has schema {version}, and this duro knows up to {SCHEMA_VERSION}", hint="update duro"
        )
    return Inspection(new=False, version=version)


def migrate(connection: apsw.Connection, store_id: str, created_at_ms: int) -> None:
    """Bring the schema to ``SCHEMA_VERSION``, one transaction a migration. Other processes may do so at the same time:
    each looks again under the write lock."""
    for number, script in enumerate(scripts(), start=1):
        if connection.execute(sql.GET_USER_VERSION).get >= number:
            continue
        connection.execute(sql.BEGIN_WRITE)
        try:
            if connection.execute(sql.GET_USER_VERSION).get < number:
                connection.execute(script)
                if number == 1:
                    connection.execute(sql.SET_APPLICATION_ID)
                    connection.execute(sql.INSERT_STORE, (store_id, created_at_ms))
                connection.execute(sql.SET_USER_VERSION[number - 1])
            connection.execute(sql.COMMIT)
        except BaseException:
            if connection.in_transaction:
                connection.execute(sql.ROLLBACK)
            raise
