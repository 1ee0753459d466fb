"""Executions for tests of retention, made of what matters in them."""

from duro.model.pruning import ExecutionFacts
from duro.model.status import ExecutionStatus

DAY_MS = 86_400_000
NOW_MS = 1_794_960_000_000  # 2026-11-18T00:00:00Z


def ended(execution_id: int, *, age_days: float | None = 0, version: str = "1.0.0", **others: object) -> ExecutionFacts:
    """An execution that continued as new ``age_days`` before ``NOW_MS`` (None: when is not recorded)."""
    completed_at_ms = None if age_days is None else NOW_MS - round(age_days * DAY_MS)
    return _execution(execution_id, ExecutionStatus.CONTINUED_AS_NEW, completed_at_ms, version, others)


def current(execution_id: int, *, version: str = "1.0.0", **others: object) -> ExecutionFacts:
    """The running execution of an instance."""
    return _execution(execution_id, ExecutionStatus.RUNNING, None, version, {"is_current": True, **others})


def _execution(
    execution_id: int, status: ExecutionStatus, completed_at_ms: int | None, version: str, others: dict[str, object]
) -> ExecutionFacts:
    fields: dict[str, object] = {
        "instance_id": "queue-1",
        "incarnation": 1,
        "execution_id": execution_id,
        "name": "Eternal",
        "version": version,
        "status": status,
        "started_at_ms": NOW_MS - 30 * DAY_MS,
        "completed_at_ms": completed_at_ms,
        "event_count": 10,
        "history_bytes": 1000,
        "is_current": False,
    }
    return ExecutionFacts(**(fields | others))  # type: ignore[arg-type]
