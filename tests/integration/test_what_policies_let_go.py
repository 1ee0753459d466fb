"""What policies let go, before they do: counted as sweeps and prunes remove it, and compared one by one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import duro
from duro.maintenance.sweep import Sweep
from duro.settings.reading import read_settings
from duro.settings.values import RuntimeSettings
from duro.stores.base import Store
from duro.testing.builders import (
    cancelled,
    child_completed,
    child_scheduled,
    completed,
    continued_as_new,
    start_request,
)
from duro.testing.clock import ManualClock
from duroctl.render.simulation import change_lines, more_text, total_line
from duroctl.render.space import store_lines
from tests.support.pruning import Loops, published, store_of_kind

DAY_MS = 24 * 3_600_000

BOTH = "[pruning.default]\nkeep_last = 1\ninterval = '1h'\n[purge]\nkeep_within = '1h'\n"
SETTLED = '[pruning]\nchildren = "settled"\n[pruning.overrides."Order"]\nkeep_last = 1\n'


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Store]:
    with store_of_kind(request.param, tmp_path, clock) as opened:
        yield opened


def settings(text: str) -> RuntimeSettings:
    return read_settings(text.encode(), "runtime_config.toml")


def with_ended_children(store: Store, loops: Loops, instance_id: str, executions: int) -> None:
    """It ends in its last execution; each has spawned a child that ended and was observed."""
    worker = loops.worker
    loops.start(instance_id)
    for number in range(1, executions + 1):
        worker.run(worker.take(instance_id), child_scheduled(f"{instance_id}-child-{number}"), keep_lease=True)
        worker.run(worker.take(f"{instance_id}-child-{number}"), completed())
        ends = completed() if number == executions else continued_as_new()
        worker.run(worker.take(instance_id), child_completed(2), ends)


def test_other_executions_than_before_are_more_however_few_they_are(store: Store, clock: ManualClock) -> None:
    loops = Loops(store)
    loops.start("old")
    loops.go_on(2)
    clock.advance(10 * DAY_MS)
    store.request_cancel("old", "it ends", "cancel")
    loops = Loops(store)
    loops.worker.run(loops.worker.take("old"), cancelled())
    loops.start("new")
    loops.go_on(9)
    before = settings('[pruning.overrides."Order"]\nkeep_last = 2\n')
    after = settings('[pruning.overrides."Order"]\nkeep_within = "5d"\n')
    simulated = duro.Client(store).simulate_policies(after, instead_of=before)
    assert (simulated.now.executions, simulated.then.executions) == (1 + 8, 2)
    assert (simulated.executions_more, simulated.removes_more) == (1, True)
    assert "9 executions" in (said := "\n".join(change_lines(simulated)))
    assert said.endswith("2 executions (" + said.rpartition("2 executions (")[2])
    assert said.endswith(" after the change, 1 of them kept now")
    back = duro.Client(store).simulate_policies(before, instead_of=after)
    assert (back.executions_more, back.removes_more) == (8, True)
    assert not duro.Client(store).simulate_policies(before, instead_of=before).removes_more


def test_other_whole_instances_than_before_are_more_though_their_number_is_the_same(
    store: Store, clock: ManualClock
) -> None:
    loops = Loops(store)
    store.start_instances([start_request("a"), start_request("b", "Child")])
    for each in loops.worker.lease().instances:
        loops.worker.run(each, completed())
    clock.advance(DAY_MS)
    before = settings('[purge.overrides."Order"]\nkeep_within = "1s"\n')
    after = settings('[purge.overrides."Child"]\nkeep_within = "1s"\n')
    simulated = duro.Client(store).simulate_policies(after, instead_of=before)
    assert (simulated.purgeable_now, simulated.purgeable_then) == (1, 1)
    assert (simulated.instances_more, simulated.removes_more) == (1, True)
    assert [(each.name, each.instances_more) for each in simulated.names] == [("Child", 1), ("Order", 0)]
    assert more_text(simulated) == "this lets 1 more whole instance go"


def test_what_went_whole_before_is_not_more_when_only_executions_of_it_go(store: Store, clock: ManualClock) -> None:
    loops = Loops(store)
    with_ended_children(store, loops, "done", 3)
    clock.advance(DAY_MS)
    before = settings('[purge.overrides."Order"]\nkeep_within = "1s"\n')
    after = settings('[pruning.overrides."Order"]\nkeep_last = 1\n')
    simulated = duro.Client(store).simulate_policies(after, instead_of=before)
    assert (simulated.whole_now.instances, simulated.then.executions) == (4, 2)
    assert not simulated.removes_more
    assert duro.Client(store).simulate_policies(before, instead_of=after).instances_more == 4


def test_settled_children_count_with_the_orchestration_whose_executions_they_go_with(
    store: Store, tmp_path: Path
) -> None:
    """As many as a prune then removes."""
    loops = Loops(store)
    with_ended_children(store, loops, "a", 5)
    with_ended_children(store, loops, "b", 3)
    client = duro.Client(store)
    published(store, loops.worker, tmp_path, SETTLED.partition("[pruning.overrides")[0])
    simulated = client.simulate_policies(settings(SETTLED))
    by_name = {each.name: each for each in simulated.names}
    assert (by_name["Order"].whole_now.instances, by_name["Order"].whole_then.instances) == (0, 4 + 2)
    assert (by_name["Order"].executions_more, by_name["Order"].instances_more) == (6, 6)
    assert more_text(simulated) == "this lets 6 more executions and 6 more whole instances go"
    of_one = client.simulate_instance_policy("a", 2)
    assert (of_one.then.executions, of_one.whole_then.instances, of_one.instances_more) == (3, 3, 3)
    published(store, loops.worker, tmp_path, SETTLED)
    stats = client.stats()
    done = client.prune_executions_bulk(grace_s=0)
    assert done.children_removed == simulated.whole_then.instances == stats.removable_whole.instances == 6
    by_usage = {each.usage.name: each for each in stats.names}
    assert (by_usage["Child"].removable.executions, by_usage["Order"].removable.executions) == (6, 6)
    assert client.stats().removable.executions == 0


def test_stats_count_what_sweeps_purge_once_and_by_each_instances_own_name(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    loops = Loops(store)
    with_ended_children(store, loops, "done", 3)
    loops.start("runs")
    loops.go_on(3)
    clock.advance(DAY_MS)
    loops = Loops(store)
    published(store, loops.worker, tmp_path, BOTH)
    client = duro.Client(store)
    found = client.stats()
    by_name = {each.usage.name: each for each in found.names}
    assert by_name["Child"].removable.history_bytes == by_name["Child"].usage.history_bytes
    assert (by_name["Order"].removable.executions, by_name["Order"].removable_whole.instances) == (3 + 3, 1)
    assert (found.removable.executions, found.removable_whole.instances) == (3 + 3 + 3, 4)
    (last,) = [line for line in store_lines(found) if line.startswith("policies would let go")]
    assert last.endswith(", 4 whole instances among them")
    before = store.info().executions
    sweep = Sweep(store)
    while sweep.step():
        pass
    assert before - store.info().executions == found.removable.executions


def test_the_last_line_of_a_simulation_tells_what_goes_whole_now_too(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    loops = Loops(store)
    with_ended_children(store, loops, "done", 2)
    clock.advance(DAY_MS)
    text = "[purge]\nkeep_within = '1h'\n"
    published(store, Loops(store).worker, tmp_path, text)
    said = total_line(duro.Client(store).simulate_policies(settings(text)))
    then, _, now = said.partition("; as workers are told now: ")
    assert then.removeprefix("with runtime_config.toml would go: ") == now
    assert "and whole: 3 instances with 4 executions" in now
