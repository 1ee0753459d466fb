"""Random families on a real store, and beside them a model that knows who may still observe whom.

The model shares nothing with ``duro.retention``: it remembers who did what, as a person who watched would, and asks
only one question of a child: is the very execution that spawned it still running? The id of somebody who is gone may be
another person's: nothing of the one concerns the other.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from duro import codec
from duro.model.families import CLEANABLE_KINDS, OrphanFilter, OrphanRules, PurgeOptions, RemovalRules
from duro.model.messages import ChildFailed, ChildSucceeded
from duro.model.removal import PruneScope
from duro.model.status import ChildrenPolicy, ExecutionStatus, ParentPolicy
from duro.model.turns import LeasedInstance, TurnOutcome
from duro.stores.base import Store
from duro.testing import ManualClock, check_invariants
from duro.testing.builders import (
    cancelled,
    child_cancel_requested,
    child_completed,
    child_failed,
    child_scheduled,
    completed,
    continued_as_new,
    detached_scheduled,
    failed,
    next_lease,
    prune_batch,
    removal_batch,
    start_request,
    turn,
)
from duro.testing.scripted import ScriptedWorker

EVERYTHING: Final = PurgeOptions(completed_before=10**14)


@dataclass(eq=False)
class Person:
    """One instance, as it is remembered."""

    name: str
    parent: "Person | None" = None
    born_in: int = 0
    """The execution of the parent that spawned it."""
    born_by: int = 0
    alone: bool = False
    on_end: ParentPolicy = ParentPolicy.ABANDON
    on_continue: ParentPolicy = ParentPolicy.ABANDON
    execution: int = 1
    pruned_below: int = 1
    over: bool = False
    over_in_time: bool = False
    """It ended while the execution that spawned it was running."""
    seen: bool = False
    """Its parent has recorded its end."""
    given_up: bool = False
    """Its parent has recorded that it waits for it no longer."""
    gone: bool = False
    children: list["Person"] = field(default_factory=list)

    @property
    def is_in_hand(self) -> bool:
        """The execution that spawned it is still running."""
        parent = self.parent
        assert parent is not None
        return not (self.alone or self.seen or parent.over or parent.gone) and parent.execution == self.born_in

    @property
    def may_be_seen(self) -> bool:
        return self.is_in_hand and not self.given_up

    @property
    def is_orphan(self) -> bool:
        return self.parent is not None and not (self.alone or self.seen or self.is_in_hand)

    def household(self) -> Iterator["Person"]:
        """It, and everybody that depends on it."""
        yield self
        for child in self.children:
            if not (child.alone or child.gone):
                yield from child.household()

    def ancestors(self) -> Iterator[str]:
        """The ids of those of them that are there and were spawned by somebody themselves, as far as that goes."""
        parent = self.parent
        while parent is not None and not parent.gone and parent.parent is not None:
            yield parent.name
            parent = parent.parent

    @property
    def is_still(self) -> bool:
        return all(each.over for each in self.household())


class World:
    """A store, its worker, its clock, and everybody who lives there."""

    def __init__(self, store: Store, clock: ManualClock, seed: int) -> None:
        self.store = store
        self.clock = clock
        self.random = random.Random(seed)
        self.worker = ScriptedWorker(store, lease_ms=10**9)
        self.people: list[Person] = []
        """In the order in which they were born."""
        self.leases: dict[str, LeasedInstance] = {}
        self.late: list[LeasedInstance] = []
        """Leases of people who were ended from outside: what their worker has to say comes too late."""
        self.done: dict[str, int] = {}
        """How often each kind of thing happened."""

    # --- what happens ------------------------------------------------------------------------------------------

    def live(self, steps: int) -> None:
        self.start()
        for _ in range(steps):
            self.clock.advance(self.random.randrange(1, 50))
            chosen = self.random.choice(ACTIONS)
            getattr(self, chosen)()
            self.done[chosen] = self.done.get(chosen, 0) + 1
            self.check()

    def start(self) -> None:
        self._start(self._id("r"))

    def spawn(self) -> None:
        if (parent := self._someone()) is None:
            return
        alone = self.random.random() < 0.2
        words = [self.random.choice(list(ParentPolicy)) for _ in range(2)]
        child = Person(self._id("c"), parent, parent.execution, alone=alone)
        if alone:
            self._turn(parent, detached_scheduled(child.name))
        else:
            child.on_continue, child.on_end = words
            event = child_scheduled(child.name, on_parent_continue=words[0], on_parent_end=words[1])
            child.born_by = self._turn(parent, event)
        parent.children.append(self._born(child))
        self._wake()

    def observe(self) -> None:
        """A parent's turn records what has reached it."""
        if (parent := self._someone()) is not None:
            self._deliver(parent)

    def give_up(self) -> None:
        """A parent waits no longer for a child, which lost a race, say; that one is only asked to end."""
        waited_for = [each for each in self._there() if each.parent is not None and each.may_be_seen]
        if waited_for:
            child = self.random.choice(waited_for)
            assert child.parent is not None
            self._turn(child.parent, child_cancel_requested(child.born_by))
            child.given_up = True

    def end(self) -> None:
        if (person := self._someone()) is None:
            return
        if self.random.random() < 0.5:
            self._deliver(person)
        self._turn(person, self.random.choice([completed(), failed(), cancelled()]))
        self._ended(person)

    def go_on(self) -> None:
        """Continue as new, with what has arrived recorded before, or left behind."""
        if (person := self._someone()) is None:
            return
        if self.random.random() < 0.5:
            self._deliver(person)
        self._turn(person, continued_as_new())
        for child in person.children:
            if not child.alone and child.born_in == person.execution and not (child.over or child.gone):
                self._struck(child, child.on_continue)
        person.execution += 1
        self._wake()

    def terminate(self) -> None:
        if (person := self._someone()) is not None:
            self.store.terminate_instance(person.name, "enough")
            self._ended(person)

    def come_late(self) -> None:
        """A worker has something to say for somebody who was ended meanwhile, and may be gone, and the id another's."""
        if self.late:
            late = self.random.choice(self.late)
            said = self.worker.commit(turn(late, completed(), at_ms=self.store.now_ms()))
            assert said.turns == [TurnOutcome.FENCED], said

    def cancel(self) -> None:
        """Somebody asks from outside: a wish that changes nothing but what that one's own turns make of it."""
        if (person := self._someone()) is not None:
            self.store.request_cancel(person.name, "enough", f"cancel-{sum(self.done.values())}")

    def adopt(self) -> None:
        orphans = [each for each in self._there() if each.is_orphan]
        if orphans:
            person = self.random.choice(orphans)
            self.store.adopt(person.name, "somebody", "on purpose")
            person.alone = True

    def prune(self) -> None:
        """To the current execution, with the settled children of what goes, or without."""
        if not (there := self._there()):
            return
        person = self.random.choice(there)
        children = self.random.choice(list(ChildrenPolicy))
        record = self.store.get_instance(person.name)
        assert record is not None
        self.store.prune(prune_batch((record.incarnation, 1), children=children))
        self._reclaim()
        if children is ChildrenPolicy.SETTLED:
            for child in person.children:
                if not (child.alone or child.gone) and person.pruned_below <= child.born_in < person.execution:
                    self._leaves(child)
        person.pruned_below = person.execution

    def clean_up(self) -> None:
        """What an operator does, through the client's own functions."""
        from duro.maintenance import families
        from duro.maintenance.pruning import RunTerms

        terms = RunTerms(run_id=f"run-{sum(self.done.values())}", grace_ms=0)
        families.cleanup(self.store, OrphanFilter(), 0.0, terms, cancel_running=False, progress=None)
        for person in self._there():
            if person.is_orphan and not person.gone:
                self._leaves(person)

    def purge(self) -> None:
        from duro.maintenance import families
        from duro.maintenance.pruning import RunTerms

        terms = RunTerms(run_id=f"run-{sum(self.done.values())}", grace_ms=0)
        families.purge(self.store, EVERYTHING, PruneScope(), terms, None)
        for person in self._there():
            if not person.gone and self._may_be_purged(person):
                self._leaves(person)

    def remove_anyone(self) -> None:
        """Somebody who was not looked up first: the store itself has to know better."""
        if not (there := self._there()):
            return
        person = self.random.choice(there)
        rules: RemovalRules = EVERYTHING if self.random.random() < 0.5 else OrphanRules()
        record = self.store.get_instance(person.name)
        assert record is not None
        (outcome,) = self.store.remove(removal_batch((record.incarnation, rules)))
        may_go = person.is_orphan if isinstance(rules, OrphanRules) else self._may_be_purged(person)
        assert outcome.removed == (may_go and person.is_still), (person.name, outcome)
        if may_go:
            self._leaves(person)

    def regret(self) -> None:
        """Somebody who was purged is brought back, and no clean-up takes anybody of that household meanwhile."""
        from duro.maintenance import families
        from duro.maintenance.pruning import RunTerms

        if (person := self._sent_away()) is None:
            return
        there = self._there()
        number = sum(self.done.values())
        undone = self.store.undo_prune(f"hold-{number}", self.store.now_ms() + 1, run_id=f"regretted-{number}")
        back = set(person.household())
        assert undone.instances_restored == len(back)
        terms = RunTerms(run_id=f"run-{number}", grace_ms=0)
        families.cleanup(self.store, OrphanFilter(), 0.0, terms, cancel_running=False, progress=None)
        for each in there:
            if each.is_orphan and not each.gone and back.isdisjoint(each.household()):
                self._leaves(each)

    def regret_too_late(self) -> None:
        """An id of the household is another's by now: nobody of it comes back."""
        if (person := self._sent_away()) is None:
            return
        number = sum(self.done.values())
        household = list(person.household())
        self._leaves(person)
        self._start(self.random.choice(household).name)
        undone = self.store.undo_prune(f"hold-{number}", self.store.now_ms() + 1, run_id=f"regretted-{number}")
        assert (undone.instances_restored, undone.taken) == (0, (person.name,))

    def _sent_away(self) -> Person | None:
        """Somebody who is purged, so that an undo may bring the household back; None: that one may not go."""
        if not (there := self._there()):
            return None
        person = self.random.choice(there)
        record = self.store.get_instance(person.name)
        assert record is not None
        run_id = f"regretted-{sum(self.done.values())}"
        order = removal_batch((record.incarnation, EVERYTHING), run_id=run_id, grace_ms=10**6)
        return person if self.store.remove(order)[0].removed else None

    @staticmethod
    def _may_be_purged(person: Person) -> bool:
        """It stands alone, or hangs below somebody who lives (or is gone) and will not see its end, or has."""
        parent = person.parent
        if parent is None or person.alone:
            return True
        return (parent.gone or not parent.over) and not person.may_be_seen

    @property
    def ids_used_again(self) -> int:
        return len(self.people) - len({each.name for each in self.people})

    # --- what is remembered ------------------------------------------------------------------------------------

    def _id(self, prefix: str) -> str:
        """That of somebody who is gone, or a new one."""
        taken = {each.name for each in self._there()}
        free = sorted({each.name for each in self.people} - taken)
        if free and self.random.random() < 0.3:
            return self.random.choice(free)
        return f"{prefix}{len(self.people)}"

    def _start(self, name: str) -> None:
        self._born(Person(name))
        self.store.start_instances([start_request(name)])
        self._wake()

    def _born(self, person: Person) -> Person:
        self.people.append(person)
        return person

    def _there(self) -> list[Person]:
        """The oldest first."""
        return [each for each in self.people if not each.gone]

    def _someone(self) -> Person | None:
        """Somebody who lives."""
        living = [each for each in self._there() if not each.over]
        return self.random.choice(living) if living else None

    def _note_late(self, person: Person) -> None:
        if (leased := self.leases.pop(person.name, None)) is not None:
            self.late.append(leased)

    def _ended(self, person: Person) -> None:
        person.over = True
        self._note_late(person)
        parent = person.parent
        if parent is not None and not person.alone:
            person.over_in_time = not parent.over and parent.execution == person.born_in
        for child in person.children:
            if not (child.alone or child.over or child.gone):
                self._struck(child, child.on_end)
        self._wake()

    def _struck(self, child: Person, word: ParentPolicy) -> None:
        """Its parent is over, or goes on without it. A cancel is a wish; whoever is terminated is over at once."""
        if word is ParentPolicy.TERMINATE:
            self._ended_without_notice(child)

    def _ended_without_notice(self, person: Person) -> None:
        person.over = True
        self._note_late(person)
        for child in person.children:
            if not (child.alone or child.over or child.gone):
                self._struck(child, child.on_end)

    def _leaves(self, person: Person) -> None:
        """With everybody that depends on it, if nobody of them lives."""
        if person.is_still:
            for each in list(person.household()):
                each.gone = True

    # --- what the store is told --------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Take whatever is ready, and keep it."""
        for leased in self.worker.lease().instances:
            self.leases[leased.instance_id] = leased

    def _turn(self, person: Person, *events: Any, delivers: bool = False) -> int:
        """The id of the last event. What has arrived for an execution that is over is thrown away; what has for this
        one is left where it is, unless the turn ``delivers`` it."""
        self._wake()
        leased = self.leases.pop(person.name)
        consumed = [
            message.message_id
            for message in leased.messages
            if delivers or codec.decode_message(message.data).execution_id != person.execution
        ]
        committed = turn(leased, *events, at_ms=self.store.now_ms(), consumed_messages=consumed)
        going_on = committed.end is None or committed.end.status is ExecutionStatus.CONTINUED_AS_NEW
        committed.keep_lease = going_on
        result = self.worker.commit(committed)
        assert result.turns == [TurnOutcome.COMMITTED], result.errors
        if going_on:
            self.leases[person.name] = next_lease(leased, committed)
        self._wake()
        return committed.first_event_id + len(committed.events) - 1

    def _deliver(self, parent: Person) -> None:
        """Everything that waits for the execution that runs is recorded, in one turn."""
        self._wake()
        found = [codec.decode_message(message.data) for message in self.leases[parent.name].messages]
        answers: list[Any] = []
        given_up = {child.born_by for child in parent.children if child.given_up and child.born_in == parent.execution}
        for message in found:
            if message.execution_id == parent.execution and message.scheduled_event_id not in given_up:
                assert isinstance(message, ChildSucceeded | ChildFailed)
                event = child_failed if isinstance(message, ChildFailed) else child_completed
                answers.append(event(message.scheduled_event_id))
        if answers:
            self._turn(parent, *answers, delivers=True)
            born = {answer.scheduled_event_id for answer in answers}
            for child in parent.children:
                if child.born_in == parent.execution and child.born_by in born:
                    assert child.over_in_time
                    child.seen = True

    def _reclaim(self) -> None:
        while self.store.reclaim(1_000).more:
            pass

    # --- what must be so ---------------------------------------------------------------------------------------

    def check(self) -> None:
        from duro.maintenance import families

        there = self._there()
        names = {person.name for person in there}
        found = {row["instance_id"] for row in self.store.dump()["instances"]}
        assert found == names, (found - names, names - found)
        orphans = {orphan.child.instance_id: orphan for orphan in families.orphans(self.store, OrphanFilter(limit=0))}
        expected = {person.name for person in there if person.is_orphan}
        assert set(orphans) == expected, (set(orphans) - expected, expected - set(orphans))
        by_name = {person.name: person for person in there}
        for name, orphan in orphans.items():
            person = by_name[name]
            assert person.parent is not None
            closed = person.parent.execution == person.born_in
            kind = "parent-missing" if person.parent.gone else "parent-closed" if closed else "parent-continued"
            assert orphan.kind == kind
            assert orphan.kind in CLEANABLE_KINDS
            pruned = not person.parent.gone and person.born_in < person.parent.pruned_below
            assert orphan.spawner_pruned == pruned
        for person in there:
            lineage = families.lineage_of(self.store, person.name)
            assert (lineage.child is None) == (person.parent is None)
            if lineage.child is not None and person.parent is not None:
                assert lineage.child.parent.instance_id == person.parent.name
                assert (lineage.child.parent_status is None) == person.parent.gone
            assert [each.instance_id for each in lineage.ancestors] == list(person.ancestors())
        check_invariants(self.store)

    def finish(self) -> None:
        """Whoever survived comes to its end, and whoever may still be observed is."""
        self.clock.advance(1)  # past the last hold of ``regret``
        while (person := next((each for each in self._there() if not each.over), None)) is not None:
            self._deliver(person)
            waiting = [each for each in person.children if each.over_in_time and each.may_be_seen and not each.gone]
            assert not waiting, "its parent was told, and has recorded it"
            self._turn(person, completed())
            self._ended(person)
        self.check()
        self.purge()
        self.clean_up()
        self.check()
        assert not [each for each in self._there() if each.is_still], "nothing that has ended and stands alone is left"


ACTIONS: Final = (
    *("spawn",) * 8,
    *("observe",) * 4,
    *("end",) * 6,
    *("go_on",) * 4,
    *("start", "terminate", "adopt", "clean_up", "purge", "give_up", "cancel"),
    *("regret", "regret_too_late", "come_late"),
    *("prune", "remove_anyone") * 2,
)
