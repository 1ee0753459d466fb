"""What must be so after a cut."""

import hashlib
from typing import Any, Final

import msgspec

from duro.stores.base import Store, StoreDump
from duro.testing.invariants import check_invariants

_PASSING: Final = frozenset({"workers", "capabilities", "requests", "publications"})
"""Tables of who works just now."""

_PASSES: Final = frozenset(
    {
        *("lease_worker_id", "lease_epoch", "attempt_count", "last_commit_token", "turn_sequence"),
        *("data", "history_bytes", "until_ms", "next_message_id", "ignored_messages"),
    }
)
"""What is another one when it is done again: leases, times and what holds times."""


class LostError(AssertionError):
    """After a cut of power something acknowledged is missing, or something is there that never was."""


def digest(dump: StoreDump) -> bytes:
    return hashlib.blake2b(msgspec.msgpack.encode(dump), digest_size=16).digest()


def lasting(dump: StoreDump) -> StoreDump:
    """What is the same when a part of it was done a second time, later and by somebody else."""

    def kept(row: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in row.items() if not key.endswith("at_ms") and key not in _PASSES}

    return {name: [kept(row) for row in rows] for name, rows in dump.items() if name not in _PASSING}


def differences(found: StoreDump, expected: StoreDump) -> str:
    """The tables that differ, with the first row of each that is missing, and that is too many."""
    said = []
    for table in sorted(found.keys() | expected.keys()):
        here, there = found.get(table, []), expected.get(table, [])
        if here != there:
            missing = next((row for row in there if row not in here), None)
            extra = next((row for row in here if row not in there), None)
            said.append(f"{table}: missing {missing}, not expected {extra}")
    return "; ".join(said)


def check_store(store: Store) -> None:
    """The invariants hold, every page is whole, and ``doctor`` finds nothing.

    Raises:
        AssertionError: with what it found.
    """
    check_invariants(store)
    check_file(store)


def check_file(store: Store) -> None:
    """As ``check_store``, without the invariants."""
    results = store.checkup(deep=True)
    wrong = [f"{each.name}: {each.findings}" for each in results if each.count and each.severity == "error"]
    if wrong:
        raise LostError("; ".join(wrong))


def check_pages(store: Store) -> None:
    """Every page and every index is whole: the part of ``check_file`` that equal rows say nothing about."""
    pages = next(each for each in store.checkup(deep=True) if each.name == "pages")
    if pages.count:
        raise LostError(f"damaged pages: {pages.findings}")


def rows_of(store: Store, table: str) -> list[dict[str, Any]]:
    return store.dump()[table]
