"""Which policy applies, why the others do not, what several workers say together, and when it is time."""

from typing import Any

import msgspec
import pytest

from duro.host.policies import WorkerPolicies
from duro.model.policies import PolicyChain, PolicySources, StatedPolicy, UnitedChain, UnitedPolicy
from duro.model.pruning import PruneResult, PruneTrigger
from duro.model.retention import AutoPrune, AutoPruneConfig, Policy, PolicyKind, PolicyOrigin, PruneOptions
from duro.retention.policy import (
    beside,
    policy_chain,
    stated_in_code,
    united_origin,
    united_policy,
    with_instance_override,
)
from duro.retention.triggers import (
    decide_at_continue_as_new,
    decide_in_sweep,
    pruned_through,
    rollout_paused_until_ms,
    sweep_after_prune_ms,
    sweep_due_at_ms,
)
from tests.retention_facts import NOW_MS

FILE = "runtime_config.toml"
NAME = "billing.invoices"


def stated(kind: PolicyKind, keep_last: int, name: str = "", version: str = "", policy: Policy | None = None) -> Any:
    origin = PolicyOrigin(kind, f"place-{keep_last}")
    return StatedPolicy(policy=policy or AutoPrune(keep_last=keep_last), origin=origin, name=name, version=version)


INSTANCE = stated(PolicyKind.INSTANCE, 2)
EVERYTHING = PolicySources(
    file=FILE,
    file_overrides=(stated(PolicyKind.FILE_OVERRIDE, 31, "billing.*"), stated(PolicyKind.FILE_OVERRIDE, 30, NAME)),
    code_overrides=(stated(PolicyKind.CODE_OVERRIDE, 4, NAME),),
    registrations=(stated(PolicyKind.REGISTRATION, 5, NAME, "1.0.0"),),
    file_default=stated(PolicyKind.FILE_DEFAULT, 6),
    code_default=stated(PolicyKind.CODE_DEFAULT, 7),
)


def chain_of(sources: PolicySources = EVERYTHING, version: str = "1.0.0", **arguments: Any) -> PolicyChain:
    return policy_chain(sources, NAME, version, **arguments)


def applied_keep_last(chain: PolicyChain) -> int | None:
    return chain.policy.keep_last if chain.policy else None


# --- precedence ---------------------------------------------------------------------------------------------


def test_the_chain_shows_every_place_the_strongest_first_and_why() -> None:
    chain = chain_of(instance_override=INSTANCE, turn_options=PruneOptions(keep_last=1))
    assert [(link.rank, link.origin.kind.value, link.name, link.applies, link.why) for link in chain.links] == [
        (1, "turn", "", True, "applies"),
        (2, "instance", "", False, "replaced by turn: prune= of continue_as_new"),
        (3, "file_override", NAME, False, "replaced by turn: prune= of continue_as_new"),
        (3, "file_override", "billing.*", False, "replaced by turn: prune= of continue_as_new"),
        (4, "code_override", NAME, False, "replaced by turn: prune= of continue_as_new"),
        (5, "registration", NAME, False, "replaced by turn: prune= of continue_as_new"),
        (6, "file_default", "", False, "replaced by turn: prune= of continue_as_new"),
        (7, "code_default", "", False, "replaced by turn: prune= of continue_as_new"),
        (8, "none", "", False, "replaced by turn: prune= of continue_as_new"),
    ]


def test_a_chain_in_which_nobody_speaks_says_so_place_by_place() -> None:
    chain = chain_of(PolicySources())
    assert [(link.rank, link.applies, link.why) for link in chain.links] == [
        (1, False, "no prune= in this turn"),
        (2, False, "the instance has no override"),
        (3, False, "there are no overrides"),
        (4, False, "there are no overrides"),
        (5, False, "'billing.invoices' was registered without auto_prune"),
        (6, False, "the file has no default"),
        (7, False, "the code has no default"),
        (8, True, "nobody says what to prune: nothing is pruned"),
    ]
    assert chain.policy is None


