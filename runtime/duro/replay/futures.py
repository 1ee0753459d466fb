"""What orchestration code awaits: operations, and the combinations of them.

A future belongs to one execution and is resolved by its engine, never by a thread. Whoever waits for it is told in
the order of waiting, so the order in which code resumes depends on the history alone.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from duro.errors import FutureCancelledError
from duro.model.events import Json

if TYPE_CHECKING:
    from duro.replay.engine import Execution

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Waiter(Protocol):
    """Whoever is told when a future is done."""

    def member_done(self, future: "DurableFuture[Any]") -> None: ...


class DurableFuture(Generic[T_co]):
    """The result of something durable that may not have happened yet. Await it (or ``yield`` it in a generator)."""

    __slots__ = ("_error", "_execution", "_value", "_waiters", "done")

    def __init__(self, execution: "Execution") -> None:
        self._execution = execution
        self._value: Any = None
        self._error: Callable[[], BaseException] | None = None
        self._waiters: list[Waiter] = []
        self.done = False
        """Whether the result is there; deterministic, like everything else about a future."""

    def __await__(self) -> Generator["DurableFuture[Any]", Any, T_co]:
        if not self.done:
            self._execution.check_open()
            result: T_co = yield self
            return result
        return self.outcome()

    def outcome(self) -> T_co:
        """The value of a done future, or raise its error (a new exception each time)."""
        if self._error is not None:
            raise self._error()
        value: T_co = self._value
        return value

    def describe(self) -> str:
        return "a durable future"

    # --- for the engine --------------------------------------------------------------------------------------

    @property
    def error(self) -> Callable[[], BaseException] | None:
        return self._error

    def add_waiter(self, waiter: Waiter) -> None:
        self._waiters.append(waiter)

    def remove_waiter(self, waiter: Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def resolve(self, value: Any, error: Callable[[], BaseException] | None = None) -> None:
        """Set the outcome and tell the waiters. A second outcome is ignored: the first one counts."""
        if self.done:
            return
        self.done = True
        self._value = value
        self._error = error
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.member_done(self)

    def cancel(self, reason: str) -> None:
        """Give up on the result: whoever waits gets FutureCancelledError, and what runs for it is asked to stop."""
        what = self.describe()
        self.resolve(None, lambda: FutureCancelledError(f"{what} was cancelled: {reason}"))

    def leave(self, waiter: Waiter, reason: str) -> None:
        """``waiter`` was cancelled and waits no longer; the future is cancelled with it unless somebody else waits."""
        self.remove_waiter(waiter)
        if not self._waiters:
            self.cancel(reason)

    def is_stuck(self, seen: set[int]) -> bool:  # noqa: ARG002 - for those that wait for others
        """Whether nothing that can still happen would ever resolve it: it comes down to ``continue_as_new``, or to
        itself. ``seen`` holds the tasks (by ``id``) on the way here."""
        return False


class Operation(DurableFuture[T_co]):
    """One scheduled event waiting for its answer."""

    __slots__ = ("decode", "event_id", "kind", "name", "owner")

    def __init__(
        self,
        execution: "Execution",
        event_id: int,
        kind: str,
        name: str,
        decode: Callable[[Json], Any],
        owner: "Task[Any] | None",
    ) -> None:
        super().__init__(execution)
        self.event_id = event_id
        self.kind = kind
        self.name = name
        self.decode = decode
        self.owner = owner
        """The coroutine that asked for it."""

    @property
    def is_cleanup(self) -> bool:
        """Whether a coroutine asked for it that is cleaning up."""
        return self.owner is not None and self.owner.cleaning

    def describe(self) -> str:
        return f"{self.kind} {self.name!r}" if self.name else self.kind

    def cancel(self, reason: str) -> None:
        if not self.done:
            self._execution.cancel_operation(self)
            super().cancel(reason)


class Join(DurableFuture[list[T]]):
    """All results, in the order given. Without ``return_exceptions`` the first failure is the outcome, at once; the
    others go on (as in ``asyncio.gather``)."""

    __slots__ = ("_members", "_missing", "_return_exceptions")

    def __init__(self, execution: "Execution", members: Sequence[DurableFuture[T]], *, return_exceptions: bool) -> None:
        super().__init__(execution)
        self._members = members
        self._return_exceptions = return_exceptions
        pending = [member for member in members if not member.done]
        self._missing = len(pending)
        failed = None if return_exceptions else next((m for m in members if m.done and m.error), None)
        if failed is not None:
            self.resolve(None, failed.error)
        elif not pending:
            self._finish()
        else:
            for member in pending:
                member.add_waiter(self)

    def member_done(self, future: DurableFuture[Any]) -> None:
        self._missing -= 1
        if future.error is not None and not self._return_exceptions:
            for member in self._members:
                member.remove_waiter(self)
            self.resolve(None, future.error)
        elif self._missing == 0:
            self._finish()

    def _finish(self) -> None:
        self.resolve([member.error() if member.error is not None else member.outcome() for member in self._members])

    def cancel(self, reason: str) -> None:
        if not self.done:
            for member in self._members:
                member.leave(self, reason)
            super().cancel(reason)

    def is_stuck(self, seen: set[int]) -> bool:
        return all(member.is_stuck(seen) for member in self._members if not member.done)

    def describe(self) -> str:
        return f"a join of {len(self._members)}"


class Select(DurableFuture[tuple[int, T]]):
    """``(index, value)`` of the first member that is done (its failure, if it failed); the others are cancelled,
    whoever else waits for them."""

    __slots__ = ("_members",)

    def __init__(self, execution: "Execution", members: Sequence[DurableFuture[T]]) -> None:
        super().__init__(execution)
        self._members = members
        winner = next((member for member in members if member.done), None)
        if winner is not None:
            self.member_done(winner)
        else:
            for member in members:
                member.add_waiter(self)

    def member_done(self, future: DurableFuture[Any]) -> None:
        if self.done:
            return
        index = next(position for position, member in enumerate(self._members) if member is future)
        for member in self._members:
            if member is not future:
                member.remove_waiter(self)
        self.resolve((index, None if future.error else future.outcome()), future.error)
        for member in self._members:
            if member is not future:
                member.cancel("another future of the same select was done first")

    def cancel(self, reason: str) -> None:
        if not self.done:
            for member in self._members:
                member.leave(self, reason)
            super().cancel(reason)

    def is_stuck(self, seen: set[int]) -> bool:
        return all(member.is_stuck(seen) for member in self._members)

    def describe(self) -> str:
        return f"a select of {len(self._members)}"


class Task(DurableFuture[T_co]):
    """A coroutine (or generator) of the orchestration running beside the others of its execution."""

    __slots__ = ("cleaning", "coroutine", "interruption", "interruption_due", "queued", "waiting_on")

    def __init__(
        self, execution: "Execution", coroutine: "Coroutine[Any, Any, T_co] | Generator[Any, Any, T_co]"
    ) -> None:
        super().__init__(execution)
        self.coroutine = coroutine
        self.waiting_on: DurableFuture[Any] | None = None
        self.queued = False
        """Whether it is among the ready ones."""
        self.interruption: str | None = None
        """Why it was interrupted; a coroutine is interrupted once."""
        self.interruption_due = False
        self.cleaning = False
        """Whether it was interrupted, or runs for one that was: what it asks for is cleanup, which a cancel of the
        instance leaves alone."""

    def describe(self) -> str:
        return f"coroutine {getattr(self.coroutine, '__qualname__', 'of the orchestration')!r}"

    def member_done(self, future: DurableFuture[Any]) -> None:
        if self.waiting_on is future:
            self._execution.make_ready(self)

    def cancel(self, reason: str) -> None:
        """Raise OrchestrationCancelled where the coroutine waits (or waits next, if it runs just now); the task is
        done when the coroutine is."""
        if self.done or self.interruption is not None:
            return
        self.interruption = reason
        self.interruption_due = True
        self.cleaning = True
        waiting_on, self.waiting_on = self.waiting_on, None
        if waiting_on is not None:
            waiting_on.leave(self, reason)
        self._execution.make_ready(self)

    def is_stuck(self, seen: set[int]) -> bool:
        if self.waiting_on is None or self.queued:
            return False
        if id(self) in seen:
            return True
        seen.add(id(self))
        return self.waiting_on.is_stuck(seen)


class Never(DurableFuture[Any]):
    """What ``continue_as_new`` returns: code after awaiting it never runs."""

    __slots__ = ()

    def describe(self) -> str:
        return "continue_as_new"

    def cancel(self, reason: str) -> None:
        """Nothing can take it back."""

    def is_stuck(self, seen: set[int]) -> bool:  # noqa: ARG002 - it needs no way to be stuck
        return True


Durable = DurableFuture[T] | Awaitable[T]
"""What ``join`` and ``select`` take: durable futures and coroutines."""
