"""The ledger: what becomes of the ranges of one instance, and what a run says of all its instances."""

import msgspec

from duro.model.removal import PruneBatch
from duro.model.retention import PolicyKind, PolicyOrigin
from duro.stores.base import Store
from duro.testing.builders import continued_as_new, prune_batch, turn
from duro.testing.scripted import ScriptedWorker
from duro.testing.store_contract.pruning import PruningContract


def from_file(batch: PruneBatch, *origins: str) -> PruneBatch:
    """The same orders, each with a policy of its own place in a file."""
    stated = [PolicyOrigin(PolicyKind.FILE_DEFAULT, origin) for origin in origins]
    orders = [msgspec.structs.replace(order, origin=origin) for order, origin in zip(batch.orders, stated, strict=True)]
    return msgspec.structs.replace(batch, orders=tuple(orders))


class LedgerContract(PruningContract):
    def test_a_sweep_makes_the_last_of_several_ranges_longer(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 6)
        for keep_last in (5, 4, 2):
            store.prune(prune_batch((incarnation, keep_last)))
        self.loop(store, worker, 9)
        store.prune(prune_batch((incarnation, 2)))
        ranges = [entry.range for entry in store.list_ledger("a")]
        assert [(each.rule, each.first_execution_id, each.last_execution_id, each.executions) for each in ranges] == [
            ("keep_last=5", 1, 1, 1),
            ("keep_last=4", 2, 2, 1),
            ("keep_last=2", 3, 7, 5),
        ]
        assert [each.events for each in ranges] == [2, 2, 10]

    def test_a_run_names_its_origin_where_all_of_it_has_one(self, store: Store, worker: ScriptedWorker) -> None:
        first, second = self.start(store, "a"), self.start(store, "b")
        for _ in range(3):
            worker.commit(*[turn(each, continued_as_new(), at_ms=5) for each in worker.lease().instances])
        store.prune(from_file(prune_batch((first, 3), (second, 3), run_id="equal"), "x.toml:1", "x.toml:1"))
        store.prune(from_file(prune_batch((first, 2), (second, 2), run_id="different"), "x.toml:1", "x.toml:2"))
        assert {run.run_id: (run.origin, run.executions) for run in store.list_prune_runs(0)} == {
            "equal": ("file_default: x.toml:1", 2),
            "different": ("several", 2),
        }
