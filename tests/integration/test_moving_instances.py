"""Instances that move between workers at random, and ids that are used again, under live coroutine caches: the
wrong coroutine is never resumed. Three planted bugs show that the same test would say so."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from duro.host.cache import ExecutionCache
from duro.replay.engine import Execution
from duro.testing import check_invariants
from tests.support.evidence import events_lost_or_out_of_order
from tests.support.simulation import StoreKind, random_moves, simulated
from tests.support.traffic import Acknowledged

COLLECTORS = ("c0", "c1", "c2")
LIVES = ("x", "y")
SEEDS = range(12)


def move_at_random(kind: StoreKind, seed: int, cache_size: int, lives: tuple[str, ...] = LIVES) -> None:
    """Raises AssertionError: somebody was given what is not theirs, lost something, or does not end."""
    with (
        tempfile.TemporaryDirectory() as directory,
        simulated(
            Path(directory), kind, cache_size=cache_size, instances=COLLECTORS, lives=lives, items=12
        ) as simulation,
    ):
        for move in random_moves(seed, 400, COLLECTORS, lives):
            simulation.make(move)
        simulation.finish()
        dump = simulation.dump()
        found = list(events_lost_or_out_of_order(dump, Acknowledged(items=simulation.sent)))
        assert not found, "\n".join(found)
        check_invariants(dump)


@pytest.mark.parametrize("cache_size", [2, 1000])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_wrong_coroutine_is_never_resumed(kind: StoreKind, seed: int, cache_size: int) -> None:
    move_at_random(kind, seed, cache_size)


def move_at_random_with_every_seed(kind: StoreKind) -> None:
    for seed in SEEDS:
        move_at_random(kind, seed, cache_size=1000)


Take = Callable[[ExecutionCache, int, int, int], Execution | None]


def _ignores_the_turn(cache: ExecutionCache, incarnation: int, execution_id: int, turn_sequence: int) -> object:
    execution = cache._executions.pop(incarnation, None)
    if execution is not None and execution.identity.execution_id == execution_id:
        execution.turn_sequence = turn_sequence
        return execution
    return None


def _ignores_the_execution(cache: ExecutionCache, incarnation: int, execution_id: int, turn_sequence: int) -> object:
    execution = cache._executions.pop(incarnation, None)
    if execution is not None:
        execution.turn_sequence = turn_sequence
    return execution


def _ignores_the_incarnation(cache: ExecutionCache, incarnation: int, execution_id: int, turn_sequence: int) -> object:
    for key, execution in cache._executions.items():
        if (execution.identity.execution_id, execution.turn_sequence) == (execution_id, turn_sequence):
            return cache._executions.pop(key)
    return None


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("planted", [_ignores_the_turn, _ignores_the_execution, _ignores_the_incarnation])
def test_a_cache_that_forgets_to_compare_is_caught(
    kind: StoreKind, planted: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ExecutionCache, "take", planted)
    with pytest.raises(AssertionError):
        move_at_random_with_every_seed(kind)
