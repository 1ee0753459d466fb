"""Rules, policies and holds: what they take, what they refuse, and that JSON brings the same values back."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from duro.errors import InvalidRulesError, UsageError
from duro.model.limits import KEEP_COUNT_MAX, RETENTION_S_MAX
from duro.model.pruning import HoldTarget
from duro.model.refusal import shown_value
from duro.model.removal import PruneScope
from duro.model.retention import (
    AutoPrune,
    AutoPruneConfig,
    PolicyKind,
    PolicyOrigin,
    PruneOptions,
    as_auto_prune,
    as_prune_options,
    format_seconds,
    format_time,
)

WEEK = timedelta(days=7)
T = datetime(2026, 11, 18, tzinfo=UTC)
T_MS = 1_794_960_000_000


def test_durations_are_kept_as_seconds_and_times_as_unix_milliseconds() -> None:
    options = PruneOptions(keep_last=3, keep_within=WEEK, completed_before=T)
    assert options.keep_within_s == 604_800.0
    assert options.completed_before_ms == T_MS
    assert options == PruneOptions(keep_last=3, keep_within=604_800, completed_before=T_MS)


def test_a_time_is_the_same_instant_whatever_its_zone() -> None:
    tokyo = T.astimezone(timezone(timedelta(hours=9)))
    assert PruneOptions(completed_before=tokyo) == PruneOptions(completed_before=T)


def test_a_time_between_two_milliseconds_keeps_what_a_whole_one_after_it_would() -> None:
    assert PruneOptions(completed_before=T + timedelta(microseconds=1)).completed_before_ms == T_MS + 1


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({}, "PruneOptions names nothing to keep"),
        ({"keep_versions": 2}, "PruneOptions.keep_versions keeps nothing by itself"),
        ({"keep_last": 1, "keep_versions": 2}, "PruneOptions.keep_versions keeps nothing by itself"),
        ({"keep_last": 0}, "PruneOptions.keep_last must be a whole number from 1 to 1000000000, not 0"),
        ({"keep_last": -1}, "PruneOptions.keep_last .* not -1"),
        ({"keep_last": True}, "PruneOptions.keep_last .* not True"),
        ({"keep_last": 1.0}, "PruneOptions.keep_last .* not 1.0"),
        ({"keep_last": "1"}, "PruneOptions.keep_last .* not '1'"),
        ({"keep_last": KEEP_COUNT_MAX + 1}, "PruneOptions.keep_last .* not 1000000001"),
        ({"keep_last": 10**5000}, "PruneOptions.keep_last .* a number of more than 20 digits"),
        ({"keep_last_per_version": 0}, "PruneOptions.keep_last_per_version .* not 0"),
        ({"keep_last_per_version": 1, "keep_versions": 0}, "PruneOptions.keep_versions .* not 0"),
        ({"keep_last_per_version": 1, "keep_versions": False}, "PruneOptions.keep_versions .* not False"),
        ({"keep_within": 0}, "PruneOptions.keep_within must be seconds or a timedelta, .* not 0"),
        ({"keep_within": -1.5}, "PruneOptions.keep_within .* not -1.5"),
        ({"keep_within": timedelta(seconds=-1)}, "PruneOptions.keep_within .* not datetime.timedelta"),
        ({"keep_within": True}, "PruneOptions.keep_within .* not True"),
        ({"keep_within": float("nan")}, "PruneOptions.keep_within .* not nan"),
        ({"keep_within": float("inf")}, "PruneOptions.keep_within .* not inf"),
        ({"keep_within": "7d"}, "PruneOptions.keep_within .* not '7d'"),
        ({"keep_within": RETENTION_S_MAX + 1}, "PruneOptions.keep_within .* a century"),
        ({"keep_within": 10**5000}, "PruneOptions.keep_within .* a number of more than 20 digits"),
        ({"completed_before": datetime(2026, 11, 18)}, "PruneOptions.completed_before has no time zone"),  # noqa: DTZ001
        ({"completed_before": datetime(1969, 1, 1, tzinfo=UTC)}, "PruneOptions.completed_before .* from 1970"),
        ({"completed_before": True}, "PruneOptions.completed_before .* not True"),
        ({"completed_before": 1.5}, "PruneOptions.completed_before .* not 1.5"),
        ({"completed_before": -1}, "PruneOptions.completed_before .* not -1"),
        ({"completed_before": 253_402_300_800_000}, "PruneOptions.completed_before .* to 9999"),
    ],
)
def test_options_that_keep_nothing_or_cannot_be_are_refused_and_the_field_is_named(
    rules: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRulesError, match=said):
        PruneOptions(**rules)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({}, "AutoPrune names nothing to keep"),
        ({"every_n_executions": 5}, "AutoPrune names nothing to keep"),
        ({"keep_last": 0}, "AutoPrune.keep_last"),
        ({"keep_last": 1, "every_n_executions": 0}, "AutoPrune.every_n_executions"),
        ({"keep_last": 1, "every_n_executions": True}, "AutoPrune.every_n_executions"),
        ({"keep_last": 1, "interval": 0}, "AutoPrune.interval"),
        ({"keep_within": float("nan")}, "AutoPrune.keep_within"),
    ],
)
def test_a_policy_is_checked_like_options(rules: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRulesError, match=said):
        AutoPrune(**rules)


def test_a_policy_takes_no_fixed_time() -> None:
    with pytest.raises(TypeError, match="completed_before"):
        AutoPrune(completed_before=T)  # type: ignore[call-arg]


def test_the_rules_of_a_policy_are_options() -> None:
    policy = AutoPrune(keep_last=3, keep_within=WEEK, keep_last_per_version=2, keep_versions=4, interval=60)
    assert policy.interval_s == 60.0
    assert policy.keep_within_s == 604_800.0
    assert policy.options == PruneOptions(keep_last=3, keep_within=WEEK, keep_last_per_version=2, keep_versions=4)


def test_refusals_are_usage_errors_that_change_nothing() -> None:
    assert issubclass(InvalidRulesError, UsageError)
    assert InvalidRulesError.exit_code == 2


def test_an_int_stands_for_keep_last() -> None:
    assert as_prune_options(3) == PruneOptions(keep_last=3)
    assert as_auto_prune(3) == AutoPrune(keep_last=3)
    options, policy = PruneOptions(keep_within=1), AutoPrune(keep_within=1)
    assert as_prune_options(options) is options
    assert as_auto_prune(policy) is policy


@pytest.mark.parametrize("value", [True, None, 1.0, "3", [3]])
def test_nothing_else_stands_for_options(value: Any) -> None:
    with pytest.raises(InvalidRulesError, match="prune= must be PruneOptions or a whole number"):
        as_prune_options(value, "prune=")
    with pytest.raises(InvalidRulesError, match="auto_prune must be AutoPrune or a whole number"):
        as_auto_prune(value)


def test_zero_does_not_stand_for_removing_everything() -> None:
    with pytest.raises(InvalidRulesError, match=r"PruneOptions.keep_last must be a whole number from 1"):
        as_prune_options(0)


@pytest.mark.parametrize(
    "value",
    [
        PruneOptions(keep_last=3),
        PruneOptions(keep_within=0.5, completed_before=T, keep_last_per_version=2, keep_versions=3),
        AutoPrune(keep_last=3, keep_within=WEEK, every_n_executions=10, interval=timedelta(hours=1)),
        AutoPruneConfig(enabled=False, default=5, overrides={"billing.*": AutoPrune(keep_last=1), "Audit": "never"}),
        PolicyOrigin(PolicyKind.FILE_OVERRIDE, "config/runtime_config.toml:12"),
        HoldTarget(instance_id="queue-1", execution_id=7),
    ],
    ids=str,
)
def test_values_survive_json(value: msgspec.Struct) -> None:
    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


def test_what_stands_in_json_is_seconds_and_milliseconds() -> None:
    options = PruneOptions(keep_within=WEEK, completed_before=T)
    assert msgspec.json.encode(options) == b'{"keep_within":604800.0,"completed_before":1794960000000}'


@pytest.mark.parametrize("text", ['{"keep_last":1,"keep_tagged":3}', "{}", '{"keep_last":0}', '{"keep_last":true}'])
def test_json_that_would_keep_less_than_it_says_is_not_read(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=PruneOptions)


def test_a_configuration_settles_its_ints_and_keeps_names_with_dots_whole() -> None:
    config = AutoPruneConfig(default=5, overrides={"billing.invoices": 1, "billing.*": "never"})
    assert config.default_policy == AutoPrune(keep_last=5)
    assert config.override_policies == {"billing.invoices": AutoPrune(keep_last=1), "billing.*": "never"}


def test_a_configuration_does_not_change_with_the_mapping_it_was_made_from() -> None:
    overrides: dict[str, AutoPrune | int] = {"Eternal": 1}
    config = AutoPruneConfig(overrides=overrides)
    overrides["Other"] = 2
    assert config.override_policies == {"Eternal": AutoPrune(keep_last=1)}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"enabled": 1}, "AutoPruneConfig.enabled must be True or False, not 1"),
        ({"default": True}, "AutoPruneConfig.default must be AutoPrune or a whole number"),
        ({"default": "never"}, "AutoPruneConfig.default must be"),
        ({"default": 0}, "AutoPrune.keep_last must be a whole number"),
        ({"overrides": {"Eternal": 0}}, r"AutoPruneConfig.overrides\['Eternal'\] must be a whole number from 1"),
        ({"overrides": {"Eternal": "nevr"}}, "whole number \\(keep_last\\), or \"never\", not 'nevr'"),
        ({"overrides": [("Eternal", 1)]}, "AutoPruneConfig.overrides must be a mapping"),
        ({"overrides": {"": 1}}, "AutoPruneConfig.overrides has the name ''"),
        ({"overrides": {3: 1}}, "AutoPruneConfig.overrides has the name 3"),
        ({"overrides": {"Eternal": "always"}}, r"AutoPruneConfig.overrides\['Eternal'\] must be AutoPrune"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRulesError, match=said):
        AutoPruneConfig(**fields)


def test_rules_say_themselves_in_one_order() -> None:
    assert str(PruneOptions(completed_before=T, keep_within=WEEK, keep_last=3)) == (
        "keep_last=3 keep_within=7d completed_before=2026-11-18T00:00:00Z"
    )
    assert str(AutoPrune(keep_last_per_version=2, keep_versions=3, every_n_executions=10, interval=5400)) == (
        "keep_last_per_version=2 keep_versions=3 every_n_executions=10 interval=90m"
    )
    assert str(AutoPrune(keep_last=3)) == "keep_last=3"


@pytest.mark.parametrize(
    ("seconds", "text"), [(604_800.0, "7d"), (7200, "2h"), (90, "90s"), (60, "1m"), (0.5, "0.5s"), (86_401, "86401s")]
)
def test_durations_are_written_in_the_largest_unit_that_takes_them_whole(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_times_are_written_in_utc_with_milliseconds_where_there_are_any() -> None:
    assert format_time(T_MS) == "2026-11-18T00:00:00Z"
    assert format_time(T_MS + 7) == "2026-11-18T00:00:00.007Z"


def test_origins_have_the_ranks_of_the_eight_places_a_policy_comes_from() -> None:
    assert [(kind.value, kind.rank) for kind in PolicyKind] == [
        ("turn", 1),
        ("call", 1),
        ("instance", 2),
        ("file_override", 3),
        ("code_override", 4),
        ("registration", 5),
        ("file_default", 6),
        ("code_default", 7),
        ("none", 8),
    ]
    assert str(PolicyOrigin(PolicyKind.REGISTRATION, "app.py:7")) == "registration: app.py:7"
    assert str(PolicyOrigin(PolicyKind.NONE, "")) == "none"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "nothing is named to hold"),
        ({"execution_id": 3}, "nothing is named to hold"),
        ({"name": "Eternal", "execution_id": 3}, "execution_id stands without its instance"),
        ({"instance_id": "a", "name": "Eternal"}, "both an instance and a name or version are named to hold"),
        ({"instance_id": "a", "version": "1.0.0"}, "both an instance and a name or version are named to hold"),
        ({"instance_id": ""}, "HoldTarget.instance_id is empty"),
        ({"version": ""}, "HoldTarget.version is empty"),
        ({"name": 3}, "HoldTarget.name must be a string, not 3"),
        ({"name": ["x"]}, r"HoldTarget.name must be a string, not \['x'\]"),
        ({"version": 1}, "HoldTarget.version must be a string, not 1"),
        ({"instance_id": "a", "execution_id": 0}, "execution_id must be a whole number from 1, not 0"),
        ({"instance_id": "a", "execution_id": True}, "execution_id must be a whole number from 1, not True"),
        ({"instance_id": "a", "execution_id": "3"}, "execution_id must be a whole number from 1, not '3'"),
    ],
)
def test_a_hold_on_nothing_or_on_two_things_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRulesError, match=said):
        HoldTarget(**fields)


def test_a_hold_says_what_it_is_on() -> None:
    assert str(HoldTarget(instance_id="queue-1")) == "queue-1"
    assert str(HoldTarget(instance_id="queue-1", execution_id=7)) == "queue-1/7"
    assert str(HoldTarget(name="billing.*", version="1.0.0")) == "name=billing.* version=1.0.0"


def test_a_number_is_shown_as_long_as_anybody_would_read_it() -> None:
    assert shown_value(-(10**20)) == "-100000000000000000000"
    assert shown_value(10**20 + 1) == shown_value(10**5_000) == "a number of more than 20 digits"
    assert shown_value("1" * 30) == repr("1" * 30)
    assert shown_value([10**5_000]) == "a list of numbers that nobody can read"


def test_times_begin_with_1970() -> None:
    assert PruneOptions(completed_before=0).completed_before == 0
    with pytest.raises(InvalidRulesError, match="from 1970 to 9999"):
        PruneOptions(completed_before=-1)


def test_a_scope_takes_several_ids_however_they_are_given() -> None:
    for given in (["b", "a"], ("b", "a"), {"b": 1, "a": 2}.keys() | set()):
        made = PruneScope(instance_ids=given)  # type: ignore[arg-type]
        assert isinstance(made.instance_ids, tuple)
        assert sorted(made.instance_ids) == ["a", "b"]
    with pytest.raises(InvalidRulesError, match="must be several ids, not 'a'"):
        PruneScope(instance_ids="a")  # type: ignore[arg-type]
