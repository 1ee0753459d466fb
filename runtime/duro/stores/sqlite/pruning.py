"""Pruning inside a transaction: what is there is read, the planner decides, what it lets go is marked or deleted, and
the ledger says so. Here for the orders of clients and sweeps; ``turn_pruning`` does the same in the commit of turns."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import apsw
import msgspec

from duro.errors import StalePlanError
from duro.model.archive import noted_archive
from duro.model.ledger import RunKind
from duro.model.limits import ASKED_PRUNES_MAX, MARK_RECLAIM_EVENTS_MAX
from duro.model.pruning import ExecutionFacts, Hold, NewerExecutions, NewerVersion, PruneResult
from duro.model.removal import AskedPrune, OrderResult, PruneBatch, PruneOrder, PruneView
from duro.model.retention import PolicyOrigin, PruneOptions
from duro.model.status import ChildrenPolicy
from duro.retention.ledger import ledger_range
from duro.retention.transaction import Counted, Marks, check_rules, choose, live_from, newer_to_count, rules_text
from duro.stores.sqlite import ledger
from duro.stores.sqlite import sql_pruning as sql
from duro.stores.sqlite.committer import Transaction, as_json
from duro.stores.sqlite.holds import holds_of


class FactsRow(ExecutionFacts, frozen=True, kw_only=True, array_like=True, gc=False):
    """As a row, for what does not leave the store."""


_reads = msgspec.json.Decoder(list[tuple[int, int, list[ExecutionFacts]]])
"""Place in what was asked, the number below which no execution is live, and the oldest of those that are."""
_order_reads = msgspec.json.Decoder(list[tuple[int, int, list[FactsRow]]])
_newer = msgspec.json.Decoder(list[tuple[int, int, int]])
_newer_versions = msgspec.json.Decoder(list[tuple[int, int, str, int, int]])
_asked = msgspec.json.Decoder(list[AskedPrune])
_versions = msgspec.json.Decoder(list[tuple[str, int]])


# --- orders --------------------------------------------------------------------------------------------------


def prune(transaction: Transaction, batch: PruneBatch) -> list[OrderResult]:
    _check(transaction, batch)
    wanted = [_wanted(order) for order in batch.orders]
    answer = transaction.value(sql.ORDER_VIEWS, _scope(wanted, batch.executions_max))
    read = {each[0]: each for each in _order_reads.decode(answer)}
    seen = views_of(
        {n: each[2] for n, each in read.items()},
        batch.executions_max,
        newer_to_count([options for order in batch.orders for options in order.rules]),
        transaction.connection,
        {n: order.asked.through for n, order in enumerate(batch.orders) if order.asked is not None},
    )
    held = holds_on(transaction, {facts[0].instance_id for _, _, facts in read.values() if facts})
    removal = Removal(
        transaction, children=batch.children, grace_ms=batch.grace_ms, run_id=batch.run_id, archive=batch.archive
    )
    results = []
    run = ledger.RunTotals()
    for place, order in enumerate(batch.orders):
        if place not in read or not all(order.is_of(each.instance_id) for each in read[place][2][:1]):
            results.append(OrderResult(result=PruneResult(), next_after=None))
            continue
        view = seen[place]
        decided_at_ms = transaction.now_ms if order.asked is None else order.asked.at_ms
        marks = choose(view, order.rules, held, decided_at_ms, after=order.after, only=order.only)
        if marks.removed:
            delete(transaction, order.incarnation, removal.remove(marks.removed))
            pruned = ledger_range(
                marks.removed,
                rule=rules_text(order.rules),
                origin=str(order.origin),
                trigger=batch.trigger,
                pruned_at_ms=transaction.now_ms,
            )
            if batch.run_id:
                run.add(pruned, ledger.record_run(transaction, order.incarnation, batch.run_id, pruned))
            else:
                ledger.record_automatic(transaction, order.incarnation, pruned)
        results.append(_settle(transaction, batch, order, read[place][1], view, marks))
    if run.executions:
        ledger.add_to_run(
            transaction,
            run,
            run_id=batch.run_id,
            by=batch.by,
            reason=batch.reason,
            source=batch.source,
            kind=RunKind.PRUNE,
            archive=noted_archive(batch.archive, batch.archive_directory),
        )
    return results


def _check(transaction: Transaction, batch: PruneBatch) -> None:
    """Before anything is written: an error of the caller's undoes nothing."""
    check_rules(batch.orders)
    if batch.policy_revision is not None and transaction.row(sql.REVISIONS)[0] != batch.policy_revision:
        raise StalePlanError(
            "what is said about pruning has changed since the plan was made", hint="make the plan again"
        )