def test_taking_the_strongest_away_lets_the_next_one_apply() -> None:
    assert applied_keep_last(chain_of(instance_override=INSTANCE)) == 2
    weaker: list[dict[str, Any]] = [
        {},
        {"file_overrides": EVERYTHING.file_overrides[:1]},
        {"file_overrides": ()},
        {"code_overrides": ()},
        {"registrations": ()},
        {"file_default": None},
        {"code_default": None},
    ]
    sources, found = EVERYTHING, []
    for change in weaker:
        sources = msgspec.structs.replace(sources, **change)
        found.append(applied_keep_last(chain_of(sources)))
    assert found == [30, 31, 4, 5, 6, 7, None]


def test_a_stronger_policy_replaces_a_weaker_one_whole() -> None:
    """Nobody wrote keep_last=30 *and* keep_within: so nobody gets it."""
    weaker = stated(PolicyKind.FILE_DEFAULT, 6, policy=AutoPrune(keep_last=6, keep_within=60, interval=60))
    assert chain_of(msgspec.structs.replace(EVERYTHING, file_default=weaker)).policy == AutoPrune(keep_last=30)


def test_the_exact_name_comes_before_longer_patterns_and_overrides_that_do_not_match_are_left_out() -> None:
    names = ["*", "billing.invoice[s]", NAME, "billing.i*", "shipping.*"]
    overrides = tuple(stated(PolicyKind.FILE_OVERRIDE, 10 + at, name) for at, name in enumerate(names))
    chain = chain_of(PolicySources(file_overrides=overrides))
    found = [(link.name, link.applies) for link in chain.links if link.rank == 3]
    assert found == [(NAME, True), ("billing.invoice[s]", False), ("billing.i*", False), ("*", False)]
    none = policy_chain(PolicySources(file_overrides=overrides[-1:]), NAME, "1.0.0").links[2]
    assert none.why == "no override matches 'billing.invoices'"


def test_a_registration_is_of_one_version() -> None:
    sources = PolicySources(
        registrations=(
            stated(PolicyKind.REGISTRATION, 5, NAME, "1.0.0"),
            stated(PolicyKind.REGISTRATION, 6, NAME, "2.0.0"),
            stated(PolicyKind.REGISTRATION, 7, "billing.*", "3.0.0"),
        )
    )
    assert applied_keep_last(chain_of(sources, "2.0.0")) == 6
    link = chain_of(sources, "3.0.0").links[4]
    assert (link.policy, link.why) == (None, "version '3.0.0' was registered without auto_prune, unlike 1.0.0, 2.0.0")


def test_a_name_that_no_worker_runs_is_not_said_to_be_registered() -> None:
    sources = PolicySources(orchestrations=(("another", "1.0.0"),))
    assert chain_of(sources).links[4].why == f"{NAME!r} is not registered"
    sources = PolicySources(orchestrations=(("another", "1.0.0"), (NAME, "1.0.0")))
    assert chain_of(sources).links[4].why == f"{NAME!r} was registered without auto_prune"


def test_an_instance_can_be_kept_from_all_automatic_pruning() -> None:
    never = stated(PolicyKind.INSTANCE, 2, policy="never")
    chain = chain_of(instance_override=never)
    assert (chain.applied.policy, chain.policy) == ("never", None)
    decision = decide_at_continue_as_new(chain, ending_execution_id=9, pruned_through=0, now_ms=NOW_MS)
    assert (decision.rules, decision.why) == (None, "instance: place-2 says never")


@pytest.mark.parametrize(
    ("file_enabled", "code_enabled", "stopped_by"),
    [
        (True, True, ""),
        (True, False, "AutoPruneConfig(enabled=False)"),
        (False, True, "enabled = false in runtime_config.toml"),
        (False, False, "enabled = false in runtime_config.toml"),
    ],
)
def test_file_and_code_must_both_allow_automatic_pruning(
    file_enabled: bool, code_enabled: bool, stopped_by: str
) -> None:
    sources = msgspec.structs.replace(EVERYTHING, file_enabled=file_enabled, code_enabled=code_enabled)
    chain = chain_of(sources)
    assert chain.stopped_by == stopped_by
    assert applied_keep_last(chain) == (None if stopped_by else 30)
    assert chain.applied.why == (
        f"would apply, but automatic pruning is off: {stopped_by}" if stopped_by else "applies"
    )
    decision = decide_at_continue_as_new(chain, ending_execution_id=9, pruned_through=0, now_ms=NOW_MS)
    assert (decision.rules is None) == bool(stopped_by)
    asked = chain_of(sources, turn_options=PruneOptions(keep_last=1))
    assert asked.applied.why == "applies"
    decision = decide_at_continue_as_new(asked, ending_execution_id=9, pruned_through=9, now_ms=NOW_MS)
    assert decision.rules == (PruneOptions(keep_last=1),)


