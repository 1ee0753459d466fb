"""Ids, names, numbers, filters and cursors of the right kind and any value, given to every method of a client: what is
wrong is a documented error, and an error has changed nothing. ``make fuzz`` runs many more."""

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

import duro
from duro.durations import DURATION_S_MAX, format_duration, parse_duration_s
from duro.errors import DuroError, InstanceNotFoundError, UsageError
from duro.model.families import OrphanFilter, OrphanKind, PurgeOptions
from duro.model.records import InstanceFilter
from duro.model.removal import PruneScope
from duro.model.retention import AutoPrune, PruneOptions
from duro.model.status import InstanceStatus
from duro.naming import check_instance_id, check_name, check_request_id, check_text
from duro.stores.base import Store
from duro.stores.memory import MemoryStore
from duro.stores.sqlite import SqliteStore
from duro.testing import ManualClock
from duroctl.parsing import expand_ids, id_from_line, parse_count, parse_duration, resolve_reference
from duroctl.pruning import PurgeRules, Rules, parse_purge_rules, parse_rules, parse_time_ms
from duroctl.render.text import id_line
from tests.support.fuzzing import count, falsifies, fuzz, outcome_of, texts
from tests.support.pruning import Loops

NOW_MS: Final = 1_700_000_000_000

# --- what people type ----------------------------------------------------------------------------------------

TIMES: Final = (
    *("now", "7d", "999999999999w", "0s", "²d", "٣d", "1e5d", "-7d", "2026-11-25T10:00:00Z", "2026-11-25", "2026Z"),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-11-25T24:00:00Z", "2026-W01-1T00:00Z", '"'),
    *("2026-11-25T10:00:00+00:00:00.0000001", "2026-13-01T00:00Z", "9" * 5000, "9" * 5000 + "s", "0" * 5000 + "d"),
)
typed = st.one_of(
    st.sampled_from(TIMES), texts, st.from_regex("[0-9]{1,14}[smhdwy]?"), st.datetimes().map(lambda each: f"{each}Z")
)


def is_a_duration_or_refused(text: str) -> None:
    seconds, error = outcome_of(lambda: parse_duration(text, "--grace"), UsageError, operations=100)
    if error is None:
        assert 0 <= seconds <= DURATION_S_MAX
        assert parse_duration_s(format_duration(seconds)) == seconds
    else:
        assert error.message.startswith("--grace ")


@fuzz()
@given(typed)
def test_a_duration_is_read_or_refused_with_its_option(text: str) -> None:
    is_a_duration_or_refused(text)


@fuzz()
@given(typed)
def test_a_time_is_read_or_refused_with_its_option(text: str) -> None:
    time_ms, error = outcome_of(lambda: parse_time_ms(text, "--until", NOW_MS), UsageError, operations=100)
    count("refused" if error else "read")
    if error is None:
        outcome_of(lambda: PruneOptions(completed_before=time_ms), UsageError)
    else:
        assert error.message.startswith("--until ")


@fuzz()
@given(typed)
def test_a_count_is_read_or_refused_with_its_option(text: str) -> None:
    count, error = outcome_of(lambda: parse_count(text, "--limit"), UsageError, operations=100)
    assert (0 <= count < 10**15) if error is None else error.message.startswith("--limit ")


@fuzz()
@given(st.tuples(*[st.one_of(st.none(), typed)] * 5), st.lists(st.one_of(typed, st.sampled_from(InstanceStatus))))
def test_rules_are_read_or_refused_and_never_keep_nothing(given: tuple[Any, ...], statuses: list[str]) -> None:
    rules, error = outcome_of(lambda: parse_rules(Rules(*given), NOW_MS), UsageError)
    if error is None:
        assert (rules is None) == (given == (None,) * 5)
    within, failed, before, last, _ = given
    purge = PurgeRules(within, failed, before, last, tuple(statuses))
    rules, error = outcome_of(lambda: parse_purge_rules(purge, NOW_MS), UsageError)
    if error is None:
        assert (rules is None) == (given[:4] == (None,) * 4 and not statuses)


@fuzz()
@given(st.lists(st.one_of(texts, typed), max_size=4), st.lists(st.one_of(texts, typed), max_size=4), st.booleans())
def test_ids_are_read_from_arguments_and_lines_or_refused(ids: list[str], lines: list[str], exist: bool) -> None:
    _, error = outcome_of(lambda: expand_ids(ids, lambda: lines), UsageError)
    assert error is not None or ids
    for each in ids:
        outcome_of(partial(resolve_reference, each, lambda _: exist), UsageError, InstanceNotFoundError)
        line = id_line(each)
        assert "\n" not in line
        if each:
            assert id_from_line(line) == each


def test_a_parser_that_lets_the_error_of_int_through_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(text: str, option: str) -> int:
        return int(text[:-1])

    monkeypatch.setitem(globals(), "parse_duration", careless)
    falsifies(typed, is_a_duration_or_refused, ValueError)


