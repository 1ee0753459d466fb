"""What a file says in vain, told with its place."""

import pytest

from duro.settings.documents import default_file
from duro.settings.strict import vain_rules

NAMES = ("Order", "monitor.disk", "monitor.net")


def found(text: str, names: tuple[str, ...] | None = NAMES) -> list[str]:
    return [str(problem) for problem in vain_rules(text.encode(), "f", names)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[pruning]\ndefault_keep_last = 3\n",
        "[pruning.overrides.Order]\nkeep_last = 1\n",
        '[pruning.overrides."monitor.*"]\nkeep_last = 1\n[pruning.overrides."monitor.disk"]\nkeep_last = 2\n',
        "[pruning]\nenabled = false\n",
        '[pruning]\ntriggers = ["interval"]\n[pruning.default]\nkeep_last = 1\ninterval = "1h"\n',
        '[pruning]\ntriggers = ["interval"]\n[pruning.overrides.Order]\nnever = true\n',
        '[orphans]\nenabled = true\nmin_age = "1h"\n',
        '[purge]\nkeep_within = "1d"\n',
        '[pruning.rollout]\ncap = "7d"\n',
        '[pruning.rollout]\npause = "1h"\ncap = "3d"\n',
        '[purge.overrides]\nOrder.keep_last = 1\n"monitor.*".never = true\n',
        '[purge]\nkeep_last = 1\ninterval = "2h"\n[purge.overrides]\nOrder.never = true\n',
        '[pruning]\ndefault_keep_last = 3\n[pruning.overrides."monitor.*"]\nkeep_last = 1\n',
        default_file(),
    ],
)
def test_what_has_an_effect_is_no_problem(text: str) -> None:
    assert found(text) == []


def test_overrides_for_nobody_are_found_in_pruning_and_purge() -> None:
    text = "[pruning.overrides.Ordr]\nkeep_last = 1\n[purge.overrides]\nzzz = { keep_last = 1 }\n"
    assert found(text) == [
        "f:1:2: no orchestration is called 'Ordr'; did you mean 'Order'?",
        "f:4:1: no orchestration is called 'zzz'; correct the name, or remove the override",
    ]
    assert found(text, None) == []


def test_a_pattern_that_others_replace_everywhere_is_found() -> None:
    text = '[pruning.overrides]\n"monitor.*".keep_last = 1\n"monitor.???*".keep_last = 2\n'
    assert found(text) == [
        (
            "f:2:1: more specific overrides replace 'monitor.*' for every name it matches: monitor.???*; "
            "remove it, if no further orchestration is to come"
        )
    ]


def test_rules_that_are_switched_off_are_found_with_their_switch() -> None:
    text = "[pruning]\nenabled = false\ndefault_keep_last = 3\n[purge]\nkeep_last = 9\nenabled = false\n"
    assert [each.partition("; ")[0] for each in found(text)] == [
        "f:2:1: [pruning] enabled = false, so default_keep_last says nothing",
        "f:6:1: [purge] enabled = false, so keep_last says nothing",
    ]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            '[pruning.overrides."*"]\nkeep_last = 2\n[pruning.default]\nkeep_last = 3\n',
            ["f:3:2: every name matches the override '*', so default never applies"],
        ),
        (
            '[pruning]\ndefault_keep_last = 3\noverrides = { "*" = { never = true } }\n',
            ["f:2:1: every name matches the override '*', so default_keep_last never applies"],
        ),
        (
            '[purge]\nkeep_last = 3\n[purge.overrides."*"]\nnever = true\n',
            ["f:2:1: every name matches the override '*', so keep_last never applies"],
        ),
        ('[pruning.rollout]\ncap = "3d"\n', ["f:2:1: there is no pause, so cap says nothing"]),
        ('[pruning.rollout]\npause = "0m"\ncap = "3d"\n', ["f:3:1: there is no pause, so cap says nothing"]),
        (
            '[purge]\ninterval = "5m"\n[purge.overrides.Order]\nnever = true\n',
            [
                "f:2:1: there is no rule, so nothing is purged, and interval says nothing",
                "f:3:2: there is no rule, so nothing is purged, and 'Order' needs no protection",
            ],
        ),
    ],
)
def test_what_can_never_apply_is_found(text: str, problems: list[str]) -> None:
    assert [each.rpartition("; ")[0] for each in found(text)] == problems


def test_several_rules_that_are_switched_off_are_told_together() -> None:
    text = "[purge]\nkeep_last = 9\nkeep_within = '1d'\nenabled = false\n"
    assert found(text)[0].startswith("f:4:1: [purge] enabled = false, so keep_within, keep_last say nothing; ")


def test_rules_that_nothing_triggers_are_found() -> None:
    no_sweep = '[pruning]\ntriggers = ["continue_as_new"]\n[pruning.default]\nkeep_last = 1\ninterval = "1h"\n'
    assert [each.partition(": ")[0] for each in found(no_sweep)] == ["f:5:1"]
    no_turns = '[pruning]\ntriggers = ["interval"]\n[pruning.overrides.Order]\nkeep_last = 1\nevery_n_executions = 5\n'
    assert [each.partition("; ")[0] for each in found(no_turns)] == [
        'f:3:2: nothing triggers the policy of [pruning.overrides."Order"]',
        "f:5:1: triggers does not name continue_as_new, so no execution is counted",
    ]
    short = '[pruning]\ntriggers = ["interval"]\ndefault_keep_last = 2\n'
    assert [each.partition("; ")[0] for each in found(short)] == [
        "f:3:1: nothing triggers this policy: it has no interval"
    ]


def test_details_of_a_sweep_for_orphans_that_does_not_run_are_found() -> None:
    assert [each.partition("; ")[0] for each in found('[orphans]\ninterval = "1h"\nmin_age = "1h"\n')] == [
        "f:2:1: no sweep looks for orphans, so interval says nothing"
    ]


def test_details_of_an_archive_that_is_not_in_use_are_found() -> None:
    text = '[archive]\ndirectory = "a"\ninterval = "1h"\nlevel = 3\n'
    assert [each.partition("; ")[0] for each in found(text)] == [
        "f:3:1: the archive is not enabled, so interval says nothing"
    ]
