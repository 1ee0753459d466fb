"""Mistakes, each made for as long as it is entered. The simulation has to find every one of them."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final
from unittest.mock import patch

import msgspec

from duro.errors import ArchiveError
from duro.host.cache import ExecutionCache
from duro.host.holdings import Holdings
from duro.host.worker import Worker
from duro.maintenance import families as maintained_families
from duro.maintenance import sweep
from duro.maintenance.archive import archiver
from duro.maintenance.archive.format import Manifest
from duro.model.families import FinishedInstance, OrphanRules
from duro.model.pruning import Verdict
from duro.model.removal import PruneBatch
from duro.model.status import ExecutionStatus, InstanceStatus
from duro.model.turns import CommitResult, TurnOutcome
from duro.retention import families as retained_families
from duro.retention import plan
from duro.retention.transaction import Marks
from duro.stores.memory import MemoryStore
from duro.stores.memory import families as memory_families
from duro.stores.memory import leasing as memory_leasing
from duro.stores.memory import pruning as memory_pruning
from duro.stores.memory import store as memory_store
from duro.stores.memory.instances import Instance

Mistake = Callable[[], AbstractContextManager[Any]]


def _instead(owner: Any, name: str, mistake: Callable[..., Any]) -> Mistake:
    return lambda: patch.object(owner, name, mistake)


def _around(owner: Any, name: str, mistake: Callable[..., Any]) -> Mistake:
    """``mistake`` is given the real function first."""
    real = getattr(owner, name)

    def made(*arguments: Any, **keywords: Any) -> Any:
        return mistake(real, *arguments, **keywords)

    return lambda: patch.object(owner, name, made)


def _all(*mistakes: Mistake) -> Mistake:
    @contextlib.contextmanager
    def every() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for mistake in mistakes:
                stack.enter_context(mistake())
            yield

    return every


# --- leases and fences ----------------------------------------------------------------------------------------------


def _no_fence(store: MemoryStore, incarnation: int, _worker_id: str, _epoch: int) -> Instance | None:
    return store._unfinished.get(incarnation)


def _same_epoch(real: Any, instance: Instance, worker_id: str, now: int) -> Any:
    leased = real(instance, worker_id, now)
    instance.lease_epoch = leased.lease_epoch = 1
    return leased


def _takes_early(store: MemoryStore, now: int) -> int:
    early = [each.worker_id for each in store._workers.values() if each.lease_until_ms <= now + 4_000]
    for worker_id in early:
        store._remove_worker(worker_id, now)
    return len(early)


def _renews_anybody(real: Any, store: MemoryStore, worker_id: str, lease_ms: int, *, threads_stuck: int) -> bool:
    real(store, worker_id, lease_ms, threads_stuck=threads_stuck)
    return True


# --- the worker -----------------------------------------------------------------------------------------------------


def _takes_it_for_a_success(worker: Worker) -> None:
    batch, worker._unsent, worker._in_doubt = worker._unsent, None, False
    if batch is not None:
        turns = [TurnOutcome.COMMITTED for _ in batch.turns]
        worker._settle(batch, CommitResult(store_time_ms=worker._store.now_ms(), turns=turns))


def _sends_it_again(worker: Worker) -> None:
    worker._in_doubt = False


def _begins_early(real: Any, worker: Worker, held: Any, history: Any) -> Any:
    turns = real(worker, held, history)
    worker._holdings.executor.submit(held.claims)
    return turns


def _forgets_late_ends(holdings: Holdings, incarnation: int) -> None:
    del holdings.held[incarnation]
    holdings.runnable.pop(incarnation, None)


def _releases_uncommitted(real: Any, holdings: Holdings, held: Any) -> None:
    turn_of, held.turn_of = held.turn_of, None
    real(holdings, held)
    held.turn_of = turn_of


def _any_turn(cache: ExecutionCache, incarnation: int, execution_id: int, turn_sequence: int) -> Any:
    execution = cache._executions.pop(incarnation, None)
    if execution is not None and execution.identity.execution_id == execution_id:
        execution.turn_sequence = turn_sequence
        return execution
    return None


def _any_execution(cache: ExecutionCache, incarnation: int, _execution_id: int, turn_sequence: int) -> Any:
    execution = cache._executions.pop(incarnation, None)
    if execution is not None:
        execution.turn_sequence = turn_sequence
    return execution


# --- queues ---------------------------------------------------------------------------------------------------------


def _newest_first(instance: Instance) -> Any:
    waited_for = [event for event in instance.mailbox.values() if event.name in instance.waits]
    return (waited_for[-1],) if waited_for else ()


def _leaves_events(real: Any, store: MemoryStore, instance: Instance, turn: Any) -> None:
    kept = dict(instance.mailbox)
    real(store, instance, turn)
    instance.mailbox.update(kept)


def _applies_repeats(real: Any, store: MemoryStore, instance_id: str, name: str, data: str, request_id: str) -> None:
    if (instance := store._by_id.get(instance_id)) is not None:
        instance.requests.pop(request_id, None)
    real(store, instance_id, name, data, request_id)


def _sees_timers_only(instance: Instance, now: int) -> bool:
    return any(fire_at_ms <= now for fire_at_ms in instance.timers.values())


def _loses_the_cancel(real: Any, instance: Instance, end: Any, at_ms: int) -> None:
    instance.cancel_requested_at_ms = instance.cancel_reason = None
    real(instance, end, at_ms)


def _keeps_timers(real: Any, store: MemoryStore, instance: Instance, *arguments: Any) -> None:
    timers = dict(instance.timers)
    real(store, instance, *arguments)
    instance.timers.update(timers)


def _tells_nobody(real: Any, store: MemoryStore, instance: Instance, end: Any, *arguments: Any) -> None:
    real(store, instance, msgspec.structs.replace(end, parent_message=None), *arguments)


def _counts_no_attempt(real: Any, store: MemoryStore, retry: Any, worker_id: str) -> Any:
    return real(store, msgspec.structs.replace(retry, failed=False), worker_id)


# --- pruning --------------------------------------------------------------------------------------------------------


def _believes_the_plan(real: Any, view: Any, rules: Any, holds: Any, now: int, **keywords: Any) -> Marks:
    only = keywords.get("only")
    if only is None:
        found: Marks = real(view, rules, holds, now, **keywords)
        return found
    return Marks(tuple(each for each in view.executions if each.execution_id in only), (), 0)


def _keeps_one_too_few(real: Any, view: Any, rules: Any, *arguments: Any, **keywords: Any) -> Any:
    fewer = tuple(
        msgspec.structs.replace(each, keep_last=each.keep_last - 1) if (each.keep_last or 0) > 1 else each
        for each in rules
    )
    return real(view, fewer, *arguments, **keywords)


def _no_ledger(instance: Instance, _pruned: Any) -> Any:
    return instance.ledger


def _holds_nothing_again(real: Any, store: MemoryStore, *arguments: Any, **keywords: Any) -> Any:
    result = real(store, *arguments, **keywords)
    for hold_id in result.hold_ids:
        store._holds.pop(hold_id, None)
    return result


def _without_grace(store: MemoryStore, _now: int) -> Any:
    return [
        (instance, execution)
        for instance in store._all_instances()
        for execution in list(instance.executions.values())
        if execution.reclaim_at_ms is not None and not execution.unarchived
    ]


def _without_archive(store: MemoryStore, now: int) -> Any:
    return [
        (instance, execution)
        for instance in store._all_instances()
        for execution in list(instance.executions.values())
        if execution.reclaim_at_ms is not None and execution.reclaim_at_ms <= now
    ]


def _whatever_was_said_since(**fields: Any) -> Any:
    return PruneBatch(**{**fields, "policy_revision": None})


def _writes_nothing(real: Any, archive: Any, entries: Any, **keywords: Any) -> Manifest:
    """A write that failed is taken for one that did not."""
    try:
        written: Manifest = real(archive, entries, **keywords)
    except ArchiveError:
        return Manifest(
            schema="", segment="", store_id="", made_at_ms=0, duro_version="", instances=0, histories=0, events=0,
            history_bytes=0, content_bytes=0, file_bytes=0, sha256="",
        )  # fmt: skip
    return written


# --- families -------------------------------------------------------------------------------------------------------


def _ended_before(real: Any, instance: Instance, depth: int, **words: Any) -> Any:
    """A member, as its newest execution that ended tells it."""
    member = real(instance, depth, **words)
    if instance.finished or instance.execution_id == 1:
        return member
    ended_ms = instance.updated_at_ms
    return msgspec.structs.replace(member, status=InstanceStatus.COMPLETED, completed_at_ms=ended_ms)


def _finished_or_continued(real: Any, store: MemoryStore, names: Any, limit: int, after: int) -> Any:
    found = {each.incarnation: each for each in real(store, names, 0, after)}
    for number, instance in store._instances.items():
        if number > after and instance.execution_id > 1 and instance.lineage is None:
            found.setdefault(
                number,
                FinishedInstance(
                    incarnation=number,
                    instance_id=instance.instance_id,
                    name=instance.name,
                    status=InstanceStatus.COMPLETED,
                    completed_at_ms=instance.updated_at_ms,
                ),
            )
    page = [found[number] for number in sorted(found)]
    return tuple(page[:limit] if limit else page)


def _of_any_age(real: Any, where: Any, _min_age_s: float) -> OrphanRules:
    rules: OrphanRules = real(where, 0.0)
    return rules


def _looks_once(real: Any, family: Any, rules: Any, *arguments: Any, **keywords: Any) -> Verdict:
    if isinstance(rules, OrphanRules):
        return Verdict(False, ("orphan",))
    verdict: Verdict = real(family, rules, *arguments, **keywords)
    return verdict


def _without_the_living(real: Any, store: MemoryStore, parent: Instance) -> Any:
    return [child for child in real(store, parent) if child.finished]


def _with_the_detached(store: MemoryStore, parent: Instance) -> Any:
    return [child for child in store._children.get(parent.incarnation, ()) if child.lineage is not None]


def _parents_first(real: Any, store: MemoryStore, now: int, events_max: int) -> Any:
    for each in store._removed.values():
        each.depth = -each.depth
    result = real(store, now, events_max)
    for each in store._removed.values():
        each.depth = -each.depth
    return result


def _never_reclaiming(real: Any, store: MemoryStore, *arguments: Any) -> Any:
    for each in store._removed.values():
        each.reclaiming = False
    return real(store, *arguments)


def _forgets_the_adoption(real: Any, store: MemoryStore, instance_id: str, *arguments: Any) -> Any:
    child = real(store, instance_id, *arguments)
    lineage = store._by_id[instance_id].lineage
    if lineage is not None and lineage.adopted_at_ms is not None:
        lineage.detached, lineage.adopted_at_ms = False, None
    return child


def _half_the_time(real: Any, root: Any, rules: Any, *arguments: Any) -> Any:
    if rules.keep_within_s is not None:
        rules = msgspec.structs.replace(rules, keep_within=rules.keep_within_s / 2)
    return real(root, rules, *arguments)


def _one_of_the_newest_too_few(real: Any, store: MemoryStore, name: str, count: int) -> int | None:
    newest: int | None = real(store, name, count - 1) if count > 1 else real(store, name, 1)
    return newest if newest is None or count > 1 else newest + 1


def _settled_or_not(families: Any, _holds: Any, _now_ms: int) -> Any:
    return list(families)


def _one_spawner_for_all(
    real: Any, store: MemoryStore, ended: list[tuple[Instance, int, ExecutionStatus]], now: int
) -> None:
    """Continuing as new is taken for the end of the instance."""
    continued, over = ExecutionStatus.CONTINUED_AS_NEW, ExecutionStatus.COMPLETED
    real(store, [(each, number, over if status is continued else status) for each, number, status in ended], now)


def _goes_on_with_all(real: Any, instance: Instance, after: int, limit: int, newer_max: int, _: Any = None) -> Any:
    """An execution that began after code asked is taken for one that it let go."""
    return real(instance, after, limit, newer_max)


def _never_done(real: Any, instance: Instance, asked: Any, now: int) -> None:
    if asked is None:
        real(instance, asked, now)


FOUND_WITH: Final[dict[str, int]] = {
    "there is no fence": 62,
    "epochs do not grow": 0,
    "expired leases are never taken back": 1,
    "a lease is taken while it runs": 0,
    "nobody is told that a lease is lost": 2,
    "an unknown commit is taken for a success": 52,
    "an unknown commit is sent again": 38,
    "an activity begins before its commit": 0,
    "an activity that ends late is forgotten": 232,
    "what waits for its commit is given back": 45,
    "a coroutine of another turn goes on": 32,
    "a coroutine of another execution goes on": 0,
    "the newest event comes first": 5,
    "a delivered event stays": 1,
    "a repeated event counts again": 34,
    "what arrived is not looked at": 3,
    "a cancel ends with its execution": 238,
    "timers outlive their execution": 3,
    "a parent is not told": 0,
    "a failed attempt is not counted": 0,
    "children of what ends are left alone": 5,
    "continuing as new ends the children": 0,
    "the plan is made outside the transaction": 58,
    "one execution too few is kept": 0,
    "what a turn leaves of what code asked for is forgotten": 39,
    "what code asked for takes what came later": 39,
    "what code asked for is never done": 39,
    "a hold does not count for executions": 5,
    "a prune is in no ledger": 0,
    "an undo holds nothing": 1,
    "executions have no grace": 37,
    "executions do not wait for their archive": 1,
    "a failed write to the archive is not noticed": 1,
    "a sweep goes on with what was said before": 32,
    "continued as new is taken for finished": 22,
    "an orphan has no grace": 7,
    "an orphan is looked at once": 22,
    "a purge takes what may be observed": 6,
    "living descendants are overlooked": 5,
    "detached children are taken along": 308,
    "a hold does not count for families": 1,
    "the parent is deleted first": 0,
    "an undo brings back what is half gone": 18,
    "an adoption is forgotten": 33,
    "a purge comes early": 3,
    "a purge keeps one of the newest too few": 76,
    "running children go with their execution": 22,
    "nobody notes that a parent was removed": 40,
    "who comes back does not look for its parent": 100,
}
"""A seed that finds each; `make simulate-planted` looks for them again."""

PLANTED: Final[dict[str, Mistake]] = {
    "there is no fence": _instead(MemoryStore, "_held_instance", _no_fence),
    "epochs do not grow": _around(memory_leasing, "_lease_instance", _same_epoch),
    "expired leases are never taken back": _instead(MemoryStore, "_take_back_expired", lambda *_: 0),
    "a lease is taken while it runs": _instead(MemoryStore, "_take_back_expired", _takes_early),
    "nobody is told that a lease is lost": _around(MemoryStore, "renew_worker", _renews_anybody),
    "an unknown commit is taken for a success": _instead(Worker, "_settle_doubt", _takes_it_for_a_success),
    "an unknown commit is sent again": _instead(Worker, "_settle_doubt", _sends_it_again),
    "an activity begins before its commit": _around(Worker, "_run_turn", _begins_early),
    "an activity that ends late is forgotten": _instead(Holdings, "let_go", _forgets_late_ends),
    "what waits for its commit is given back": _around(Holdings, "release_if_idle", _releases_uncommitted),
    "a coroutine of another turn goes on": _instead(ExecutionCache, "take", _any_turn),
    "a coroutine of another execution goes on": _instead(ExecutionCache, "take", _any_execution),
    "the newest event comes first": _instead(Instance, "deliverable", _newest_first),
    "a delivered event stays": _around(MemoryStore, "_consume", _leaves_events),
    "a repeated event counts again": _around(MemoryStore, "raise_event", _applies_repeats),
    "what arrived is not looked at": _instead(Instance, "has_arrivals", _sees_timers_only),
    "a cancel ends with its execution": _around(memory_store, "_start_next_execution", _loses_the_cancel),
    "timers outlive their execution": _around(MemoryStore, "_end_execution", _keeps_timers),
    "a parent is not told": _around(MemoryStore, "_finish_instance", _tells_nobody),
    "a failed attempt is not counted": _around(MemoryStore, "_commit_retry", _counts_no_attempt),
    "children of what ends are left alone": _instead(MemoryStore, "_end_children", lambda *_: None),
    "continuing as new ends the children": _around(MemoryStore, "_end_children", _one_spawner_for_all),
    "the plan is made outside the transaction": _around(memory_pruning, "choose", _believes_the_plan),
    "one execution too few is kept": _around(memory_pruning, "choose", _keeps_one_too_few),
    "what a turn leaves of what code asked for is forgotten": _instead(Instance, "ask", lambda *_: None),
    "what code asked for takes what came later": _around(memory_pruning, "_view", _goes_on_with_all),
    "what code asked for is never done": _around(memory_pruning, "_note_done", _never_done),
    "a hold does not count for executions": _instead(plan, "covers", lambda *_: False),
    "a prune is in no ledger": _instead(memory_pruning, "_recorded", _no_ledger),
    "an undo holds nothing": _around(MemoryStore, "undo_prune", _holds_nothing_again),
    "executions have no grace": _instead(MemoryStore, "_due", _without_grace),
    "executions do not wait for their archive": _instead(MemoryStore, "_due", _without_archive),
    "a failed write to the archive is not noticed": _around(archiver, "write_segment", _writes_nothing),
    "a sweep goes on with what was said before": _instead(sweep, "PruneBatch", _whatever_was_said_since),
    "continued as new is taken for finished": _all(
        _around(memory_families, "_member", _ended_before),
        _around(MemoryStore, "list_finished", _finished_or_continued),
    ),
    "an orphan has no grace": _around(maintained_families, "orphan_rules", _of_any_age),
    "an orphan is looked at once": _around(memory_families, "verdict_on", _looks_once),
    "a purge takes what may be observed": _all(
        _instead(retained_families, "_not_alone", lambda _: iter(())),
        _instead(MemoryStore, "_may_go_alone", lambda *_: True),
    ),
    "living descendants are overlooked": _around(MemoryStore, "_dependents", _without_the_living),
    "detached children are taken along": _instead(MemoryStore, "_dependents", _with_the_detached),
    "a hold does not count for families": _instead(retained_families, "_covers", lambda *_: False),
    "the parent is deleted first": _around(MemoryStore, "_reclaim_removed", _parents_first),
    "an undo brings back what is half gone": _around(MemoryStore, "_restore", _never_reclaiming),
    "an adoption is forgotten": _around(MemoryStore, "adopt", _forgets_the_adoption),
    "a purge comes early": _around(retained_families, "_purge_answers", _half_the_time),
    "a purge keeps one of the newest too few": _around(MemoryStore, "_newest_finished", _one_of_the_newest_too_few),
    "running children go with their execution": _instead(memory_families, "settled_families", _settled_or_not),
    "nobody notes that a parent was removed": _instead(MemoryStore, "_note_parent_removed", lambda *_: None),
    "who comes back does not look for its parent": _instead(MemoryStore, "_find_parent", lambda *_: None),
}
