"""The client: everything a program or an operator does to a store, short of running turns."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from threading import Event
from types import TracebackType
from typing import Any, Literal

import msgspec

from duro.codec import decode_event, decode_payload, encode_payload, payload_from_text
from duro.errors import (
    ExecutionNotFoundError,
    HistoryFormatError,
    InstanceExistsError,
    OrchestrationFailedError,
    StateError,
    StoreError,
    UnknownOrchestrationError,
    UsageError,
    WaitTimeoutError,
)
from duro.maintenance.client import archive_path
from duro.maintenance.pruned import no_instance, was_pruned
from duro.maintenance.space_client import Space
from duro.model.events import (
    Json,
    OrchestrationCancelled,
    OrchestrationCompleted,
    OrchestrationFailed,
    OrchestrationTerminated,
)
from duro.model.failure import CANCELLED, TERMINATED, FailureDetails
from duro.model.limits import LIST_LIMIT_DEFAULT
from duro.model.records import (
    ChildRecord,
    ExecutionPage,
    ExecutionRecord,
    HistoryRecord,
    InstanceEnd,
    InstanceFilter,
    InstancePage,
    InstanceRecord,
    StartRequest,
    StoreInfo,
    WorkerRecord,
)
from duro.model.status import FINAL_INSTANCE_STATUSES, InstanceStatus
from duro.naming import (
    check_count,
    check_execution_id,
    check_instance_id,
    check_instance_ids,
    check_name,
    check_request_id,
    check_text,
    check_timeout_s,
    shown,
)
from duro.registry import Registry
from duro.stores.base import Store
from duro.stores.opening import new_id, open_store
from duro.waiting import POLL_INTERVAL_S, FinishNotifier, Waiting

IfExists = Literal["error", "return"]


class Start(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One start of a batch; the fields are the arguments of ``Client.start_orchestration``."""

    orchestration: Callable[..., Any] | str
    input: Any = None
    instance_id: str | None = None
    version: str | None = None


class OrchestrationResult(msgspec.Struct, frozen=True, kw_only=True):
    """How an instance ended. ``output`` is set when it completed (of the type of the function's annotation if the
    orchestration is registered with this client, plain JSON values otherwise), ``failure`` when it did not."""

    instance_id: str
    execution_id: int
    status: InstanceStatus
    output: Any = None
    failure: FailureDetails | None = None

    def result(self) -> Any:
        """``output``.

        Raises:
            OrchestrationFailedError: the orchestration did not complete; ``failure`` says why.
        """
        if self.failure is None:
            return self.output
        raise OrchestrationFailedError(
            f"instance {self.instance_id!r} {self.status}: {self.failure.type}: {self.failure.message}", self.failure
        )