def test_what_a_program_configures_becomes_sources() -> None:
    config = AutoPruneConfig(default=5, overrides={NAME: 1, "audit": "never"})
    overrides, default = stated_in_code(config, "RuntimeOptions")
    origin = PolicyOrigin(PolicyKind.CODE_OVERRIDE, "RuntimeOptions")
    assert overrides == (
        StatedPolicy(policy=AutoPrune(keep_last=1), origin=origin, name=NAME),
        StatedPolicy(policy="never", origin=origin, name="audit"),
    )
    assert default == StatedPolicy(
        policy=AutoPrune(keep_last=5), origin=PolicyOrigin(PolicyKind.CODE_DEFAULT, "RuntimeOptions")
    )
    assert stated_in_code(AutoPruneConfig(), "") == ((), None)


def test_sources_and_chains_survive_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(EVERYTHING), type=PolicySources) == EVERYTHING
    chain = chain_of(instance_override=INSTANCE, turn_options=PruneOptions(keep_last=1))
    assert msgspec.json.decode(msgspec.json.encode(chain), type=PolicyChain) == chain


# --- workers that differ ------------------------------------------------------------------------------------


def published(policy: Policy | None, *, runs: tuple[str, str] = (NAME, "1.0.0"), **others: Any) -> PolicySources:
    default = stated(PolicyKind.FILE_DEFAULT, 6, policy=policy) if policy else None
    return PolicySources(file=FILE, orchestrations=(runs,), file_default=default, **others)


def united_of(*sources: PolicySources, **arguments: Any) -> UnitedPolicy:
    united = united_policy(sources, NAME, "1.0.0", **arguments)
    assert united is not None
    return united


def test_workers_that_agree_have_one_policy() -> None:
    united = united_of(published(AutoPrune(keep_last=3)), published(AutoPrune(keep_last=3)))
    assert (united.policies, united.rules) == ((AutoPrune(keep_last=3),), (PruneOptions(keep_last=3),))
    assert (united.workers_differ, united.why) == (False, "applies")
    assert united.origin == PolicyOrigin(PolicyKind.FILE_DEFAULT, "place-6")


def test_what_any_of_differing_workers_keeps_is_kept() -> None:
    override = (stated(PolicyKind.CODE_OVERRIDE, 4, NAME),)
    united = united_of(published(AutoPrune(keep_last=3)), published(None, code_overrides=override))
    assert united.rules == (PruneOptions(keep_last=3), PruneOptions(keep_last=4))
    assert united.workers_differ
    assert united.why == "workers differ (2 policies): what any of them keeps is kept"
    assert united.origin == PolicyOrigin(PolicyKind.CODE_OVERRIDE, "code_override: place-4; file_default: place-6")


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (published(None), "nobody says what to prune: nothing is pruned"),
        (published("never"), "file_default: place-6 says never"),
        (
            published(AutoPrune(keep_last=3), code_enabled=False),
            "automatic pruning is off: AutoPruneConfig(enabled=False)",
        ),
    ],
)
def test_one_worker_that_prunes_nothing_is_enough_to_prune_nothing(other: PolicySources, why: str) -> None:
    united = united_of(published(AutoPrune(keep_last=3)), other)
    assert (united.policies, united.rules) == (None, None)
    assert united.why == f"workers differ (2 policies): {why}"
    assert united_of(other).why == why


def test_those_who_run_the_version_are_asked_and_nobody_else() -> None:
    version = published(AutoPrune(keep_last=1))
    name = published(AutoPrune(keep_last=2), runs=(NAME, "2.0.0"))
    neither = published(AutoPrune(keep_last=3), runs=("other", "1.0.0"))
    assert united_of(neither, name, version).rules == (PruneOptions(keep_last=1),)
    assert united_policy((), NAME, "1.0.0") is None


