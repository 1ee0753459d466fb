"""Checks that are more than one statement of the store."""

from collections.abc import Callable, Sequence

import msgspec

from duro.errors import StoreError
from duro.model.checkup import FINDINGS_SHOWN, CheckResult, Finding, Severity


def looked(check: CheckResult, look: Callable[[], Sequence[Finding]]) -> CheckResult:
    """``check`` with what ``look`` finds. Where the file is so damaged that it cannot look, that is what it found, and
    the others go on."""
    try:
        findings = look()
    except StoreError as error:
        found = Finding("store", f"this check could not be carried out: {error.message}")
        return msgspec.structs.replace(check, severity=Severity.ERROR, count=1, findings=(found,))
    return msgspec.structs.replace(check, count=len(findings), findings=tuple(findings[:FINDINGS_SHOWN]))
