"""Long work on a disk that takes no more: it makes room as long as that helps, and gives up when it does not."""

import pytest

from duro.errors import CommitUnknownError, StoreError, StoreFullError
from duro.maintenance.pruning import reclaim_all
from duro.maintenance.room import POLITE_PART, Room
from duro.model.limits import RECLAIM_EVENTS_MAX
from duro.model.removal import ReclaimResult
from duro.stores.memory import MemoryStore
from duro.testing.clock import ManualClock
from tests.support.faults.calls import LOG_SYNC
from tests.support.faults.campaign import Campaign
from tests.support.power.judge import workplace
from tests.support.power.scenarios import SCENARIOS


class AlwaysRoom(MemoryStore):
    """Says each time that there is more room than before."""

    def make_room(self) -> bool:
        return True


@pytest.mark.parametrize("error", [StoreFullError("full"), CommitUnknownError("unknown")])
def test_a_batch_that_fails_whatever_room_is_made_is_given_up(error: StoreError) -> None:
    tries: list[bool] = []

    def batch(small: bool) -> None:
        assert len(tries) < 100
        tries.append(small)
        raise error

    with pytest.raises(type(error)):
        Room(AlwaysRoom(clock=ManualClock(), new_id=lambda: "id")).make(batch)
    assert tries == [False, *[True] * (len(tries) - 1)]


class Crowded(MemoryStore):
    """Somebody else writes until ``alone``. Says how large the batches were."""

    def __init__(self) -> None:
        super().__init__(clock=ManualClock(), new_id=lambda: "id")
        self.alone = False
        self.batches: list[int] = []

    def contended(self) -> bool:
        return not self.alone

    def reclaim(self, events_max: int) -> ReclaimResult:
        self.batches.append(events_max)
        self.alone = len(self.batches) > 2
        return ReclaimResult(more=len(self.batches) < 100)


@pytest.mark.parametrize("polite", [False, True])
def test_what_is_reclaimed_beside_somebody_who_writes_goes_in_small_batches(*, polite: bool) -> None:
    store = Crowded()
    reclaim_all(store, polite=polite)
    small = RECLAIM_EVENTS_MAX // POLITE_PART
    assert store.batches[0] == (small if polite else RECLAIM_EVENTS_MAX)
    assert store.batches[1:3] == [small, small]
    assert store.batches[-1] == RECLAIM_EVENTS_MAX, "and in large ones when it stopped"


@pytest.mark.parametrize("name", ["purge of a tree", "orphan clean-up"])
def test_a_removal_whose_log_cannot_be_synced_ends(name: str) -> None:
    with workplace() as directory:
        campaign = Campaign(SCENARIOS[name], directory)
        report = campaign.run(only=lambda failure: failure.call == LOG_SYNC and failure.last is None)
        assert report.wrong == []
        assert 0 < report.told < report.runs  # the last sync is that of closing, which may fail
