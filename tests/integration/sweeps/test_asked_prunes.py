"""What code asks to be pruned and a turn does not finish: a sweep does, with or without any policy, on both stores."""

from pathlib import Path
from typing import Any

import pytest

from duro.maintenance.sweep import Sweep
from duro.model.limits import TURN_PRUNE_EXECUTIONS_MAX
from duro.model.pruning import Hold, HoldTarget, PruneResult
from duro.model.removal import Backlog
from duro.model.retention import AutoPrune, PruneOptions
from duro.model.turns import PruneTerms
from duro.stores.base import Store
from duro.stores.memory import pruning as memory_pruning
from duro.stores.sqlite import turn_pruning
from duro.testing.clock import ManualClock
from tests.support.pruning import Loops, automatic, open_sqlite, stated

LAST = 200
"""The execution that is current once the call was made: three times what a turn looks at."""


def run(sweep: Sweep) -> None:
    while sweep.step():
        pass


def asked(store: Store, *instance_ids: str, **terms: Any) -> Loops:
    """Instances that continued as new once more with ``prune=2``."""
    loops = Loops(store)
    loops.start(*instance_ids)
    loops.go_on(LAST - 2)
    said = automatic(AutoPrune(keep_last=150), PruneOptions(keep_last=2))
    loops.worker.commit(*loops.ends(policies=said), **terms)
    assert len(loops.live(instance_ids[0])) == LAST - TURN_PRUNE_EXECUTIONS_MAX
    return loops


def test_with_no_policy_at_all_a_sweep_does_it(store: Store) -> None:
    loops = asked(store, "a", "b")
    reports: list[tuple[str, PruneResult]] = []
    run(Sweep(store, lambda name, result: reports.append((name, result))))
    assert loops.live("a") == loops.live("b") == [LAST - 1, LAST]
    assert store.backlog() == Backlog()
    assert {name for name, _ in reports} == {"Order"}
    assert sum(result.executions_deleted for _, result in reports) == 2 * (LAST - 2 - TURN_PRUNE_EXECUTIONS_MAX)
    (first, *_) = store.list_ledger("a")
    assert (first.range.rule, first.range.origin) == ("keep_last=2", "turn: prune= of continue_as_new")


@pytest.mark.parametrize("own", [stated("never"), None])
def test_neither_never_nor_switched_off_stops_what_code_asked_for(store: Store, own: str | None) -> None:
    Loops(store).start("a")
    store.set_instance_policy("a", own)
    loops = asked(store, "a", prune_terms=PruneTerms(stopped_by="enabled = false in x.toml"))
    run(Sweep(store))
    assert loops.live("a") == [LAST - 1, LAST]


def test_a_worker_that_opens_the_store_later_does_it(tmp_path: Path, clock: ManualClock) -> None:
    first = open_sqlite(tmp_path / "duro.db", clock)
    asked(first, "a")
    first.close()
    store = open_sqlite(tmp_path / "duro.db", clock)
    loops = Loops(store)
    run(Sweep(store))
    assert loops.live("a") == [LAST - 1, LAST]
    store.close()


def test_what_a_policy_says_beside_it_is_done_as_well(store: Store) -> None:
    loops = asked(store, "a")
    loops.go_on(10)
    store.set_instance_policy("a", stated(AutoPrune(keep_last=5, interval=1)))
    run(Sweep(store))
    newest = LAST + 10
    assert loops.live("a") == list(range(newest - 4, newest + 1))
    assert store.backlog() == Backlog()


def test_a_hold_keeps_what_the_call_let_go(store: Store, clock: ManualClock) -> None:
    loops = asked(store, "a")
    target = HoldTarget(instance_id="a", execution_id=120)
    store.add_hold(Hold(hold_id="h", target=target, reason="kept", created_at_ms=clock.now_ms()))
    run(Sweep(store))
    assert loops.live("a") == [120, LAST - 1, LAST]
    assert store.backlog() == Backlog(), "what is held then stays"


def test_a_prune_of_code_that_fails_is_done_by_a_sweep(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    loops = Loops(store)
    loops.start("a")
    loops.go_on(9)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the planner fails")

    with monkeypatch.context() as patched:
        patched.setattr(memory_pruning, "choose", fail)
        patched.setattr(turn_pruning, "choose", fail)
        result = loops.worker.commit(*loops.ends(policies=automatic(5, PruneOptions(keep_last=2))))
    assert [each.result.error for each in result.prunes] == ["RuntimeError: the planner fails"]
    assert len(loops.live("a")) == 11
    run(Sweep(store))
    assert loops.live("a") == [10, 11]
