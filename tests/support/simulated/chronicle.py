"""What somebody remembers who saw every commit: who lives, who waits for whom, what was promised. It shares nothing
with ``duro.retention`` or the stores, and says of every change whether it may be."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from duro.codec import decode_event
from duro.model import events as ev
from duro.model.pruning import Hold, HoldTarget
from duro.model.removal import AskedPrune
from duro.model.status import ExecutionStatus
from duro.model.turns import CommitBatch, CommitResult, LeasedInstance, StartInstance, TurnCommit, TurnOutcome

FOREVER_MS: Final = 10**15

WAITED_FOR: Final = {"beside": "item", "patient": "go", "collector": "item"}
"""The event that the code of an orchestration waits for."""


class Seen(NamedTuple):
    """One instance as it stands in the store. ``executions``: those that have a row, and how far their removal is."""

    instance_id: str
    execution_id: int
    status: str
    executions: dict[int, str]
    cancelled: bool
    """Somebody asked it to end."""
    tree: int = 0
    """With whom it was removed."""
    removal: int = 0
    """Which removal that was, of all there ever were."""


class Sight(NamedTuple):
    """Who is there, and who was removed and still has rows, by incarnation."""

    there: dict[int, Seen]
    removed: dict[int, Seen]


class Asked(NamedTuple):
    """A prune that code asked for: as if ``through`` were the newest execution."""

    keep_last: int
    through: int


class AsOf(NamedTuple):
    """A prune with a turn that left ``newest`` as its newest execution."""

    keep_last: int | None
    newest: int


@dataclass(eq=False)
class Mark:
    """An execution, or a whole life, that is out of sight, and until when it can be brought back."""

    until_ms: int
    waits: bool
    """It may not go before its archive has it."""


@dataclass(eq=False)
class Life:
    """One incarnation of an instance."""

    incarnation: int
    instance_id: str
    name: str
    given: Any
    born_at_ms: int
    parent: "Life | None" = None
    born_in: int = 0
    born_by: int = 0
    alone: bool = False
    on_continue: str = "abandon"
    on_end: str = "cancel"
    execution: int = 1
    version: str = ""
    turns: int = 0
    epoch: int = 0
    holder: str | None = None
    over: bool = False
    over_at_ms: int | None = None
    stopped: bool = False
    """Somebody asked it to end, or ended it."""
    cancel_delivered: bool = False
    seen: bool = False
    given_up: bool = False
    """Its parent waits for it no longer."""
    spawner_ended_at_ms: int | None = None
    parent_gone_at_ms: int | None = None
    removed: Mark | None = None
    tree: int = 0
    """With whom it was removed."""
    removal: int = 0
    """Which removal that was, of all there ever were."""
    gone: bool = False
    live: set[int] = field(default_factory=lambda: {1})
    marks: dict[int, Mark] = field(default_factory=dict)
    policy: int | str | None = None
    """Its own: how many executions are kept, or "never"."""
    asked: set[Asked] = field(default_factory=set)
    came_back: bool = False
    """It, or an execution of it."""
    histories: dict[int, list[str]] = field(default_factory=lambda: {1: []})
    ended_at_ms: dict[int, int] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    """Tokens in the order in which they were put into the mailbox, of the name that its code waits for."""
    unasked: list[str] = field(default_factory=list)
    """The same of a name that its code never waits for."""
    delivered: list[str] = field(default_factory=list)
    children: "list[Life]" = field(default_factory=list)

    @property
    def is_in_hand(self) -> bool:
        """The very execution that spawned it still runs, and has not recorded its end."""
        parent = self.parent
        if parent is None or self.alone or self.seen or parent.over or parent.removed or parent.gone:
            return False
        return parent.execution == self.born_in

    @property
    def may_be_seen(self) -> bool:
        return self.is_in_hand and not self.given_up

    @property
    def is_orphan(self) -> bool:
        return self.parent is not None and not (self.alone or self.seen or self.is_in_hand)

    @property
    def orphan_since_ms(self) -> int:
        """Since when nobody waits for it, from its parent's side and from its own."""
        parent = self.parent
        assert parent is not None
        since_ms = self.parent_gone_at_ms if parent.removed or parent.gone else self.spawner_ended_at_ms
        return max(since_ms or FOREVER_MS, self.over_at_ms or 0)

    @property
    def depth(self) -> int:
        return 0 if self.parent is None else self.parent.depth + 1

    def household(self) -> "Iterator[Life]":
        """It, and everybody there that depends on it."""
        yield self
        for child in self.children:
            if not (child.alone or child.removed or child.gone):
                yield from child.household()