# --- names ---------------------------------------------------------------------------------------------------


@fuzz()
@given(texts)
def test_a_name_can_be_stored_everywhere_or_is_refused(text: str) -> None:
    checks: tuple[Callable[[], str], ...] = (
        lambda: check_instance_id(text),
        lambda: check_request_id(text),
        lambda: check_name(text, "activity name"),
        lambda: check_text(text, "the reason"),
    )
    for check in checks:
        found, error = outcome_of(check, UsageError, operations=100)
        if error is None:
            assert found == text
            assert "\0" not in text
            assert len(text.encode()) <= 4096
        else:
            assert len(error.message) < 200


# --- every method of a client --------------------------------------------------------------------------------

integers = st.one_of(
    st.sampled_from([0, 1, -1, 2**31, 2**63 - 2, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**30, 10**400]),
    st.integers(-3, 9),
    st.integers(),
)
seconds = st.one_of(integers, st.floats(), st.timedeltas())
cursors = st.one_of(
    texts,
    st.from_regex("[ieo]:-?[0-9]{1,20}(:[0-9]{1,20})?"),
    st.sampled_from(["i:1", "e:1:1", "o:1", "i:" + "9" * 5000]),
)
ids = st.one_of(st.sampled_from(["loop", "ended", "held"]), texts)
patterns = st.one_of(st.sampled_from(["*", "Or*", "[", "[!", "[]", "?" * 300, "*" * 200, "[" + "a" * 500]), texts)
maybe = st.none()


CALLS: Final[dict[str, st.SearchStrategy[tuple[Any, ...]]]] = {
    "get_instance": st.tuples(ids),
    "get_execution": st.tuples(ids, integers),
    "read_history": st.tuples(ids, st.one_of(maybe, integers)),
    "list_executions": st.tuples(st.one_of(maybe, ids)),
    "get_lineage": st.tuples(ids),
    "get_result": st.tuples(ids),
    "complete_instance_ids": st.tuples(texts),
    "list_ledger": st.tuples(ids),
    "find_pruned": st.tuples(ids, integers),
    "find_removed": st.tuples(ids),
    "undo_prune": st.tuples(ids),
    "list_prune_runs": st.tuples(),
    "get_prune_run": st.tuples(texts),
    "remove_hold": st.tuples(texts),
    "explain_policy": st.tuples(ids),
    "terminate": st.tuples(ids, texts),
    "cancel": st.tuples(ids, texts),
    "resume": st.tuples(ids),
    "raise_event": st.tuples(ids, texts, st.one_of(texts, integers)),
    "repair": st.tuples(st.lists(texts, max_size=2)),
    "prune_executions": st.tuples(ids, integers),
    "adopt_instance": st.tuples(ids),
    "add_hold": st.tuples(ids, st.one_of(maybe, integers)),
    "set_instance_policy": st.tuples(ids, st.one_of(maybe, integers, texts)),
    "simulate_instance_policy": st.tuples(ids, st.one_of(maybe, integers, texts)),
    "start_orchestration": st.tuples(texts, st.one_of(texts, integers)),
    "list_instances": st.tuples(
        st.builds(
            InstanceFilter,
            statuses=st.lists(st.sampled_from(InstanceStatus), max_size=3).map(tuple),
            name=st.one_of(maybe, texts),
            blocked=st.one_of(maybe, st.booleans()),
        )
    ),
}
KEYWORDS: Final[dict[str, dict[str, st.SearchStrategy[Any]]]] = {
    "read_history": {"after": integers},
    "list_executions": {"limit": integers, "cursor": cursors},
    "list_instances": {"limit": integers, "cursor": cursors},
    "complete_instance_ids": {"limit": integers},
    "list_prune_runs": {"limit": integers, "before": texts},
    "raise_event": {"request_id": texts},
    "terminate": {"request_id": texts},
    "prune_executions": {"grace_s": st.one_of(integers, st.floats()), "reason": texts},
    "adopt_instance": {"reason": texts},
    "add_hold": {"reason": texts, "until": st.one_of(st.timedeltas(), st.datetimes())},
    "start_orchestration": {
        "instance_id": ids,
        "version": texts,
        "request_id": texts,
        "allow_unregistered": st.just(True),
        "if_exists": st.sampled_from(["error", "return", "?"]),
    },
}


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    name = draw(st.sampled_from(sorted(CALLS)))
    return name, draw(CALLS[name]), draw(st.fixed_dictionaries({}, optional=KEYWORDS.get(name, {})))


def filled(store: Store) -> Store:
    loops = Loops(store)
    loops.start("loop", "held")
    loops.go_on(3)
    loops.ends()
    client = duro.Client(store)
    client.add_hold("held", reason="evidence")
    client.start_orchestration("Report", instance_id="ended", allow_unregistered=True)
    client.terminate("ended")
    return store


