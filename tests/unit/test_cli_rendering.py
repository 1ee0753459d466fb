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
from duro.model.archive import ArchiveOutcome
from duro.model.failure import FailureDetails
from duro.model.families import RemovalResult, SkippedInstance
from duro.model.pruning import ExecutionFacts, InstancePlan, PlanItem, PruneResult, SkippedExecution, Verdict
from duro.model.removal import PruneRun, UndoResult
from duro.model.retention import PolicyKind, PolicyOrigin, PruneOptions
from duro.model.status import ExecutionStatus
from duro.retention.plan import prune_plan
from duroctl.render import ledger, plans, removals
from duroctl.render.history import detail_lines, parse_event, summary
from duroctl.render.layout import cells, is_word
from duroctl.render.outcomes import outcome_lines
from duroctl.render.tables import Column, csv_line, exact_cell, terminal_cell
from duroctl.render.terminal_tables import table_lines
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


def test_padding_in_a_cell_is_seen_on_terminals_and_exact_in_files() -> None:
    assert terminal_cell("id", " a  b", 0) == "\\x20a\\x20\\x20b"
    assert exact_cell("id", " a  b") == " a  b"


COLUMNS = (
    Column("id", "INSTANCE", "id", lambda row: row[0]),
    Column("hidden", None, "text", lambda row: "hidden"),
    Column("status", "STATUS", "text", lambda row: row[1]),
    Column("events", "EVENTS", "number", lambda row: row[2]),
    Column("at", "UPDATED", "time", lambda row: 0),
)
ROWS = [("queue-1", "running", 7), ("a/very long id", "failed", 1_000)]


def table(width: int, rows: list[tuple[str, str, int]] = ROWS, *, colours: bool = False, now_ms: int = 0) -> list[str]:
    return list(table_lines(COLUMNS, rows, now_ms, width, colours=colours))


def test_a_table_has_a_column_for_every_heading() -> None:
    assert table(80) == [
        "INSTANCE        STATUS   EVENTS  UPDATED",
        "queue-1         running       7  now",
        "a/very long id  failed     1000  now",
    ]
    assert table(80, []) == ["INSTANCE  STATUS  EVENTS  UPDATED"]


def test_texts_are_folded_where_the_terminal_is_too_narrow_and_begin_no_line() -> None:
    assert table(35) == [
        "INSTANCE   STATUS   EVENTS  UPDATED",
        "queue-1    running       7  now",
        "a/very     failed     1000  now",
        "  long id",
    ]


def test_short_ids_are_whole_as_long_as_other_texts_can_be_folded() -> None:
    columns = (
        Column("id", "RUN", "id", lambda row: row[0]),
        Column("by", "BY", "text", lambda row: row[1]),
    )
    rows = [("run-123456789", "somebody with a long name")]
    assert list(table_lines(columns, rows, 0, 30, colours=False)) == [
        "RUN            BY",
        "run-123456789  somebody with",
        "               a long name",
    ]


def test_a_rule_is_not_shown_as_another_rule_where_the_terminal_is_narrow() -> None:
    """``keep_last=15`` that is folded reads ``keep_last=1``."""
    run = PruneRun(
        run_id="run-aa17ac14",
        trigger="manual",
        rule="keep_last=15",
        origin="call",
        by="somebody",
        reason="the disk was full again",
        started_at_ms=0,
        instances=3,
        executions=14,
        events=56,
        history_bytes=6_104,
    )
    lines = list(table_lines(ledger.RUNS.columns, [run], 13_000, 80, colours=False))
    assert any("keep_last=15" in line for line in lines)


