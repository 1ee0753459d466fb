"""What a checkup found, as lines and documents. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from duro.model.checkup import CheckResult, Repair, Severity
from duroctl.render.tables import Column, View
from duroctl.render.text import visible_field
from duroctl.render.units import counted

CHECKS: Final = View(
    "duroctl.doctor/1",
    "checks",
    (
        Column("check", "CHECK", "text", lambda result: result.name),
        Column("severity", "SEVERITY", "text", lambda result: result.severity if result.count else "ok"),
        Column("count", "FOUND", "number", lambda result: result.count),
        Column("looks_for", "LOOKS FOR", "text", lambda result: result.looks_for),
        Column("first", None, "text", lambda result: _first(result)),
        Column("remedy", None, "text", lambda result: result.remedy if result.count else None),
    ),
    msgspec.to_builtins,
    lambda result: str(result.name),
)
REPAIRS: Final = View(
    "duroctl.repairs/1",
    "repairs",
    (
        Column("check", "REPAIRED", "text", lambda repair: repair.name),
        Column("rows", "ROWS", "number", lambda repair: repair.rows),
    ),
    msgspec.to_builtins,
    lambda repair: str(repair.name),
)


def _first(result: CheckResult) -> str | None:
    return f"{result.findings[0].subject}: {result.findings[0].text}" if result.findings else None


def is_ill(result: CheckResult) -> bool:
    """Whether something is wrong, and not only worth knowing."""
    return result.count > 0 and result.severity is not Severity.NOTE


def check_lines(results: Sequence[CheckResult], *, findings_max: int = 5) -> Iterator[str]:
    """What was found, the worst first, and how many checks found nothing."""
    yield from found_lines(results, findings_max=findings_max)
    nothing = sum(not each.count for each in results)
    yield f"{nothing} of {len(results)} checks found nothing"


def found_lines(results: Sequence[CheckResult], *, findings_max: int = 5) -> Iterator[str]:
    """What was found, the worst first."""
    order = list(Severity)
    found = sorted((each for each in results if each.count), key=lambda each: order.index(each.severity))
    for result in found:
        yield f"{result.severity}: {result.name}: {result.count:,} found: {visible_field(result.looks_for)}"
        for finding in result.findings[:findings_max]:
            yield f"    {visible_field(finding.subject)}: {visible_field(finding.text)}"
        if result.count > findings_max:
            yield f"    ... and {result.count - findings_max:,} more (-o json lists the first {len(result.findings)})"
        yield f"    -> {result.remedy}"


def repair_lines(repairs: Sequence[Repair]) -> Iterator[str]:
    for repair in repairs:
        yield f"deleted {counted(repair.rows, 'row')}: {repair.name}"
