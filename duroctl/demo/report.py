"""What the demo shows at its end. Every number is read from the store."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby, pairwise
from typing import Final, TypeAlias

import msgspec

from duro import codec
from duro.client import Client
from duro.errors import InvalidInputError
from duro.model import events
from duro.model.records import ExecutionRecord, HistoryRecord, InstanceRecord, StoreInfo
from duroctl.demo.integrity_monitor import MonitorState, Summary
from duroctl.render.text import visible

INSTANCE_ID: Final = "integrity-monitor"
ENDS_SHOWN: Final = 3
"""How many of the first and of the last executions are shown."""

Steps: TypeAlias = tuple[tuple[str, str], ...]
"""Commands, and what they show."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """The size of the store after a scan. The demo sends it along with the event that asks for the next scan, and so
    the history of that execution keeps it."""

    scan: int
    executions: int
    events: int
    logical_bytes: int
    file_bytes: int
    wal_bytes: int


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """All the report is made of."""

    instance: InstanceRecord
    summary: Summary
    baseline_files: int
    executions: tuple[ExecutionRecord, ...]
    children: int
    history: HistoryRecord
    samples: tuple[Sample, ...]
    info: StoreInfo

    @property
    def told(self) -> int:
        """The execution whose history is shown."""
        return self.history.execution.execution_id


class Column(msgspec.Struct, frozen=True):
    heading: str
    number: bool = False
    """Set to the right."""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A heading and a table with a remark on it, or lines to be left as they are."""

    title: str
    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    remark: str = ""
    lines: tuple[str, ...] = ()


def sample(scan: int, info: StoreInfo) -> Sample:
    """The size of the store as it is now."""
    return Sample(
        scan=scan,
        executions=info.executions,
        events=info.events,
        logical_bytes=info.logical_bytes,
        file_bytes=info.file_bytes,
        wal_bytes=info.wal_bytes,
    )