def test_what_a_run_was_is_one_word_however_wide_the_rule_of_another_is() -> None:
    purge = PruneRun(
        run_id="run-aa17ac14",
        kind="purge",
        trigger="purge",
        rule="completed_before=2026-11-27T10:05:41.123Z",
        origin="call",
        by="somebody@machine",
        reason="",
        started_at_ms=0,
        instances=3,
        executions=14,
        events=56,
        history_bytes=6_104,
    )
    restore = msgspec.structs.replace(purge, run_id="restore-aa17ac14", kind="restore", trigger="undo", rule="")
    lines = list(table_lines(ledger.RUNS.columns, [purge, restore], 13_000, 80, colours=False))
    assert any("restore " in line.replace("restore-aa17ac14", "") for line in lines), lines
    assert max(map(len, lines)) <= 80


def test_a_run_whose_histories_somebody_else_has_archived_says_where_they_are() -> None:
    nothing = ArchiveOutcome(archive="/srv/kept", directory="/srv/kept")
    assert [*outcome_lines(nothing)] == ["what went is kept in /srv/kept already"]
    wrote = msgspec.structs.replace(nothing, histories=1, segments=1, file_bytes=7)
    assert [*outcome_lines(wrote)] == ["kept 1 history in /srv/kept: 1 segment, 7 B"]
    waits = msgspec.structs.replace(nothing, waiting=1, problem="it is away")
    assert [*outcome_lines(waits)] == ["1 execution or instance stays in the store until archived: it is away"]


def test_the_list_of_runs_tells_the_configured_archive_from_none() -> None:
    run = PruneRun(
        run_id="run-1",
        trigger="manual",
        rule="keep_last=1",
        origin="call",
        by="ann",
        reason="",
        started_at_ms=0,
        instances=1,
        executions=1,
        events=1,
        history_bytes=1,
    )
    (archive,) = (column for column in ledger.RUNS.columns if column.name == "archive")
    shown = [archive.value(msgspec.structs.replace(run, archive=kept)) for kept in (None, "", "/srv/kept")]
    assert shown == [None, "the configured archive", "/srv/kept"]


def test_an_id_that_is_too_wide_for_its_column_is_whole_and_the_rest_stands_below() -> None:
    rows = [("queue-1", "running", 7), ("550e8400-e29b-41d4-a716-446655440000", "failed", 1_000), ("x" * 50, "ok", 1)]
    assert table(40, rows) == [
        "INSTANCE  STATUS   EVENTS  UPDATED",
        "queue-1   running       7  now",
        "550e8400-e29b-41d4-a716-446655440000",
        "          failed     1000  now",
        "x" * 50,
        "          ok            1  now",
    ]


def test_an_id_in_the_middle_that_is_too_wide_stands_where_it_ends_with_the_terminal() -> None:
    columns = (
        Column("events", "EVENTS", "number", lambda row: row[0]),
        Column("by", "BY", "text", lambda row: row[1]),
        Column("run", "RUN", "id", lambda row: row[2]),
        Column("status", "STATUS", "text", lambda row: row[3]),
    )
    rows = [(7, "somebody", "run-12345678", "ok"), (7, "somebody", "run-123456789012345678901234", "ok")]
    assert list(table_lines(columns, rows, 0, 36, colours=False)) == [
        "EVENTS  BY      RUN           STATUS",
        "     7  somebo  run-12345678  ok",
        "        dy",
        "     7  somebo",
        "        dy",
        "        run-123456789012345678901234",
        "                              ok",
    ]


def test_columns_stand_closer_where_that_spares_the_folding_of_any() -> None:
    columns = (
        Column("id", "INSTANCE", "id", lambda row: row[0]),
        Column("rule", "RULE", "text", lambda row: row[1]),
        Column("by", "BY", "text", lambda row: row[2]),
    )
    rows = [("eternal-1", "keep_last=3", "root")]
    assert list(table_lines(columns, rows, 0, 28, colours=False)) == [
        "INSTANCE   RULE         BY",
        "eternal-1  keep_last=3  root",
    ]
    assert list(table_lines(columns, rows, 0, 27, colours=False)) == [
        "INSTANCE  RULE        BY",
        "eternal-1 keep_last=3 root",
    ]
    assert list(table_lines(columns, rows, 0, 25, colours=False)) == [
        "INSTANCE   RULE      BY",
        "eternal-1  keep_las  root",
        "           t=3",
    ]


