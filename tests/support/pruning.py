"""Eternal loops on a store of one's own, to prune: what the tests of the SQLite store's pruning share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import apsw
import msgspec

from duro.maintenance.file_sources import with_file
from duro.model.policies import PolicyChain, PolicySources, StatedPolicy
from duro.model.retention import AutoPrune, PolicyKind, PolicyOrigin, PruneOptions
from duro.model.turns import TurnCommit, TurnOutcome
from duro.retention.policy import policy_chain
from duro.settings.files import load_settings
from duro.stores.base import Store, StoreDump
from duro.stores.memory import MemoryStore
from duro.stores.sqlite import SqliteStore
from duro.testing.builders import continued_as_new, start_request, turn
from duro.testing.clock import ManualClock
from duro.testing.invariants import check_invariants
from duro.testing.scripted import ScriptedWorker

Faults = Callable[[str], None]


@contextmanager
def store_of_kind(kind: str, directory: Path, clock: ManualClock) -> Iterator[Store]:
    """A new store (``memory`` or ``sqlite``) under a clock; the invariants hold at the end."""
    memory = kind == "memory"
    opened: Store = (
        MemoryStore(clock=clock, new_id=lambda: "id") if memory else open_sqlite(directory / "duro.db", clock)
    )
    yield opened
    check_invariants(opened)
    opened.close()


def open_sqlite(path: Path, clock: ManualClock, faults: Faults | None = None) -> SqliteStore:
    return SqliteStore.open(path, url=f"sqlite:///{path}", clock=clock, new_id=lambda: "id", faults=faults)


def automatic(policy: AutoPrune | int, options: PruneOptions | None = None) -> PolicyChain:
    """What a worker says whose program has ``policy`` as its default; ``options``: the ``prune=`` of the turn."""
    chosen = AutoPrune(keep_last=policy) if isinstance(policy, int) else policy
    stated = StatedPolicy(policy=chosen, origin=PolicyOrigin(PolicyKind.CODE_DEFAULT, "app.py:1"))
    return policy_chain(PolicySources(code_default=stated), "Order", "1.0.0", turn_options=options)


RUN = (("Order", "1.0.0"), ("Child", "1.0.0"))


def published(store: Store, worker: ScriptedWorker, directory: Path, text: str) -> None:
    """The worker was told of a file with this text."""
    file = directory / "runtime_config.toml"
    file.write_text(text)
    sources = with_file(PolicySources(orchestrations=RUN), load_settings(file, str(file)))
    store.publish(worker.worker_id, msgspec.json.encode(sources).decode())


class Loops:
    """Instances that continue as new whenever they are told to, each turn leased and committed by one worker."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.worker = ScriptedWorker(store)

    def start(self, *instance_ids: str) -> None:
        self.store.start_instances([start_request(instance_id) for instance_id in instance_ids])

    def ends(self, **fields: Any) -> list[TurnCommit]:
        """The turns, not committed yet, with which all instances that are ready continue as new, by their ids."""
        leased = sorted(self.worker.lease().instances, key=lambda each: each.instance_id)
        return [turn(each, continued_as_new(), at_ms=self.store.now_ms(), **fields) for each in leased]

    def go_on(self, times: int = 1, **fields: Any) -> None:
        for _ in range(times):
            result = self.worker.commit(*self.ends(**fields))
            assert set(result.turns) == {TurnOutcome.COMMITTED}, result.errors

    def incarnation(self, instance_id: str) -> int:
        record = self.store.get_instance(instance_id)
        assert record is not None
        return record.incarnation

    def live(self, instance_id: str) -> list[int]:
        """Its live executions, oldest first."""
        page = self.store.list_executions(instance_id, 0, None)
        return [execution.execution_id for execution in reversed(page.executions)]


def instance_row(store: Store, instance_id: str) -> dict[str, Any]:
    (row,) = [row for row in store.dump()["instances"] if row["instance_id"] == instance_id]
    return row


def executions_with_rows(dump: StoreDump, incarnation: int) -> dict[str, list[int]]:
    """By table, the executions of which it has rows."""
    return {
        table: sorted({row["execution_id"] for row in dump[table] if row["incarnation"] == incarnation})
        for table in ("executions", "history", "timers", "activities")
    }


# --- what the writer of a store executes --------------------------------------------------------------------


def writer_connection(store: SqliteStore) -> apsw.Connection:
    assert store._writer is not None
    return store._writer._connection


class Watched:
    """The statements the writer executes while this is entered; ``fail_at``: the n-th (from 0) fails instead."""

    def __init__(self, store: SqliteStore, fail_at: int | None = None, code: int = apsw.SQLITE_IOERR) -> None:
        self.statements: list[str] = []
        self._connection = writer_connection(store)
        self._fail_at = fail_at
        self._code = code

    def _note(self, cursor: apsw.Cursor, statement: str, values: Any) -> bool:
        self.statements.append(statement)
        if len(self.statements) - 1 == self._fail_at:
            raise apsw.exception_for(self._code)
        return True

    def __enter__(self) -> "Watched":
        self._connection.exec_trace = self._note
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.exec_trace = None


def steps_of(connection: apsw.Connection, run: Callable[[], object]) -> int:
    """What SQLite does for the statements ``run`` executes, in instructions of its virtual machine."""
    steps = []

    def note(event: dict[str, Any]) -> None:
        steps.append(event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"])

    connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, note)
    run()
    connection.trace_v2(0, None)
    return sum(steps)


def stated(policy: AutoPrune | Literal["never"]) -> str:
    """A policy as an instance has it for its own."""
    own = StatedPolicy(policy=policy, origin=PolicyOrigin(PolicyKind.INSTANCE, "a"))
    return msgspec.json.encode(own).decode()


def answers(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages of a dump, decoded."""
    return [msgspec.json.decode(row["data"]) for row in messages]