def gather(client: Client) -> Findings:
    """Read what the finished monitor left in the store. ``client`` has the registry of the monitor.

    Raises:
        OrchestrationFailedError: the monitor did not complete.
    """
    outcome = client.get_result(INSTANCE_ID)
    assert outcome is not None, "the monitor has ended"
    summary: Summary = outcome.result()
    executions = client.list_executions(INSTANCE_ID, limit=0).executions[::-1]
    info = client.info()
    points = sorted({1, *(len(executions) * quarter // 4 for quarter in (1, 2, 3))} - {0, len(executions)})
    recorded = [_recorded_sample(client.read_history(INSTANCE_ID, point)) for point in points]
    return Findings(
        instance=client.get_instance(INSTANCE_ID),
        summary=summary,
        baseline_files=_baseline_files(client.read_history(INSTANCE_ID, 1)),
        executions=executions,
        children=len(client.list_children(INSTANCE_ID)),
        history=client.read_history(INSTANCE_ID, _telling_scan(summary) or len(executions)),
        samples=(*(each for each in recorded if each), sample(len(executions), info)),
        info=info,
    )


def _recorded_sample(history: HistoryRecord) -> Sample | None:
    """The sample that came with the event for the next scan; None if another event (or the timer) asked for it."""
    for event in map(codec.decode_event, history.events):
        if isinstance(event, events.EventReceived):
            with suppress(InvalidInputError):
                found: Sample = codec.decode_payload(event.data, Sample, "data of the event")
                return found
    return None


def _baseline_files(history: HistoryRecord) -> int:
    """How many files the first execution knew when it continued as new."""
    match codec.decode_event(history.events[-1]):
        case events.OrchestrationContinuedAsNew(input=state):
            known: MonitorState = codec.decode_payload(state, MonitorState, "state of the monitor")
            return sum(map(len, known.parts.values()))
    return 0


def _telling_scan(summary: Summary) -> int | None:
    """The scan whose history is worth showing: one that found a change."""
    return next((scan for scan, changes in sorted(summary.findings.items()) if changes.changed or changes.added), None)


# --- the sections ------------------------------------------------------------------------------------------------


def sections(findings: Findings, next_steps: Steps, amount: Callable[[int], str]) -> list[Section]:
    """The report, top to bottom. ``amount`` writes a number of bytes."""
    return [
        _instance(findings, amount),
        _found(findings),
        _executions(findings.executions, amount),
        _history(findings.history, amount),
        _growth(findings, amount),
        Section(title="What to try next", lines=tuple(f"{command}\n    {shown}" for command, shown in next_steps)),
    ]


def _instance(findings: Findings, amount: Callable[[int], str]) -> Section:
    instance, summary = findings.instance, findings.summary
    return Section(
        title="The instance",
        columns=(
            Column("instance"),
            Column("orchestration"),
            Column("status"),
            Column("executions", number=True),
            Column("children", number=True),
        ),
        rows=(
            (
                visible(instance.instance_id),
                visible(f"{instance.name} {instance.version}"),
                instance.status,
                str(len(findings.executions)),
                str(findings.children),
            ),
        ),
        remark=f"It watched {summary.files} files of {amount(summary.bytes)}. Each execution is one scan: one child a "
        "subdirectory lists the files there and hashes those that look new.",
    )


def _found(findings: Findings) -> Section:
    rows = [("1", "baseline", f"{findings.baseline_files} files")]
    for scan, changes in sorted(findings.summary.findings.items()):
        for kind in ("added", "changed", "removed", "unreadable"):
            rows += [(str(scan), kind, visible(path)) for path in getattr(changes, kind)]
    return Section(
        title="What it found",
        columns=(Column("scan", number=True), Column("change"), Column("path")),
        rows=tuple(rows),
        remark="The demo added, changed and removed these files in the copy, each between two scans.",
    )


def _executions(executions: Sequence[ExecutionRecord], amount: Callable[[int], str]) -> Section:
    rows = [_execution_row(each, amount) for each in executions]
    if len(rows) > 2 * ENDS_SHOWN + 1:
        rows[ENDS_SHOWN:-ENDS_SHOWN] = [("...", "", "", "", "")]
    return Section(
        title="Its executions",
        columns=(
            Column("execution", number=True),
            Column("status"),
            Column("seconds", number=True),
            Column("events", number=True),
            Column("history", number=True),
        ),
        rows=tuple(rows),
        remark="continued_as_new: it is over, and only its successor will ever be replayed.",
    )


def _execution_row(record: ExecutionRecord, amount: Callable[[int], str]) -> tuple[str, ...]:
    ended = record.completed_at_ms
    seconds = "" if ended is None else f"{(ended - record.started_at_ms) / 1000:.3f}"
    return (str(record.execution_id), record.status, seconds, str(record.event_count), amount(record.history_bytes))


def _history(history: HistoryRecord, amount: Callable[[int], str]) -> Section:
    shown = list(_event_rows(history, amount))
    return Section(
        title=f"The history of execution {history.execution.execution_id}",
        columns=(Column("events", number=True), Column("what happened"), Column("of"), Column("bytes", number=True)),
        rows=tuple(shown),
        remark="After a crash the code runs again over the events that are there; recorded work is not done again.",
    )


def _event_rows(history: HistoryRecord, amount: Callable[[int], str]) -> Iterator[tuple[str, ...]]:
    """One row for each run of like events."""
    names: dict[int, str] = {}
    described: list[tuple[int, str, str, int]] = []
    for text in history.events:
        event = codec.decode_event(text)
        answered = getattr(event, "scheduled_event_id", None)
        name: str = getattr(event, "name", None) or names.get(answered or 0, "")
        names[event.event_id] = name
        described.append((event.event_id, str(type(event).__struct_config__.tag), visible(name), len(text.encode())))
    for (kind, name), group in groupby(described, key=lambda each: each[1:3]):
        members = list(group)
        first, last = members[0][0], members[-1][0]
        span = str(first) if first == last else f"{first}-{last}"
        yield (span, kind, name, amount(sum(length for *_, length in members)))


def _growth(findings: Findings, amount: Callable[[int], str]) -> Section:
    start = Sample(scan=0, executions=0, events=0, logical_bytes=0, file_bytes=0, wal_bytes=0)
    rows = [
        (
            str(now.scan),
            str(now.executions),
            str(now.events),
            amount(now.logical_bytes),
            amount(now.file_bytes),
            amount(now.wal_bytes),
            amount((now.logical_bytes - before.logical_bytes) // (now.scan - before.scan)),
        )
        for before, now in pairwise([start, *findings.samples])
    ]
    current, info = findings.executions[-1], findings.info
    return Section(
        title="How the store has grown",
        columns=tuple(
            Column(each, number=True)
            for each in ("after scan", "executions", "events", "histories", "file", "WAL", "a scan adds")
        ),
        rows=tuple(rows),
        remark=f"To go on, the monitor would need execution {current.execution_id} alone: {current.event_count} of "
        f"{info.events} events, {amount(current.history_bytes)} of {amount(info.logical_bytes)}. The other "
        f"{info.executions - 1} executions stay for ever, and with every scan there are more of them.",
    )