def test_what_nobody_runs_is_not_pruned_by_what_its_own_program_may_replace() -> None:
    """While its worker restarts, nobody knows what that registered: somebody else's default must not replace it."""
    strangers = (
        published(AutoPrune(keep_last=1), runs=("other", "1.0.0")),
        published(
            AutoPrune(keep_last=2), runs=(NAME, "2.0.0"), code_overrides=(stated(PolicyKind.CODE_OVERRIDE, 4, "*"),)
        ),
    )
    for sources in ((strangers[0],), (strangers[1],), strangers):
        united = united_of(*sources)
        assert (united.rules, united.is_known, united.origin.kind) == (None, False, PolicyKind.NONE)
        assert united.why == "no worker that runs 'billing.invoices' 1.0.0 has published its policies"
        simulated = united_policy(sources, NAME, "1.0.0", all_run_it=True)
        assert simulated is not None
        assert simulated.rules
    own = united_of(*strangers, instance_override=INSTANCE)
    assert (own.rules, own.is_known) == ((PruneOptions(keep_last=2),), True)
    by_name = (stated(PolicyKind.FILE_OVERRIDE, 31, NAME),)
    by_file = united_of(published(AutoPrune(keep_last=1), runs=("other", "1.0.0"), file_overrides=by_name))
    assert (by_file.rules, by_file.is_known) == ((PruneOptions(keep_last=31),), True)
    idle = united_of(published(None, runs=("other", "1.0.0")))
    assert (idle.rules, idle.is_known) == (None, False)


def test_a_pattern_in_the_file_of_a_program_that_does_not_run_it_is_no_word_about_an_orchestration() -> None:
    """Its own program may have another file, with its very name in it."""
    pattern = (stated(PolicyKind.FILE_OVERRIDE, 1, "*"),)
    stranger = published(None, runs=("other", "1.0.0"), file_overrides=pattern)
    assert (united_of(stranger).rules, united_of(stranger).is_known) == (None, False)
    relative = published(None, runs=(NAME, "2.0.0"), file_overrides=(stated(PolicyKind.FILE_OVERRIDE, 7, "bill*"),))
    for sources in ((relative,), (stranger, relative)):
        united = united_of(*sources)
        assert (united.rules, united.is_known) == ((PruneOptions(keep_last=7),), True)


def test_the_longest_rollout_pause_that_any_worker_was_told_binds_the_turns_of_all() -> None:
    told = published(AutoPrune(keep_last=3), rollout_pause_s=60.0, rollout_cap_s=600.0)
    longer_cap = published(AutoPrune(keep_last=3), rollout_pause_s=30.0, rollout_cap_s=900.0)
    silent = published(AutoPrune(keep_last=3), rollout_cap_s=9_000.0)
    terms = WorkerPolicies(silent, others=(told, longer_cap)).terms
    assert (terms.rollout_pause_s, terms.rollout_cap_s) == (60.0, 900.0)
    alone = WorkerPolicies(silent).terms
    assert (alone.rollout_pause_s, alone.rollout_cap_s) == (0.0, 9_000.0)


def test_an_execution_whose_version_is_not_chosen_yet_has_the_policy_of_the_newest() -> None:
    versions = tuple((NAME, version) for version in ("2.0.0", "10.0.0"))
    registrations = tuple(
        stated(PolicyKind.REGISTRATION, keep_last, NAME, version)
        for keep_last, (_, version) in zip((5, 50), versions, strict=True)
    )
    sources = published(AutoPrune(keep_last=1), registrations=registrations)
    sources = msgspec.structs.replace(sources, orchestrations=versions)
    assert applied_keep_last(chain_of(sources, "")) == 50
    united = united_policy((sources, published(AutoPrune(keep_last=1), runs=("other", "1.0.0"))), NAME, "")
    assert united is not None
    assert (united.rules, united.is_known) == ((PruneOptions(keep_last=50),), True)


def test_an_override_of_the_instance_makes_workers_agree() -> None:
    united = united_of(published(AutoPrune(keep_last=3)), published(None), instance_override=INSTANCE)
    assert (united.rules, united.workers_differ) == ((PruneOptions(keep_last=2),), False)


