"""Many policies over one instance, as tables to be read: who is kept, who goes, and every reason.

``python -m tests.unit.test_retention_golden`` writes the tables anew; read the difference before keeping it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from duro.model.pruning import ExecutionFacts, Hold, HoldTarget, NewerExecutions, Verdict
from duro.model.retention import PruneOptions, format_time
from duro.model.status import ExecutionStatus
from duro.retention.plan import oldest, plan_instance
from tests.retention_facts import DAY_MS, NOW_MS, current, ended

GOLDEN: Final = Path(__file__).parent / "golden" / "retention_plans.txt"

EXECUTIONS: Final = (
    ended(1, age_days=30),
    ended(2, age_days=21),
    ended(3, age_days=14),
    ended(4, age_days=10, version="1.1.0"),
    ended(5, age_days=8, version=""),
    ended(6, age_days=7, version="2.0.0"),
    ended(7, age_days=None, version="2.0.0"),
    ended(9, age_days=3, version="1.1.0"),  # rolled back to 1.1.0; execution 8 was pruned
    ended(10, age_days=2, version="2.0.0"),
    ended(11, age_days=0.5, version="2.0.0"),
    current(12, version="2.0.0"),
)
HOLDS: Final = (
    Hold(hold_id="bug", target=HoldTarget(instance_id="queue-1", execution_id=2), reason="seen in 2", created_at_ms=0),
    Hold(
        hold_id="audit",
        target=HoldTarget(name="Eter*", version="1.1.0"),
        reason="an audit",
        created_at_ms=0,
        until_ms=NOW_MS + 1,
    ),
    Hold(hold_id="over", target=HoldTarget(name="Eternal"), reason="expired", created_at_ms=0, until_ms=NOW_MS),
    Hold(hold_id="else", target=HoldTarget(instance_id="queue-2"), reason="another one", created_at_ms=0),
)
WEEK_S: Final = 7 * 86_400
TWO_WEEKS_AGO_MS: Final = NOW_MS - 14 * DAY_MS

RULES: Final = (
    PruneOptions(keep_last=1),
    PruneOptions(keep_last=3),
    PruneOptions(keep_last=11),
    PruneOptions(keep_within=WEEK_S),
    PruneOptions(completed_before=TWO_WEEKS_AGO_MS),
    PruneOptions(keep_last=1, completed_before=TWO_WEEKS_AGO_MS),
    PruneOptions(keep_last_per_version=1),
    PruneOptions(keep_last_per_version=2, keep_versions=2),
    PruneOptions(keep_last_per_version=3, keep_versions=1),
    PruneOptions(keep_last=2, keep_within=WEEK_S, completed_before=TWO_WEEKS_AGO_MS, keep_last_per_version=1),
)


def _tables() -> Iterator[str]:
    for rules in RULES:
        yield _table(str(rules), EXECUTIONS, plan_instance(EXECUTIONS, rules, (), NOW_MS))
    yield _case("never", rules=None)
    yield _case(
        "united: keep_last=1 | keep_last=2 | keep_last_per_version=1",
        rules=[RULES[0], PruneOptions(keep_last=2), RULES[6]],
    )
    yield _case("keep_last=1 with holds on 1.1.0 and on execution 2", rules=RULES[0], holds=HOLDS)
    yield _case("keep_last=1 as an execution of 2.0.0 starts", rules=RULES[0], starting="2.0.0")
    yield _case("keep_last=2 keep_last_per_version=1 keep_versions=1 as one of 3.0.0 starts", starting="3.0.0")
    yield _case("keep_last=2 keep_last_per_version=1 keep_versions=1 as one of no version starts", starting="")
    finished = (*EXECUTIONS[:-1], current(12, version="2.0.0", status=ExecutionStatus.FAILED, completed_at_ms=NOW_MS))
    yield _case("keep_last=1 of an instance that failed", finished, rules=RULES[0])
    queued = (*EXECUTIONS[:-1], ended(12, version="2.0.0", is_current=True, has_queued_successor=True))
    yield _case("keep_last=1 while the successor of the current one is queued", queued, rules=RULES[0])
    stray = (ended(1, status=ExecutionStatus.RUNNING, completed_at_ms=None), current(2))
    yield _case("keep_last=1 with one that runs and is not the current one", stray, rules=RULES[0])
    window, newer = oldest(EXECUTIONS, 6)
    yield _case("the oldest 6, counts known", window, rules=RULES[7], newer=newer)
    unknown = NewerExecutions(executions=newer.executions, versions=None)
    yield _case("the oldest 6, versions not known", window, rules=RULES[7], newer=unknown)


def _case(title: str, executions: tuple[ExecutionFacts, ...] = EXECUTIONS, **arguments: Any) -> str:
    rules = arguments.pop("rules", PruneOptions(keep_last=2, keep_last_per_version=1, keep_versions=1))
    holds = arguments.pop("holds", ())
    return _table(title, executions, plan_instance(executions, rules, holds, NOW_MS, **arguments))


def _table(title: str, executions: tuple[ExecutionFacts, ...], verdicts: tuple[Verdict, ...]) -> str:
    rows = [f"== {title}"]
    for execution, verdict in sorted(zip(executions, verdicts, strict=True), key=lambda pair: -pair[0].execution_id):
        ended_at = "-" if execution.completed_at_ms is None else format_time(execution.completed_at_ms)[:16]
        cells = (
            f"{execution.execution_id:>3}",
            f"{execution.version or '-':<6}",
            f"{ended_at:<16}",
            "keep  " if verdict.keep else "remove",
            " ".join(verdict.reasons),
        )
        rows.append(" ".join(cells))
    return "\n".join(rows) + "\n"


def _by_title(text: str) -> Mapping[str, str]:
    tables = [table for table in text.split("== ") if table]
    return {table.split("\n", 1)[0]: table for table in tables}


def test_the_tables_of_verdicts_are_as_recorded() -> None:
    recorded, made = _by_title(GOLDEN.read_text(encoding="utf-8")), _by_title("\n".join(_tables()))
    assert list(made) == list(recorded)
    for title, table in made.items():
        assert table.rstrip() == recorded[title].rstrip()


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(_tables()), encoding="utf-8")
