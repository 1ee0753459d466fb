"""What orchestration code awaits: operations, and the combinations of them.

A future belongs to one execution and is resolved by its engine, never by a thread. Whoever waits for it is told in
the order of waiting, depth first, so the order in which code resumes depends on the history alone.

Combinations may be nested as deep as memory allows. So what passes from one future to those behind it is not a call
inside a call: each hands back its ``Steps``, and ``carry_out`` goes through them with a stack of its own.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

from duro.errors import FutureCancelledError

if TYPE_CHECKING:
    from duro.replay.engine import Execution

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


Steps: TypeAlias = Iterator["Steps | None"]
"""What is left to do: each item is to be carried out, whole, before the next is asked for. None: nothing."""


def carry_out(steps: Steps | None) -> None:
    """Do all of it, depth first: the order of calls inside calls, without their depth."""
    if steps is None:
        return
    stack = [steps]
    while stack:
        for inner in stack[-1]:
            if inner is not None:
                stack.append(inner)
                break
        else:
            stack.pop()


class Waiter(Protocol):
    """Whoever is told when a future is done."""

    def member_done(self, future: "DurableFuture[Any]") -> Steps | None:
        """Take note; what follows from it is to be carried out now."""


class DurableFuture(Generic[T_co]):
    """The result of something durable that may not have happened yet. Await it (or ``yield`` it in a generator)."""

    __slots__ = ("_error", "_execution", "_more_waiters", "_value", "_waiter", "done")

    def __init__(self, execution: "Execution") -> None:
        self._execution = execution
        self._value: Any = None
        self._error: Callable[[], BaseException] | None = None
        self._waiter: Waiter | None = None
        """The first; most have no other, and need no list."""
        self._more_waiters: Sequence[Waiter] = ()
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
        if self._waiter is None:
            self._waiter = waiter
        elif isinstance(self._more_waiters, list):
            self._more_waiters.append(waiter)
        else:
            self._more_waiters = [waiter]

    def remove_waiter(self, waiter: Waiter) -> None:
        left = [each for each in self._all_waiters() if each is not waiter]
        self._waiter, self._more_waiters = (left[0], left[1:]) if left else (None, ())

    def _all_waiters(self) -> Sequence[Waiter]:
        return () if self._waiter is None else (self._waiter, *self._more_waiters)

    def resolve(self, value: Any, error: Callable[[], BaseException] | None = None) -> None:
        """Set the outcome and tell the waiters. A second outcome is ignored: the first one counts."""
        for waiter in self._settle(value, error):
            carry_out(waiter.member_done(self))

    def resolving(self, value: Any, error: Callable[[], BaseException] | None = None) -> Steps:
        """``resolve`` as steps."""
        for waiter in self._settle(value, error):
            yield waiter.member_done(self)

    def _settle(self, value: Any, error: Callable[[], BaseException] | None) -> Sequence[Waiter]:
        """Whom to tell."""
        if self.done:
            return ()
        self.done = True
        self._value = value
        self._error = error
        waiters = self._all_waiters()
        self._waiter, self._more_waiters = None, ()
        return waiters

    def cancel(self, reason: str) -> None:
        """Give up on the result: whoever waits gets FutureCancelledError, and what runs for it is asked to stop.

        Raises:
            UsageError: the code that asks is not the one that the future belongs to.
        """
        self._execution.check_open()
        carry_out(self.cancelling(reason))

    def cancelling(self, reason: str) -> Steps:
        """``cancel`` as steps."""
        yield self.resolving(None, self.cancelled_error(reason))

    def cancelled_error(self, reason: str) -> Callable[[], BaseException]:
        what = self.describe()
        return lambda: FutureCancelledError(f"{what} was cancelled: {reason}")

    def leave(self, waiter: Waiter, reason: str) -> None:
        """``waiter`` was cancelled and waits no longer; the future is cancelled with it unless somebody else waits."""
        carry_out(self.leaving(waiter, reason))

    def leaving(self, waiter: Waiter, reason: str) -> Steps | None:
        """``leave`` as steps."""
        self.remove_waiter(waiter)
        return self.cancelling(reason) if self._waiter is None else None

    def is_stuck(self) -> bool:
        """Whether nothing that can still happen would ever resolve it: it comes down to ``continue_as_new``, or to
        itself."""
        waiting: list[DurableFuture[Any]] = [self]
        seen: set[int] = set()
        while waiting:
            future = waiting.pop()
            if id(future) in seen:
                continue
            seen.add(id(future))
            others = future.waits_for()
            if others is None:
                return False
            waiting += others
        return True

    def waits_for(self) -> "Sequence[DurableFuture[Any]] | None":
        """Without which others it cannot go on (() if never); None if something else may resolve it."""
        return None


class Operation(DurableFuture[T_co]):
    """One scheduled event waiting for its answer."""

    __slots__ = ("annotation", "event_id", "kind", "name", "owner")

    def __init__(
        self,
        execution: "Execution",
        event_id: int,
        kind: str,
        name: str,
        annotation: Any,
        owner: "Task[Any] | None",
    ) -> None:
        super().__init__(execution)
        self.event_id = event_id
        self.kind = kind
        self.name = name
        self.annotation = annotation
        """The type of its answer's payload."""
        self.owner = owner
        """The coroutine that asked for it."""

    @property
    def is_cleanup(self) -> bool:
        """Whether a coroutine asked for it that is cleaning up."""
        return self.owner is not None and self.owner.cleaning

    @property
    def payload(self) -> str:
        """What its answer carries, as errors call it."""
        return f"{'data' if self.kind == 'event' else 'result'} of {self.kind} {self.name!r}"

    def describe(self) -> str:
        return f"{self.kind} {self.name!r}" if self.name else self.kind

    def cancelling(self, reason: str) -> Steps:
        if not self.done:
            self._execution.cancel_operation(self)
            yield from super().cancelling(reason)


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
            self.resolve(self._results())
        else:
            for member in pending:
                member.add_waiter(self)

    def member_done(self, future: DurableFuture[Any]) -> Steps | None:
        self._missing -= 1
        if future.error is not None and not self._return_exceptions:
            for member in self._members:
                member.remove_waiter(self)
            return self.resolving(None, future.error)
        return self.resolving(self._results()) if self._missing == 0 else None

    def _results(self) -> list[Any]:
        return [member.error() if member.error is not None else member.outcome() for member in self._members]

    def cancelling(self, reason: str) -> Steps:
        if not self.done:
            for member in self._members:
                yield member.leaving(self, reason)
            yield from super().cancelling(reason)

    def waits_for(self) -> Sequence[DurableFuture[Any]]:
        return [member for member in self._members if not member.done]

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
            carry_out(self.member_done(winner))
        else:
            for member in members:
                member.add_waiter(self)

    def member_done(self, future: DurableFuture[Any]) -> Steps | None:
        return None if self.done else self._won_by(future)

    def _won_by(self, winner: DurableFuture[Any]) -> Steps:
        index = next(position for position, member in enumerate(self._members) if member is winner)
        losers = [member for member in self._members if member is not winner]
        for member in losers:
            member.remove_waiter(self)
        yield self.resolving((index, None if winner.error else winner.outcome()), winner.error)
        for member in losers:
            yield member.cancelling("another future of the same select was done first")

    def cancelling(self, reason: str) -> Steps:
        if not self.done:
            for member in self._members:
                yield member.leaving(self, reason)
            yield from super().cancelling(reason)

    def waits_for(self) -> Sequence[DurableFuture[Any]]:
        return self._members

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

    def cancelling(self, reason: str) -> Steps:
        """Raise OrchestrationCancelled where the coroutine waits (or waits next, if it runs just now); the task is
        done when the coroutine is."""
        if self.done or self.interruption is not None:
            return
        self.interruption = reason
        self.interruption_due = True
        self.cleaning = True
        waiting_on, self.waiting_on = self.waiting_on, None
        if waiting_on is not None:
            yield waiting_on.leaving(self, reason)
        self._execution.make_ready(self)

    def ended_as_cancelled(self, reason: str) -> None:
        """The coroutine ended with the interruption that it was given, or made itself."""
        self.resolve(None, self.cancelled_error(reason))

    def waits_for(self) -> Sequence[DurableFuture[Any]] | None:
        return None if self.waiting_on is None or self.queued else (self.waiting_on,)


class Never(DurableFuture[Any]):
    """What ``continue_as_new`` returns: code after awaiting it never runs."""

    __slots__ = ()

    def describe(self) -> str:
        return "continue_as_new"

    def cancelling(self, reason: str) -> Steps:  # noqa: ARG002 - nothing can take it back
        return iter(())

    def waits_for(self) -> Sequence[DurableFuture[Any]]:
        return ()


Durable = DurableFuture[T] | Awaitable[T]
"""What ``join`` and ``select`` take: durable futures and coroutines."""