def test_a_trigger_is_on_when_it_is_for_all() -> None:
    policy = AutoPrune(keep_last=3)
    only_continue = published(policy, triggers=(PruneTrigger.CONTINUE_AS_NEW,))
    assert united_of(published(policy), only_continue).triggers == (PruneTrigger.CONTINUE_AS_NEW,)


# --- when it is time ----------------------------------------------------------------------------------------


def _chain(policy: AutoPrune, **others: Any) -> PolicyChain:
    return policy_chain(published(policy, **others), NAME, "1.0.0")


def test_every_tenth_execution_prunes() -> None:
    chain = _chain(AutoPrune(keep_last=1, every_n_executions=10))
    through, pruned_at = 0, []
    for execution_id in range(1, 31):
        decision = decide_at_continue_as_new(
            chain, ending_execution_id=execution_id, pruned_through=through, now_ms=NOW_MS
        )
        if decision.rules:
            pruned_at.append(execution_id)
            through = pruned_through(through, execution_id, PruneResult(executions_deleted=10))
        else:
            assert decision.why == f"{execution_id - through} of 10 executions have ended since the last time"
    assert pruned_at == [10, 20, 30]


@pytest.mark.parametrize(
    "result", [PruneResult(error="the disk is full"), PruneResult(executions_deleted=64, remaining=3)]
)
def test_a_prune_that_failed_or_left_something_stays_due_at_the_next_execution(result: PruneResult) -> None:
    chain = _chain(AutoPrune(keep_last=1, every_n_executions=10))
    through = pruned_through(0, 10, result)
    assert through == 0
    decision = decide_at_continue_as_new(chain, ending_execution_id=11, pruned_through=through, now_ms=NOW_MS)
    assert (decision.rules, decision.why) == ((PruneOptions(keep_last=1),), "due")
    through = pruned_through(through, 11, PruneResult())
    decision = decide_at_continue_as_new(chain, ending_execution_id=12, pruned_through=through, now_ms=NOW_MS)
    assert (decision.rules, decision.why) == (None, "1 of 10 executions have ended since the last time")


def test_a_prune_that_found_nothing_among_the_oldest_is_not_due_at_the_next_execution() -> None:
    assert pruned_through(0, 10, PruneResult(remaining=3)) == 10


@pytest.mark.parametrize(
    ("result", "swept_at_ms", "from_ms"),
    [
        (PruneResult(executions_deleted=3), 0, None),
        (PruneResult(error="the disk is full"), NOW_MS, NOW_MS),
        (PruneResult(executions_deleted=64, remaining=3), NOW_MS, NOW_MS),
        (PruneResult(remaining=3), None, NOW_MS),
        (PruneResult(remaining=3), NOW_MS - 11_001, NOW_MS),
        (PruneResult(remaining=3), NOW_MS - 1_000, NOW_MS + 10_000),
        (PruneResult(remaining=3), NOW_MS + 1, NOW_MS),
    ],
)
def test_where_all_that_was_looked_at_is_kept_a_sweep_looks_once_and_then_in_a_while(
    result: PruneResult, swept_at_ms: int | None, from_ms: int | None
) -> None:
    due = sweep_after_prune_ms(result, executions_max=100, swept_at_ms=swept_at_ms, now_ms=NOW_MS)
    assert due == from_ms


def test_where_workers_differ_a_turn_prunes_when_it_is_time_for_each_and_keeps_what_any_keeps() -> None:
    own, other = AutoPrune(keep_last=1), AutoPrune(keep_last=5, every_n_executions=3)
    chain = beside(_chain(own), [_chain(own), _chain(other), _chain(other)])
    assert isinstance(chain, UnitedChain)
    assert len(chain.others) == 1
    early = decide_at_continue_as_new(chain, ending_execution_id=2, pruned_through=0, now_ms=NOW_MS)
    assert (early.rules, early.why) == (None, "2 of 3 executions have ended since the last time")
    due = decide_at_continue_as_new(chain, ending_execution_id=3, pruned_through=0, now_ms=NOW_MS)
    assert due.rules == (PruneOptions(keep_last=1), PruneOptions(keep_last=5))
    never = beside(_chain(own), [_chain(own, file_enabled=False)])
    stopped = decide_at_continue_as_new(never, ending_execution_id=3, pruned_through=0, now_ms=NOW_MS)
    assert stopped.rules is None
    assert "automatic pruning is off" in stopped.why


