"""A client beside the workers: it starts, raises events, cancels and reads all the time, and remembers what the store
acknowledged."""

import contextlib
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import duro
from duro.codec import decode_event
from tests.support.workload import SENDERS

_BATCH: Final = 8
ITEMS_PER_SENDER: Final = 6
_PAUSE_S: Final = 0.01


@dataclass(frozen=True)
class Expected:
    """How an instance has to end. ``output`` None with a collector: see ``Acknowledged.items``."""

    name: str
    status: str
    output: Any = None


@dataclass
class Acknowledged:
    """What calls have returned for, and therefore has to be true for ever after."""

    instances: dict[str, Expected] = field(default_factory=dict)
    items: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """By collector and sender: the numbers raised, in order."""
    cancelled: list[str] = field(default_factory=list)
    reads: int = 0

    def with_those_of(self, other: "Acknowledged") -> "Acknowledged":
        """Of two clients, that have no instance in common."""
        return Acknowledged(
            {**self.instances, **other.instances},
            {**self.items, **other.items},
            [*self.cancelled, *other.cancelled],
            self.reads + other.reads,
        )


def random_start(choice: random.Random, instance_id: str) -> tuple[duro.Start, Expected]:
    """Of any kind, and how it has to end."""
    size = choice.randint(1, 6)
    kinds: list[tuple[str, Any, str, Any]] = [
        ("chain", size, "completed", size),
        ("fan_out", 3 * size, "completed", sum(range(1, 3 * size + 1))),
        ("family", size, "completed", 2 * size),
        ("sleeper", size, "completed", size),
        ("loop", [size, 0], "completed", [size, size]),
        ("leaver", size, "completed", 1),
        ("collector", {"wanted": ITEMS_PER_SENDER * len(SENDERS), "got": []}, "completed", None),
        ("patient", choice.random() < 0.5, "cancelled", None),
    ]
    name, value, status, output = choice.choice(kinds)
    return duro.Start(orchestration=name, input=value, instance_id=instance_id), Expected(name, status, output)