def test_a_known_word_is_folded_only_where_nothing_else_helps() -> None:
    columns = (
        Column("id", "INSTANCE", "id", lambda row: row[0]),
        Column("kind", "KIND", "word", lambda row: row[1]),
    )
    rows = [("eternal-1-0-leaf", "parent-continued")]
    assert list(table_lines(columns, rows, 0, 30, colours=False)) == [
        "INSTANCE  KIND",
        "eternal-1-0-leaf",
        "          parent-continued",
    ]
    assert list(table_lines(columns, rows, 0, 20, colours=False)) == [
        "INSTANCE  KIND",
        "eternal-1-0-leaf",
        "          parent-con",
        "          tinued",
    ]


def test_a_table_that_is_too_wide_comes_as_a_line_for_every_cell() -> None:
    assert table(22) == [
        "INSTANCE  queue-1",
        "STATUS    running",
        "EVENTS    7",
        "UPDATED   now",
        "",
        "INSTANCE  a/very long ",
        "          id",
        "STATUS    failed",
        "EVENTS    1000",
        "UPDATED   now",
    ]
    assert table(22, [("a-very-long-id-1", "ok", 1), ("x" * 30, "ok", 1)]) == [
        "INSTANCE",
        "      a-very-long-id-1",
        "STATUS    ok",
        "EVENTS    1",
        "UPDATED   now",
        "",
        "INSTANCE",
        "  " + "x" * 30,
        "STATUS    ok",
        "EVENTS    1",
        "UPDATED   now",
    ]
    assert table(22, []) == ["INSTANCE  STATUS", "    EVENTS  UPDATED"]


def test_a_status_has_a_colour_where_there_are_some() -> None:
    assert table(80, ROWS[:1], colours=True)[1] == "queue-1   \x1b[34mrunning\x1b[0m       7  now"


@given(st.lists(st.tuples(st.text(), st.text(), st.integers(0, 10**12)), max_size=3), st.integers(10, 90))
def test_a_table_is_never_wider_than_the_terminal_and_loses_nothing(
    rows: list[tuple[str, str, int]], width: int
) -> None:
    lines = table(width, rows)
    assert all(cells(line) <= width or is_word(line.strip(" ")) for line in lines)
    printed = sorted("".join(lines).replace(" ", ""))
    for cell in (terminal_cell("id", value, 0) for row in rows for value in row):
        for character in cell.replace(" ", ""):
            printed.remove(character)


def test_what_the_terminal_cannot_encode_is_escaped_before_it_is_laid_out() -> None:
    def escaped(text: str) -> str:
        return text.encode("ascii", "backslashreplace").decode()

    lines = list(table_lines(COLUMNS, [("注文" * 5, "running", 1)], 0, 40, colours=False, encodable=escaped))
    assert lines == [
        "INSTANCE  STATUS   EVENTS  UPDATED",
        escaped("注文" * 5),
        "          running       1  now",
    ]


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


def test_what_is_skipped_is_told_up_to_a_thousand_and_counted_whole() -> None:
    """A plan that is applied a second time skips everything it has."""
    executions = tuple(SkippedExecution("a", 1, number, "it is gone") for number in range(1, 2_501))
    instances = tuple(SkippedInstance(f"a-{number}", "it is gone") for number in range(2_500))
    for document in (
        plans.RESULT.to_json(PruneResult(skipped=executions)),
        removals.RESULT.to_json(RemovalResult(skipped=instances)),
    ):
        assert (len(document["skipped"]), document["skipped_count"]) == (1_000, 2_500)
    told = list(plans.result_lines(PruneResult(skipped=executions), 0))
    assert (len(told), told[-1]) == (22, "... and 2,480 more were skipped")
    told = list(plans.result_lines(PruneResult(skipped=executions[:21]), 0))
    assert told[-1] == "... and 1 more was skipped"


