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
        default_file(),
    ],
)
def test_what_has_an_effect_is_no_problem(text: str) -> None:
    assert found(text) == []


def test_overrides_for_nobody_are_found_in_pruning_and_purge() -> None:
    text = "[pruning.overrides.Ordr]\nkeep_last = 1\n[purge.overrides]\nzzz = { never = true }\n"
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
        "f:2:1: [pruning] enabled = false, so default_keep_last say nothing",
        "f:6:1: [purge] enabled = false, so keep_last say nothing",
    ]


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
