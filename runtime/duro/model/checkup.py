"""What ``doctor`` looks for and what it finds, as values."""

from enum import StrEnum

import msgspec


class Severity(StrEnum):
    ERROR = "error"
    """A promise of the store is broken, or will be when the power fails."""
    WARNING = "warning"
    """Something does not work as somebody meant it to."""
    NOTE = "note"
    """Worth knowing; nothing is wrong."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it should be. ``subject`` is its id: an instance, an execution, a worker, a file."""

    subject: str
    text: str


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One check. ``count`` findings there are, the first of them in ``findings``; 0: all is well. ``remedy`` says what
    to do. ``repairable``: a repair removes what was found: it is proved to be left of what was removed or has ended."""

    name: str
    severity: Severity
    looks_for: str
    remedy: str
    repairable: bool = False
    count: int = 0
    findings: tuple[Finding, ...] = ()


class Repair(msgspec.Struct, frozen=True):
    """What one repair removed."""

    name: str
    rows: int


FINDINGS_SHOWN = 20
"""Findings of one check that are told in full; all of them are counted."""
