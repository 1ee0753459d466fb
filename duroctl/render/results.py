"""How an instance ended, as text and as JSON."""

from typing import Any, Final

from duro.client import OrchestrationResult
from duro.model.failure import FailureDetails
from duroctl.render.records import encode
from duroctl.render.tables import Column, View


def result_json(result: OrchestrationResult) -> dict[str, Any]:
    return {
        "instance_id": result.instance_id,
        "execution_id": result.execution_id,
        "status": result.status,
        "output": result.output,
        "failure": failure_json(result.failure),
    }


def failure_json(failure: FailureDetails | None) -> dict[str, Any] | None:
    """A failure and its causes; written out, because the stored form leaves out what is empty."""
    if failure is None:
        return None
    return {
        "type": failure.type,
        "message": failure.message,
        "traceback": failure.traceback,
        "non_retryable": failure.non_retryable,
        "cause": failure_json(failure.cause),
    }


def failure_line(failure: FailureDetails) -> str:
    return f"{failure.type}: {failure.message}" if failure.message else failure.type


def result_lines(result: OrchestrationResult) -> list[str]:
    """The output as JSON; nothing for an instance that did not complete (the error says it)."""
    return [encode(result.output, indent=2)] if result.failure is None else []


RESULTS: Final = View(
    "duroctl.results/1",
    "results",
    (
        Column("instance_id", "INSTANCE", "id", lambda r: r.instance_id),
        Column("execution_id", None, "number", lambda r: r.execution_id),
        Column("status", "STATUS", "word", lambda r: r.status),
        Column("output", "OUTPUT", "text", lambda r: None if r.failure else encode(r.output)),
        Column("failure", "FAILURE", "text", lambda r: failure_line(r.failure) if r.failure else None),
    ),
    result_json,
    lambda result: result.instance_id,
)
RESULT: Final = View(
    "duroctl.result/1",
    "result",
    (
        Column("instance_id", None, "id", lambda r: r.instance_id),
        Column("execution_id", None, "number", lambda r: r.execution_id),
        Column("status", None, "text", lambda r: r.status),
        Column("output", None, "text", lambda r: None if r.failure else encode(r.output)),
        Column("failure", None, "text", lambda r: failure_line(r.failure) if r.failure else None),
    ),
    result_json,
    lambda result: result.instance_id,
)
