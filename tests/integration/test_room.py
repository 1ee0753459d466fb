"""Long work on a disk that takes no more: it makes room as long as that helps, and gives up when it does not."""

import pytest

from duro.errors import CommitUnknownError, StoreError, StoreFullError
from duro.maintenance.room import Room
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


@pytest.mark.parametrize("name", ["purge of a tree", "orphan clean-up"])
def test_a_removal_whose_log_cannot_be_synced_ends(name: str) -> None:
    with workplace() as directory:
        campaign = Campaign(SCENARIOS[name], directory)
        report = campaign.run(only=lambda failure: failure.call == LOG_SYNC and failure.last is None)
        assert report.wrong == []
        assert 0 < report.told < report.runs  # the last sync is that of closing, which may fail