def test_an_instances_own_policy_replaces_what_every_worker_says() -> None:
    own = StatedPolicy(policy=AutoPrune(keep_last=2), origin=PolicyOrigin(PolicyKind.INSTANCE, "a"))
    chain = with_instance_override(beside(_chain(AutoPrune(keep_last=1)), [_chain(AutoPrune(keep_last=9))]), own)
    assert decide_at_continue_as_new(chain, ending_execution_id=1, pruned_through=0, now_ms=NOW_MS).rules == (
        PruneOptions(keep_last=2),
    )
    stopped = beside(_chain(AutoPrune(keep_last=1)), [_chain(AutoPrune(keep_last=1), code_enabled=False)])
    decision = decide_at_continue_as_new(
        with_instance_override(stopped, own), ending_execution_id=1, pruned_through=0, now_ms=NOW_MS
    )
    assert decision.rules is None, "another worker may not prune at all"


@pytest.mark.parametrize(
    "sources",
    [
        EVERYTHING,
        PolicySources(),
        PolicySources(file_default=stated(PolicyKind.FILE_DEFAULT, 6)),
        PolicySources(registrations=EVERYTHING.registrations),
        PolicySources(file=FILE, file_enabled=False, code_default=EVERYTHING.code_default),
    ],
    ids=["everything", "nothing", "a default", "a registration", "off"],
)
@pytest.mark.parametrize("turn_options", [None, PruneOptions(keep_last=1)])
@pytest.mark.parametrize("own", [INSTANCE, stated(PolicyKind.INSTANCE, 2, policy="never")], ids=["a policy", "never"])
def test_an_override_that_is_known_later_makes_the_chain_that_it_would_have_made_at_once(
    sources: PolicySources, turn_options: PruneOptions | None, own: StatedPolicy
) -> None:
    made_later = with_instance_override(chain_of(sources, turn_options=turn_options), own)
    assert made_later == chain_of(sources, turn_options=turn_options, instance_override=own)


def test_who_says_what_several_workers_say_together_is_named_by_the_strongest() -> None:
    of_the_file, of_the_code = (
        chain_of(PolicySources(file_default=stated(PolicyKind.FILE_DEFAULT, 6))),
        chain_of(PolicySources(code_default=stated(PolicyKind.CODE_DEFAULT, 7))),
    )
    united = united_origin([of_the_code, of_the_file])
    assert united.kind is PolicyKind.FILE_DEFAULT
    assert united.text == f"{of_the_file.applied.origin}; {of_the_code.applied.origin}"


def test_a_worker_that_was_told_the_same_changes_nothing() -> None:
    chain = _chain(AutoPrune(keep_last=1))
    assert beside(chain, [_chain(AutoPrune(keep_last=1))]) is chain


def test_a_decision_says_on_whose_word_and_by_which_trigger() -> None:
    decision = decide_at_continue_as_new(
        _chain(AutoPrune(keep_last=1)), ending_execution_id=1, pruned_through=0, now_ms=NOW_MS
    )
    assert (decision.origin, decision.trigger) == (
        PolicyOrigin(PolicyKind.FILE_DEFAULT, "place-6"),
        PruneTrigger.CONTINUE_AS_NEW,
    )


def test_nothing_is_pruned_at_continue_as_new_where_that_trigger_is_off_or_a_rollout_pauses() -> None:
    policy = AutoPrune(keep_last=1)
    off = _chain(policy, triggers=(PruneTrigger.INTERVAL,))
    decision = decide_at_continue_as_new(off, ending_execution_id=1, pruned_through=0, now_ms=NOW_MS)
    assert (decision.rules, decision.why) == (None, "the trigger continue_as_new is off")
    for until_ms, rules in ((NOW_MS + 1, None), (NOW_MS, (PruneOptions(keep_last=1),))):
        decision = decide_at_continue_as_new(
            _chain(policy), ending_execution_id=1, pruned_through=0, now_ms=NOW_MS, paused_until_ms=until_ms
        )
        assert decision.rules == rules


