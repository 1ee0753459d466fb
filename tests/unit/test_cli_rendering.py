"""Histories, tables and trees as text."""

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duro.codec import encode_event
from duro.model import events as ev
from duro.model.failure import FailureDetails
from duro.model.retention import PruneOptions
from duroctl.render.history import detail_lines, parse_event, summary
from duroctl.render.tables import csv_line, exact_cell, terminal_cell
from duroctl.render.tree import tree_lines


def _json(text: str) -> ev.Json:
    return msgspec.Raw(text.encode())


FAILURE = FailureDetails(
    type="ChargeError",
    message="no funds",
    traceback="line 1\nline 2\n",
    cause=FailureDetails(type="OSError", message=""),
)
COMMON: dict[str, Any] = {"event_id": 2, "at_ms": 1_795_428_000_123}
EVENTS: list[tuple[ev.Event, str]] = [
    (
        ev.OrchestrationStarted(**COMMON, name="Sell", version="1.2.0", input=_json('{"id":7}'), seed="0" * 32),
        'Sell({"id":7}) version 1.2.0',
    ),
    (
        ev.OrchestrationStarted(
            **COMMON,
            name="Sell",
            version="1.2.0",
            input=_json("null"),
            seed="0" * 32,
            parent=ev.ParentLink(instance_id="p", incarnation=1, execution_id=4, event_id=9),
        ),
        "Sell() version 1.2.0 child of p/4",
    ),
    (ev.ActivityScheduled(**COMMON, name="charge", input=_json("[1,2]")), "charge([1,2])"),
    (ev.ActivityCompleted(**COMMON, scheduled_event_id=2, result=_json('"ok"')), '#2 → "ok"'),
    (ev.ActivityFailed(**COMMON, scheduled_event_id=2, failure=FAILURE), "#2 ChargeError: no funds"),
    (ev.TimerCreated(**COMMON, fire_at_ms=0), "fires at 1970-01-01T00:00:00.000Z"),
    (ev.TimerFired(**COMMON, scheduled_event_id=3), "#3"),
    (ev.EventReceived(**COMMON, scheduled_event_id=3, name="go", data=_json("1")), "#3 go = 1"),
    (
        ev.SubOrchestrationScheduled(**COMMON, name="kid", instance_id="k/1", input=_json("0"), version="2.0"),
        "kid(0) version 2.0 as k/1",
    ),
    (ev.OrchestrationCompleted(**COMMON, result=_json("[]")), "→ []"),
    (ev.OrchestrationTerminated(**COMMON, reason="why\nnot"), "why\\nnot"),
    (ev.OrchestrationContinuedAsNew(**COMMON, input=_json("9"), version="1.2.0"), "(9) version 1.2.0"),
    (
        ev.HistoryPruneRequested(**COMMON, options=PruneOptions(keep_last=3, keep_within=604_800)),
        "keep_last=3 keep_within=7d",
    ),
    (
        ev.HistoryPruned(
            **COMMON,
            scheduled_event_id=2,
            executions_deleted=64,
            events_deleted=640,
            bytes_deleted=65_536,
            remaining=3,
        ),
        "#2 pruned 64 executions (640 events, 64.0 KiB) and left 3",
    ),
    (
        ev.HistoryPruned(**COMMON, scheduled_event_id=2, executions_deleted=1, events_deleted=1, bytes_deleted=90),
        "#2 pruned 1 execution (1 event, 90 B)",
    ),
    (ev.HistoryPruned(**COMMON, scheduled_event_id=2), "#2 pruned nothing"),
    (ev.HistoryPruned(**COMMON, scheduled_event_id=2, error="OSError: no\nspace"), "#2 failed: OSError: no\\nspace"),
]


@pytest.mark.parametrize(("event", "expected"), EVENTS)
def test_an_event_on_one_line(event: ev.Event, expected: str) -> None:
    parsed = parse_event(encode_event(event))
    assert (parsed.event_id, parsed.at_ms, parsed.type) == (2, COMMON["at_ms"], type(event).__name__)
    assert summary(parsed) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "HistoryPruneRequested", "options": {"keep_first": 1}}, 'options={"keep_first":1}'),
        ({"type": "HistoryPruneRequested", "options": 7}, "options=7"),
        (
            {"type": "HistoryPruned", "scheduled_event_id": 2, "executions_deleted": "many", "archived": 4},
            '#2 pruned nothing executions_deleted="many" archived=4',
        ),
        ({"type": "HistoryPruned", "executions_deleted": 10**30}, f"pruned nothing executions_deleted={10**30}"),
    ],
)
def test_what_this_release_does_not_know_of_a_prune_is_shown_as_it_is_stored(
    fields: dict[str, Any], expected: str
) -> None:
    stored = json.dumps({"event_id": 2, "at_ms": 1, **fields}, separators=(",", ":"))
    assert summary(parse_event(stored)) == expected


