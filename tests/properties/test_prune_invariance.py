"""What an execution does never depends on the executions before it: pruned or not, every turn comes out the same."""

import os
from random import Random
from typing import Final

from hypothesis import HealthCheck, given, settings

from duro.model.turns import TurnCommit
from duro.replay.engine import Execution
from duro.testing.histories import Engine, registry_of
from tests.support.programs import Block, Drive, Taken, blocks, orchestration, randoms

EXAMPLES: Final = int(os.environ.get("DURO_PROPERTY_EXAMPLES", "300"))


class Alone:
    """One execution of a life that was driven before, in a world that has never seen the others: code and registry of
    its own, and of the instance only what a store still has when everything earlier is pruned."""

    def __init__(self, lived: Engine, program: Block, random: Random) -> None:
        self.lived = lived
        self.random = random
        self.registry = registry_of(orchestration(program))
        self.history: list[str] = []
        self.execution = self.new()

    def new(self) -> Execution:
        definition = self.registry.find_orchestration("interpreted")
        assert definition is not None
        return Execution(self.lived.identity, definition, self.registry)

    def run(self, turns: list[Taken]) -> None:
        try:
            for number, taken in enumerate(turns):
                self.turn(taken, first=number == 0)
            assert self.history == self.lived.history
            assert self.execution.ended == self.lived.ended
        finally:
            self.execution.seal()

    def turn(self, taken: Taken, *, first: bool) -> None:
        commit: TurnCommit | None
        if first:
            commit = self.execution.first_turn(self.lived.first, taken.arrivals, taken.now_ms)
        else:
            if self.random.random() < 0.5:
                self.reload()
            commit = self.execution.turn(taken.arrivals, taken.now_ms)
        assert commit == taken.commit
        assert self.execution.traces == taken.traces
        if commit is not None:
            self.history += commit.events

    def reload(self) -> None:
        """As after a crash: from the history of this execution alone."""
        self.execution.seal()
        self.execution = self.new()
        self.execution.replay(self.history)


@settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
@given(program=blocks(), random=randoms())
def test_every_turn_of_every_execution_is_the_same_with_all_earlier_ones_pruned(program: Block, random: Random) -> None:
    """Late answers to what earlier executions asked for are among what arrives."""
    drive = Drive(program, random)
    drive.run()
    for lived, turns in zip(drive.finished, drive.taken, strict=True):
        Alone(lived, program, random).run(turns)