@pytest.mark.parametrize(
    ("instances", "where"),
    [
        (1, "q-0"),
        (5, "q-0, q-1, q-2, q-3, q-4"),
        (6, "q-0, q-1, q-2, q-3, q-4 and 1 more"),
        (1_500, "q-0, q-1, q-2, q-3, q-4 and 1,495 more"),
    ],
)
def test_of_many_instances_that_were_brought_back_some_are_named_and_the_others_counted(
    instances: int, where: str
) -> None:
    undone = UndoResult(executions_restored=2_000, instances=tuple(f"q-{number}" for number in range(instances)))
    assert list(plans.undo_lines(undone, "run-1")) == [f"brought back 2,000 executions of {where}"]


def test_an_undo_says_which_undo_comes_first() -> None:
    assert list(plans.undo_lines(UndoResult(removed=("queue-1",)), "run-1")) == [
        "brought back nothing",
        "queue-1 was removed whole since: `duroctl prune undo queue-1` comes first",
    ]


def _left(instance_id: str, kind: PolicyKind, text: str, why: str) -> InstancePlan:
    origin = PolicyOrigin(kind, text)
    return InstancePlan(
        instance_id=instance_id, incarnation=1, name="Order", rules=None, origin=origin, items=(), why=why
    )


def test_instances_that_their_policies_leave_out_are_told_by_reason() -> None:
    own = [
        _left(f"own-{number}", PolicyKind.INSTANCE, f"own-{number}", f"own-{number} says never") for number in "1234"
    ]
    others = [_left(f"o-{number}", PolicyKind.NONE, f"why {number}", f"why {number}") for number in range(6)]
    rules = (PruneOptions(keep_last=1),)
    pruned = msgspec.structs.replace(own[0], instance_id="pruned", rules=rules, why="")
    plan = prune_plan([], store_id="s", policy_revision=1, hold_revision=1, made_at_ms=1)
    plan = msgspec.structs.replace(plan, instances=(pruned, *own, *others))
    assert list(plans.left_lines(plan)) == [
        "left out: 4 instances (own-1, own-2, own-3, ...): its own policy says never",
        *(f"left out: 1 instance (o-{number}): why {number}" for number in range(4)),
        "left out: 2 instances more, for other reasons (`duroctl policy explain` of one says)",
    ]
    assert list(plans.left_lines(msgspec.structs.replace(plan, instances=(pruned,)))) == []


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (1, "1 execution stays for nothing but h; `duroctl holds remove h` lets it go"),
        (2, "2 executions stay for nothing but h; `duroctl holds remove h` lets them go"),
    ],
)
def test_one_is_no_plural(number: int, line: str) -> None:
    facts = [
        ExecutionFacts(
            instance_id="a",
            incarnation=1,
            execution_id=execution_id,
            name="Order",
            version="1",
            status=ExecutionStatus.CONTINUED_AS_NEW,
            started_at_ms=1,
            completed_at_ms=2,
            event_count=2,
            history_bytes=9,
            is_current=False,
        )
        for execution_id in range(1, number + 1)
    ]
    items = tuple(PlanItem(each, Verdict(True, ("held:h",))) for each in facts)
    plan = prune_plan([], store_id="s", policy_revision=1, hold_revision=1, made_at_ms=1)
    held = msgspec.structs.replace(_left("a", PolicyKind.CALL, "", ""), rules=(PruneOptions(keep_last=1),), items=items)
    assert list(plans.held_lines(msgspec.structs.replace(plan, instances=(held,)))) == [line]
    them = "it" if number == 1 else "them"
    told = list(plans.result_lines(PruneResult(executions_deleted=number, run_id="run-1"), 3600.0))
    assert told[-1] == f"`duroctl prune undo run-1` brings {them} back, for the next 1h"
