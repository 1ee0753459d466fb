"""One thing done to several, of which some may refuse it."""

import pytest

from duro.errors import HoldNotFoundError, StateError
from duroctl.errors import PartlyDoneError
from duroctl.options import GlobalOptions
from duroctl.session import Session
from duroctl.several import check_refused, try_each


def test_refusals_are_told_up_to_ten_and_counted_whole(capsys: pytest.CaptureFixture[str]) -> None:
    def act(number: int) -> int:
        if number % 2:
            raise HoldNotFoundError(f"there is no hold {number}")
        return number

    done, refused = try_each(range(26), act)
    assert (done, len(refused)) == ([*range(0, 26, 2)], 13)
    with pytest.raises(PartlyDoneError, match="13 of 26 holds were refused"):
        check_refused(Session(GlobalOptions()), refused, 26, "holds")
    told = capsys.readouterr().err.splitlines()
    assert (len(told), told[0], told[-1]) == (11, "duroctl: there is no hold 1", "duroctl: ... and 3 more")


def test_the_only_one_that_was_asked_for_is_refused_as_it_would_be_alone() -> None:
    with pytest.raises(StateError, match=r"^gone$"):
        check_refused(Session(GlobalOptions()), [StateError("gone")], 1, "holds")
    check_refused(Session(GlobalOptions()), [], 1, "holds")
