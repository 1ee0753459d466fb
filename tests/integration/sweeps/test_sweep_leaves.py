"""What a sweep leaves alone although it is due, and that this costs nothing: on both stores."""

import msgspec
import pytest

from duro.errors import PolicyUnknownError
from duro.host.archiving import ArchiveTerms, SweptArchives
from duro.host.maintenance import Maintenance
from duro.maintenance import pruning
from duro.maintenance.explaining import explain
from duro.maintenance.sweep import Sweep
from duro.model.policies import PolicySources, StatedPolicy
from duro.model.removal import PruneScope
from duro.model.retention import AutoPrune, PolicyKind, PolicyOrigin
from duro.stores.base import Store
from duro.telemetry import ArchiveCounters, PruneCounters
from duro.testing.builders import start_request
from duro.testing.clock import ManualClock
from duro.testing.scripted import ScriptedWorker
from tests.support.pruning import Loops, automatic, stated

EXECUTIONS = 100
"""More than a turn looks at: a prune in one leaves the instance due."""

SWEEP_INTERVAL_S = 30.0


def default(policy: AutoPrune, **others: object) -> PolicySources:
    said = StatedPolicy(policy=policy, origin=PolicyOrigin(PolicyKind.CODE_DEFAULT, "mail.py:1"))
    return msgspec.structs.replace(PolicySources(code_default=said), **others)


def publish(store: Store, worker: str, sources: PolicySources) -> None:
    ScriptedWorker(store, worker, orchestrations=sources.orchestrations)
    store.publish(worker, msgspec.json.encode(sources).decode())


def run(sweep: Sweep) -> None:
    while sweep.step():
        pass


def due(store: Store) -> Loops:
    """An instance that a turn left something of for a sweep."""
    loops = Loops(store)
    loops.start("a")
    loops.go_on(EXECUTIONS)
    loops.go_on(policies=automatic(1))
    assert store.backlog().due_instances == 1
    return loops


def test_another_programs_default_prunes_nothing_while_the_worker_that_runs_it_restarts(store: Store) -> None:
    publish(store, "mail", default(AutoPrune(keep_last=1, interval=1), orchestrations=(("mail", "1.0.0"),)))
    loops = Loops(store)
    loops.start("a")
    loops.go_on(EXECUTIONS)
    sweep = Sweep(store)
    run(sweep)
    assert len(loops.live("a")) == EXECUTIONS + 1
    told = explain(store, "a", None, "")
    assert told.united is not None
    assert told.united.why == "no worker that runs 'Order' 1.0.0 has published its policies"
    (chain,) = told.chains
    (link,) = [each for each in chain.links if each.policy is not None]
    assert (str(link.origin), link.applies, link.why) == ("code_default: mail.py:1", False, told.united.why)
    assert (chain.applied.origin.kind, chain.applied.why) == (
        PolicyKind.NONE,
        f"{told.united.why}: nothing is pruned",
    )
    with pytest.raises(PolicyUnknownError):
        pruning.plan(store, None, PruneScope())
    store.start_instances([start_request("mail", "mail")])
    planned = pruning.plan(store, None, PruneScope()).instances
    assert {each.instance_id: each.why for each in planned} == {"a": told.united.why, "mail": ""}
    origins = {each.instance_id: str(each.origin) for each in planned}
    assert origins == {"a": f"none: {told.united.why}", "mail": "code_default: mail.py:1"}
    registered = StatedPolicy(
        policy=AutoPrune(keep_last=50, interval=1),
        origin=PolicyOrigin(PolicyKind.REGISTRATION, "app.py:1"),
        name="Order",
        version="1.0.0",
    )
    publish(store, "app", PolicySources(orchestrations=(("Order", "1.0.0"),), registrations=(registered,)))
    run(sweep)
    (chain,) = explain(store, "a", None, "").chains
    assert chain.applied.origin.kind is PolicyKind.REGISTRATION, "the other program runs none of it"
    assert len(loops.live("a")) == 50
    assert [entry.range.origin for entry in store.list_ledger("a")] == ["registration: app.py:1"]


@pytest.mark.parametrize(
    "stranger", [default(AutoPrune(keep_last=1)), PolicySources(archive_interval_s=1.0)], ids=["default", "silent"]
)
def test_what_is_due_stays_due_until_the_worker_that_runs_it_is_back(store: Store, stranger: PolicySources) -> None:
    loops = due(store)
    left = loops.live("a")
    publish(store, "mail", msgspec.structs.replace(stranger, orchestrations=(("mail", "1.0.0"),)))
    sweep = Sweep(store)
    run(sweep)
    assert (loops.live("a"), store.backlog().due_instances, sweep.left_due) == (left, 1, 1)
    publish(store, "app", default(AutoPrune(keep_last=2), orchestrations=(("Order", "1.0.0"),)))
    run(sweep)
    assert (loops.live("a"), store.backlog().due_instances, sweep.left_due) == (left[-2:], 0, 0)


def test_a_policy_nobody_can_read_keeps_its_instance_and_stops_no_others_sweep(store: Store) -> None:
    loops = Loops(store)
    loops.start("a", "b")
    loops.go_on(9)
    store.set_instance_policy("a", stated(AutoPrune(keep_last=1)).replace("keep_last", "keep_rest"))
    publish(store, "app", default(AutoPrune(keep_last=3, interval=1), orchestrations=(("Order", "1.0.0"),)))
    planned = {each.instance_id: each for each in pruning.plan(store, None, PruneScope()).instances}
    assert planned["a"].rules is None
    assert "unreadable (Object contains unknown field `keep_rest`" in str(planned["a"].origin)
    run(Sweep(store))
    assert (len(loops.live("a")), len(loops.live("b"))) == (10, 3)
    told = explain(store, "a", None, "").united
    assert told is not None
    assert told.why.endswith("says never")


def test_a_pause_costs_no_round_a_second(store: Store, clock: ManualClock) -> None:
    loops = due(store)
    left = loops.live("a")
    versions = (("Order", "1.0.0"), ("Order", "2.0.0"))
    clock.advance(1_000)
    paused = default(AutoPrune(keep_last=2, interval=3600), orchestrations=versions, rollout_pause_s=3600.0)
    publish(store, "app", paused)
    maintenance = Maintenance(
        store,
        clock=clock,
        holder=lambda: "app",
        counters=PruneCounters(),
        interval_s=SWEEP_INTERVAL_S,
        archives=SweptArchives(store, ArchiveCounters(), lambda: ArchiveTerms(None, 3600.0, 3)),
    )
    for second in range(100):
        while maintenance.step() < 1:
            pass
        if second % 2:
            loops.start(f"changes-{second}")
        clock.advance(1_000)
    assert 3 <= maintenance.sweep.rounds <= 5, "it began a round every second, or none"
    assert loops.live("a") == left
    clock.advance(3_600_000)
    while maintenance.step() < 1:
        pass
    ScriptedWorker(store, "app", orchestrations=versions)
    assert loops.live("a") == left[-2:]
