"""Plan files that were edited, damaged or made up: refused with a documented error and nothing changed, or no more
removed than what they show and what may go. ``make fuzz`` runs many more."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import duro
from duro.errors import DuroError, UsageError
from duro.maintenance import families, pruning
from duro.model.families import OrphanFilter, PurgeOptions, RemovalPlan
from duro.model.pruning import PrunePlan, Verdict
from duro.model.records import InstanceFilter
from duro.model.removal import PruneOrder
from duro.model.retention import PruneOptions
from duro.model.status import FINAL_INSTANCE_STATUSES, UNFINISHED_EXECUTION_STATUSES
from duro.stores.base import Store
from duro.stores.sqlite import SqliteStore
from duroctl.plan_files import plan_document, read_plan, read_removal_plan, removal_document
from tests.support.fuzz_stores import fill, opened
from tests.support.fuzzing import (
    DEEP,
    as_json,
    count,
    damaged,
    falsifies,
    fuzz,
    json_values,
    mutated_documents,
    outcome_of,
)

Plan = PrunePlan | RemovalPlan
RULES: Final = PruneOptions(keep_last=3)
ENDED: Final = PurgeOptions(keep_last=1)


class Made(NamedTuple):
    """A store as a file, and the plans that were made of it, as the files that ``--plan-out`` writes."""

    file: bytes
    prune: dict[str, Any]
    purge: dict[str, Any]
    orphans: dict[str, Any]


@cache
def made() -> Made:
    with tempfile.TemporaryDirectory(prefix="duro-plans-") as directory:
        path = Path(directory) / "duro.db"
        with closing(opened(path)) as store:
            fill(store)
            client = duro.Client(store)
            plans = (
                plan_document(client.plan_prune(RULES)),
                removal_document(client.plan_purge(ENDED)),
                removal_document(client.plan_orphan_cleanup(OrphanFilter(), min_age=0)),
            )
        return Made(path.read_bytes(), *(json.loads(msgspec.json.encode(each)) for each in plans))


@contextmanager
def workplace() -> Iterator[tuple[SqliteStore, Path]]:
    """A store of its own for one example, and a name for a plan."""
    with tempfile.TemporaryDirectory(prefix="duro-plans-") as directory:
        path = Path(directory) / "duro.db"
        path.write_bytes(made().file)
        with closing(opened(path)) as store:
            yield store, Path(directory) / "plan.json"


def executions_of(store: Store) -> dict[tuple[str, int], bool]:
    """The live executions, and whether each runs or is its instance's current one."""
    current = {
        each.instance_id: each.execution_id for each in store.list_instances(InstanceFilter(), 0, None).instances
    }
    return {
        (each.instance_id, each.execution_id): each.status in UNFINISHED_EXECUTION_STATUSES
        or current[each.instance_id] == each.execution_id
        for each in store.list_executions(None, 0, None).executions
    }


def ids_of(store: Store) -> dict[int, str]:
    """By incarnation, which is what a plan goes by."""
    return {each.incarnation: each.instance_id for each in store.list_instances(InstanceFilter(), 0, None).instances}


def applied(client: duro.Client, plan: Plan) -> Any:
    if isinstance(plan, PrunePlan):
        return client.apply_plan(plan, by="me")
    return client.apply_removal(plan, by="me", cancel_running=True)


def prunes_no_more_than_it_shows(data: bytes) -> None:
    with workplace() as (store, file):
        file.write_bytes(data)
        before, live, ids = store.dump(), executions_of(store), ids_of(store)
        plan, refused = outcome_of(lambda: read_plan(str(file)), UsageError)
        client = duro.Client(store)
        _, failed = (None, refused) if refused else outcome_of(lambda: applied(client, plan), DuroError)
        count(type(refused or failed).__name__)
        if refused or failed:
            assert store.dump() == before
            return
        removed = live.keys() - executions_of(store).keys()
        count(f"{min(len(removed), 9)} removed")
        assert ("loop-2", 2) not in removed
        assert not any(live[each] for each in removed)
        shown: dict[tuple[str, int], list[tuple[PruneOptions, ...]]] = {}
        for instance in plan.instances:
            for number in [item.execution.execution_id for item in instance.items if not item.verdict.keep]:
                shown.setdefault((ids.get(instance.incarnation, ""), number), []).append(instance.rules or ())
        assert removed <= shown.keys()
        for each in removed:  # a plan may show it several times
            assert any(given and all(each in lets_go(rules) for rules in given) for given in shown[each])


