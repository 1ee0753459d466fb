"""Between an actor and the store: here calls fail, actors die, and others get in between."""

from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from duro.errors import CommitUnknownError, StalePlanError, StoreLockedError
from duro.stores.base import Store
from tests.support.simulated.clocks import SkewedClock
from tests.support.simulated.moves import WORKERS, Fault, FaultKind, Move

WRITES: Final = frozenset(
    {
        *("register_worker", "renew_worker", "release_worker", "release_expired", "acquire_maintenance"),
        *("release_maintenance", "lease", "commit", "start_instances", "raise_event", "request_cancel"),
        *("terminate_instance", "resume_instance", "publish", "set_instance_policy", "add_hold", "remove_hold"),
        *("prune", "note_swept", "reclaim", "undo_prune", "remove", "adopt", "remember_archive", "note_archived"),
        "restore",
    }
)
_NOT_A_CALL: Final = frozenset(
    {
        *("close", "now_ms", "change_counter", "store_id", "offer_lease", "withdraw_offer", "contended", "sizes"),
        *("keep_reserve", "make_room", "cut_log", "dump", "sync", "held_activities"),
    }
)
"""What costs an actor no time, or happens all the time: nothing comes in between."""


class Died(BaseException):
    """The process of an actor ends here."""


class Surroundings(Protocol):
    """What a gate needs of the world."""

    def in_between(self, move: Move) -> None:
        """Others make a move."""
        ...

    def applied(
        self, actor: str, call: str, arguments: tuple[Any, ...], keywords: dict[str, Any], result: Any, now_ms: int
    ) -> None:
        """The call changed the store."""
        ...

    def count(self, rare: str) -> None: ...


class Gate:
    """One actor's way to ``store``. ``clock`` is the store's, and shows the actor's time while the actor calls."""

    def __init__(self, actor: str, store: Store, clock: SkewedClock, world: Surroundings) -> None:
        self.actor = actor
        self.store = store
        self.clock = clock
        self.skew_ms = 0
        self.dead = False
        self._world = world
        self._calls = 0
        self._during: dict[int, list[Fault | Move]] = {}

    def begin(self, during: tuple[tuple[int, Fault | Move], ...]) -> None:
        """A move begins: what comes in between its calls."""
        self._calls = 0
        self._during = {}
        for call, what in during:
            self._during.setdefault(call, []).append(what)

    def point(self) -> FaultKind | None:
        """Something that takes time is about to be done: others make their moves; what becomes of it."""
        if self.dead:
            raise Died
        self._calls += 1
        fault: FaultKind | None = None
        for what in self._during.pop(self._calls, ()):
            if isinstance(what, Fault):
                fault = what.kind
            else:
                self._world.in_between(what)
        return fault

    def die(self) -> None:
        self.dead = True
        raise Died

    def call(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if self.dead:
            raise Died
        if name in _NOT_A_CALL:
            return self._in_own_time(name, arguments, keywords)
        fault = self.point()
        if name not in WRITES:
            if name == "lookup_commit":
                self._world.count("an unknown commit is looked up")
            if fault is not None:
                self._fail("crash before" if fault.startswith("crash") else "lost", name)
            return self._in_own_time(name, arguments, keywords)
        if fault in ("lost", "unknown, not applied", "crash before"):
            self._fail(fault, name)
        try:
            result = self._in_own_time(name, arguments, keywords)
        except StalePlanError:
            if self.actor in WORKERS:
                self._world.count("a sweep plans again")
            raise
        if fault is not None:
            self._fail(fault, name)
        return result

    def _in_own_time(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """The store's clock shows the actor's time meanwhile."""
        clock = self.clock
        others, clock.skew_ms = clock.skew_ms, self.skew_ms
        try:
            result = getattr(self.store, name)(*arguments, **keywords)
            if name in WRITES:
                self._world.applied(self.actor, name, arguments, keywords, result, clock.now_ms())
        finally:
            clock.skew_ms = others
        return result

    def _fail(self, fault: str, name: str) -> None:
        self._world.count(f"{fault}: {name}")
        if fault.startswith("crash"):
            self.die()
        if fault == "lost":
            raise StoreLockedError("the store is locked")
        raise CommitUnknownError("the disk does not answer")

    def as_store(self) -> Store:
        """The gate, as a store."""
        return cast(Store, _Gated(self))


def _forwarded(name: str) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any, **keywords: Any) -> Any:
        return self.gate.call(name, arguments, keywords)

    return method


def _init(self: Any, gate: Gate) -> None:
    self.gate = gate
    self.url = gate.store.url
    self.weakened = gate.store.weakened


def _now_ms(self: Any) -> int:
    gate: Gate = self.gate
    if gate.dead:
        raise Died
    clock = gate.clock
    others, clock.skew_ms = clock.skew_ms, gate.skew_ms
    try:
        return gate.store.now_ms()
    finally:
        clock.skew_ms = others


_Gated: Final[Any] = type(
    "GatedStore",
    (Store,),
    {name: _forwarded(name) for name in vars(Store) if not name.startswith("_") and callable(getattr(Store, name))}
    | {"__init__": _init, "now_ms": _now_ms},
)
