"""Events of one mailbox name arrive once and in each sender's order: across continue-as-new, takeovers, kills and
replays, whatever two workers do in whatever order.

``DURO_PROPERTY_EXAMPLES=5000`` looks further, along other paths every time.
"""

import os
import tempfile
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duro.model.turns import MailboxEvent
from duro.stores.memory.instances import Instance
from duro.testing import check_invariants
from tests.support.evidence import events_lost_or_out_of_order, histories_by_instance
from tests.support.simulation import (
    LEASE_S,
    WORKERS,
    Kill,
    Move,
    Pass,
    Renew,
    RunActivities,
    Send,
    Simulation,
    Step,
    StoreKind,
    TakeAway,
    simulated,
)
from tests.support.traffic import Acknowledged
from tests.support.workload import SENDERS

EXAMPLES: Final = os.environ.get("DURO_PROPERTY_EXAMPLES")
ITEMS: Final = 5

workers = st.integers(0, WORKERS - 1)
sends = st.builds(Send, st.sampled_from(SENDERS), st.just("collector"))
steps = st.builds(Step, workers)
disturbances = st.one_of(
    st.builds(Kill, workers),
    st.builds(TakeAway, workers),
    st.builds(Renew, workers),
    st.builds(Pass, st.sampled_from([1, 15, round(LEASE_S * 1000) + 1])),
)
moves = st.lists(
    st.one_of(sends, steps, steps, st.builds(RunActivities, workers), disturbances), min_size=10, max_size=60
)


def run(kind: StoreKind, cache_size: int, moves: list[Move]) -> None:
    """Raises AssertionError: an event was lost, repeated, or came out of order."""
    with (
        tempfile.TemporaryDirectory() as directory,
        simulated(Path(directory), kind, cache_size=cache_size, instances=("collector",), items=ITEMS) as simulation,
    ):
        for move in moves:
            simulation.make(move)
        simulation.finish()
        check_order(simulation)


def check_order(simulation: Simulation) -> None:
    dump = simulation.dump()
    found = list(events_lost_or_out_of_order(dump, Acknowledged(items=simulation.sent)))
    assert not found, "\n".join(found)
    check_invariants(dump)
    executions = [row for row in dump["executions"] if row["incarnation"] == 1]
    assert len(executions) == 1 + ITEMS * len(SENDERS) // 3
    assert len(histories_by_instance(dump)) == 1


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(
    deadline=None,
    max_examples=int(EXAMPLES or 60),
    derandomize=EXAMPLES is None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
@given(cache_size=st.sampled_from([0, 1000]), moves=moves)
def test_events_of_one_name_arrive_once_and_in_order(kind: StoreKind, cache_size: int, moves: list[Move]) -> None:
    run(kind, cache_size, moves)


def test_a_mailbox_that_gives_the_newest_first_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Instance, "deliverable", _newest_first)
    sent: list[Move] = [Send(sender, "collector") for sender in SENDERS for _ in range(ITEMS)]
    with pytest.raises(AssertionError, match=r"was sent \[0, 1, 2, 3, 4\] by ann and received"):
        run("memory", 1000, sent)


def _newest_first(instance: Instance) -> tuple[MailboxEvent, ...]:
    waited_for = [event for event in instance.mailbox.values() if event.name in instance.waits]
    return (waited_for[-1],) if waited_for else ()