def _settle(
    transaction: Transaction, batch: PruneBatch, order: PruneOrder, known_from: int, view: PruneView, marks: Marks
) -> OrderResult:
    next_after = view.executions[-1].execution_id if view.newer.executions else None
    if batch.swept and not marks.remaining:
        next_after = None
    if order.after < known_from:
        lowest = live_from(view, marks.removed, known_from)
        if lowest != known_from:
            transaction.run(sql.LIVE_FROM, (order.incarnation, lowest))
    if batch.swept and next_after is None:
        _note_done(transaction, order)
    result = msgspec.structs.replace(marks.result(), remaining=0 if next_after is None else 1)
    if batch.run_id and marks.removed:
        result = msgspec.structs.replace(result, run_id=batch.run_id)
    return OrderResult(result=result, next_after=next_after)


def _note_done(transaction: Transaction, order: PruneOrder) -> None:
    """A sweep is through with the instance."""
    asked = order.asked
    if asked is None:
        transaction.run(sql.SWEPT, (order.incarnation, transaction.now_ms))
    else:
        transaction.run(sql.ANSWERED, (asked.incarnation, as_text(asked.options), asked.through, asked.at_ms))


def note_swept(transaction: Transaction, incarnations: Sequence[int]) -> None:
    for incarnation in incarnations:
        transaction.run(sql.SWEPT, (incarnation, transaction.now_ms))


# --- what code asked for and a turn did not finish -----------------------------------------------------------


def ask(
    transaction: Transaction,
    incarnation: int,
    options: PruneOptions,
    origin: PolicyOrigin,
    *,
    through: int,
    due_at_ms: int,
) -> None:
    """Keep it for a sweep; see *Pruning in a commit* of the port."""
    transaction.run(sql.ASK, (incarnation, as_text(options), as_text(origin), through, transaction.now_ms, due_at_ms))
    transaction.run(sql.TOO_MANY_ASKED, (incarnation, ASKED_PRUNES_MAX))


def asked_prunes(connection: apsw.Connection, limit: int, after: int, now_ms: int) -> tuple[AskedPrune, ...]:
    row = connection.execute(sql.ASKED, (after, now_ms, limit or -1)).fetchone()
    assert row is not None
    try:
        return tuple(_asked.decode(str(row[0])))
    except msgspec.ValidationError:  # one of them; the others are still what code asked for
        return tuple(_readable_ones(str(row[0])))


def _readable_ones(asked: str) -> Iterator[AskedPrune]:
    for each in msgspec.json.decode(asked, type=list[msgspec.Raw]):
        with suppress(msgspec.ValidationError):
            yield msgspec.json.decode(each, type=AskedPrune)


def as_text(value: PruneOptions | PolicyOrigin) -> str:
    return msgspec.json.encode(value).decode()


# --- what is there -------------------------------------------------------------------------------------------


def views(
    connection: apsw.Connection, wanted: Sequence[tuple[int, int]], limit: int, newer: Counted
) -> list[PruneView]:
    """See ``Store.prune_views``; for reading, in one snapshot."""
    row = connection.execute(sql.VIEWS, _scope(wanted, limit)).fetchone()
    assert row is not None
    read = {each[0]: each[2] for each in _reads.decode(str(row[0]))}
    found = views_of(read, limit, newer, connection)
    return [found.get(place, _EMPTY) for place in range(len(wanted))]


_EMPTY: Final = PruneView(executions=(), newer=NewerExecutions())


def _wanted(order: PruneOrder) -> tuple[int, ...]:
    bound = () if order.asked is None else (order.asked.through,)
    return order.incarnation, order.after, *bound


def _scope(wanted: Sequence[tuple[int, ...]], limit: int) -> tuple[str, int]:
    """One execution more than a view has: then there are newer ones."""
    return as_json(wanted), limit + 1


def views_of(
    read: Mapping[int, Sequence[ExecutionFacts]],
    size: int,
    newer: Counted,
    connection: apsw.Connection,
    through: Mapping[int, int] | None = None,
) -> dict[int, PruneView]:
    """``read``, up to one execution more than ``size`` of each instance, as views, by the same keys; the newer ones are
    counted as ``newer`` says, of those that ``through`` has a number for up to that one."""
    shown = {key: facts[:size] for key, facts in read.items()}
    bounds = through or {}
    ends = {
        key: (*_end(shown[key]), *((bounds[key],) if key in bounds else ()))
        for key, facts in read.items()
        if len(facts) > size
    }
    known = _count_newer(connection, as_json(sorted(set(ends.values()))), newer) if ends else {}
    return {
        key: PruneView(executions=tuple(facts), newer=known[ends[key][:2]] if key in ends else NewerExecutions())
        for key, facts in shown.items()
    }