@cache
def lets_go(rules: PruneOptions) -> frozenset[tuple[str, int]]:
    """What the rules let go of the store as it was."""
    with workplace() as (store, _):
        plan = duro.Client(store).plan_prune(rules)
        return frozenset((each.instance_id, each.execution_id) for each in plan.removals())


def removes_no_more_than_it_shows(data: bytes) -> None:
    with workplace() as (store, file):
        file.write_bytes(data)
        before, ids = store.dump(), ids_of(store)
        there = {each.instance_id: each for each in store.list_instances(InstanceFilter(), 0, None).instances}
        plan, refused = outcome_of(lambda: read_removal_plan(str(file)), UsageError)
        client = duro.Client(store)
        result, failed = (None, refused) if refused else outcome_of(lambda: applied(client, plan), DuroError)
        count(type(refused or failed).__name__)
        if refused or failed:
            assert store.dump() == before
            return
        left = {each.instance_id for each in store.list_instances(InstanceFilter(), 0, None).instances}
        removed = there.keys() - left
        count(f"{min(len(removed), 9)} removed")
        assert "ended-1" not in removed
        assert removed <= {ids.get(item.incarnation) for item in plan.items if not item.verdict.keep}
        assert all(there[each].status in FINAL_INSTANCE_STATUSES for each in removed)
        assert result is not None
        assert set(result.cancelled) <= {*plan.running_orphans} & {"orphan-3"}


# --- plans that somebody edited ------------------------------------------------------------------------------


def edited_item(draw: st.DrawFn, item: dict[str, Any], others: list[dict[str, Any]]) -> None:
    """Something that a person might write in the place of what was there, of the right kind."""
    facts = item.get("execution", item)
    match draw(st.sampled_from(["verdict", "verdict", "number", "id", "rules", "status", "origin", "reasons"])):
        case "verdict":
            item["verdict"]["keep"] = not item["verdict"]["keep"]
        case "number":
            key = draw(st.sampled_from(sorted(key for key, each in facts.items() if type(each) is int)))
            facts[key] = draw(st.sampled_from([0, -1, 1, 2, 3, 7, 2**31, 2**53, 2**63 - 1, 2**63, 10**30]))
        case "id":
            facts["instance_id"] = draw(
                st.sampled_from(["loop-2", "ended-1", "parent", "nobody", "", "x\0", "a\x1b[m"])
            )
        case "rules":
            other = draw(st.sampled_from(others))
            item["rules"] = draw(st.sampled_from([None, other.get("rules")]))
        case "status":
            facts["status"] = draw(st.sampled_from(["completed", "failed", "running", "continued_as_new", "pending"]))
        case "origin":
            item["origin"] = draw(st.sampled_from([["call", ""], ["none", ""], ["file_default", "x:1"], ["turn", "y"]]))
        case "reasons":
            item["verdict"]["reasons"] = draw(st.lists(st.sampled_from(["current", "held:x", "\x1b[31m", ""])))


rules_lists = st.lists(
    st.sampled_from(
        [{"keep_last": 1}, {"keep_last": 3}, {"keep_last": 9}, {"keep_within": 0.001}, {"completed_before": 0}]
    ),
    max_size=2,
)


@st.composite
def edited_prune_plans(draw: st.DrawFn) -> bytes:
    plan = json.loads(json.dumps(made().prune))
    for _ in range(draw(st.integers(1, 4))):
        instance = draw(st.sampled_from(plan["instances"]))
        match draw(st.sampled_from(["item", "item", "item", "rules", "rules", "move", "double", "origin", "store"])):
            case "item":
                edited_item(draw, draw(st.sampled_from(instance["items"])), instance["items"])
            case "rules":
                instance["rules"] = draw(st.one_of(st.none(), rules_lists))
            case "move":
                other = draw(st.sampled_from(plan["instances"]))
                instance["instance_id"], other["instance_id"] = other["instance_id"], instance["instance_id"]
            case "double":
                plan["instances"].append(instance)
            case "origin":
                instance["origin"] = draw(st.sampled_from([["call", ""], ["file_default", "x:1"], ["none", ""]]))
            case "store":
                key = draw(st.sampled_from(["policy_revision", "hold_revision", "made_at_ms"]))
                plan[key] = draw(st.sampled_from([-1, 0, 1, 2**63, 10**30]))
    items = [item for instance in plan["instances"] for item in instance["items"]]
    plan["totals"]["executions_removed"] = sum(not item["verdict"]["keep"] for item in items)
    return as_json(plan).encode("utf-8", "surrogatepass")


