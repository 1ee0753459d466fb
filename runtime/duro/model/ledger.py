"""The ledger: what was pruned, when, why and by which rule, in a bounded number of rows."""

from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

SEVERAL = "several"
"""The rule, origin or trigger of a range that was merged from different ones."""

UNDO = "undo"
MANUAL = "manual"
"""The trigger of a row that says what came back."""


class RunKind(StrEnum):
    """What a run by hand did."""

    PRUNE = "prune"
    PURGE = "purge"
    ORPHANS = "orphans"
    """A clean-up of orphans."""
    UNDO = "undo"
    """A removal was taken back."""
    RESTORE = "restore"
    """Something came back from an archive."""


class LedgerRange(msgspec.Struct, frozen=True, kw_only=True):
    """What automatic prunes removed of one life of one instance: ``executions`` of those from ``first_execution_id`` to
    ``last_execution_id`` (all of them, unless some in between were kept), and when.

    ``rule``, ``origin`` and ``trigger`` are the texts of options, of who said so and of a ``PruneTrigger``; ``SEVERAL``
    where different ones were merged. Times are Unix milliseconds, of the first and the last prune.
    """

    first_execution_id: int
    last_execution_id: int
    executions: int
    events: int
    history_bytes: int
    rule: str
    origin: str
    trigger: str
    first_pruned_at_ms: int
    last_pruned_at_ms: int


class LedgerTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What was pruned of all instances of one orchestration that are gone. ``instances`` counts those with a ledger.
    Times are None as long as nothing was folded in."""

    name: str
    instances: int = 0
    executions: int = 0
    events: int = 0
    history_bytes: int = 0
    first_pruned_at_ms: int | None = None
    last_pruned_at_ms: int | None = None


class RunSource(NamedTuple):
    """Where a manual run was made: the name of the machine, the version of duro, and the SHA-256 of the plan that was
    carried out (32 hexadecimal digits; "" without a plan)."""

    host: str = ""
    duro_version: str = ""
    plan_hash: str = ""


NO_SOURCE: Final = RunSource()
"""Nobody says."""
