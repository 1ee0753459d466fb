"""One instance in full, and the instances a command did something to."""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from duro.client import OrchestrationResult
from duro.model.families import Lineage
from duro.model.pruning import Hold
from duro.model.records import ChildRecord, InstanceRecord
from duro.model.retention import Policy
from duroctl.render.holds import hold_line
from duroctl.render.records import encode, instance_json, lineage_json
from duroctl.render.results import failure_json, failure_line
from duroctl.render.tables import INSTANCE_COLUMNS, Column, View
from duroctl.render.text import versioned, visible, visible_field
from duroctl.render.units import iso, relative, size


class Detailed(NamedTuple):
    """An instance, how it ended (None: it has not, or its history cannot be read), who its parents are, the policy of
    its own and what holds are on it."""

    record: InstanceRecord
    result: OrchestrationResult | None
    lineage: Lineage | None = None
    policy: Policy | None = None
    holds: tuple[Hold, ...] = ()


class Touched(NamedTuple):
    """An instance that a command did something to, and its current execution."""

    instance_id: str
    execution_id: int


def detailed_json(detailed: Detailed) -> dict[str, Any]:
    result = detailed.result
    return {
        **instance_json(detailed.record),
        "output": result.output if result else None,
        "failure": failure_json(result.failure) if result else None,
        "lineage": lineage_json(detailed.lineage),
        "policy": None if detailed.policy is None else str(detailed.policy),
        "held": [hold.hold_id for hold in detailed.holds],
    }


def detail_lines(detailed: Detailed, now_ms: int | None) -> list[str]:
    """``label  value`` lines, leaving out what is empty. ``now_ms`` None: times and sizes exact, for pipes."""
    pairs = [(label, text) for label, text in _pairs(detailed, now_ms) if text]
    return [f"{label:<15}{text}" for label, text in pairs]


def _pairs(detailed: Detailed, now_ms: int | None) -> Iterator[tuple[str, str]]:
    record = detailed.record
    yield "instance", visible_field(record.instance_id)
    yield "orchestration", versioned(record.name, record.version)
    yield "status", str(record.status)
    if record.blocked:
        yield "blocked", visible_field(f"{record.blocked}: {record.blocked_reason or ''}".rstrip(": "))
        yield "attempts", str(record.attempt_count)
    if record.cancel_reason is not None:
        yield "cancel asked", visible_field(record.cancel_reason) or "(no reason)"
    yield "execution", str(record.execution_id)
    bytes_text = size(record.history_bytes) if now_ms is not None else f"{record.history_bytes} bytes"
    events = "1 event" if record.event_count == 1 else f"{record.event_count} events"
    yield "history", f"{events}, {bytes_text}"
    yield "turns", str(record.turn_sequence)
    for label, at_ms in (
        ("created", record.created_at_ms),
        ("updated", record.updated_at_ms),
        ("completed", record.completed_at_ms),
        ("ready", record.ready_at_ms),
    ):
        yield label, _moment(at_ms, now_ms)
    yield "worker", visible_field(record.lease_worker_id or "")
    yield "custom status", visible(record.custom_status or "")
    yield "own policy", "" if detailed.policy is None else visible_field(str(detailed.policy))
    for hold in detailed.holds:
        yield "held", hold_line(hold)
    yield from _lineage(detailed, now_ms)
    yield from _outcome(detailed.result)


