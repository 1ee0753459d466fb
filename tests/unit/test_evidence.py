"""The evidence of the long proofs: what a broken promise would leave behind is found and named."""

import copy
from typing import Any

import pytest

import duro
from duro.stores.base import StoreDump
from duro.stores.memory import MemoryStore
from tests.support import evidence, workload
from tests.support.traffic import Acknowledged, Expected

ITEMS = [["ann", 0], ["bob", 0], ["ann", 1]]


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> tuple[StoreDump, list[str], Acknowledged]:
    """A collector that got three items and a chain of two: the dump, the effects, and what was acknowledged."""
    effects = tmp_path_factory.mktemp("effects") / "effects.log"
    with pytest.MonkeyPatch.context() as patched, duro.Runtime("memory:", workload.registry) as runtime:
        patched.setenv(workload.EFFECTS_LOG_VARIABLE, str(effects))
        client = runtime.client
        client.start_orchestration("chain", 2, instance_id="chain")
        client.start_orchestration("collector", {"wanted": 3, "got": []}, instance_id="collector")
        for item in ITEMS:
            client.raise_event("collector", "item", item)
        client.wait_for_orchestrations(["chain", "collector"], 20)
        assert isinstance(runtime.store, MemoryStore)
        dump = runtime.store.dump()
    acknowledged = Acknowledged(
        instances={"chain": Expected("chain", "completed", 2), "collector": Expected("collector", "completed")},
        items={"collector": {"ann": [0, 1], "bob": [0]}},
    )
    return dump, effects.read_text().splitlines(), acknowledged


def test_what_went_well_is_accepted(left_behind: tuple[StoreDump, list[str], Acknowledged]) -> None:
    evidence.check_evidence(*left_behind)


def test_an_effect_that_is_missing_is_named(left_behind: tuple[StoreDump, list[str], Acknowledged]) -> None:
    dump, effects, acknowledged = left_behind
    with pytest.raises(AssertionError, match=f"activity {effects[0]} is recorded as completed and left no effect"):
        evidence.check_evidence(dump, effects[1:], acknowledged)


@pytest.mark.parametrize(
    ("raised", "finding"),
    [
        ({"ann": [0, 1, 2], "bob": [0]}, r"was sent \[0, 1, 2\] by ann and received \[0, 1\]"),
        ({"ann": [1, 0], "bob": [0]}, r"was sent \[1, 0\] by ann and received \[0, 1\]"),
        ({"ann": [0, 1], "bob": []}, r"was sent \[\] by bob and received \[0\]"),
    ],
    ids=["lost", "out of order", "repeated"],
)
def test_events_that_did_not_arrive_as_they_were_raised_are_named(
    left_behind: tuple[StoreDump, list[str], Acknowledged], raised: dict[str, list[int]], finding: str
) -> None:
    dump, effects, acknowledged = left_behind
    with pytest.raises(AssertionError, match=finding):
        evidence.check_evidence(dump, effects, Acknowledged(acknowledged.instances, {"collector": raised}))


@pytest.mark.parametrize(
    ("instances", "finding"),
    [
        ({"lost": Expected("chain", "completed", 2)}, r"lost \(chain\) was acknowledged and is not there"),
        ({"chain": Expected("chain", "completed", 3)}, r"chain \(chain\) gave 2, not 3"),
        ({"chain": Expected("chain", "cancelled")}, r"chain \(chain\) is completed, not cancelled"),
        ({"chain": Expected("chain", "completed", 2)}, "collector is there and nobody started it"),
    ],
)
def test_instances_that_did_not_end_as_they_had_to_are_named(
    left_behind: tuple[StoreDump, list[str], Acknowledged], instances: dict[str, Expected], finding: str
) -> None:
    dump, effects, _ = left_behind
    with pytest.raises(AssertionError, match=finding):
        evidence.check_evidence(dump, effects, Acknowledged(instances))


def test_a_broken_invariant_is_named(left_behind: tuple[StoreDump, list[str], Acknowledged]) -> None:
    dump, effects, acknowledged = left_behind
    damaged: Any = copy.deepcopy(dump)
    damaged["timers"].append({"incarnation": 1, "execution_id": 1, "event_id": 2, "fire_at_ms": 5})
    with pytest.raises(AssertionError, match="the store broke its invariants"):
        evidence.check_evidence(damaged, effects, acknowledged)
