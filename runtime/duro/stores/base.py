"""The store port: everything duro asks of the place where state lives, and what each method promises.

This is an internal seam and may change at any release; programs use ``Client`` and ``Runtime``.

Rules for every store:

* **Values only.** A store keeps what it is given. It never runs orchestration code, never decides ids of
  executions or events, and never decodes a payload. It assigns incarnations and the ids of messages, mailbox
  events; each comes from a counter of the store that only grows and is never reused.
* **Time is the store's.** ``now`` below is the store's clock, the same for every worker of the store. What a turn
  records (``scheduled_at_ms``, ``spawned_at_ms``, ``observed_at_ms``, ``given_up_at_ms``, ``spawner_ended_at_ms``,
  ``completed_at_ms``, ``updated_at_ms``, ``started_at_ms`` of the next execution, ``created_at_ms`` and
  ``started_at_ms`` of a child) carries the turn's ``at_ms``; what says when work may be taken (``ready_at_ms``,
  ``visible_at_ms``) carries now.
  ``updated_at_ms`` is when the instance last got further: its start, its last turn, its termination.
* **Atomic.** Every method is one transaction: all of it happened, or an exception says that nothing did. The one
  exception is ``CommitUnknownError``: it may have happened. A returned lease is held; an exception means none is.
* **Expected conflicts are outcomes, not exceptions** (a lost lease, a taken id): see each method.
* **Durable when it returns.** What a writing method returned survives a power cut. ``reclaim``, and ``prune`` and
  ``remove`` when they are told so, are durable at the next ``sync`` or durable write instead.
* **Thread-safe.** Any thread may call any method. Calls from several threads may share one transaction.
* **A repeat changes nothing.** Request ids that were applied (``raise_event``, ``request_cancel``,
  ``terminate_instance``) are remembered for a day at least.

**Ready.** An instance has ``ready_at_ms``: from then on it may be leased (None: nothing to do). It becomes ready now
when it starts, when a message arrives, when a mailbox event arrives whose name is among its stored waits, when its
cancel is first requested; and at the fire time of its earliest timer. Leasing clears ``ready_at_ms``; what arrives
while it is leased sets it again, and then only the worker that holds the lease can lease it again (same epoch rules).
A release sets it from what is there: now if a message, a due timer, a mailbox event for a stored wait, an undelivered
cancel or an unstarted execution is there; else the earliest timer's fire time; else None. "Becomes ready now" never
makes it later: an instance that was ready before keeps its place. While an instance is blocked, what arrives is kept
and does not wake it; its next turn or its resumption finds it. A cancel counts as delivered once a turn with
``cancel_delivered`` committed.

**Leases.** A worker holds a lease of its own (``WorkerRecord.lease_until_ms``). Instances and activities are leased
to a worker and stay so until it gives them back or its own lease has expired; then ``lease`` by anyone, or
``release_expired``, takes them all from it: the instances become ready now, the activities visible now.
``lease_epoch`` of an instance or activity grows by one whenever it is leased; it is the fencing token. A worker whose
lease expired but whose instances nobody took yet still commits. A lease of any kind has expired when its ``until`` is
not after now. A worker without a row leases nothing: it must register first.

**Unregistered.** A record whose block is not stored is shown as blocked, ``UNREGISTERED``, while at least one worker
lives and either the instance is ready now, leased to nobody, and no live worker has published its (name, version)
(for version "": its name), or an activity of it is visible now, leased to nobody, and no live worker has published
its name (of several: the first by name). See ``model.unregistered``.

**Removal.** ``live -> pruned -> reclaiming -> gone``. Marking an execution (``pruned``) takes it out of every read that
does not say otherwise, counts it in the ledger, and is one transaction with the decision; ``reclaim`` deletes the rows
later, in batches. A prune without grace whose events are no more than ``limits.MARK_RECLAIM_EVENTS_MAX`` may delete
them in the transaction that marks. An execution that is current or has not ended is never marked, nor one under a hold.
Marking removes nothing else of the instance: queue, mailbox, custom status, waits and children stay (with
``ChildrenPolicy.SETTLED`` its settled children are removed when the execution is reclaimed).

**Archive before delete.** What is marked with an archive (``PruneBatch.archive``, ``PruneTerms.archive``,
``RemovalBatch.archive``) waits for it: it is not deleted in the marking transaction, and ``reclaim`` passes it over
until ``note_archived`` was told that it is there. Children that go with an execution go into its archive. A removed
instance waits if anything of it does, and all of its tree with it.

**Families.** A whole instance is removed with all that depends on it (its children that are not detached, and theirs),
or not at all: ``remove`` marks the family in one transaction, with a row in each ledger, after asking
``retention.families.verdict_on``. From then on the instances are in no read and their ids are free; what was addressed
to them is ignored. Their rows stay as they are until they are reclaimed, the leaves of a tree first; once that has
begun, the tree cannot be brought back. What is reclaimed leaves its ledger in the totals of its orchestration.

**Children of what ends.** After all turns of a commit are written (and before their prunes), in their order: what an
execution that ended leaves unfinished, not detached, is cancelled, terminated or abandoned. By continue-as-new that is
what this execution spawned, by the child's ``on_parent_continue``; by any other end it is what any execution of the
instance spawned, by ``on_parent_end`` (see ``retention.parents``). Then come the children of those that were terminated
by this, and so on, level by level. ``terminate_instance`` does the same.

**Pruning in a commit.** The prunes of a batch's turns are carried out after all rows of the turns are written, so they
see the execution that was started, and none that a later turn of the batch has started after that one
(``TurnCommit.newest_execution_id``); under a savepoint, so that one that fails is undone alone. Its failure is in
``CommitResult.prunes``, leaves the turn as it is, and stays due (``pruned_through`` does not move and the instance is
due for a sweep now). A turn looks at the oldest ``limits.TURN_PRUNE_EXECUTIONS_MAX`` live executions; when it leaves
something behind that may have to go, the instance is due for a sweep, too, from when
``retention.triggers.sweep_after_prune_ms`` says; if it is due already, from the earlier of both.

What code asked for (``prune_requests``, ``prune=``) is nobody's policy: when such a prune fails or leaves something, it
is kept itself, with the execution that is current after that turn and the time (``AskedPrune``), one for each
``PruneOptions`` of an instance and ``limits.ASKED_PRUNES_MAX`` at most, for a sweep from when
``retention.triggers.asked_due_ms`` says. The order that carries it out (``PruneOrder.asked``) sees no newer executions
and decides as of then. It goes when that is done (``PruneBatch.swept``), unless it was asked for anew meanwhile, or
with the rows of its instance.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from duro.errors import BackupError
from duro.model.archive import (
    ArchivableExecution,
    ArchivableInstance,
    KnownArchive,
    Restoration,
    RestoreResult,
    WaitingArchive,
)
from duro.model.checkup import CheckResult, Repair
from duro.model.families import (
    Family,
    FinishedInstance,
    OrphanRules,
    OrphanSearch,
    RemovalBatch,
    RemovalOutcome,
    RemovedInstance,
)
from duro.model.ledger import NO_SOURCE, LedgerTotals, RunSource
from duro.model.pruning import Hold
from duro.model.records import (
    ChildRecord,
    ExecutionPage,
    ExecutionRecord,
    HistoryRecord,
    InstanceEnd,
    InstanceFilter,
    InstancePage,
    InstanceRecord,
    StartOutcome,
    StartRequest,
    StoreInfo,
    WorkerRecord,
)
from duro.model.removal import (
    AskedPrune,
    Backlog,
    LedgerEntry,
    OrderResult,
    PrunableInstance,
    PruneBatch,
    PrunedExecution,
    PruneFilter,
    PruneRun,
    PruneView,
    PublishedPolicies,
    ReclaimResult,
    UndoResult,
)
from duro.model.space import FileSizes, MarkedUsage, NameUsage
from duro.model.turns import CommitBatch, CommitResult, LastCommit, LeaseRequest, LeaseResult

StoreDump = dict[str, list[dict[str, Any]]]
"""Table name -> rows as dictionaries, ordered by primary key: what the invariants and the tests look at."""


class LeaseOffer(NamedTuple):
    """See ``Store.offer_lease``. ``deliver`` is called by the thread that wrote, with what was leased (possibly
    nothing), or with None when the outcome of the write is unknown."""

    worker_id: str
    request: LeaseRequest
    deliver: Callable[[LeaseResult | None], None]


class Store(ABC):
    """The port. See the module's text for the rules that hold for every method. ``weakened``: which promise was given
    up for speed when this store was opened, by its setting; "": none."""

    url: str
    weakened: str = ""

    # --- life ------------------------------------------------------------------------------------------------

    @abstractmethod
    def close(self) -> None:
        """Give back every resource. Idempotent; any later call raises StoreClosedError."""

    @abstractmethod
    def now_ms(self) -> int:
        """The store's time."""

    @abstractmethod
    def change_counter(self) -> tuple[int, ...]:
        """A value that differs from an earlier one if anything was committed in between, by this process or
        another one. Cheap enough to ask a hundred times a second; takes no lock that a writer could wait for."""

    @abstractmethod
    def store_id(self) -> str:
        """The id the store was given when it was made."""

    # --- workers ---------------------------------------------------------------------------------------------

    @abstractmethod
    def register_worker(self, worker: WorkerRecord, lease_ms: int) -> WorkerRecord:
        """Insert or replace the worker's row with ``lease_until_ms`` = now + ``lease_ms``, and return it as stored.

        Instances that are blocked for nondeterminism or an unreadable history, and whose (name, version) is among
        ``worker.orchestrations``, become ready now, still marked blocked: new code may match.
        """

    @abstractmethod
    def renew_worker(self, worker_id: str, lease_ms: int, *, threads_stuck: int = 0) -> bool:
        """Extend the worker's lease from now, and record ``threads_stuck`` in its row. False: the row is gone (another
        process found it expired and took its work); the worker must register again, and everything it holds is
        lost."""

    @abstractmethod
    def release_worker(self, worker_id: str) -> None:
        """Remove the worker and give back everything it holds, as after an expiry. Unknown ids are ignored."""

    @abstractmethod
    def release_expired(self) -> int:
        """Remove every worker whose lease has expired and give back what they hold. Returns their number."""

    @abstractmethod
    def list_workers(self) -> tuple[WorkerRecord, ...]:
        """All workers with a row, by ``started_at_ms``, expired ones included."""

    @abstractmethod
    def acquire_maintenance(self, holder: str, lease_ms: int) -> bool:
        """Take or renew the store's one maintenance lease. False: somebody else holds it unexpired."""

    @abstractmethod
    def release_maintenance(self, holder: str) -> None:
        """Give the maintenance lease back if ``holder`` has it."""

    # --- the turn path -----------------------------------------------------------------------------------------

    @abstractmethod
    def lease(self, worker_id: str, request: LeaseRequest) -> LeaseResult:
        """Lease new work for a worker, earliest ready first within a kind and fair between kinds.

        At most ``instances_max`` instances and ``activities_max`` activities of the requested kinds, and of a name no
        more than ``activities_max_of`` allows; what is beyond that does not count as further work. First takes back
        what expired workers hold. Every returned lease is held by ``worker_id``. An instance that this worker
        already holds and that became ready again is returned once more under the *same* ``lease_epoch`` and
        unchanged ``attempt_count``; every other lease raises both by one. When nothing is ready nothing is written.
        An instance that is blocked for POISON is never leased, nor is an activity whose scheduled event cannot be
        read; neither counts as further work, and neither keeps any other work from being leased.
        """

    def offer_lease(self, offer: "LeaseOffer") -> None:  # noqa: B027 - optional, see the text
        """A worker that waits offers to take work: the next start or event that a client writes through this store
        object is then leased for it in the transaction that writes it, as ``lease`` would, and ``offer.deliver`` is
        called once that is durable. That saves an idle worker a transaction of its own. One offer a worker; a new one
        replaces it; it is used up by the write it rides on.

        A store that gains nothing by it ignores the offer, as this one does: a worker looks for work all the same.
        """

    def withdraw_offer(self, worker_id: str) -> None:  # noqa: B027 - optional, see the text
        """Take back the worker's offer. A write that has taken it already still delivers."""

    @abstractmethod
    def commit(self, batch: CommitBatch) -> CommitResult:
        """Apply every turn, release and activity report of the batch, then take the leases of ``batch.lease``, in one
        transaction; one outcome each.

        A turn (see ``TurnCommit``): FENCED unless its instance exists and is leased to ``batch.worker_id`` under its
        ``lease_epoch``; else CONFLICT unless the instance is unfinished, its turn sequence is the turn's and its
        current execution is the turn's; else all of this:

        * events are appended under consecutive ids from ``first_event_id``; the execution's counts grow; the instance
          and the execution take ``name`` and ``version``, and status RUNNING; ``turn_sequence`` grows by one,
          ``attempt_count`` becomes 0, ``blocked`` is cleared, ``last_commit_token`` becomes the batch's; the
          execution's stored ``input`` is cleared;
        * consumed messages, timers, mailbox events and finished activities leave their queues, cancelled activities
          and timers too; the waits replace the stored ones; ``observed_children`` get ``observed_at_ms``; the store's
          count of ignored messages grows by ``ignored_messages``;
        * activities and timers are written; a ``claimed`` activity is written as leased to this worker (epoch 1);
        * each start makes an instance, pending and ready, with lineage and the start request id ""; if the id is
          taken (by a finished instance too), a detached start has no effect, and for a child the failure
          ``INSTANCE_EXISTS`` is put in this instance's own queue;
        * ``cancelled_children`` request the cancel of the child spawned by that event (this turn's starts included), if
          unfinished; finished or not, its lineage gets ``given_up_at_ms``. They mark nothing else;
        * with ``end``: the execution gets its status and ``completed_at_ms`` (the turn's ``at_ms``), all its timers
          and activities leave their queues, the waits are emptied, its children's lineage (detached ones included)
          gets ``spawner_ended_at_ms`` and ``spawner_end``. For ``continued_as_new`` the next execution (id + 1)
          starts, pending, with ``next_input`` and ``next_version``, and becomes current; messages still queued stay
          (the engine ignores those addressed to ended executions). For every other end the instance gets its final
          status and ``completed_at_ms``, its lease is released, its queue and mailbox are emptied, and
          ``parent_message`` goes into the parent's queue if the parent still lives in that incarnation, unfinished,
          with that execution current (lineage ``completion`` = "sent"); otherwise it is dropped ("ignored") and
          counted as an ignored message. (A ``ChildRecord`` says "ignored" of one that no turn took, too.) Nobody waits
          for a detached one: no message is sent and none counted;
        * without an end, or after continue-as-new: the lease is kept (``keep_lease``) or released (see *Ready*).
          While kept, ``ready_at_ms`` is set as at a release, except that an unstarted execution does not count.

        Turns, then releases, finished and retried activities, each in order, each seeing what those before it did;
        ids are given in that order. Releases, finished and retried activities: FENCED unless held by the worker under
        that epoch. A FinishActivity whose instance is gone, finished or in another execution cannot occur: ending an
        execution removes its activities. A release without ``blocked`` leaves a blocked mark as it is.

        Only turns set ``last_commit_token``: it answers for the commits of the worker that holds the lease.

        A turn the store cannot write although it is fenced correctly is REJECTED, and does not take the others down.

        Then the prunes of the committed turns, in order (see *Pruning in a commit*): each of ``prune_requests`` is
        carried out, and its ``codec.history_pruned_message`` put in the instance's own queue (unless the execution that
        asked has ended), which makes it ready; a turn that continues as new prunes if
        ``retention.transaction.decide_turn`` says so, from the turn's ``policies``, the instance's own policy, and the
        batch's ``prune_terms``. After such a prune ``pruned_through`` is as ``retention.triggers.pruned_through`` says
        (``prune=`` of the turn leaves it).

        Raises:
            CommitUnknownError: the transaction may or may not have happened; ask ``lookup_commit``.
        """

    @abstractmethod
    def lookup_commit(self, incarnations: Sequence[int]) -> dict[int, LastCommit]:
        """What the last committed turn of each instance left, for each one that still exists."""

    @abstractmethod
    def load_histories(self, executions: Sequence[tuple[int, int]]) -> list[tuple[str, ...]]:
        """The encoded events of each (incarnation, execution id), in order, as far as it has rows (it may be
        pruned, its instance removed); () for one that is gone."""

    @abstractmethod
    def held_instances(self, worker_id: str) -> frozenset[tuple[int, int]]:
        """(incarnation, lease epoch) of every instance leased to the worker: what a worker finds here and does not
        know of was leased in a transaction whose outcome it never learned."""

    @abstractmethod
    def held_activities(self, worker_id: str) -> frozenset[tuple[int, int, int, int]]:
        """(incarnation, execution id, event id, lease epoch) of every activity leased to the worker: what a worker
        runs and does not find here was cancelled or taken from it."""

    # --- writes of clients -------------------------------------------------------------------------------------

    @abstractmethod
    def start_instances(self, requests: Sequence[StartRequest]) -> list[StartOutcome]:
        """Make a root instance for each request whose id is free: status pending, execution 1 pending, ready now. All
        in one transaction; a taken id does not stop the others. Two requests with one id in one call: the first wins
        (and the second is a repeat if it has the same request id)."""

    @abstractmethod
    def raise_event(self, instance_id: str, name: str, data: str, request_id: str) -> None:
        """Append to the instance's mailbox; a repeat with the same request id (and instance) does nothing, also when
        the instance has finished or its mailbox has filled since: the first one was accepted.

        Raises:
            InstanceNotFoundError, InstanceFinishedError, MailboxFullError: nothing was changed.
        """

    @abstractmethod
    def request_cancel(
        self, instance_id: str, reason: str, request_id: str, *, orphan: tuple[int, OrphanRules] | None = None
    ) -> None:
        """Record a cancel request on the instance, once: a second one is accepted, keeps the first reason and wakes
        nobody. The instance becomes ready. A repeat with the same request id does nothing, also when the instance has
        finished since. ``orphan``: only if it is still this incarnation, an orphan that these rules let go, and no hold
        covers it.

        Raises:
            InstanceNotFoundError, InstanceFinishedError; NotAnOrphanError: it is none that may go. Nothing was changed.
        """

    @abstractmethod
    def terminate_instance(self, instance_id: str, reason: str, request_id: str = "") -> None:
        """End the instance now, without code or worker: the current execution gets one more event
        (``codec.terminated_event``) and status terminated; everything else as for a final end of a turn, the parent
        told with ``codec.child_failed_message`` of failure type ``TERMINATED`` (its message: the reason). Any lease
        is void from here. ``blocked`` is cleared and ``attempt_count`` becomes 0; no turn was committed, so
        ``turn_sequence`` and ``last_commit_token`` stay. The input of an execution that never ran its first turn
        stays stored on the execution. A repeat with the same request id does nothing; "" is no id, and never repeated.

        Raises:
            InstanceNotFoundError, InstanceFinishedError: nothing was changed.
        """

    @abstractmethod
    def resume_instance(self, instance_id: str) -> bool:
        """Clear ``blocked`` and the attempt count and make the instance ready now. False: it was not blocked.

        Raises:
            InstanceNotFoundError, InstanceFinishedError: nothing was changed.
        """

    # --- pruning ---------------------------------------------------------------------------------------------

    @abstractmethod
    def publish(self, worker_id: str, published: str) -> None:
        """Replace what the worker publishes (JSON of ``PolicySources``; "{}": nothing), as ``register_worker`` does.
        The policy revision grows unless ``published_policies`` had the text before. The (name, version) pairs of
        every registered worker are remembered with the time they were first seen. An unknown worker is ignored."""

    @abstractmethod
    def published_policies(self) -> PublishedPolicies:
        """What is published now; "{}" does not count. The texts are in the order of their first publication."""

    @abstractmethod
    def past_publications(self) -> tuple[str, ...]:
        """Every text that was ever published, each once, the one published last first: what workers said that may live
        no more."""

    @abstractmethod
    def versions_seen(self, name: str) -> tuple[tuple[str, int], ...]:
        """(version, when a worker first registered it, Unix ms) of the orchestration, oldest first."""

    @abstractmethod
    def set_instance_policy(self, instance_id: str, policy: str | None) -> None:
        """Give the instance a policy of its own (JSON of ``StatedPolicy``), or take it away. The policy revision grows.

        Raises:
            InstanceNotFoundError: nothing was changed.
        """

    @abstractmethod
    def add_hold(self, hold: Hold) -> None:
        """Put the hold in force; the hold revision grows. ``created_at_ms`` is kept as given.

        Raises:
            InstanceNotFoundError, ExecutionNotFoundError: its target names one that is not there, or not live.
            HoldExistsError: the id is taken. Nothing was changed.
        """

    @abstractmethod
    def remove_hold(self, hold_id: str) -> bool:
        """Take the hold away; the hold revision grows. False: there is none of this id."""

    @abstractmethod
    def list_holds(self) -> tuple[Hold, ...]:
        """All holds, expired ones included, oldest first (then by id)."""

    @abstractmethod
    def hold_revision(self) -> int:
        """A number that grows with every change of the holds."""

    @abstractmethod
    def orchestration_names(self) -> tuple[str, ...]:
        """The distinct names of all instances, sorted. Cost grows with the names, not with the instances."""

    @abstractmethod
    def prunable_instances(self, where: PruneFilter, limit: int, after: int) -> tuple[PrunableInstance, ...]:
        """Instances by incarnation, beginning after incarnation ``after``. ``limit`` 0 means all."""

    @abstractmethod
    def asked_prunes(self, limit: int, after: int) -> tuple[AskedPrune, ...]:
        """What a sweep has to go on with now (see *Pruning in a commit*), of each instance the oldest, by incarnation,
        beginning after incarnation ``after``. ``limit`` 0 means all."""

    @abstractmethod
    def prune_views(
        self, wanted: Sequence[tuple[int, int]], limit: int, newer_max: int, of_a_version_max: int = 0
    ) -> list[PruneView]:
        """For each (incarnation, after): the oldest ``limit`` live executions after that execution, and of the newer
        ones how many there are (counted up to ``newer_max``) and of which versions (each counted up to
        ``of_a_version_max``; with 0 ``versions`` is None where there are newer ones). One snapshot. An instance that
        is gone has an empty view. Reads no history, and of the newer ones no more than is counted."""

    @abstractmethod
    def prune(self, batch: PruneBatch, *, durable: bool = True) -> list[OrderResult]:
        """Carry out every order, in order, in one transaction; see *Removal*. Each one is planned here, with the holds
        as they are, by ``retention.transaction.choose``. An instance that is gone gives an empty result. With
        ``grace_ms`` 0, settled reclaiming in the same transaction is allowed. Orders of one run may come in many
        batches. Not ``durable``: a cut of power before the next durable write or ``sync`` may undo it whole.

        Raises:
            StalePlanError: ``policy_revision`` is given and is not the store's. Nothing was changed.
            InvalidRulesError: an order has no rules. Nothing was changed.
        """

    @abstractmethod
    def note_swept(self, incarnations: Sequence[int]) -> None:
        """A sweep has looked at these instances and has nothing to do: they are no longer due."""

    @abstractmethod
    def sync(self) -> None:
        """Everything committed before is durable when this returns."""

    def contended(self) -> bool:
        """Whether another process has stood in the way of a write since this was asked last. Long work that could be
        done later then leaves it room; a store where writers do not wait for each other says no, as this one does."""
        return False

    @abstractmethod
    def reclaim(self, events_max: int) -> ReclaimResult:
        """Delete rows of marked executions past their grace, those marked first, first: about ``events_max`` events
        in one transaction. An execution larger than that goes in several, ``reclaiming`` in between. With it goes what
        is left of its own timers and activities, and with ``ChildrenPolicy.SETTLED`` its settled children are removed.
        Then removed instances past their grace, those of a tree from the leaves up. Durable at the next ``sync`` or
        durable commit only: what a cut of power brings back is due again."""

    @abstractmethod
    def undo_prune(
        self,
        hold_id: str,
        hold_until_ms: int,
        *,
        run_id: str = "",
        instance_id: str = "",
        by: str = "",
        source: RunSource = NO_SOURCE,
    ) -> UndoResult:
        """Bring back every execution that is still ``pruned`` of a manual run, or (without ``run_id``) of an instance
        (its present life), and every tree that the run removed, or, where there is no instance of this id, the one it
        was removed with last: as far as nothing of the tree is reclaimed and all its ids are free (of several trees
        with one id, the oldest). Live again, and each instance concerned (of a tree, its root, and every member nobody
        observed: that one is an orphan) under a hold until ``hold_until_ms`` (ids ``hold_id``, then ``hold_id-2``
        ...), so that nothing automatic takes it again. The ledger gets a row of its own, with trigger ``undo``. Nothing
        left to bring back: a result that says at most why, and nothing is changed: of an instance whose id is used
        again, too, the tree that its earlier life was removed with is ``taken``. ``hold_id`` also names the run of the
        undo.

        Raises:
            InstanceNotFoundError; PruneRunNotFoundError: no such run. Nothing was changed.
        """

    # --- families --------------------------------------------------------------------------------------------

    @abstractmethod
    def get_child(self, instance_id: str) -> ChildRecord | None:
        """The lineage of an instance that is there; None: it has no parent, or there is no such instance."""

    @abstractmethod
    def list_unobserved(self, where: OrphanSearch, limit: int, after: int) -> tuple[ChildRecord, ...]:
        """Candidates for orphans, by incarnation, beginning after incarnation ``after``; ``limit`` 0 means all. Cost
        grows with the children nobody observed (with ``all_kinds``: with the children), and reads no history."""

    @abstractmethod
    def count_orphans(self) -> dict[str, int]:
        """How many children there are, by orchestration, that nobody observed and whose spawner has ended, without
        those of which nobody can tell."""

    @abstractmethod
    def list_finished(self, names: Sequence[str] | None, limit: int, after: int) -> tuple[FinishedInstance, ...]:
        """Instances that have ended, by incarnation after ``after``, whose family a purge may look at: those without a
        parent, and children whose parent has not ended (or is gone) and that were observed or never will be.
        ``names`` are exact, None: any. ``limit`` 0 means all."""

    @abstractmethod
    def newest_finished(self, name: str, count: int) -> int | None:
        """The incarnation at which the newest ``count`` ended instances of the orchestration begin; None: there are no
        more than that."""

    @abstractmethod
    def families(self, incarnations: Sequence[int]) -> list[Family]:
        """The family of each instance, in the order asked for; one that is not there is left out. One snapshot."""

    @abstractmethod
    def remove(self, batch: RemovalBatch, *, durable: bool = True) -> list[RemovalOutcome]:
        """Carry out every order, in order, in one transaction, ``durable`` or not as with ``prune``; see *Families*. An
        instance that is gone, or went with an earlier order, has ``instance_id`` "". The families that went are one row
        of a manual run (``run_id``).

        Raises:
            StalePlanError: ``policy_revision`` is given and is not the store's. Nothing was changed.
        """

    @abstractmethod
    def adopt(self, instance_id: str, by: str, reason: str) -> ChildRecord:
        """Record that an orphan, or a child of which nobody can tell, stands alone: it is detached from now on. One
        that is detached already is left as it is.

        Raises:
            InstanceNotFoundError; NotAnOrphanError: a parent may still observe it, or wait for it whatever its lineage
                says, has observed it, or there is none.
        """

    @abstractmethod
    def find_removed(self, instance_id: str) -> RemovedInstance | None:
        """The instance of this id that was removed last, while its rows are still there."""

    @abstractmethod
    def list_ledger(self, instance_id: str) -> tuple[LedgerEntry, ...]:
        """The ledger of the instance's present life, oldest first: at most ``limits.LEDGER_RANGES_MAX`` automatic
        ranges, and a row for every manual run or undo."""

    @abstractmethod
    def list_prune_runs(self, limit: int, before: tuple[int, str] | None = None) -> tuple[PruneRun, ...]:
        """Manual runs and undos, newest first, those of one moment by their ids. ``limit`` 0 means all. ``before``:
        only those that come after the run that began then (Unix milliseconds) and has this id."""

    @abstractmethod
    def get_prune_run(self, run_id: str) -> PruneRun | None:
        """The manual run or undo of this id, or None."""

    @abstractmethod
    def ledger_totals(self) -> tuple[LedgerTotals, ...]:
        """What was pruned of instances that are gone, by orchestration name."""

    @abstractmethod
    def find_pruned(self, instance_id: str, execution_id: int) -> PrunedExecution | None:
        """What is known of an execution that was pruned; None: it is live, or never was."""

    @abstractmethod
    def backlog(self) -> Backlog:
        """What is left to do."""

    # --- archives ----------------------------------------------------------------------------------------------

    @abstractmethod
    def list_unarchived(self, limit: int, excluding: Sequence[str] = ()) -> tuple[ArchivableExecution, ...]:
        """Executions of instances that are there and that wait for their archive, those that may go first, first: in
        their grace, too. ``excluding``: archives that cannot be used now."""

    @abstractmethod
    def list_unarchived_instances(self, limit: int, excluding: Sequence[str] = ()) -> tuple[ArchivableInstance, ...]:
        """The same of removed instances, those of a tree from the leaves up."""

    @abstractmethod
    def list_unarchived_of(self, incarnation: int, limit: int, after: int) -> tuple[ArchivableExecution, ...]:
        """What goes with a removed instance, after execution ``after``: its executions that were live when it was
        removed, and those that wait for an archive themselves. Empty: it is not there any more."""

    @abstractmethod
    def waiting_archives(self) -> tuple[WaitingArchive, ...]:
        """What waits for its archive, by archive."""

    @abstractmethod
    def known_archives(self) -> tuple[KnownArchive, ...]:
        """The archives that were ever written to, those used last first."""

    @abstractmethod
    def remember_archive(self, directory: str, archive_id: str) -> None:
        """The archive in this directory has this id, and is used now."""

    @abstractmethod
    def note_archived(self, executions: Sequence[tuple[int, int]], incarnations: Sequence[int]) -> None:
        """These executions (incarnation, execution id) and everything of these removed instances are in their archive:
        they may be reclaimed, and executions past their grace may go in the same transaction, up to
        ``limits.MARK_RECLAIM_EVENTS_MAX`` events. What is not pruned any more, or not removed, is ignored. Durable as
        ``reclaim`` is: what a cut of power forgets is archived once more."""

    @abstractmethod
    def restore(self, restoration: Restoration) -> RestoreResult:
        """Write histories back as they were, live, under a hold of their instance, with a row in its ledger (trigger
        ``undo``). An execution that is there already, with the same events, is left as it is; when all are, nothing is
        changed. See ``retention.restoring`` for what may come back where.

        Raises:
            RestoreRefusedError, InstanceNotFoundError: nothing was changed.
        """

    # --- reads of clients --------------------------------------------------------------------------------------

    @abstractmethod
    def get_instance(self, instance_id: str) -> InstanceRecord | None:
        """The instance, or None."""

    @abstractmethod
    def instance_ids_from(self, prefix: str, limit: int) -> tuple[str, ...]:
        """At most ``limit`` ids of instances that begin with ``prefix``, in the order of their text. Costs what it
        brings."""

    @abstractmethod
    def list_instances(self, where: InstanceFilter, limit: int, cursor: str | None) -> InstancePage:
        """Newest first. ``limit`` 0 means all. The cost grows with the page, not with the table.

        Raises:
            UsageError: the cursor is not one this method returned.
        """

    @abstractmethod
    def list_executions(self, instance_id: str | None, limit: int, cursor: str | None) -> ExecutionPage:
        """The live executions of one instance (none if it does not exist), or of all. ``limit`` and ``cursor`` as
        above."""

    @abstractmethod
    def get_execution(self, instance_id: str, execution_id: int) -> ExecutionRecord | None:
        """One live execution, or None."""

    @abstractmethod
    def read_history(self, instance_id: str, execution_id: int | None, after: int = 0) -> HistoryRecord | None:
        """One execution (None: the current one) with its events after event ``after`` (0: all of them), from one
        snapshot; None if it is not there. Costs what it brings, not what the history weighs."""

    @abstractmethod
    def read_ends(self, instance_ids: Sequence[str]) -> dict[str, InstanceEnd]:
        """How each instance ended, of those that exist, from one snapshot and without reading whole histories."""

    @abstractmethod
    def list_children(self, incarnation: int, limit: int, after: int) -> tuple[ChildRecord, ...]:
        """Children spawned by any execution of the instance, oldest first by their incarnation, beginning after
        incarnation ``after`` (0: from the first). Detached ones included."""

    @abstractmethod
    def info(self) -> StoreInfo:
        """The store, counted. May read a whole index: for people, not for loops."""

    @abstractmethod
    def usage(self, since_ms: int) -> tuple[NameUsage, ...]:
        """What each orchestration has, by name, ``recent_*`` of executions that started at ``since_ms`` or later. Reads
        no history."""

    @abstractmethod
    def marked(self) -> MarkedUsage:
        """What is marked and not reclaimed yet."""

    def sizes(self) -> FileSizes:
        """Of the files. A store without a file has none."""
        return FileSizes()

    def give_back(self, pages_max: int) -> int:
        """Move about ``pages_max`` pages from the end of the file into its free ones, in one transaction, and cut the
        end off; how many. 0: nothing is free any more. Durable as ``reclaim`` is.

        Raises:
            StoreError: this file cannot give back in steps (``rewrite`` can).
        """
        del pages_max
        return 0

    def rewrite(self) -> None:
        """Write the whole file anew, without holes. Nobody else can write meanwhile.

        Raises:
            StoreFullError: there is no room for the copy. Nothing was changed.
            StoreLockedError: somebody else uses the store.
        """
        return

    def cut_log(self) -> bool:
        """Copy the log into the file and make it empty; False: somebody else reads an older state just now."""
        return True

    def keep_reserve(self) -> None:
        """Set some room aside for removing something when the disk is full, unless that is done or there is too little.
        Raises nothing."""
        return

    def make_room(self) -> bool:
        """After a write failed because the disk is full: give the reserve away and empty the log; whether that left
        more room than before."""
        return False

    def backup(self, target: Path, progress: Callable[[int, int], object]) -> None:
        """Write everything, as of one moment, to the new file ``target``, beside whatever runs, and check what was
        written. ``progress(done, total)`` pages, at times; what it raises ends the backup and leaves no file.

        Raises:
            BackupError: ``target`` is there already, or could not be written.
        """
        del target, progress
        raise BackupError("a store without a file cannot be backed up so", hint="use a store in a file")

    def checkup(self, *, deep: bool = False) -> Iterator[CheckResult]:
        """Look for what must not be, check by check, beside whatever runs: nothing is changed, and of histories last
        events are read, and short ones of what runs. ``deep`` reads everything there is. A store in memory has nothing
        that could be damaged."""
        del deep
        return iter(())

    def repair(self, names: Sequence[str]) -> list[Repair]:
        """Delete what the repairable checks of these names find, in one transaction.

        Raises:
            StoreCorruptError: the file is damaged, so that nobody can tell what is left over. Nothing was deleted.
        """
        del names
        return []

    @abstractmethod
    def dump(self) -> StoreDump:
        """Every table, every row. The columns are those of the SQLite migrations, for every store. For tests and
        invariants."""
