"""What is measured, of whom, and what it should reach. Values only."""

from typing import Final, NamedTuple


class Contender(NamedTuple):
    """A system at one of its settings."""

    system: str
    setting: str

    @property
    def label(self) -> str:
        if self.system in ("duro", "limit"):
            what = f", {self.setting}" if self.system == "limit" else f", cache {self.setting}"
            return self.system if self.setting == "default" else f"{self.system}{what}"
        return f"{self.system}, {self.setting}"


DURO: Final = Contender("duro", "default")
LIMIT: Final = Contender("limit", "default")
LIMIT_BY_ROWS: Final = Contender("limit", "rows")
PEERS: Final = tuple(Contender(system, setting) for system in ("duroxide", "dbos") for setting in ("default", "best"))


class Target(NamedTuple):
    """``duro`` is to be ``factor`` times as good as the best of ``against`` (or, where ``factor`` is under 1, to reach
    that share of it); without ``against``, its figure is to be at most ``factor``."""

    factor: float
    against: tuple[Contender, ...]
    wording: str


class Workload(NamedTuple):
    """``figure`` names what is compared: ``rate`` (count / wall, more is better), ``ms_each`` (less is better), or a
    figure the program itself says (less is better). ``sizes`` says how much each contender does; rates hardly depend on
    it, and the slow ones would take minutes."""

    key: str
    name: str
    what: str
    program_workload: str
    figure: str
    unit: str
    sizes: dict[Contender, int]
    targets: tuple[Target, ...] = ()


def of_all(size: int, **slow: int) -> dict[Contender, int]:
    """``size`` for everybody but the contenders named like ``duroxide_default``."""
    return {each: slow.get(f"{each.system}_{each.setting}", size) for each in (DURO, *PEERS)}


_DUROXIDE_BEST: Final = (Contender("duroxide", "best"),)
_DUROXIDE: Final = tuple(each for each in PEERS if each.system == "duroxide")
_DBOS: Final = tuple(each for each in PEERS if each.system == "dbos")
_DBOS_DEFAULT: Final = (Contender("dbos", "default"),)
_UNCACHED: Final = Contender("duro", "0")
_TARGETS_OF_A_CHAIN: Final = (
    Target(10, _DUROXIDE_BEST, "10 times duroxide"),
    Target(2, _DBOS_DEFAULT, "twice DBOS at its default"),
    Target(2, _DBOS, "twice DBOS at NORMAL"),
)

WORKLOADS: Final = (
    Workload(
        "W1",
        "batch",
        "2,000 orchestrations of one activity, started together",
        "batch",
        "rate",
        "orchestrations/s",
        of_all(2000) | {LIMIT: 2000, LIMIT_BY_ROWS: 2000},
        (
            Target(50, _DUROXIDE, "50 times duroxide"),
            Target(25, _DBOS, "25 times DBOS"),
            Target(0.4, (LIMIT_BY_ROWS,), "40 % of bare apsw, row by row"),
            Target(0.4, (LIMIT,), "40 % of bare apsw with duro's own statements"),
        ),
    ),
    Workload(
        "W1s",
        "one by one",
        "the same, started by one caller who waits for each start to be durable",
        "one_each",
        "rate",
        "orchestrations/s",
        of_all(500, duroxide_default=200),
    ),
    Workload(
        "W2",
        "fan-out",
        "20 orchestrations of 100 parallel activities",
        "fan_out",
        "rate",
        "activities/s",
        of_all(2000, duroxide_default=400, dbos_default=1000),
        (Target(50, _DUROXIDE, "50 times duroxide"),),
    ),
    Workload(
        "W3a",
        "chain of 100",
        "100 activities one after the other",
        "chain",
        "ms_each",
        "ms a step",
        of_all(100) | {_UNCACHED: 100},
        _TARGETS_OF_A_CHAIN,
    ),
    Workload(
        "W3b",
        "chain of 500",
        "500 activities one after the other",
        "chain",
        "ms_each",
        "ms a step",
        {DURO: 500, _UNCACHED: 500, PEERS[1]: 500, PEERS[2]: 500, PEERS[3]: 500},
        _TARGETS_OF_A_CHAIN,
    ),
    Workload(
        "W3c",
        "chain of 1,000",
        "1,000 activities one after the other",
        "chain",
        "ms_each",
        "ms a step",
        {DURO: 1000, _UNCACHED: 1000, PEERS[1]: 1000, PEERS[2]: 1000, PEERS[3]: 1000},
        _TARGETS_OF_A_CHAIN,
    ),
    Workload(
        "W4",
        "eternal loop",
        "one instance, 1,000 executions of one activity",
        "eternal",
        "rate",
        "executions/s",
        of_all(1000, duroxide_default=50) | {_UNCACHED: 1000},
        (Target(8, _DUROXIDE_BEST, "8 times duroxide"),),
    ),
    Workload(
        "W5",
        "latency",
        "one orchestration of one activity on an idle runtime, median",
        "latency",
        "p50_ms",
        "ms",
        of_all(100, duroxide_default=20),
        (
            Target(3, (), "at most 3 ms"),
            Target(2, _DBOS_DEFAULT, "half of DBOS's at its default"),
            Target(2, _DBOS, "half of DBOS's at NORMAL"),
        ),
    ),
    Workload(
        "W6",
        "idle",
        "a worker with nothing to do, for 10 s",
        "idle",
        "idle_percent",
        "% of one core",
        of_all(1),
        (Target(1, (), "under 1 %"),),
    ),
    Workload(
        "W7",
        "memory",
        "100,000 instances started and waiting, 1,000 of them active",
        "memory",
        "peak_mib",
        "MiB at most",
        {Contender("duro", size): 100_000 for size in ("100", "default", "10000")},
    ),
    Workload(
        "W8",
        "first result",
        "from process start to the first orchestration completed, on a new file",
        "first",
        "first_ms",
        "ms",
        of_all(1),
    ),
)