def _lineage(detailed: Detailed, now_ms: int | None) -> Iterator[tuple[str, str]]:
    record, lineage = detailed.record, detailed.lineage
    child = None if lineage is None else lineage.child
    if parent := record.parent:
        adopted = child is not None and child.adopted_at_ms is not None
        what = "started (detached) by" if record.detached and not adopted else "child of"
        version = f" (version {child.spawner_version})" if child is not None and child.spawner_version else ""
        spawner = f"{parent.instance_id}/{parent.execution_id}{version}"
        yield "lineage", visible_field(f"{what} {spawner}, event {parent.event_id}{_in_a_life(child)}")
    if lineage is not None and lineage.place is not None:
        place = lineage.place
        yield "stands", visible_field(f"{place.kind or place.standing}: {place.why}")
    if child is not None:
        yield "spawned", _moment(child.spawned_at_ms, now_ms)
        if child.spawner_ended_at_ms is not None or child.spawner_end is not None:
            when = _moment(child.spawner_ended_at_ms, now_ms) or "at a time that is not recorded"
            how = child.spawner_end or "how is not recorded"
            pruned = "" if child.spawner_live or child.parent_status is None else " (it is pruned)"
            yield "spawner ended", visible_field(f"{when}: {how}{pruned}")
        yield "parent gone", _moment(child.parent_removed_at_ms, now_ms)
        if went := _where_its_end_went(child, now_ms):
            yield "its end", went
    if child is not None and child.adopted_at_ms is not None:
        when = _moment(child.adopted_at_ms, now_ms)
        yield "adopted", visible_field(f"{when} by {child.adopted_by}: {child.adopted_reason}")


def _in_a_life(child: ChildRecord | None) -> str:
    """Of whose id another life may be there."""
    if child is None or child.parent_status is not None:
        return ""
    parent = child.parent.instance_id
    was = "that is not there" if child.parent_removed_at_ms is None else "that was removed"
    return f", in a life of {parent} {was}"


def _where_its_end_went(child: ChildRecord, now_ms: int | None) -> str:
    if child.observed_at_ms is not None:
        return f"recorded by its parent {_moment(child.observed_at_ms, now_ms)}"
    match child.completion:
        case "sent":
            return "sent to its parent, of which no turn has taken it yet"
        case "ignored":
            return "ignored: there was nobody to take it"
    return ""


def _outcome(result: OrchestrationResult | None) -> Iterator[tuple[str, str]]:
    if result is None:
        return
    if result.failure is None:
        yield "output", encode(result.output)
        return
    failure = result.failure
    label = "failure"
    while failure is not None:
        yield label, visible_field(failure_line(failure))
        for line in (failure.traceback or "").splitlines():
            yield "", f"  {visible(line)}"
        label, failure = "caused by", failure.cause  # type: ignore[assignment]


def _moment(at_ms: int | None, now_ms: int | None) -> str:
    if at_ms is None:
        return ""
    return iso(at_ms) if now_ms is None else f"{relative(at_ms, now_ms)} ({iso(at_ms)})"


def _of_record(value: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda detailed: value(detailed.record)


_COLUMNS: Final = (
    *(column._replace(value=_of_record(column.value)) for column in INSTANCE_COLUMNS),
    Column("policy", None, "text", lambda d: None if d.policy is None else str(d.policy)),
    Column("held", None, "text", lambda d: " ".join(hold.hold_id for hold in d.holds)),
    Column("output", None, "text", lambda d: encode(d.result.output) if d.result and not d.result.failure else None),
    Column(
        "failure", None, "text", lambda d: failure_line(d.result.failure) if d.result and d.result.failure else None
    ),
)


def _id(detailed: Any) -> str:
    return str(detailed.record.instance_id)


INSTANCE: Final = View("duroctl.instance/1", "instance", _COLUMNS, detailed_json, _id)
INSTANCE_DETAILS: Final = View("duroctl.instances/1", "instances", _COLUMNS, detailed_json, _id)


def _touched(word: str) -> View:
    """Instances of which ``word`` says what was done to them."""
    return View(
        f"duroctl.{word}/1",
        word,
        (
            Column("instance_id", word.upper().replace("_", " "), "id", lambda touched: touched.instance_id),
            Column("execution_id", "EXEC", "number", lambda touched: touched.execution_id),
        ),
        lambda touched: {"instance_id": touched.instance_id, "execution_id": touched.execution_id},
        lambda touched: str(touched.instance_id),
    )


TERMINATED: Final = _touched("terminated")
CANCELLED: Final = _touched("cancel_requested")
RESUMED: Final = _touched("resumed")
