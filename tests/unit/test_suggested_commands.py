"""Commands that errors suggest: they can be pasted into a shell, whatever the id."""

import shlex

import pytest

from duro.naming import command_on


@pytest.mark.parametrize(
    ("subject", "suggested"),
    [
        ("queue-1", "`duroctl archive show queue-1 --archive kept`"),
        ("a b", "`duroctl archive show 'a b' --archive kept`"),
        ("-n", "`duroctl archive show --archive kept -- -n`"),
        ("--all; x", "`duroctl archive show --archive kept -- '--all; x'`"),
    ],
)
def test_an_id_in_a_suggested_command_is_taken_for_nothing_else(subject: str, suggested: str) -> None:
    assert command_on("archive show", subject, " --archive kept") == suggested
    assert subject in shlex.split(suggested.strip("`"))
