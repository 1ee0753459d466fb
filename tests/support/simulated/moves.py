"""Moves as values, and the moves of a seed: drawn beforehand, so that they do not depend on what the code under test
does, and any of them can be left out."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec

WORKERS: Final = ("w0", "w1", "w2")
CLIENTS: Final = ("c0", "c1")
OPERATORS: Final = ("o0", "o1")
LEASE_MS: Final = 5_000

StoreKind = Literal["memory", "sqlite"]
FaultKind = Literal["lost", "unknown, not applied", "unknown, applied", "crash before", "crash after"]
FAULTS: Final[tuple[FaultKind, ...]] = (
    "lost",
    "unknown, not applied",
    "unknown, applied",
    "crash before",
    "crash after",
)


class Fault(msgspec.Struct, frozen=True, tag="fault"):
    """What becomes of a call of the store, or of a write to an archive."""

    kind: FaultKind


class Move(msgspec.Struct, frozen=True, tag="move"):
    """``actor`` does ``what``. ``during``: before its nth call of the store (or step of the archive's disk) another
    actor makes a move, or that call has a fault."""

    actor: str
    what: str
    arguments: tuple[Any, ...] = ()
    during: "tuple[tuple[int, Fault | Move], ...]" = ()

    def __str__(self) -> str:
        said = ", ".join([self.what, *(repr(each) for each in self.arguments)])
        inside = "".join(
            f"\n      before its call {call}: {what.kind if isinstance(what, Fault) else what}"
            for call, what in self.during
        )
        return f"{self.actor}: {said}{inside}"


class Circumstances(msgspec.Struct, frozen=True):
    """What stays the same through a run. ``newer``: which workers have the newer code. ``themes``: what happens
    often."""

    store: StoreKind
    workers: int
    newer: tuple[bool, ...]
    configuration: str
    cache_size: int
    turns_per_commit_max: int
    themes: tuple[str, ...]


THEMES: Final = ("turns", "pruning", "families", "removal", "clock", "faults", "crashes")
CONFIGURATIONS: Final = ("silent", "keeping", "settled", "interval", "sweeping", "archive")


def circumstances_of(seed: int, *, store: StoreKind | None = None) -> Circumstances:
    """Of a seed; one in 100 is on SQLite unless ``store`` says otherwise."""
    choice = random.Random(f"circumstances {seed}")
    workers = choice.choice((1, 2, 2, 3))
    chosen: StoreKind = "sqlite" if seed % 100 == 99 else "memory"
    return Circumstances(
        store=store or chosen,
        workers=workers,
        newer=tuple(choice.random() < 0.6 for _ in range(workers)),
        configuration=choice.choice(CONFIGURATIONS),
        cache_size=choice.choice((0, 2, 1000, 1000)),
        turns_per_commit_max=choice.choice((1, 3, 500, 500)),
        themes=tuple(theme for theme in THEMES if choice.random() < 0.5) or ("turns", "faults"),
    )


_CLOSE_TOGETHER: Final = frozenset({"work", "run"})
"""Moves of a story between which nothing comes that would have done the same."""


class _Drawing:
    """The dice of one seed, and what they remember: names that were given."""

    def __init__(self, seed: int, circumstances: Circumstances) -> None:
        self.choice = random.Random(f"moves {seed}")
        self.workers = WORKERS[: circumstances.workers]
        self.themes = circumstances.themes
        self.archives = circumstances.configuration == "archive"
        self.plain = circumstances.configuration in ("silent", "keeping")
        self.roots: list[tuple[str, str]] = []
        self._to_come: list[Move] = []
        makers = self._makers()
        self._makers_drawn = [maker for _, maker in makers]
        self._weights = [weight for weight, _ in makers]

    def _makers(self) -> list[tuple[float, Callable[[], Move]]]:
        """What is made how often; each theme adds its own."""
        made: list[tuple[float, Callable[[], Move]]] = [
            (22, lambda: self._of_worker("cycle")),
            (10, lambda: self._of_worker("work")),
            (5, lambda: self._of_worker("run", self.choice.randrange(4))),
            (4, lambda: self._of_worker("renew")),
            (7 if self.plain else 14, lambda: self._of_worker("sweep")),
            (3 if self.archives else 0, lambda: self._of_operator("archive")),
            (3 if self.archives else 0, self._disk_fails),
            (2, lambda: self._of_worker("watch")),
            (9, self._pass),
            (2.5, self._start),
            (5, self._raise),
            (2, lambda: self._of_client("look", self._instance())),
            (1, lambda: self._of_client("cancel", self._instance())),
            (0.7, lambda: self._of_client("terminate", self._instance())),
            (1, lambda: self._of_operator("resume", self._instance())),
        ]
        for theme in self.themes:
            made += self._of_theme(theme)
        return made

    def _of_theme(self, theme: str) -> Sequence[tuple[float, Callable[[], Move]]]:
        choice = self.choice
        match theme:
            case "turns":
                return [
                    (6, self._raise),
                    (3, lambda: self._of_client("cancel", self._instance())),
                    (2, lambda: self._of_client("terminate", self._instance())),
                ]
            case "pruning":
                return [
                    (3, lambda: self._of_operator("prune", self._scope(), choice.choice((1, 1, 2, 3)), self._grace())),
                    (2, lambda: self._of_operator("plan prune", self._scope(), choice.choice((1, 2, None)))),
                    (3, lambda: self._of_operator("apply prune", self._grace())),
                    (3, lambda: self._of_operator("undo run", choice.randrange(4))),
                    (2, lambda: self._of_operator("undo", self._instance())),
                    (3, lambda: self._of_operator("hold", self._instance(), choice.choice((None, None, 1, 2, 3)))),
                    (1, lambda: self._of_operator("hold name", choice.choice(("loop", "collector", "chain")))),
                    (2, lambda: self._of_operator("release", choice.randrange(4))),
                    (1.5, lambda: self._of_operator("policy", self._instance(), choice.choice((1, 3, "never", None)))),
                    (1, lambda: self._of_operator("reclaim")),
                ]
            case "families":
                return [
                    (2.5, self._start_family),
                    (2, lambda: self._of_operator("clean up", self._age(), self._cancels(), self._grace())),
                    (1.5, lambda: self._of_operator("plan clean up", self._age())),
                    (2, lambda: self._of_operator("apply removal", self._cancels(), self._grace())),
                    (2, lambda: self._of_operator("adopt", self._child())),
                    (1, lambda: self._of_client("terminate", self._instance())),
                ]
            case "removal":
                return [
                    (4, lambda: self._of_operator("purge", self._scope(), self._purge_rule(), self._grace())),
                    (2, lambda: self._of_operator("plan purge", self._scope(), self._purge_rule())),
                    (2, lambda: self._of_operator("apply removal", False, self._grace())),
                    (3, lambda: self._of_operator("undo run", choice.randrange(4))),
                    (2, lambda: self._of_operator("undo", self._instance())),
                    (1, lambda: self._of_operator("restore", self._instance())),
                    (1, lambda: self._of_operator("hold", self._instance(), None)),
                    (1, lambda: self._of_operator("reclaim")),
                    (1, lambda: self._of_operator("archive")),
                    (2, self._start_again),
                ]
            case "clock":
                return [
                    (2, lambda: Move("weather", "step", (choice.choice((-3_000, -200, 200, 3_000)),))),
                    (2, lambda: Move("weather", "skew", (self._anybody(), choice.choice((-400, -20, 0, 20, 400))))),
                ]
            case "faults":
                return []
        return [(2, lambda: self._of_worker("kill")), (0.7, lambda: self._of_worker("stop"))]

    # --- one move --------------------------------------------------------------------------------------------------

    def move(self) -> Move:
        if self._to_come and (self._to_come[0].what in _CLOSE_TOGETHER or self.choice.random() < 0.5):
            return self._to_come.pop(0)
        removes = self.archives or not {"pruning", "removal", "families"}.isdisjoint(self.themes)
        if removes and not self._to_come and self.choice.random() < 0.08:
            self._to_come = self._story()
        elif "turns" in self.themes and not self._to_come and self.choice.random() < 0.08:
            self._to_come = self._story_of_turns()
        made = self.choice.choices(self._makers_drawn, self._weights)[0]()
        return msgspec.structs.replace(made, during=self._during(made))

    def _story(self) -> list[Move]:
        """What belongs together, and others do something in between: somebody plans, somebody changes what was planned
        upon, and what was planned is carried out, or taken back."""
        choice, operator = self.choice, self.choice.choice(OPERATORS)
        long = self._long()
        victim = choice.choice((self._instance(), long))
        change = choice.choice(
            (
                self._of_operator("hold", victim, None),
                self._of_operator("adopt", victim),
                self._of_operator("prune", victim, 1, 60),
                self._of_operator("purge", None, ("within", 0.001), 60),
                self._of_operator("policy", victim, "never"),
                self._of_operator("clean up", 0, True, 60),
            )
        )
        back = [Move(operator, "undo run", (0,)), self._of_worker("sweep"), self._of_worker("cycle")]
        if self.archives and choice.random() < 0.5:
            return self._story_of_archives(operator, long)
        match choice.choice(("prune", "purge", "clean up", "undo", "undo both", "adopt", "policy")):
            case "prune":
                plan = Move(operator, "plan prune", (choice.choice((None, long)), 1))
                change = choice.choice((change, self._of_operator("hold", long, choice.choice((None, None, 1, 2)))))
                return [plan, change, Move(operator, "apply prune", (self._grace(),)), *back]
            case "purge":
                plan = Move(operator, "plan purge", (None, ("within", 0.001)))
                return [plan, change, Move(operator, "apply removal", (False, self._grace())), *back]
            case "clean up":
                plan = Move(operator, "plan clean up", (0,))
                change = choice.choice((change, self._of_operator("adopt", self._child())))
                return [plan, change, Move(operator, "apply removal", (self._cancels(), self._grace())), *back]
            case "undo":
                removal = Move(operator, "purge", (None, ("within", 0.001), 2))
                undo = (choice.randrange(3, 8), Move(operator, "undo run", (0,)))
                sweeps = [Move(worker, "sweep", (), (undo,)) for worker in self.workers]
                return [removal, Move("weather", "pass", (2_001,)), *sweeps, *back]
            case "policy":
                otherwise = (choice.randrange(4, 9), Move(operator, "policy", (long, "never")))
                told = Move(operator, "policy", (long, 1))
                sweeps = [Move(worker, "sweep", (), (otherwise,)) for worker in self.workers]
                return [told, *sweeps, *back[1:], told, *sweeps]
            case "undo both":
                removals = [
                    Move(operator, "clean up", (0, False, 60)),
                    Move(operator, "purge", (None, ("within", 0.001), 60)),
                ]
                runs = choice.choice(((0, 1), (1, 0), (1, 1)))
                return [*removals, *(Move(operator, "undo run", (index,)) for index in runs)]
        return [self._of_operator("adopt", self._child()), self._of_operator("clean up", 0, False, self._grace())]

    def _story_of_turns(self) -> list[Move]:
        """Activities end or fail while the commit of a turn that has nothing to do with them is tried again."""
        choice, worker = self.choice, self.choice.choice(self.workers)
        start = self._start_of("beside", choice.choice((1, 2, 2)))
        work, run = Move(worker, "work"), Move(worker, "run", (0,))
        fault = (choice.randrange(1, 3), Fault(choice.choice(("lost", "lost", *FAULTS))))
        told = self._of_client("raise", start.arguments[1])
        before = choice.choice(((run,), (run, work), (run, run, work, Move("weather", "pass", (20,)), work)))
        return [start, work, work, *before, told, work, Move(worker, "work", (), (fault,)), run, work]

    def _story_of_archives(self, operator: str, long: str) -> list[Move]:
        """What is archived comes back while it is written, is archived once more, or is restored when it is gone."""
        choice = self.choice
        other = next(each for each in OPERATORS if each != operator)
        undo = (choice.randrange(6, 30), Move(other, "undo", (long,)))
        sweep = msgspec.structs.replace(self._of_worker("sweep"), during=(undo,))
        pause = Move("weather", "pass", (1_001,))
        everything = ("within", 0.001)
        purge = Move(operator, "purge", (None, everything, 60))
        match choice.choice(("in between", "again", "back", "executions back")):
            case "in between":
                return [self._of_worker("sweep"), pause, sweep, msgspec.structs.replace(purge, during=(undo,))]
            case "again":
                return [purge, Move(operator, "undo run", (0,)), Move(operator, "release", (0,)), purge]
            case "back":
                gone = Move(operator, "purge", (None, everything, 0))
                return [gone, Move(operator, "restore", (long,)), Move(operator, "restore", (self._instance(),))]
        return [self._of_worker("sweep"), pause, self._of_worker("sweep"), Move(operator, "restore", (long,))]

    def _during(self, made: Move) -> tuple[tuple[int, Fault | Move], ...]:
        """What comes in between. An operator's work has many transactions, and a pause of a worker is long."""
        if made.actor == "weather" or made.what in ("kill", "skew"):
            return ()
        choice = self.choice
        inside: list[tuple[int, Fault | Move]] = []
        calls = self._calls(made)
        if calls >= 30 and choice.random() < 0.3:
            inside.append((choice.randrange(5, calls), Fault(choice.choice(("lost", *FAULTS)))))
        elif (self.archives or "faults" in self.themes) and choice.random() < (0.3 if made.actor in CLIENTS else 0.16):
            inside.append((choice.randrange(1, calls), Fault(choice.choice(FAULTS))))
        elif "crashes" in self.themes and choice.random() < 0.08:
            inside.append((choice.randrange(1, calls), Fault(choice.choice(FAULTS[3:]))))
        if choice.random() < (0.4 if made.actor in OPERATORS else 0.3 if made.what == "sweep" else 0.08):
            call = choice.randrange(1, calls)
            inside += [(call, other) for _ in range(choice.choice((1, 1, 2, 3))) if (other := self._other(made))]
            if made.actor in WORKERS and choice.random() < 0.3:
                inside.append((call, Move("weather", "pass", (LEASE_MS + 1,))))
                inside += [(call, Move(worker, "cycle")) for worker in self.workers if worker != made.actor]
        return tuple(inside)

    def _calls(self, made: Move) -> int:
        """How far something may come in between: about as many calls as it makes, steps of an archive's disk too."""
        if made.actor in CLIENTS:
            return 3
        archives = self.archives and made.what in ("sweep", "archive", "prune", "purge", "clean up", "apply removal")
        if made.actor in WORKERS:
            return 30 if archives else 12 if made.what == "sweep" else 5
        return 40 if archives else 9

    def _other(self, made: Move) -> Move | None:
        """What somebody else does in between; what concerns ``made`` more often than chance would have it."""
        choice = self.choice
        if made.what in ("sweep", "reclaim") and choice.random() < 0.5:
            return choice.choice(
                (
                    self._of_operator("undo run", choice.randrange(2)),
                    self._of_operator("undo", choice.choice((self._instance(), self._long()))),
                    self._of_operator("policy", self._long(), "never"),
                    self._of_operator("hold", self._long(), None),
                )
            )
        other = choice.choices(self._makers_drawn, self._weights)[0]()
        return None if other.what == "kill" else other

    def _of_worker(self, what: str, *arguments: Any) -> Move:
        return Move(self.choice.choice(self.workers), what, arguments)

    def _of_client(self, what: str, *arguments: Any) -> Move:
        return Move(self.choice.choice(CLIENTS), what, arguments)

    def _of_operator(self, what: str, *arguments: Any) -> Move:
        return Move(self.choice.choice(OPERATORS), what, arguments)

    def _anybody(self) -> str:
        return self.choice.choice((*self.workers, *CLIENTS, *OPERATORS))

    def _pass(self) -> Move:
        return Move("weather", "pass", (self.choice.choice((1, 5, 20, 60, 60, 300, 1_000, 2_500, LEASE_MS + 1)),))

    def _disk_fails(self) -> Move:
        """A step of a disk, before long."""
        return Move("weather", "disk fails", (self.choice.randrange(16), self.choice.choice(("lost", *FAULTS))))

    def _raise(self) -> Move:
        waiting = [name for name, kind in self.roots if kind in ("collector", "patient")]
        wanted = waiting and self.choice.random() < 0.7
        return self._of_client("raise", self.choice.choice(waiting) if wanted else self._instance())

    def _instance(self) -> str:
        """An id that somebody has, most of the time: of a root, or of a child of one."""
        choice = self.choice
        if not self.roots:
            return "r0"
        name, kind = choice.choice(self.roots)
        while kind == "family" and choice.random() < 0.7:
            name, kind = f"{name}-{choice.choice((1, 1, 2))}{choice.randrange(3)}", choice.choice(("family", "other"))
        return name

    def _child(self) -> str:
        """A child of a root that spawns some, if there is any."""
        found = [name for name, kind in self.roots if kind == "family"]
        if not found:
            return self._instance()
        return f"{self.choice.choice(found)}-{self.choice.choice((1, 1, 2))}{self.choice.randrange(2)}"

    def _long(self) -> str:
        """One that may have many executions, if there is any."""
        found = [name for name, kind in self.roots if kind in ("loop", "collector")]
        return self.choice.choice(found) if found else self._instance()

    def _scope(self) -> str | None:
        return self._instance() if self.choice.random() < 0.4 else None

    def _grace(self) -> float:
        return self.choice.choice((0, 0, 2, 60))

    def _age(self) -> float:
        return self.choice.choice((0, 1, 5))

    def _cancels(self) -> bool:
        return self.choice.random() < 0.4

    def _purge_rule(self) -> tuple[str, float]:
        return self.choice.choice((("within", 0.001), ("within", 1), ("within", 5), ("last", 1), ("last", 2)))

    def _start(self) -> Move:
        choice = self.choice
        if "families" in self.themes and choice.random() < 0.4:
            return self._start_family()
        kind = choice.choice(("chain", "naps", "beside", "collector", "loop", "loop", "patient", "broken"))
        return self._start_of(kind, self._input(kind, 0))

    def _start_family(self) -> Move:
        return self._start_of("family", self._input("family", 0))

    def _start_of(self, kind: str, given: Any) -> Move:
        name = f"r{len(self.roots)}"
        self.roots.append((name, kind))
        return self._of_client("start", kind, name, given)

    def _start_again(self) -> Move:
        """An id that may be taken, or free again."""
        kind = self.choice.choice(("chain", "patient", "loop"))
        return self._of_client("start", kind, self._instance(), self._input(kind, 0))

    def _input(self, kind: str, depth: int) -> Any:
        choice = self.choice
        match kind:
            case "chain":
                return [choice.choice((0, 0, 1, 2)) for _ in range(choice.choice((1, 1, 2)))]
            case "naps" | "beside" | "patient":
                return choice.randrange(1, 4)
            case "broken":
                return choice.randrange(2)
            case "collector":
                return {"wanted": choice.choice((2, 3, 5)), "got": [], "prune": choice.choice((None, None, 1, 2))}
            case "loop":
                asks, prune = choice.choice(((0, None), (2, None), (0, 2), (1, None), (2, 3)))
                return {"left": choice.choice((2, 3, 7)), "done": 0, "asks": asks, "prune": prune}
        kinds = ("chain", "naps", "beside", "patient", "broken", "loop", "family")
        spawns = []
        for _ in range(choice.choice((1, 1, 2, 3) if depth == 0 else (1, 1, 2))):
            child = choice.choice(kinds if depth < 2 else kinds[:-1])
            words = [choice.choice((None, "abandon", "cancel", "terminate")) for _ in range(2)]
            how = choice.choice(("awaited", "abandoned", "abandoned", "raced", "detached"))
            spawns.append([child, self._input(child, depth + 1), how, *words])
        rounds = choice.choice((1, 1, 2, 3) if depth == 0 else (1, 1, 2))
        return {"spawns": spawns, "rounds": rounds, "pause": choice.choice((0, 0, 0.05, 1))}


def moves_of(seed: int, circumstances: Circumstances, count: int) -> list[Move]:
    """The moves of a seed, the first ones starts."""
    drawing = _Drawing(seed, circumstances)
    starts = [drawing._start() for _ in range(drawing.choice.choice((2, 2, 3)))]
    return starts + [drawing.move() for _ in range(count - len(starts))]