class Traffic:
    """Threads that use one client. ``stop`` ends them, completes what was begun (every collector gets all its items,
    every patient one its cancel), and raises what went wrong in them.

    ``in_flight_max`` instances are started and not seen to be finished at any time; a batch is started at most once in
    ``pause_s``. ``removals``: somebody removes what has ended; whether that was right is for the evidence.
    """

    def __init__(
        self,
        client: duro.Client,
        seed: int,
        in_flight_max: int = 60,
        pause_s: float = _PAUSE_S,
        *,
        removals: bool = False,
    ) -> None:
        self.acknowledged = Acknowledged()
        self._client = client
        self._seed = seed
        self._in_flight_max = in_flight_max
        self._pause_s = pause_s
        self._gone = (duro.InstanceNotFoundError,) if removals else ()
        self._collectors: dict[str, list[str]] = {sender: [] for sender in SENDERS}
        self._patients: list[str] = []
        self._stopping = threading.Event()
        self._errors: list[BaseException] = []
        threads: list[tuple[Callable[..., None], tuple[Any, ...]]] = [(self._start, ()), (self._cancel, ())]
        threads += [(self._read, ()), *((self._send, (sender,)) for sender in SENDERS)]
        self._threads = [
            threading.Thread(target=self._guarded, args=(target, *arguments), name=f"traffic-{target.__name__}")
            for target, arguments in threads
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> Acknowledged:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        for error in self._errors:
            raise error
        for sender in SENDERS:
            for instance_id in self._collectors[sender]:
                for _ in range(ITEMS_PER_SENDER - len(self._sent(instance_id, sender))):
                    self._send_one(instance_id, sender)
        for instance_id in self._patients:
            self._cancel_one(instance_id)
        return self.acknowledged

    def _guarded(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException as error:
            self._errors.append(error)

    # --- the threads -------------------------------------------------------------------------------------------

    def _start(self) -> None:
        choice = random.Random(f"start {self._seed}")
        open_ids: list[str] = []
        while not self._stopping.is_set():
            open_ids = [each for each in open_ids if self._is_open(each)]
            if len(open_ids) < self._in_flight_max:
                open_ids += self._start_batch(choice)
            time.sleep(self._pause_s)

    def _is_open(self, instance_id: str) -> bool:
        try:
            return self._client.get_result(instance_id) is None
        except self._gone:
            return False

    def _start_batch(self, choice: random.Random) -> list[str]:
        first = len(self.acknowledged.instances)
        pairs = [random_start(choice, f"i{number}") for number in range(first, first + choice.randint(1, _BATCH))]
        starts = [start for start, _ in pairs]
        for _ in range(choice.choice((1, 1, 2))):  # a repeated request is applied once
            self._client.start_orchestrations(starts, request_id=f"start-{first}", allow_unregistered=True)
        for start, expected in pairs:
            instance_id = str(start.instance_id)
            self.acknowledged.instances[instance_id] = expected
            if expected.name == "collector":
                self.acknowledged.items[instance_id] = {sender: [] for sender in SENDERS}
                for sender in SENDERS:
                    self._collectors[sender].append(instance_id)
            if expected.name == "patient":
                self._patients.append(instance_id)
        return [str(start.instance_id) for start in starts]

    def _send(self, sender: str) -> None:
        choice = random.Random(f"{sender} {self._seed}")
        while not self._stopping.is_set():
            if self._collectors[sender]:
                instance_id = choice.choice(self._collectors[sender])
                self._send_one(instance_id, sender, times=choice.choice((1, 1, 2)))
                if len(self._sent(instance_id, sender)) == ITEMS_PER_SENDER:
                    self._collectors[sender].remove(instance_id)
            time.sleep(_PAUSE_S)

    def _sent(self, instance_id: str, sender: str) -> list[int]:
        return self.acknowledged.items[instance_id][sender]

    def _send_one(self, instance_id: str, sender: str, times: int = 1) -> None:
        sent = self._sent(instance_id, sender)
        number = len(sent)
        for _ in range(times if number < ITEMS_PER_SENDER - 1 else 1):  # nothing comes back from a finished instance
            self._client.raise_event(instance_id, "item", [sender, number], request_id=f"{sender}-{number}")
        sent.append(number)

    def _cancel(self) -> None:
        choice = random.Random(f"cancel {self._seed}")
        while not self._stopping.is_set():
            if self._patients and choice.random() < 0.2:
                self._cancel_one(self._patients[0])
                del self._patients[0]
            time.sleep(_PAUSE_S)

    def _cancel_one(self, instance_id: str) -> None:
        self._client.cancel(instance_id, "enough", request_id=f"cancel-{instance_id}")
        self.acknowledged.cancelled.append(instance_id)

    def _read(self) -> None:
        """Whatever is read is one moment of the store: event ids run from 1, the record counts them."""
        choice = random.Random(f"read {self._seed}")
        while not self._stopping.is_set():
            for record in self._client.list_instances(limit=20).instances:
                if choice.random() < 0.2:
                    with contextlib.suppress(*self._gone):
                        self._read_one(record)
            time.sleep(_PAUSE_S)

    def _read_one(self, record: duro.InstanceRecord) -> None:
        history = self._client.read_history(record.instance_id)
        event_ids = [decode_event(data).event_id for data in history.events]
        assert event_ids == list(range(1, len(event_ids) + 1)), record.instance_id
        assert self._client.get_instance(record.instance_id).execution_id >= record.execution_id
        self.acknowledged.reads += 1


def wait_until_nothing_runs(client: duro.Client, timeout_s: float) -> None:
    """Children of cancelled parents may end after them."""
    deadline_s = time.monotonic() + timeout_s
    for status in (duro.InstanceStatus.PENDING, duro.InstanceStatus.RUNNING):
        while client.list_instances(duro.InstanceFilter(statuses=(status,)), limit=1).instances:
            assert time.monotonic() < deadline_s, f"some instances are still {status}"
            time.sleep(0.05)