def _end(executions: Sequence[ExecutionFacts]) -> tuple[int, int]:
    return executions[-1].incarnation, executions[-1].execution_id


def _count_newer(connection: apsw.Connection, ends: str, newer: Counted) -> dict[tuple[int, int], NewerExecutions]:
    """By (incarnation, execution) of ``ends``, which is JSON."""
    ((counts,),) = connection.execute(sql.NEWER, (ends, newer.executions))
    counted = {(n, end): count for n, end, count in _newer.decode(str(counts))}
    of: dict[tuple[int, int], list[NewerVersion]] = {end: [] for end in counted}
    if newer.of_a_version:
        ((versions,),) = connection.execute(sql.NEWER_VERSIONS, (ends, newer.of_a_version))
        for n, end, version, executions, newest in _newer_versions.decode(str(versions)):
            of[n, end].append(NewerVersion(version, executions, newest))
    return {
        end: NewerExecutions(
            executions=count,
            versions=tuple(of[end]) if newer.of_a_version else None,
            is_capped=count >= newer.executions,
        )
        for end, count in counted.items()
    }


def holds_on(transaction: Transaction, instance_ids: Iterable[str]) -> tuple[Hold, ...]:
    """Those that may cover executions of these instances."""
    return holds_of(transaction.value(sql.HOLDS_ON, (as_json(sorted(instance_ids)),)))


def versions_seen(transaction: Transaction, name: str) -> list[tuple[str, int]]:
    return _versions.decode(transaction.value(sql.VERSIONS_SEEN, (name,)))


# --- what goes -----------------------------------------------------------------------------------------------


class Range(NamedTuple):
    """Executions of one instance, without a gap."""

    first: int
    last: int


class Removal:
    """Says of what is to go how it goes: out of the file at once as long as nothing speaks against it, else only out of
    sight. What speaks against it: time to bring it back, an archive to be kept in, children to be taken along, more
    events than a transaction should delete."""

    def __init__(
        self,
        transaction: Transaction,
        *,
        children: ChildrenPolicy,
        grace_ms: int = 0,
        run_id: str = "",
        archive: str | None = None,
    ) -> None:
        self._transaction = transaction
        self._takes_children = children is ChildrenPolicy.SETTLED
        self._grace_ms = grace_ms
        self._run_id = run_id
        self._archive = archive
        self.events_left = MARK_RECLAIM_EVENTS_MAX
        """How many the transaction may still delete."""

    def remove(self, executions: Sequence[ExecutionFacts], *, any_children: bool = True) -> list[Range]:
        """Mark ``executions`` (of one instance, oldest first), except those the caller is to delete now, which are
        returned. ``any_children`` False: it is known that none of them has any."""
        incarnation = executions[0].incarnation
        events = sum(execution.event_count for execution in executions)
        at_once = self._grace_ms == 0 and self._archive is None and events <= self.events_left
        if at_once:
            self.events_left -= events
        to_delete = []
        for each in ranges(execution.execution_id for execution in executions):
            takes = (
                self._takes_children
                and any_children
                and bool(self._transaction.value(sql.ANY_CHILDREN, (incarnation, *each)))
            )
            if at_once and not takes:
                to_delete.append(each)
            else:
                self._mark(incarnation, each, takes)
        return to_delete

    def _mark(self, incarnation: int, executions: Range, takes: bool) -> None:
        now_ms = self._transaction.now_ms
        until_ms = now_ms + self._grace_ms
        self._transaction.run(
            sql.MARK, (incarnation, *executions, now_ms, until_ms, self._run_id, takes, self._archive)
        )


def delete(transaction: Transaction, incarnation: int, executions: Iterable[Range]) -> None:
    """Everything that is theirs alone; also what a damaged store may have left in the queues of an ended one."""
    for each in executions:
        for statement in (sql.DELETE_HISTORY, sql.DELETE_TIMERS, sql.DELETE_ACTIVITIES, sql.DELETE_EXECUTIONS):
            transaction.run(statement, (incarnation, *each))


def ranges(numbers: Iterable[int]) -> Iterator[Range]:
    """Ascending numbers as ranges."""
    first = last = -1
    for number in numbers:
        if number != last + 1:
            if last >= 0:
                yield Range(first, last)
            first = number
        last = number
    if last >= 0:
        yield Range(first, last)
