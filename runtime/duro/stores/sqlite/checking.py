"""The checks of a store's file, carried out: one statement each, beside whatever runs."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from duro.errors import StoreCorruptError
from duro.model.checkup import FINDINGS_SHOWN, CheckResult, Finding, Repair, Severity
from duro.model.limits import NUMBER_MAX
from duro.stores.sqlite import sql_checks as sql
from duro.stores.sqlite.check import DAMAGED, Check
from duro.stores.sqlite.committer import Transaction
from duro.stores.sqlite.texts import add_function

_WAL_RESET_FIXED: Final = (3, 51, 3)
"""Before this version SQLite can damage a WAL database in a rare race (sqlite.org/wal.html#walresetbug)."""

_LIVE_EVENTS_MAX: Final = 1_000
"""Events of a running execution that is read as a whole; longer ones are where everything is."""

_pairs = msgspec.json.Decoder(list[tuple[str | None, str | None]])


def checkup(connection: apsw.Connection, path: Path, now_ms: int, *, deep: bool) -> Iterator[CheckResult]:
    """Every check, each as soon as it is done. ``deep``: SQLite looks at every page and every index,
    and every event is counted, too."""
    add_function(connection)
    yield _version()
    yield _permissions(path)
    if deep:
        yield _pages(connection)
    for check in sql.CHECKS:
        if check.deep and not deep:
            continue
        yield _checked(connection, check, now_ms, deep=deep)


def _checked(connection: apsw.Connection, check: Check, now_ms: int, *, deep: bool) -> CheckResult:
    """What a check found. Where the file is so damaged that it cannot be carried out, that is what it found, and the
    others go on."""
    try:
        events_max = NUMBER_MAX if deep else _LIVE_EVENTS_MAX
        row: Any = connection.execute(sql.counted(check), (FINDINGS_SHOWN, now_ms, events_max)).fetchone()
    except (apsw.SQLError, apsw.CorruptError) as error:
        found = [Finding("store", f"this check could not be carried out: {error}")]
        return _result(check.name, Severity.ERROR, check.looks_for, DAMAGED, found)
    findings = _pairs.decode(row[1].decode("utf-8", "replace"))
    return CheckResult(
        name=check.name,
        severity=Severity(check.severity),
        looks_for=check.looks_for,
        remedy=check.remedy,
        repairable=bool(check.deletes),
        count=row[0],
        findings=tuple(Finding(subject or "", text or "") for subject, text in findings),
    )


def refuse_damaged(connection: apsw.Connection, path: Path) -> None:
    """Before a repair: where an index does not know a row, the row looks unreachable, and is not.

    Raises:
        StoreCorruptError: a page or an index of the file is damaged.
    """
    (said,) = connection.execute(sql.INTEGRITY_CHECK, (1,)).fetchone() or ("ok",)
    if said != "ok":
        problem = f"{path} is damaged ({said}): what seems unreachable may not be, and nothing was deleted"
        raise StoreCorruptError(problem, hint="keep a copy of it and restore a backup")


def repair(transaction: Transaction, names: Iterable[str]) -> list[Repair]:
    """Delete what the checks of these names find."""
    wanted = set(names)
    return [
        Repair(check.name, sum(transaction.run(statement) for statement in check.deletes))
        for check in sql.CHECKS
        if check.name in wanted and check.deletes
    ]


def _version() -> CheckResult:
    linked = apsw.sqlite_lib_version()
    old = tuple(int(part) for part in linked.split(".")[:3]) < _WAL_RESET_FIXED
    return _result(
        "sqlite-version",
        Severity.ERROR,
        "a SQLite that can damage the file in a rare race of checkpoints",
        "update apsw, which brings its own SQLite: 3.51.3 or newer",
        [Finding(linked, "it is older than 3.51.3")] if old else [],
    )


def _permissions(path: Path) -> CheckResult:
    found = []
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        try:
            state = os.stat(file)  # noqa: PTH116 - says that it does not open the file
        except OSError:
            continue
        if state.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            found.append(Finding(str(file), f"others may use it: {stat.filemode(state.st_mode)}"))
    return _result(
        "file-permissions",
        Severity.WARNING,
        "files that other users of this machine can read or write",
        "chmod 600 them, unless several users share the store on purpose",
        found,
    )


def _pages(connection: apsw.Connection) -> CheckResult:
    try:
        said = [str(row[0]) for row in connection.execute(sql.INTEGRITY_CHECK, (FINDINGS_SHOWN,))]
    except apsw.CorruptError as error:
        said = [str(error)]
    return _result(
        "pages",
        Severity.ERROR,
        "damaged pages and indexes of the file",
        "keep a copy of the file and restore a backup",
        [Finding("file", text) for text in said if text != "ok"],
    )


def _result(name: str, severity: Severity, looks_for: str, remedy: str, found: list[Finding]) -> CheckResult:
    return CheckResult(
        name=name, severity=severity, looks_for=looks_for, remedy=remedy, count=len(found), findings=tuple(found)
    )