def test_an_event_of_an_unknown_kind_is_shown_with_all_its_fields() -> None:
    parsed = parse_event('{"type":"Brandnew","event_id":5,"at_ms":1,"name":"x","color":"red","deep":{"a":[1]}}')
    assert (parsed.type, parsed.event_id) == ("Brandnew", 5)
    assert summary(parsed) == 'x color="red" deep={"a":[1]}'
    assert next(iter(detail_lines(parsed))).strip() == 'name: "x"'


@pytest.mark.parametrize(
    "stored", ["", "{", "[1]", '{"type":3,"event_id":1,"at_ms":1}', '{"type":"A"}', "\x1b[31m", "[" * 9999]
)
def test_an_event_that_cannot_be_read_is_shown_as_it_is_stored(stored: str) -> None:
    parsed = parse_event(stored)
    assert parsed.type == "unreadable"
    assert summary(parsed).isprintable()
    assert all(line.isprintable() for line in detail_lines(parsed))


@given(st.text(), st.text(), st.text())
def test_no_text_of_an_event_reaches_the_terminal_raw(name: str, reason: str, payload: str) -> None:
    value = {"type": name, "event_id": 1, "at_ms": 0, "name": name, "reason": reason, "input": payload, name: payload}
    failure = {"type": name, "message": reason, "traceback": payload, "cause": {"type": payload, "message": name}}
    parsed = parse_event(json.dumps({**value, "failure": failure, "type": name, "event_id": 1, "at_ms": 0}))
    assert summary(parsed).isprintable()
    assert all(line.isprintable() for line in detail_lines(parsed))


def test_a_failure_is_shown_with_its_traceback_and_causes() -> None:
    lines = list(
        detail_lines(parse_event(encode_event(ev.ActivityFailed(**COMMON, scheduled_event_id=2, failure=FAILURE))))
    )
    assert [line.strip() for line in lines] == [
        "scheduled_event_id: 2",
        "failure:",
        "ChargeError: no funds",
        "line 1",
        "line 2",
        "caused by OSError",
    ]


def test_a_time_is_shown_as_stored_and_as_a_date() -> None:
    lines = list(detail_lines(parse_event(encode_event(ev.TimerCreated(**COMMON, fire_at_ms=0)))))
    assert [line.strip() for line in lines] == ["fire_at_ms: 0 (1970-01-01T00:00:00.000Z)"]


def test_cells_are_exact_in_files_and_rounded_on_terminals() -> None:
    assert [exact_cell("time", 0), exact_cell("bytes", 2048), exact_cell("text", None), exact_cell("id", "a\tb")] == [
        "1970-01-01T00:00:00.000Z",
        "2048",
        "",
        "a\\tb",
    ]
    assert [terminal_cell("time", 0, 5_000), terminal_cell("bytes", 2048, 0), terminal_cell("text", "", 0)] == [
        "5 s ago",
        "2.0 KiB",
        "-",
    ]


@given(st.lists(st.text(), min_size=2))
def test_a_csv_line_is_one_line_and_reads_back(cells: list[str]) -> None:
    shown = [exact_cell("text", cell) for cell in cells]
    line = csv_line(shown)
    assert "\n" not in line
    assert next(csv.reader(io.StringIO(line))) == shown


@dataclass
class _Record:
    instance_id: str
    name: str = "n"
    version: str = ""
    status: str = "running"


@dataclass
class _Node:
    depth: int
    record: _Record
    is_last: bool
    child: None = None


def test_a_tree_is_drawn_with_its_branches() -> None:
    shape = [(0, "r", True), (1, "a", False), (2, "b", False), (2, "c", True), (1, "d", True), (2, "e\x1b", True)]
    nodes = [_Node(depth, _Record(name), last) for depth, name, last in shape]
    assert [line.partition("  n")[0] for line in tree_lines(nodes)] == [
        "r",
        "├── a",
        "│   ├── b",
        "│   └── c",
        "└── d",
        "    └── e\\x1b",
    ]
