"""What a runtime is told of pruning in code."""

import pytest

from duro.errors import InvalidNameError, UsageError
from duro.host.options import RuntimeOptions
from duro.model.refusal import InvalidRulesError
from duro.model.retention import AutoPrune, AutoPruneConfig


@pytest.mark.parametrize("policy", [3, AutoPrune(keep_last=3), AutoPruneConfig(default=3)])
def test_a_policy_stands_for_a_configuration_with_this_default(policy: AutoPruneConfig | AutoPrune | int) -> None:
    assert RuntimeOptions(auto_prune=policy).auto_prune_config == AutoPruneConfig(default=3)


@pytest.mark.parametrize("wrong", [True, "never", {}, {"default": 3}])
def test_what_is_no_policy_is_refused_with_all_that_it_may_be(wrong: object) -> None:
    said = r"auto_prune must be AutoPrune or a whole number \(keep_last\), or AutoPruneConfig, not "
    with pytest.raises(InvalidRulesError, match=said):
        RuntimeOptions(auto_prune=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a\0", "contains a NUL character"),
        ("\ud800", "contains a lone surrogate"),
        ("x" * 5_000, "is 5000 bytes long"),
    ],
)
def test_an_override_for_a_name_that_nothing_can_have_is_refused_as_in_a_file(name: str, said: str) -> None:
    """A lone surrogate failed when the worker published it, with nothing that says where it stood."""
    with pytest.raises(InvalidNameError, match=f"orchestration name .* {said}"):
        RuntimeOptions(auto_prune=AutoPruneConfig(overrides={name: 3}))


@pytest.mark.parametrize("wrong", [5, "", None, True])
def test_an_address_of_metrics_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(UsageError, match=r"RuntimeOptions\.metrics_address must be an address, not "):
        RuntimeOptions(metrics_port=0, metrics_address=wrong)  # type: ignore[arg-type]