@dataclass(frozen=True)
class Intent:
    """What an actor means to do: nothing else may go. ``keep_last`` None: as the configuration says."""

    keep_last: int | None = None
    min_age_s: float | None = None
    purge: tuple[str, float] | None = None
    grace_s: float = 0.0


@dataclass(frozen=True)
class Configured:
    """What the configuration file says, as the chronicle understands it."""

    keep_last: int | None = None
    keep_within_s: float | None = None
    settled: bool = False
    orphan_age_s: float | None = None
    purge_within_s: float | None = None
    archive: bool = False


@dataclass
class _Changes:
    """What one call says beforehand about what will be seen after it."""

    born: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """Roots by id: what was started, with which input."""
    spawned: list[tuple[TurnCommit, StartInstance]] = field(default_factory=list)
    ended: list[tuple[Life, int, ExecutionStatus]] = field(default_factory=list)
    leased: tuple[str, tuple[LeasedInstance, ...]] = ("", ())
    keeps: dict[int, list[int | Asked | AsOf | None]] = field(default_factory=dict)
    """By incarnation: how many executions its prunes keep, None: what is configured."""
    may_prune: bool = False
    may_remove: str = ""
    may_go: bool = False
    may_return: bool = False
    undone: tuple[Sequence[str], Sequence[str], int] | None = None
    """The holds that an undo has made, the instances it names, and until when they are held."""
    returned: list[tuple[int, Life]] = field(default_factory=list)
    """Who came back, each with the tree it was removed with."""


