"""The words that bash has made of a command line, and what was typed."""

import pytest

from duroctl.bash_words import joined, without_head


@pytest.mark.parametrize(
    ("typed", "current", "whole", "head"),
    [
        (["duroctl", "instances", "show", "gre"], 3, ["duroctl", "instances", "show", "gre"], ""),
        (["duroctl", "history", "show", "order", ":", "1"], 5, ["duroctl", "history", "show", "order:1"], "order:"),
        (["duroctl", "history", "show", "order", ":"], 4, ["duroctl", "history", "show", "order:"], "order:"),
        (["duroctl", "history", "show", "order", ":", ""], 5, ["duroctl", "history", "show", "order:", ""], ""),
        (["duroctl", "prune", "a", "::", "b", ":", "c"], 6, ["duroctl", "prune", "a::b:c"], "a::b:"),
        (["duroctl", "prune", "a", ":", "b", "c"], 5, ["duroctl", "prune", "a:b", "c"], ""),
        (["duroctl", "prune", "a", ":", "b", "c"], 4, ["duroctl", "prune", "a:b", "c"], "a:"),
        (
            ["duroctl", "--store", "=", "sqlite", ":", "///a.db", "prune", "que"],
            7,
            ["duroctl", "--store=sqlite:///a.db", "prune", "que"],
            "",
        ),
        (["duroctl", "prune", "--name", "=", "que"], 4, ["duroctl", "prune", "--name=que"], "--name="),
    ],
)
def test_words_that_bash_took_apart_are_whole_again(
    typed: list[str], current: int, whole: list[str], head: str
) -> None:
    found = joined(typed, current)
    assert (list(found.words), found.head) == (whole, head)
    assert found.words[found.current].startswith(head)


def test_a_word_that_is_not_begun_yet_is_a_place_of_its_own() -> None:
    assert joined(["duroctl", "prune", "a", ":", "b"], 5) == (("duroctl", "prune", "a:b"), 5, "")


@pytest.mark.parametrize(
    ("proposal", "head", "put"),
    [
        ("order:17", "order:", "17"),
        ("order:17", "", "order:17"),
        ("a::b:c", "a::b:", "c"),
        ("queue", "--name=", "queue"),
        ("order:17", "--instance=order:", "17"),
        ("--dry-run", "order:", "--dry-run"),
    ],
)
def test_what_bash_will_not_replace_is_not_proposed_again(proposal: str, head: str, put: str) -> None:
    assert without_head(proposal, head) == put