def test_what_the_turn_asks_for_is_neither_counted_nor_paused() -> None:
    sources = published(AutoPrune(keep_last=9, every_n_executions=9), triggers=())
    chain = policy_chain(sources, NAME, "1.0.0", turn_options=PruneOptions(keep_last=1))
    decision = decide_at_continue_as_new(
        chain, ending_execution_id=1, pruned_through=0, now_ms=NOW_MS, paused_until_ms=NOW_MS + 1
    )
    assert (decision.rules, decision.origin.kind) == ((PruneOptions(keep_last=1),), PolicyKind.TURN)


def _sweep(*sources: PolicySources, last: int | None = None, paused: int | None = None) -> tuple[Any, str]:
    united = united_policy(sources, NAME, "1.0.0")
    decision = decide_in_sweep(united, last_sweep_at_ms=last, now_ms=NOW_MS, paused_until_ms=paused)
    assert decision.trigger is PruneTrigger.INTERVAL
    return decision.rules, decision.why


def test_a_sweep_prunes_when_the_interval_has_passed() -> None:
    hourly = published(AutoPrune(keep_within=60, interval=3600))
    rules = (PruneOptions(keep_within=60),)
    assert _sweep(hourly) == (rules, "due")
    assert _sweep(hourly, last=NOW_MS - 3_600_000) == (rules, "due")
    assert _sweep(hourly, last=NOW_MS - 3_599_999) == (None, "not due before 2026-11-18T00:00:00.001Z")
    assert _sweep(hourly, last=NOW_MS + 1) == (rules, "due"), "the clock was put back: it would wait as long"
    paused = "paused until 2026-11-18T00:00:00.001Z: a further version was seen"
    assert _sweep(hourly, paused=NOW_MS + 1) == (None, paused)
    assert _sweep(hourly, paused=NOW_MS) == (rules, "due")


def test_a_sweep_leaves_alone_what_no_policy_gives_it() -> None:
    assert _sweep() == (None, "no worker has published its policies")
    assert _sweep(published(None)) == (None, "nobody says what to prune: nothing is pruned")
    assert _sweep(published(AutoPrune(keep_last=1))) == (None, "the policy has no interval")
    off = published(AutoPrune(keep_last=1, interval=1), triggers=(PruneTrigger.CONTINUE_AS_NEW,))
    assert _sweep(off) == (None, "the trigger interval is off")


def test_where_workers_differ_the_longest_interval_counts_and_each_must_have_one() -> None:
    hourly, daily = (published(AutoPrune(keep_last=1, interval=seconds)) for seconds in (3_600, 86_400))
    assert sweep_due_at_ms(united_of(hourly, daily), 1_000, NOW_MS) == 86_401_000
    assert sweep_due_at_ms(united_of(hourly, daily), None, NOW_MS) == 0
    assert sweep_due_at_ms(united_of(hourly, published(AutoPrune(keep_last=1))), 1_000, NOW_MS) is None


# --- rollouts -----------------------------------------------------------------------------------------------

HOUR_MS = 3_600_000
DAY_S, WEEK_S = 86_400.0, 604_800.0


@pytest.mark.parametrize(
    ("first_seen_hours", "paused_until_hours"),
    [
        ([], None),
        ([5], None),
        ([5, 10], 10 + 24),
        ([10, 5], 10 + 24),
        ([0, 10, 30], 30 + 24),
        ([0, 10, 34], 34 + 24),
        ([0, *range(10, 300, 24)], 10 + 7 * 24),
        ([0, *range(10, 300, 24), 400], 400 + 24),
    ],
    ids=["none", "the first", "a second", "in any order", "a third", "at the end of a pause", "a long series", "new"],
)
def test_a_further_version_pauses_pruning_and_a_series_is_capped(
    first_seen_hours: list[int], paused_until_hours: int | None
) -> None:
    until_ms = rollout_paused_until_ms([hour * HOUR_MS for hour in first_seen_hours], DAY_S, WEEK_S)
    assert until_ms == (None if paused_until_hours is None else paused_until_hours * HOUR_MS)


def test_no_pause_is_no_pause() -> None:
    assert rollout_paused_until_ms([0, HOUR_MS], 0.0, WEEK_S) is None


def test_a_pause_may_be_shorter_than_a_second() -> None:
    assert rollout_paused_until_ms([1_000, 2_000], 0.5, 100) == 2_500
    assert rollout_paused_until_ms([1_000, 2_000], 0, 100) is None