class Chronicle:
    """See the module. ``findings``: what must not be."""

    def __init__(self, configured: Configured) -> None:
        self.configured = configured
        self.findings: list[str] = []
        self.lives: dict[int, Life] = {}
        self.by_id: dict[str, Life] = {}
        self.holds: dict[str, Hold] = {}
        self.holds_ever: list[Hold] = []
        self.worker_until_ms: dict[str, int] = {}
        self.requests: set[tuple[int, str]] = set()
        self.intents: dict[str, Intent] = {}
        self._removals_before: dict[str, int] = {}
        """How many removals there had been when an actor began what it means to do."""
        self._removals = 0
        self.scheduled: set[tuple[int, int, int]] = set()
        self.rare: dict[str, int] = {}
        self.around: dict[int, Life] = {}
        """Those that are there, or removed and not gone."""
        self.archived: dict[tuple[int, int], Life] = {}
        """Executions (incarnation, number) that an archive has to have."""
        self._now_ms = 0
        self._there: Mapping[int, Seen] = {}
        self._actor = ""
        self._changes = _Changes()

    def count(self, rare: str) -> None:
        self.rare[rare] = self.rare.get(rare, 0) + 1

    def broken(self, what: str) -> None:
        self.findings.append(what)

    def begins(self, actor: str, intent: Intent) -> None:
        self.intents[actor] = intent
        self._removals_before[actor] = self._removals

    # --- calls -----------------------------------------------------------------------------------------------------

    def applied(
        self,
        actor: str,
        call: str,
        arguments: tuple[Any, ...],
        keywords: Mapping[str, Any],
        result: Any,
        now_ms: int,
    ) -> bool:
        """What a call did that came through. True: the store has to be looked at (``saw``)."""
        self._now_ms, self._actor = now_ms, actor
        self._changes = _Changes()
        told = getattr(self, f"_{call}", None)
        return told is not None and bool(told(*arguments, result, **keywords))

    def _register_worker(self, worker: Any, lease_ms: int, _: Any) -> None:
        self.worker_until_ms[worker.worker_id] = self._now_ms + lease_ms

    def _renew_worker(self, worker_id: str, lease_ms: int, alive: bool, threads_stuck: int) -> None:
        if alive:
            self.worker_until_ms[worker_id] = self._now_ms + lease_ms

    def _release_worker(self, worker_id: str, _: Any) -> None:
        self.worker_until_ms.pop(worker_id, None)

    def _lease(self, worker_id: str, _request: Any, result: Any) -> None:
        self._take_back()
        self._handed_out(worker_id, result.instances)

    def _take_back(self) -> None:
        """Whoever leases takes back what expired workers hold."""
        for worker_id in [each for each, until_ms in self.worker_until_ms.items() if until_ms <= self._now_ms]:
            del self.worker_until_ms[worker_id]

    def _handed_out(self, worker_id: str, instances: tuple[LeasedInstance, ...]) -> None:
        for leased in instances:
            life = self.lives[leased.incarnation]
            if life.over:
                self.broken(f"{life.instance_id} has ended and is leased to {worker_id}")
            if life.holder == worker_id and leased.lease_epoch == life.epoch:
                continue
            if life.holder is not None:
                if life.holder in self.worker_until_ms:
                    self.broken(f"{life.instance_id} was taken from {life.holder}, whose lease runs, by {worker_id}")
                self.count("an expired lease is taken over")
            if leased.lease_epoch <= life.epoch:
                self.broken(f"{life.instance_id} is leased again under epoch {leased.lease_epoch}")
            if leased.attempt_count >= 3:
                self.count("a suspicious instance is leased")
            life.holder, life.epoch = worker_id, leased.lease_epoch

    def _commit(self, batch: CommitBatch, result: CommitResult) -> bool:
        changes = self._changes
        for turn, outcome in zip(batch.turns, result.turns, strict=True):
            if outcome is TurnOutcome.FENCED:
                self.count("a turn is fenced")
            elif outcome is not TurnOutcome.COMMITTED:
                self.broken(f"a turn of {turn.instance_id} is {outcome}: {result.errors}")
            else:
                self._turn(batch, turn)
        for release, outcome in zip(batch.releases, result.releases, strict=True):
            if outcome is TurnOutcome.COMMITTED:
                self.lives[release.incarnation].holder = None
                if release.blocked is not None:
                    self.count(f"an instance is blocked: {release.blocked}")
        for reported in (*result.finished, *result.retries):
            if reported is not TurnOutcome.COMMITTED:
                self.count("the report of an activity is fenced")
        for report in result.prunes:
            if report.result.error is not None:
                self.broken(f"a prune of {report.name} failed: {report.result.error}")
        changes.may_prune = bool(result.prunes)
        if batch.lease is not None:
            self._take_back()
        if result.leased is not None:
            changes.leased = (batch.worker_id, result.leased.instances)
        if changes.spawned or changes.ended or changes.may_prune:
            return True
        self._handed_out(*changes.leased)
        return False

    def _turn(self, batch: CommitBatch, turn: TurnCommit) -> None:
        life = self.around.get(turn.incarnation)
        if life is None or life.over or life.removed is not None:
            self.broken(f"a turn of {turn.instance_id} was committed, which has ended")
            return
        if (life.holder, life.epoch) != (batch.worker_id, turn.lease_epoch):
            self.broken(
                f"a turn of {turn.instance_id} was committed by {batch.worker_id} under epoch {turn.lease_epoch}; "
                f"{life.holder} has it under {life.epoch}"
            )
        if (life.turns, life.execution) != (turn.turn_sequence, turn.execution_id):
            self.broken(
                f"turn {turn.turn_sequence} of execution {turn.execution_id} of {turn.instance_id} was committed; "
                f"{life.turns} of {life.execution} was to come"
            )
            return
        life.turns += 1
        if life.version not in ("", turn.version):
            self.count("an instance moves to a newer version")
        life.version = turn.version
        history = life.histories[turn.execution_id]
        if len(history) + 1 != turn.first_event_id:
            self.broken(f"event {turn.first_event_id} of {turn.instance_id} follows event {len(history)}")
        history += turn.events
        if turn.consumed_mailbox:
            self._deliver(life, turn)
        for activity in turn.activities:
            self.scheduled.add((turn.incarnation, turn.execution_id, activity.event_id))
        if turn.observed_children:
            for child in life.children:
                if child.born_in == turn.execution_id and child.born_by in turn.observed_children:
                    child.seen = True
        if turn.cancel_delivered:
            self.count("a cancel is delivered")
            life.stopped = life.cancel_delivered = True
        if turn.ignored_messages:
            self.count("a message is ignored")
        if not turn.keep_lease:
            life.holder = None
        for cancel in turn.cancelled_children:
            for child in life.children:
                if (child.born_in, child.born_by) == (turn.execution_id, cancel.event_id):
                    child.stopped = child.given_up = True
                    self.count("the loser of a select is cancelled")
        changes = self._changes
        changes.spawned += [(turn, start) for start in turn.starts]
        for request in turn.prune_requests:
            keep = request.options.keep_last
            changes.keeps.setdefault(turn.incarnation, []).append(AsOf(keep, turn.newest_execution_id))
            life.asked.add(Asked(keep or 0, turn.newest_execution_id))
        if (end := turn.end) is not None:
            if end.status is ExecutionStatus.CONTINUED_AS_NEW:
                keep = None if end.prune is None else end.prune.keep_last
                changes.keeps.setdefault(turn.incarnation, []).append(AsOf(keep, turn.newest_execution_id))
                if keep is not None:
                    life.asked.add(Asked(keep, turn.newest_execution_id))
            changes.ended.append((life, turn.execution_id, end.status))
            self._over(life, end.status, turn.at_ms)

    def _deliver(self, life: Life, turn: TurnCommit) -> None:
        for text in turn.events:
            event = decode_event(text)
            if isinstance(event, ev.EventReceived):
                token = bytes(event.data).decode()
                if token in life.delivered:
                    self.broken(f"event {token} was delivered to {life.instance_id} twice")
                elif token != next((each for each in life.events if each not in life.delivered), None):
                    self.broken(f"event {token} was delivered to {life.instance_id} out of order: {life.events}")
                life.delivered.append(token)

    def _over(self, life: Life, status: ExecutionStatus, at_ms: int) -> None:
        """An execution ended, and with it maybe the life."""
        life.ended_at_ms[life.execution] = at_ms
        for child in life.children:
            if child.born_in == life.execution:
                child.spawner_ended_at_ms = at_ms
        if status is ExecutionStatus.CONTINUED_AS_NEW:
            if life.cancel_delivered:
                self.broken(f"{life.instance_id} continued as new after its cancel was delivered")
            if life.stopped:
                self.count("a cancel goes on to the next execution")
            life.execution += 1
            life.histories[life.execution] = []
            life.live.add(life.execution)
        else:
            life.over, life.over_at_ms, life.holder = True, at_ms, None

    def _strike(self, life: Life, execution: int, status: ExecutionStatus) -> None:
        """What becomes of those that somebody leaves behind whose execution ended."""
        continued = status is ExecutionStatus.CONTINUED_AS_NEW
        terminated = []
        for child in life.children:
            if child.alone or child.over or child.removed is not None or child.gone:
                continue
            if continued and child.born_in != execution:
                continue
            word = child.on_continue if continued else child.on_end
            if word == "cancel":
                child.stopped = True
                self.count("a child is cancelled because of its parent")
            elif word == "terminate":
                terminated.append(child)
        for child in terminated:
            self.count("a child is terminated because of its parent")
            self._terminated(child)

    def _terminated(self, life: Life) -> None:
        life.stopped = True
        life.histories[life.execution].append("")  # the store's own event
        execution = life.execution
        self._over(life, ExecutionStatus.TERMINATED, self._now_ms)
        self._strike(life, execution, ExecutionStatus.TERMINATED)

    # --- calls of clients ------------------------------------------------------------------------------------------

    def _start_instances(self, requests: Any, outcomes: Any) -> bool:
        for request, outcome in zip(requests, outcomes, strict=True):
            if outcome.incarnation not in self.lives:
                self._changes.born[request.instance_id] = (request.name, msgspec.json.decode(request.input))
            elif outcome.started:
                self.count("a start is repeated")
        return True

    def _is_new(self, life: Life, request_id: str) -> bool:
        if (life.incarnation, request_id) in self.requests:
            self.count("a request is repeated")
            return False
        self.requests.add((life.incarnation, request_id))
        return True

    def _raise_event(self, instance_id: str, name: str, data: str, request_id: str, _: Any) -> None:
        life = self.by_id[instance_id]
        if self._is_new(life, request_id):
            (life.events if name == WAITED_FOR.get(life.name) else life.unasked).append(data)

    def _request_cancel(self, instance_id: str, _reason: str, request_id: str, _: Any, **_only: Any) -> None:
        life = self.by_id[instance_id]
        if self._is_new(life, request_id):
            life.stopped = True

    def _terminate_instance(self, instance_id: str, _reason: str, request_id: str, _: Any) -> bool:
        life = self.by_id[instance_id]
        if self._is_new(life, request_id):
            self._terminated(life)
        return True

    def _set_instance_policy(self, instance_id: str, text: str | None, _: Any) -> None:
        stated = None if text is None else msgspec.json.decode(text)["policy"]
        policy = stated if stated is None or isinstance(stated, str) else stated["keep_last"]
        self.by_id[instance_id].policy = policy

    def _add_hold(self, hold: Hold, _: Any) -> None:
        self.holds[hold.hold_id] = hold
        self.holds_ever.append(hold)

    def _remove_hold(self, hold_id: str, _: Any) -> None:
        self.holds.pop(hold_id, None)

    def _adopt(self, instance_id: str, _by: str, _reason: str, _: Any) -> None:
        life = self.by_id[instance_id]
        if not (life.alone or life.is_orphan):
            self.broken(f"{instance_id} was adopted, and its parent may still see how it ends, or has")
        self.count("an orphan is adopted")
        life.alone = True

    # --- calls that remove -----------------------------------------------------------------------------------------

    def _prune(self, batch: Any, results: Any, **_: Any) -> bool:
        self._changes.may_prune = self._changes.may_go = True
        if self.configured.settled:
            self._changes.may_remove = "settled"
        keep_last = self._intent().keep_last
        for order, result in zip(batch.orders, results, strict=True):
            self._changes.keeps[order.incarnation] = [keep_last if order.asked is None else self._asked(order.asked)]
            if result.result.skipped and order.only is not None:
                self.count("what was planned is skipped")
        return True

    def _asked(self, order: AskedPrune) -> Asked:
        asked = Asked(order.options.keep_last or 0, order.through)
        if asked not in self.lives[order.incarnation].asked:
            self.broken(f"a sweep goes on with {asked} of {order.name}, for which nobody asked")
        return asked

    def _remove(self, batch: Any, outcomes: Any, **_: Any) -> bool:
        self._changes.may_remove = batch.trigger
        for outcome in outcomes:
            for reason in outcome.reasons if not outcome.removed else ():
                self.count(f"a family is kept: {reason.split(':')[0]}")
        return True

    def _reclaim(self, _events_max: int, result: Any) -> bool:
        self._changes.may_go = True
        if self.configured.settled:
            self._changes.may_remove = "settled"
        if result.more:
            self.count("a reclaim takes several transactions")
        return True

    def _undo_prune(self, hold_id: str, until_ms: int, result: Any, **_: Any) -> bool:
        self._changes.may_return = True
        self._changes.undone = (result.hold_ids, result.instances, until_ms)
        if result.instances_restored > len(result.instances):
            self.count("a removed family comes back")
        if result.gone:
            self.count("an undo finds that a part is gone")
        if result.taken:
            self.count("an undo finds that an id is taken")
        return True

    def _may_be_removed_again(self, undone: Sequence[str]) -> list[str]:
        """Who must be held of what came back: the roots, and whoever came back below them and whose end no parent has
        seen, for it may be removed as an orphan; then those of which executions came back."""
        back = sorted(self._changes.returned, key=lambda each: (each[0], each[1].depth, each[1].incarnation))
        whole = [life.instance_id for tree, life in back if life.incarnation == tree or not life.seen]
        return list(dict.fromkeys([*whole, *undone]))

    def _hold_all(self, hold_ids: Sequence[str], instance_ids: Sequence[str], until_ms: int) -> None:
        if len(hold_ids) != len(instance_ids):
            self.broken(f"{instance_ids} came back under the holds {hold_ids}")
        for hold_id, instance_id in zip(hold_ids, instance_ids, strict=False):
            hold = Hold(
                hold_id=hold_id,
                target=HoldTarget(instance_id=instance_id),
                reason="it came back",
                created_at_ms=self._now_ms,
                until_ms=until_ms,
            )
            self._add_hold(hold, None)

    def _note_archived(self, executions: Any, incarnations: Any, _: Any) -> bool:
        self._changes.may_go = True
        self.count("a segment is noted")
        for incarnation, number in executions:
            life = self.around.get(incarnation)
            mark = None if life is None else life.marks.get(number)
            if life is not None and mark is not None:
                mark.waits = False
                if (incarnation, number) in self.archived:
                    self.count("executions are archived again")
                self.archived[incarnation, number] = life
            else:
                self.count("what is noted as archived is not there any more, or came back")
        for incarnation in incarnations:
            life = self.around.get(incarnation)
            if life is None or life.removed is None:
                self.count("what is noted as archived is not there any more, or came back")
                continue
            life.removed.waits = False
            for number in (*life.live, *life.marks):
                if (incarnation, number) in self.archived:
                    self.count("executions are archived again")
                self.archived[incarnation, number] = life
            for mark in life.marks.values():
                mark.waits = False
        return True

    def _restore(self, restoration: Any, result: Any) -> bool:
        self._changes.may_return = True
        if result.executions:
            self.count("an instance is restored" if result.instances else "executions are restored")
            self._hold_all(result.hold_ids, (restoration.instance_id,), restoration.hold_until_ms)
        return True

    def _intent(self) -> Intent:
        return self.intents.get(self._actor) or Intent()

    # --- what is seen then -----------------------------------------------------------------------------------------

    def saw(self, sight: Sight) -> None:
        """How the store looks after the call."""
        changes = self._changes
        self._there = sight.there
        self._births(sight)
        for life, execution, status in changes.ended:
            self._strike(life, execution, status)
        removed = [life for number, life in self.around.items() if life.removed is None and number not in sight.there]
        if removed:
            self._removal(removed)
        before = list(self.around.values())
        for life in before:
            number = life.incarnation
            seen = sight.there.get(number)
            if seen is None:
                self._out_of_sight(life, sight.removed.get(number))
            else:
                self._in_sight(life, seen)
        for life in [each for each in before if each.gone]:
            for child in life.children:
                if not (child.alone or child.gone) and child.removed is not None and 0 < child.tree == life.tree:
                    self.broken(f"{life.instance_id} is gone before its child {child.instance_id}")
        if changes.may_return:
            for number, seen in sight.there.items():
                if (life := self.lives[number]).gone:
                    self._restored(life, seen)
        if changes.undone is not None:
            hold_ids, instance_ids, until_ms = changes.undone
            self._hold_all(hold_ids, self._may_be_removed_again(instance_ids), until_ms)
        self._handed_out(*changes.leased)

    def _births(self, sight: Sight) -> None:
        spawned: dict[str, tuple[TurnCommit, StartInstance]] = {}
        for turn, start in self._changes.spawned:
            spawned.setdefault(start.instance_id, (turn, start))
        new = [number for number in sight.there if number not in self.lives]
        for number in sorted(new):
            seen = sight.there[number]
            found = spawned.get(seen.instance_id)
            if found is not None:
                turn, start = found
                parent = self.lives[turn.incarnation]
                given = msgspec.json.decode(start.input)
                life = Life(number, seen.instance_id, start.name, given, self._now_ms, parent, turn.execution_id)
                life.born_by, life.alone = start.event_id, start.detached
                life.on_continue = str(start.on_parent_continue or "abandon")
                life.on_end = str(start.on_parent_end or "cancel")
                parent.children.append(life)
                if parent.execution != turn.execution_id or parent.over:
                    life.spawner_ended_at_ms = parent.ended_at_ms[turn.execution_id]
            elif seen.instance_id in self._changes.born:
                life = Life(number, seen.instance_id, *self._changes.born[seen.instance_id], self._now_ms)
            else:
                self.broken(f"{seen.instance_id} is there, and nobody started it")
                life = Life(number, seen.instance_id, "", None, self._now_ms)
            if any(other.instance_id == life.instance_id for other in self.lives.values()):
                self.count("an id is used again")
            self.lives[number] = self.around[number] = self.by_id[life.instance_id] = life
        if len(spawned) > len(new):
            self.count("a child is not started: its id is taken")

    def _in_sight(self, life: Life, seen: Seen) -> None:
        if life.removed is not None:
            if not self._changes.may_return:
                self.broken(f"{life.instance_id} was removed and is there again")
            life.removed, life.came_back = None, True
            self.by_id[life.instance_id] = life
            self._find_parent(life)
            for child in life.children:
                child.parent_gone_at_ms = None
                if child.gone and not child.alone and 0 < child.tree == life.tree:
                    self.broken(f"{life.instance_id} came back without {child.instance_id}, removed with it")
            self._changes.returned.append((life.tree, life))
            life.tree = 0  # what goes from now on goes for another reason
            self.count("a removed instance comes back")
        if seen.execution_id != life.execution:
            self.broken(f"{life.instance_id} is at execution {seen.execution_id}, not {life.execution}")
        if (seen.status not in ("pending", "running")) != life.over:
            self.broken(f"{life.instance_id} is {seen.status}, and {'has' if life.over else 'has not'} ended")
        if life.stopped and not life.over and not seen.cancelled:
            self.broken(f"{life.instance_id} was asked to end, and nothing says so")
        if not life.marks and seen.executions.keys() == life.live and set(seen.executions.values()) == {"live"}:
            return
        live = {number for number, state in seen.executions.items() if state == "live"}
        self._pruned(life, sorted(life.live - live), live)
        for number in sorted(live - life.live):
            if not self._changes.may_return:
                self.broken(f"execution {number} of {life.instance_id} was pruned and is there again")
            self.count("a pruned execution comes back")
            life.came_back = True
            life.marks.pop(number, None)
        life.live = live
        self._marks_gone(life, seen.executions)

    def _pruned(self, life: Life, gone: Sequence[int], live: set[int]) -> None:
        """Executions that were there and are out of sight now."""
        if not gone:
            return
        if not self._changes.may_prune:
            self.broken(f"executions {gone} of {life.instance_id} are out of sight, and nobody pruned")
        newest = sorted(life.live, reverse=True)
        intent = self._intent()
        for number in gone:
            name = f"execution {number} of {life.instance_id}"
            if number == life.execution:
                self.broken(f"{name} was pruned, which is current")
            if held := self._held(life, number):
                self.broken(f"{name} was pruned under the hold {held}")
            keeps = self._changes.keeps.get(life.incarnation, [])
            if not any(self._lets_go(life, number, newest, keep) for keep in keeps):
                self.broken(f"{name} was pruned of {newest}, and kept by {keeps}")
            grace_ms = round(1000 * intent.grace_s)
            life.marks[number] = Mark(self._now_ms + grace_ms, self.configured.archive)
            if isinstance(keeps[0] if keeps else None, Asked):
                self.count("a sweep goes on with what code asked for")
        self.count("executions are pruned")

    def asked_for_and_not_done(self) -> Iterator[str]:
        """When all is at rest: what code let go is gone, unless somebody held it or brought it back."""
        for life in self.around.values():
            if life.removed is not None or life.came_back or any(_targets(hold, life) for hold in self.holds_ever):
                continue
            for asked in life.asked:
                if left := self._left_by(asked, life.live):
                    yield f"executions {left} of {life.instance_id} are there, and code asked for {asked}"

    def _left_by(self, asked: Asked, live: Iterable[int]) -> list[int]:
        """Of these executions, those that it lets go."""
        return sorted((number for number in live if number <= asked.through), reverse=True)[asked.keep_last :]

    def _lets_go(self, life: Life, number: int, newest: Sequence[int], keep_last: int | Asked | AsOf | None) -> bool:
        """Whether a prune that keeps so many (None: as is configured) may take this execution."""
        if isinstance(keep_last, AsOf):
            there = [each for each in newest if each <= keep_last.newest]
            return number in there and self._lets_go(life, number, there, keep_last.keep_last)
        if isinstance(keep_last, Asked):
            return number in self._left_by(keep_last, newest)
        if keep_last is not None:
            return number not in newest[:keep_last]
        if life.policy is not None:
            return not isinstance(life.policy, str) and number not in newest[: life.policy]
        configured = self.configured
        if configured.keep_last is None:
            return False
        if number in newest[: configured.keep_last]:
            return False
        within_s = configured.keep_within_s
        return within_s is None or self._now_ms - life.ended_at_ms[number] > within_s * 1000

    def _held(self, life: Life, execution: int | None) -> str:
        """By which hold; ``execution`` None: anything of it."""
        for hold in self.holds.values():
            target = hold.target
            if (
                (hold.until_ms is None or hold.until_ms > self._now_ms)
                and _targets(hold, life)
                and (execution is None or target.execution_id in (None, execution))
            ):
                return hold.hold_id
        return ""

    def _marks_gone(self, life: Life, there: Mapping[int, str]) -> None:
        for number in [each for each in life.marks if each not in there]:
            mark = life.marks.pop(number)
            self._may_be_gone(f"execution {number} of {life.instance_id}", mark)

    def _may_be_gone(self, name: str, mark: Mark) -> None:
        if not (self._changes.may_go or self._changes.may_prune):
            self.broken(f"{name} is gone, and nobody reclaimed")
        if mark.until_ms > self._now_ms:
            self.broken(f"{name} is gone {mark.until_ms - self._now_ms} ms before its grace is over")
        if mark.waits:
            self.broken(f"{name} is gone before its archive has it")

    def _out_of_sight(self, life: Life, removed: Seen | None) -> None:
        assert life.removed is not None, "settled in _removal"
        if removed is not None:
            life.tree = removed.tree
            self._marks_gone(life, removed.executions)
            return
        self._may_be_gone(life.instance_id, life.removed)
        life.gone = True
        life.marks.clear()
        del self.around[life.incarnation]

    def _removal(self, removed: Sequence[Life]) -> None:
        """Whole instances that were there and are out of sight now."""
        changes, intent = self._changes, self._intent()
        gone = set(removed)
        self._removals += 1
        for root in removed:
            if root.parent in gone and not root.alone:
                continue
            name = f"{root.instance_id} ({root.incarnation})"
            household = list(root.household())
            for member in household:
                if not member.over:
                    self.broken(f"{name} was removed, and {member.instance_id} has not ended")
                if member not in gone:
                    self.broken(f"{name} was removed without {member.instance_id}, which depends on it")
                if held := self._held(member, None):
                    self.broken(f"{name} was removed, and {member.instance_id} is under the hold {held}")
            if len(household) > 2:
                self.count("a family of three or more is removed")
            match changes.may_remove:
                case "orphans":
                    self._orphan_removed(root, name, intent)
                case "purge":
                    self._purged(root, name, intent)
                case "settled":
                    self.count("settled children go with their execution")
                    if root.parent is None or root.alone or root.born_in in root.parent.live:
                        self.broken(f"{name} was removed as settled, and the execution that spawned it is there")
                case _:
                    self.broken(f"{name} was removed by nobody who may")
            self._mark_family(household, intent)

    def _mark_family(self, household: Sequence[Life], intent: Intent) -> None:
        grace_ms = 0 if self._changes.may_remove == "settled" else round(1000 * intent.grace_s)
        mark = Mark(self._now_ms + grace_ms, self.configured.archive)
        for member in household:
            member.removed = Mark(mark.until_ms, mark.waits)
            member.removal = self._removals
            if self.by_id.get(member.instance_id) is member:
                del self.by_id[member.instance_id]
            for child in member.children:
                if child.removed is None and not child.gone:
                    child.parent_gone_at_ms = self._now_ms

    def _orphan_removed(self, root: Life, name: str, intent: Intent) -> None:
        self.count("an orphan is removed")
        if not root.is_orphan:
            self.broken(f"{name} was removed as an orphan, and is none")
            return
        age_s = intent.min_age_s if intent.min_age_s is not None else self.configured.orphan_age_s
        if age_s is None:
            self.broken(f"{name} was removed as an orphan, and nobody said so")
        elif self._now_ms - root.orphan_since_ms < age_s * 1000:
            self.broken(f"{name} was removed, an orphan since {self._now_ms - root.orphan_since_ms} ms, not {age_s} s")

    def _purged(self, root: Life, name: str, intent: Intent) -> None:
        self.count("an instance is purged")
        parent = root.parent
        if parent is not None and not root.alone:
            if root.may_be_seen:
                self.broken(f"{name} was purged, and its parent may still see how it ended")
            if parent.over and parent.removed is None and not parent.gone:
                self.broken(f"{name} was purged without its parent, which has ended")
        rule = intent.purge
        if rule is None and self.configured.purge_within_s is not None:
            rule = ("within", self.configured.purge_within_s)
        match rule:
            case ("within", seconds):
                if self._now_ms - (root.over_at_ms or FOREVER_MS) < seconds * 1000:
                    self.broken(f"{name} was purged within {seconds} s of its end")
            case ("last", count):
                # The newest are counted once a run: what it has taken itself, or others meanwhile, was among them.
                before = self._removals_before[self._actor]
                newer = [
                    each
                    for each in self.lives.values()
                    if each.name == root.name
                    and each.over
                    and each.incarnation > root.incarnation
                    and ((each.removed is None and not each.gone) or each.removal > before)
                ]
                if len(newer) < count:
                    self.broken(f"{name} was purged, one of the newest {count}")
            case _:
                self.broken(f"{name} was purged, and nobody said so")

    def _restored(self, life: Life, seen: Seen) -> None:
        """An instance that was gone is there again, out of an archive."""
        life.gone, life.removed, life.came_back = False, None, True
        life.live = set(seen.executions)
        life.marks = {}
        self.around[life.incarnation] = self.by_id[life.instance_id] = life
        for child in life.children:
            child.parent_gone_at_ms = None
        self._find_parent(life)

    def _find_parent(self, life: Life) -> None:
        """Of one that came back: its parent may have been removed, or have come back, meanwhile."""
        if life.parent is None or life.parent.incarnation in self._there:
            life.parent_gone_at_ms = None
        elif life.parent_gone_at_ms is None:
            life.parent_gone_at_ms = self._now_ms


def _targets(hold: Hold, life: Life) -> bool:
    """Anything of it."""
    target = hold.target
    return target.instance_id in (None, life.instance_id) and target.name in (None, life.name)