class Client(Space):
    """Reads and writes a store. Thread-safe; a context manager that closes what it opened.

    ``store`` is a URL, a path object or an open store (which stays open). With a ``registry`` functions may be given
    instead of names, and inputs and results are checked against their annotations.

    Every write has a ``request_id``; a caller who does not know whether a write happened repeats it under the same
    id, and it is applied once. None takes a new one; one that is not storable is an ``InvalidIdError``. ``by_hand``
    False: what is pruned and removed is coalesced in the ledger, like automatic prunes, and is no run of its own.
    ``configured_archive``: the directory of an archive for all that this client removes (None: as workers are told).

    Raises (the constructor): StoreUrlError, StoreError.
    """

    def __init__(
        self,
        store: "str | Store | Any",
        *,
        registry: Registry | None = None,
        ids: Callable[[], str] = new_id,
        notifier: FinishNotifier | None = None,
        after_write: Callable[[], None] = lambda: None,
        by_hand: bool = True,
        configured_archive: "str | os.PathLike[str] | None" = None,
    ) -> None:
        self._owned = not isinstance(store, Store)
        self.store: Store = store if isinstance(store, Store) else open_store(store)
        self._registry = registry or Registry()
        self._ids = ids
        self._notifier = notifier or FinishNotifier()
        self._after_write = after_write
        self._by_hand = by_hand
        self.configured_archive = None if configured_archive is None else archive_path(configured_archive)

    def close(self) -> None:
        """Close the store if this client opened it."""
        if self._owned:
            self.store.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- writing ---------------------------------------------------------------------------------------------

    def start_orchestration(
        self,
        orchestration: Callable[..., Any] | str,
        input: Any = None,
        *,
        instance_id: str | None = None,
        version: str | None = None,
        if_exists: IfExists = "error",
        request_id: str | None = None,
        allow_unregistered: bool = False,
    ) -> str:
        """Start an instance and return its id once the start is durable.

        ``instance_id`` None takes a new random one (the same one again for the same ``request_id``). ``version`` None
        takes the newest one the worker that runs the first turn has. ``if_exists="return"`` returns the id also when an
        instance of that id is already there.

        Raises:
            InvalidIdError, InvalidNameError, InvalidInputError, PayloadTooLargeError: nothing was started.
            UnknownOrchestrationError: neither this client's registry nor any worker of the store has it, and
                ``allow_unregistered`` is false.
            InstanceExistsError: the id is taken.
        """
        start = Start(orchestration=orchestration, input=input, instance_id=instance_id, version=version)
        return self.start_orchestrations(
            [start], if_exists=if_exists, request_id=request_id, allow_unregistered=allow_unregistered
        )[0]

    def start_orchestrations(
        self,
        starts: Iterable[Start],
        *,
        if_exists: IfExists = "error",
        request_id: str | None = None,
        allow_unregistered: bool = False,
    ) -> list[str]:
        """Start many instances in one commit; the ids in the order given. See ``start_orchestration``.

        Raises:
            InstanceExistsError: at least one id is taken (the message names the first); the others *are* started.
        """
        if if_exists not in ("error", "return"):
            raise UsageError(f'if_exists must be "error" or "return", not {if_exists!r}')
        if not isinstance(starts, Iterable):
            raise UsageError(f"starts must be several duro.Start, not {shown(starts)}", hint="put one into a list")
        starts = list(starts)
        request_id = self._request_id(request_id)
        automatic_id = _automatic_id(request_id)
        requests = []
        for position, start in enumerate(starts):
            if not isinstance(start, Start):
                raise UsageError(
                    f"starts must be duro.Start, not {start!r}", hint="write duro.Start(orchestration=...)"
                )
            chosen = automatic_id if len(starts) == 1 else f"{automatic_id}-{position}"
            request, known = self._start_request(start, f"{request_id}-{position}", chosen)
            if not (known or allow_unregistered):
                self._check_published(request.name, request.version)
            requests.append(request)
        outcomes = self.store.start_instances(requests)
        self._after_write()
        taken = [outcome for outcome in outcomes if not outcome.started]
        if taken and if_exists == "error":
            raise InstanceExistsError(
                f"instance {taken[0].instance_id!r} already exists (orchestration {taken[0].name!r})",
                hint='choose another id, or pass if_exists="return"',
            )
        return [outcome.instance_id for outcome in outcomes]

    def raise_event(self, instance_id: str, name: str, data: Any = None, *, request_id: str | None = None) -> None:
        """Put an event into the instance's mailbox; durable when this returns, delivered to a ``wait_for_event(name)``.

        Raises:
            InvalidNameError, InvalidInputError, PayloadTooLargeError: nothing was sent.
            InstanceNotFoundError, InstanceFinishedError, MailboxFullError: nothing was sent.
        """
        instance_id, name = check_instance_id(instance_id), check_name(name, "event name")
        payload = encode_payload(data, f"data of event {name!r}")
        self.store.raise_event(instance_id, name, bytes(payload).decode(), self._request_id(request_id))
        self._after_write()

    def cancel(self, instance_id: str, reason: str = "", *, request_id: str | None = None) -> None:
        """Ask the instance to stop: ``OrchestrationCancelled`` is raised where it waits, and it may clean up first.

        Raises:
            InvalidInputError: the reason is too long or not storable. Nothing was changed.
            InstanceNotFoundError, InstanceFinishedError: nothing was changed.
        """
        reason = check_text(reason, "the reason")
        self.store.request_cancel(check_instance_id(instance_id), reason, self._request_id(request_id))
        self._after_write()

    def terminate(self, instance_id: str, reason: str = "", *, request_id: str | None = None) -> None:
        """End the instance now, without its code and without a worker; no cleanup runs.

        Raises:
            InvalidInputError: the reason is too long or not storable. Nothing was changed.
            InstanceNotFoundError, InstanceFinishedError: nothing was changed.
        """
        reason = check_text(reason, "the reason")
        instance_id = check_instance_id(instance_id)
        self.store.terminate_instance(instance_id, reason, self._request_id(request_id))
        if self._notifier.has_watchers:
            with suppress(StoreError):  # it is ended; who waits for it will ask
                self._notifier.ended(list(self.store.read_ends([instance_id]).values()))
        self._after_write()

    def resume(self, instance_id: str) -> bool:
        """Let a blocked instance (poison included) be tried again now. False: it was not blocked.

        Raises:
            InstanceNotFoundError, InstanceFinishedError: nothing was changed.
        """
        resumed = self.store.resume_instance(check_instance_id(instance_id))
        self._after_write()
        return resumed

    # --- waiting ---------------------------------------------------------------------------------------------

    def wait_for_orchestration(self, instance_id: str, timeout: float | None = None) -> OrchestrationResult:
        """Wait until the instance has ended (over all its executions), at most ``timeout`` seconds.

        Raises:
            WaitTimeoutError: it has not ended yet; it goes on.
            InstanceNotFoundError: there is no such instance.
        """
        return self.wait_for_orchestrations([instance_id], timeout)[0]

    def wait_for_orchestrations(
        self, instance_ids: Iterable[str], timeout: float | None = None
    ) -> list[OrchestrationResult]:
        """Wait until all of the instances have ended, at most ``timeout`` seconds; their results in the order given.

        Raises:
            UsageError: ``instance_ids`` are not several ids, or ``timeout`` is no time.
            WaitTimeoutError: some have not ended yet (the message names the first); they go on.
            InstanceNotFoundError: one of them does not exist.
        """
        deadline_s = None if timeout is None else time.monotonic() + check_timeout_s(timeout)
        instance_ids = check_instance_ids(instance_ids)
        waiting, results = Waiting(instance_ids), dict[str, OrchestrationResult]()
        awake = Event()

        def told(ends: Sequence[InstanceEnd]) -> None:
            waiting.tell(ends)
            awake.set()

        with self._notifier.watch(instance_ids, told):
            while True:
                awake.clear()
                began_s = time.monotonic()
                if asked := waiting.to_ask(self.store.change_counter(), began_s):
                    ends = self._ends(asked)
                    now_s = time.monotonic()
                    waiting.answered(ends, now_s - began_s, now_s)
                    results.update(self._results_of(ends.values()))
                results.update(self._results_of(waiting.take_told()))
                if not waiting.pending:
                    return [results[each] for each in instance_ids]
                left_s = POLL_INTERVAL_S if deadline_s is None else min(POLL_INTERVAL_S, deadline_s - time.monotonic())
                if left_s <= 0:
                    raise self._timed_out(waiting.pending[0], timeout)
                awake.wait(left_s)

    def get_result(self, instance_id: str) -> OrchestrationResult | None:
        """How the instance ended; None while it has not.

        Raises:
            InstanceNotFoundError: there is no such instance.
        """
        ends = self._ends([check_instance_id(instance_id)])
        return self._results_of(ends.values()).get(instance_id)

    def _ends(self, instance_ids: Sequence[str]) -> dict[str, InstanceEnd]:
        """Of all of them, those that have not ended included. Raises InstanceNotFoundError."""
        ends = self.store.read_ends(instance_ids)
        if len(ends) < len(instance_ids):
            missing = next((each for each in instance_ids if each not in ends), None)
            if missing is not None:
                raise no_instance(self.store, missing)
        return ends

    def _results_of(self, ends: Iterable[InstanceEnd]) -> dict[str, OrchestrationResult]:
        """The results of those that have ended."""
        return {end.instance_id: self._result(end) for end in ends if end.status in FINAL_INSTANCE_STATUSES}

    def _result(self, end: InstanceEnd) -> OrchestrationResult:
        output, failure = self._outcome(end)
        return OrchestrationResult(
            instance_id=end.instance_id,
            execution_id=end.execution_id,
            status=end.status,
            output=output,
            failure=failure,
        )

    # --- reading ---------------------------------------------------------------------------------------------

    def get_instance(self, instance_id: str) -> InstanceRecord:
        """Raises InstanceNotFoundError: there is no such instance; InstanceRemovedError, which is one, too: there
        was."""
        record = self.store.get_instance(check_instance_id(instance_id))
        if record is None:
            raise no_instance(self.store, instance_id)
        return record

    def list_instances(
        self, where: InstanceFilter | None = None, *, limit: int = LIST_LIMIT_DEFAULT, cursor: str | None = None
    ) -> InstancePage:
        """A page of instances, newest first. ``limit`` 0: all.

        Raises:
            UsageError: ``where`` is no filter, the limit is negative, or the cursor is not one of a page of this kind.
            InvalidNameError: no orchestration can have the name asked for.
        """
        if where is None:
            where = InstanceFilter()
        elif not isinstance(where, InstanceFilter):
            raise UsageError(f"where must be an InstanceFilter, not {shown(where)}")
        if where.name is not None:
            check_name(where.name, "orchestration name")
        return self.store.list_instances(where, check_count(limit, "limit"), cursor)

    def complete_instance_ids(self, prefix: str, *, limit: int = LIST_LIMIT_DEFAULT) -> tuple[str, ...]:
        """Ids of instances that begin with ``prefix``, in the order of their text, ``limit`` of them at most.

        Raises:
            UsageError: the limit is negative.
        """
        return self.store.instance_ids_from(check_text(prefix, "the prefix"), check_count(limit, "limit"))

    def list_executions(
        self, instance_id: str | None = None, *, limit: int = LIST_LIMIT_DEFAULT, cursor: str | None = None
    ) -> ExecutionPage:
        """A page of executions of one instance or of all, newest first. ``limit`` 0: all.

        Raises:
            InstanceNotFoundError: there is no such instance.
            UsageError: the limit is negative, or the cursor is not one of a page of this kind.
        """
        if instance_id is not None:
            self.get_instance(instance_id)
        return self.store.list_executions(instance_id, check_count(limit, "limit"), cursor)

    def get_execution(self, instance_id: str, execution_id: int) -> ExecutionRecord:
        """Raises InstanceNotFoundError, ExecutionNotFoundError: there is no such thing; ExecutionPrunedError: there
        was, and it has been pruned; UsageError: that is no execution's number."""
        self.get_instance(instance_id)
        record = self.store.get_execution(instance_id, check_execution_id(execution_id))
        if record is None:
            raise self._missing(instance_id, execution_id)
        return record

    def read_history(self, instance_id: str, execution_id: int | None = None, *, after: int = 0) -> HistoryRecord:
        """One execution (None: the current one) with its events as stored, those after event ``after``: JSON texts
        with ``type``, ``event_id``, ``at_ms`` and what else is of the type. ``duro.codec.decode_event`` makes a value
        of one.

        Raises:
            UsageError: ``after`` is not a whole number of at least 0, or ``execution_id`` none at all.
            InstanceNotFoundError, ExecutionNotFoundError: there is no such thing.
            ExecutionPrunedError: there was, and it has been pruned.
        """
        record = self.get_instance(instance_id)
        chosen = None if execution_id is None else check_execution_id(execution_id)
        history = self.store.read_history(instance_id, chosen, check_count(after, "after"))
        if history is None:
            raise self._missing(instance_id, record.execution_id if execution_id is None else execution_id)
        return history

    def list_children(self, instance_id: str, *, limit: int = 0, after: int = 0) -> tuple[ChildRecord, ...]:
        """The children of all executions of the instance, oldest first, detached ones included.

        Raises:
            InstanceNotFoundError: there is no such instance.
            UsageError: ``limit`` or ``after`` is not a whole number of at least 0.
        """
        incarnation = self.get_instance(instance_id).incarnation
        return self.store.list_children(incarnation, check_count(limit, "limit"), check_count(after, "after"))

    def list_workers(self) -> tuple[WorkerRecord, ...]:
        """The workers that have a row in the store, oldest first; one whose lease is over may be dead."""
        return self.store.list_workers()

    def info(self) -> StoreInfo:
        """The store: what is in it and how large it is."""
        return self.store.info()

    def _missing(self, instance_id: str, execution_id: int) -> StateError:
        """Why there is no such execution; its instance may have gone a moment ago."""
        pruned = self.store.find_pruned(instance_id, execution_id)
        if pruned is not None:
            return was_pruned(pruned, self.store.now_ms())
        if self.store.get_instance(instance_id) is None:
            return no_instance(self.store, instance_id)
        return _no_execution(instance_id, execution_id)

    # --- inside ----------------------------------------------------------------------------------------------

    def _request_id(self, request_id: str | None) -> str:
        return self._ids() if request_id is None else check_request_id(request_id)

    def _start_request(self, start: Start, request_id: str, automatic_id: str) -> tuple[StartRequest, bool]:
        """The request, and whether this client's registry knows the orchestration."""
        name = self._registry.orchestration_name(start.orchestration)
        version = "" if start.version is None else check_name(start.version, "version")
        instance_id = automatic_id if start.instance_id is None else check_instance_id(start.instance_id)
        payload = _as_json(start.input, f"input of orchestration {name!r}")
        definition = self._registry.find_orchestration(name, version)
        if definition is not None:
            definition.signature.arguments(payload, f"orchestration {name!r}")
        request = StartRequest(
            instance_id=instance_id, name=name, version=version, input=bytes(payload).decode(), request_id=request_id
        )
        return request, definition is not None

    def _check_published(self, name: str, version: str) -> None:
        published = {pair for worker in self.store.list_workers() for pair in worker.orchestrations}
        if any(name == known and version in ("", known_version) for known, known_version in published):
            return
        wanted = f"{name!r} in version {version}" if version else repr(name)
        raise UnknownOrchestrationError(
            f"no worker of this store has registered orchestration {wanted}",
            hint="check the name, start its worker first, or allow unregistered names",
        )

    def _outcome(self, end: InstanceEnd) -> tuple[Any, FailureDetails | None]:
        match decode_event(end.last_event) if end.last_event else None:
            case OrchestrationCompleted(result=result):
                definition = self._registry.find_orchestration(end.name, end.version)
                expected = definition.signature.result_type if definition else Any
                return decode_payload(result, expected, f"result of instance {end.instance_id!r}"), None
            case OrchestrationFailed(failure=failure):
                return None, failure
            case OrchestrationCancelled(reason=reason):
                return None, FailureDetails(type=CANCELLED, message=reason)
            case OrchestrationTerminated(reason=reason):
                return None, FailureDetails(type=TERMINATED, message=reason)
        raise HistoryFormatError(f"the history of instance {end.instance_id!r} does not say how it ended")

    def _timed_out(self, instance_id: str, timeout: float | None) -> WaitTimeoutError:
        status = self.get_instance(instance_id).status
        return WaitTimeoutError(f"instance {instance_id!r} is still {status} after {timeout:g} s; it goes on")


def _automatic_id(request_id: str) -> str:
    """Made from the request id, so that a repeated request names the same instance. Those of one batch begin alike: it
    is cheaper for a store to find room for neighbours."""
    from hashlib import blake2b  # only starts need it

    return blake2b(request_id.encode(), digest_size=16).hexdigest()


def _as_json(value: Any, what: str) -> Json:
    """``msgspec.Raw`` is JSON text already (from a command line); everything else is encoded."""
    return payload_from_text(bytes(value), what) if isinstance(value, msgspec.Raw) else encode_payload(value, what)


def _no_execution(instance_id: str, execution_id: int) -> ExecutionNotFoundError:
    return ExecutionNotFoundError(
        f"instance {instance_id!r} has no execution {execution_id}",
        hint="`duroctl executions list` shows those there are",
    )