@st.composite
def edited_removal_plans(draw: st.DrawFn) -> bytes:
    plan = json.loads(json.dumps(draw(st.sampled_from([made().purge, made().orphans]))))
    for _ in range(draw(st.integers(1, 4))):
        match draw(st.sampled_from(["item", "item", "item", "double", "running", "store"])):
            case "item":
                edited_item(draw, draw(st.sampled_from(plan["items"])), plan["items"])
            case "double":
                plan["items"].append(draw(st.sampled_from(plan["items"])))
            case "running":
                plan["running_orphans"] = draw(
                    st.lists(st.sampled_from(["orphan-3", "loop-1", "ended-1", "nobody", ""]))
                )
            case "store":
                key = draw(st.sampled_from(["policy_revision", "hold_revision", "made_at_ms"]))
                plan[key] = draw(st.sampled_from([-1, 0, 1, 2**63, 10**30]))
    going = [item["instances"] for item in plan["items"] if not item["verdict"]["keep"]]
    plan["totals"]["instances_removed"] = sum(going)
    return as_json(plan).encode("utf-8", "surrogatepass")


def plans_like(pick: Callable[[Made], dict[str, Any]]) -> st.SearchStrategy[bytes]:
    valid = st.deferred(lambda: st.just(pick(made())))
    whole = valid.map(lambda document: as_json(document).encode())
    return st.one_of(
        mutated_documents(valid).map(lambda document: as_json(document).encode("utf-8", "surrogatepass")),
        mutated_documents(valid, times=1).map(lambda document: as_json(document).encode("utf-8", "surrogatepass")),
        damaged(whole),
        whole,
        st.binary(max_size=30),
        json_values.map(lambda document: as_json(document).encode("utf-8", "surrogatepass")),
        st.sampled_from([each.encode() for each in DEEP]),
    )


prune_plans = plans_like(lambda each: each.prune)
removal_plans = st.one_of(plans_like(lambda each: each.purge), plans_like(lambda each: each.orphans))


@fuzz()
@given(st.one_of(prune_plans, edited_prune_plans()))
def test_a_plan_file_prunes_no_more_than_it_shows_and_its_rules_let_go_or_is_refused(data: bytes) -> None:
    prunes_no_more_than_it_shows(data)


@fuzz()
@given(st.one_of(removal_plans, edited_removal_plans()))
def test_a_removal_plan_file_removes_no_more_than_it_shows_and_may_go_or_is_refused(data: bytes) -> None:
    removes_no_more_than_it_shows(data)


# --- what must be found --------------------------------------------------------------------------------------


def test_an_apply_that_forgets_which_executions_were_shown_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    orders_of = pruning._orders_of

    def forgetful(plan: PrunePlan) -> Iterator[tuple[PruneOrder, int]]:
        for order, size in orders_of(plan):
            yield msgspec.structs.replace(order, only=None, after=0), size

    monkeypatch.setattr(pruning, "_orders_of", forgetful)
    falsifies(edited_prune_plans(), prunes_no_more_than_it_shows, AssertionError)


def test_an_apply_that_does_not_look_at_the_verdicts_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = families.apply

    def blind(store: Store, made: RemovalPlan, *terms: Any, **options: Any) -> Any:
        going = [msgspec.structs.replace(item, verdict=Verdict(False, item.verdict.reasons)) for item in made.items]
        return apply(store, msgspec.structs.replace(made, items=tuple(going)), *terms, **options)

    monkeypatch.setattr(families, "apply", blind)
    falsifies(edited_removal_plans(), removes_no_more_than_it_shows, AssertionError)


def test_a_refusal_that_comes_after_something_was_done_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(client: duro.Client, plan: Plan) -> None:
        client.prune_executions("loop-1", 1)
        raise UsageError("the plan is of another store")

    monkeypatch.setitem(globals(), "applied", hasty)
    falsifies(prune_plans, prunes_no_more_than_it_shows, AssertionError)