@contextmanager
def stores() -> Iterator[tuple[Store, Store]]:
    clock = ManualClock()
    with tempfile.TemporaryDirectory(prefix="duro-arguments-") as directory:
        path = Path(directory) / "duro.db"
        sqlite = SqliteStore.open(path, url=f"sqlite:///{path}", clock=clock, new_id=lambda: "id", synchronous="NORMAL")
        with closing(sqlite):
            yield filled(MemoryStore(clock=clock, new_id=lambda: "id")), filled(sqlite)


def only_documented_errors(store: Store, call: tuple[str, tuple[Any, ...], dict[str, Any]]) -> type | None:
    name, arguments, keywords = call
    keywords = {"reason": "why", **keywords} if name in ("add_hold", "adopt_instance") else keywords
    before = store.dump()
    method = getattr(duro.Client(store, ids=lambda: "0" * 32), name)
    _, error = outcome_of(lambda: method(*arguments, **keywords), DuroError, operations=20_000)
    if error is not None:
        assert store.dump() == before
    return None if error is None else type(error)


@fuzz(part=4)
@given(st.lists(calls(), min_size=1, max_size=12))
def test_every_method_does_its_work_or_raises_a_documented_error_the_same_on_both_stores(
    made: list[tuple[str, tuple[Any, ...], dict[str, Any]]],
) -> None:
    with stores() as (memory, sqlite):
        for call in made:
            in_memory, in_sqlite = only_documented_errors(memory, call), only_documented_errors(sqlite, call)
            count(f"{call[0]}: {'done' if in_memory is None else in_memory.__name__}")
            assert in_memory is in_sqlite or "cursor" in call[2], call  # each store has cursors of its own form


filters = st.fixed_dictionaries(
    {},
    optional={
        "kinds": st.one_of(maybe, st.lists(st.one_of(st.sampled_from(OrphanKind), texts), max_size=3)),
        "child_status": st.one_of(maybe, st.lists(st.one_of(st.sampled_from(InstanceStatus), texts), max_size=3)),
        "parent_completed_before": st.one_of(maybe, integers, st.datetimes()),
        "name": st.one_of(maybe, patterns),
        "limit": integers,
    },
)


@fuzz(part=2)
@given(filters, st.one_of(maybe, cursors), seconds, st.lists(ids, max_size=3), patterns)
def test_filters_find_something_or_are_refused(
    orphans: dict[str, Any], cursor: str | None, age: Any, named: list[str], pattern: str
) -> None:
    with stores() as both:
        for store in both:
            client = duro.Client(store)
            named_so = PruneScope(instance_ids=tuple(named))
            called, _ = outcome_of(partial(PruneScope, name=pattern), UsageError)
            called_so = called or named_so
            made, refused = outcome_of(partial(OrphanFilter, **orphans), UsageError)
            count("a filter" if refused is None else "no filter")
            for call in (
                partial(client.list_orphaned_instances, made or OrphanFilter(), cursor=cursor),
                partial(client.plan_orphan_cleanup, made or OrphanFilter(), min_age=age),
                partial(client.plan_prune, 1, scope=named_so),
                partial(client.plan_prune, 1, scope=called_so),
                partial(client.plan_purge, PurgeOptions(keep_last=1), scope=called_so),
            ):
                _, error = outcome_of(call, DuroError, operations=20_000 + 20 * len(pattern))
                count("done" if error is None else type(error).__name__)


rule_values = st.one_of(maybe, integers, st.floats(), st.timedeltas(), st.datetimes(), st.booleans(), texts)


@fuzz()
@given(
    st.dictionaries(
        st.sampled_from(["keep_last", "keep_within", "keep_last_per_version", "keep_versions"]), rule_values
    )
)
def test_rules_of_any_value_say_what_to_keep_or_are_refused(rules: dict[str, Any]) -> None:
    for kind, more in (
        (PruneOptions, {}),
        (AutoPrune, {"interval": timedelta(days=1)}),
        (PruneOptions, {"completed_before": 1}),
    ):
        found, error = outcome_of(partial(kind, **rules, **more), UsageError)
        if error is None:
            assert str(found)
            assert found.keep_within is None or math.isfinite(found.keep_within)


def test_a_method_that_gives_a_number_to_sqlite_as_it_came_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(self: duro.Client, instance_id: str, execution_id: int) -> Any:
        return self.store.get_execution(check_instance_id(instance_id), execution_id)

    monkeypatch.setattr(duro.Client, "get_execution", careless)
    with stores() as (_, sqlite):
        numbered = st.tuples(st.just("get_execution"), CALLS["get_execution"], st.just({}))
        falsifies(numbered, lambda call: only_documented_errors(sqlite, call), OverflowError)
