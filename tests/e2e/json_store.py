"""A store with something of everything that commands print. Ids that end in a format are for the command in it."""

from pathlib import Path
from typing import Any, Final

import msgspec

import duro
from duro.model.policies import PolicySources, StatedPolicy
from duro.model.retention import AutoPrune, PolicyKind, PolicyOrigin
from duro.model.status import BlockedKind, ChildrenPolicy
from duro.stores.base import Store
from duro.testing.builders import (
    activity_scheduled,
    child_completed,
    child_scheduled,
    completed,
    continued_as_new,
    failed,
    prune_batch,
    start_request,
    wait_started,
    worker_record,
)
from duro.testing.scripted import ScriptedWorker

FORMATS: Final = ("json", "jsonl")


def fill_by_script(path: Path) -> None:
    with duro.Client(path) as client:
        store, worker = client.store, ScriptedWorker(client.store)
        for format in FORMATS:
            _family(worker, f"loop-{format}")
        _settled(worker)
        _eternal(worker)
        _odd(worker)
        _publish(store)


def _family(worker: ScriptedWorker, loop: str) -> None:
    """``loop``, whose first execution is pruned and has left orphans: three have ended (``-own`` is to be adopted),
    ``-bad`` failed, ``-busy`` runs with a child of its own; ``-seen`` it has observed."""
    worker.store.start_instances([start_request(loop)])
    leased = worker.take(loop)
    spawned = ("done", "own", "kept", "bad", "busy", "seen")
    worker.run(leased, *(child_scheduled(f"{loop}-{each}") for each in spawned), keep_lease=True)
    children = {each.instance_id.removeprefix(f"{loop}-"): each for each in worker.lease().instances}
    worker.run(children["seen"], completed())
    worker.run(worker.take(loop), child_completed(7), continued_as_new())
    worker.run(worker.take(loop), wait_started("go"), waits=["go"])
    worker.run(children["busy"], child_scheduled(f"{loop}-below"), wait_started("go"), waits=["go"])
    worker.run(worker.take(f"{loop}-below"), wait_started("go"), waits=["go"])
    for ended in ("done", "own", "kept"):
        worker.run(children[ended], completed())
    worker.run(children["bad"], failed())
    worker.store.prune(prune_batch((leased.incarnation, 1)))


def _settled(worker: ScriptedWorker) -> None:
    """``settled``, in its second execution, with a child of the first one that may go with that."""
    worker.store.start_instances([start_request("settled")])
    worker.run(worker.take("settled"), child_scheduled("settled-child"), keep_lease=True)
    worker.run(worker.take("settled-child"), completed())
    worker.run(worker.take("settled"), child_completed(2), continued_as_new())
    worker.run(worker.take("settled"), wait_started("go"), waits=["go"])


def _eternal(worker: ScriptedWorker) -> None:
    """``queue-1-json`` to ``queue-8-jsonl`` in their fifth executions, the eighth with a second version; and instances
    of one execution, that have ended or wait."""
    queues = [f"queue-{number}-{format}" for number in range(1, 9) for format in FORMATS]
    ended = [f"{each}-{format}" for each in ("over", "gone", "again") for format in FORMATS]
    waiting = [f"{each}-{format}" for each in ("cancel-me", "end-me") for format in FORMATS]
    worker.store.start_instances([start_request(each) for each in (*queues, *ended, *waiting)])
    for leased in worker.lease().instances:
        if leased.instance_id in ended:
            worker.run(leased, completed())
        elif leased.instance_id in waiting:
            worker.run(leased, wait_started("go"), waits=["go"], custom_status='{"step": [1, null]}')
        else:
            worker.run(leased, continued_as_new())
    for _ in range(3):
        for leased in worker.lease().instances:
            version = "2.0.0" if leased.instance_id.startswith("queue-8") else leased.version
            worker.run(leased, continued_as_new(version=version))
    for leased in worker.lease().instances:
        worker.run(leased, activity_scheduled())


def _odd(worker: ScriptedWorker) -> None:
    """``stuck-json`` and ``stuck-jsonl`` are blocked, ``leased`` is in the hands of a worker, ``queued`` has just
    continued as new."""
    store = worker.store
    store.start_instances([start_request("stuck-json"), start_request("stuck-jsonl")])
    for leased in worker.lease().instances:
        worker.release(leased, blocked=BlockedKind.NONDETERMINISM, reason="the code has changed")
    store.start_instances([start_request("queued")])
    worker.run(worker.take("queued"), continued_as_new())
    worker.run(worker.take("queued"), continued_as_new())
    store.release_worker(worker.worker_id)
    other = ScriptedWorker(store, "w2", orchestrations=[("Child", "")])
    store.start_instances([start_request("leased", "Child")])
    other.take("leased")


def _publish(store: Store) -> None:
    """A worker that was told policies of every kind."""
    told = msgspec.json.encode(_sources()).decode()
    record = msgspec.structs.replace(
        worker_record("told", orchestrations=(("Order", "1.0.0"),), started_at_ms=store.now_ms()), published=told
    )
    store.register_worker(record, 3_600_000)


def _sources() -> PolicySources:
    def stated(kind: PolicyKind, policy: Any, name: str = "", version: str = "") -> StatedPolicy:
        return StatedPolicy(policy=policy, origin=PolicyOrigin(kind, "app.py:7"), name=name, version=version)

    every = AutoPrune(
        keep_last=3, keep_within=0.01, keep_last_per_version=1, keep_versions=2, every_n_executions=2, interval=60
    )
    return PolicySources(
        orchestrations=(("Order", "1.0.0"), ("hello", "")),
        file="runtime_config.toml",
        file_overrides=(stated(PolicyKind.FILE_OVERRIDE, every, "Ord*"),),
        code_overrides=(stated(PolicyKind.CODE_OVERRIDE, "never", "hello"),),
        registrations=(stated(PolicyKind.REGISTRATION, AutoPrune(keep_last=9), "Order", "1.0.0"),),
        file_default=stated(PolicyKind.FILE_DEFAULT, AutoPrune(keep_last=5)),
        rollout_pause_s=3_600.0,
        children=ChildrenPolicy.SETTLED,
        settings_hash="5f0c63a1",
    )
