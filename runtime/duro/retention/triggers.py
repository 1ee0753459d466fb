"""Whether it is time to prune: at continue-as-new, in a sweep, and during a rollout. Functions of counts and times."""

from collections.abc import Iterable
from typing import Final

from duro.model.policies import PolicyChain, PolicyLink, PruneDecision, UnitedChain, UnitedPolicy
from duro.model.pruning import PruneResult, PruneTrigger
from duro.model.retention import PolicyKind, PolicyOrigin, PruneOptions, format_time
from duro.retention.policy import united_origin, why_nothing

_LOOK_AGAIN_MS: Final = 10_000


def decide_at_continue_as_new(
    chain: PolicyChain,
    *,
    ending_execution_id: int,
    pruned_through: int,
    now_ms: int,
    paused_until_ms: int | None = None,
) -> PruneDecision:
    """Whether the commit that ends execution ``ending_execution_id`` prunes.

    ``pruned_through`` is the last execution at whose end the automatic prune was done (see ``pruned_through``), 0 if it
    never was. The ``prune=`` of the turn is carried out whatever is configured, paused or counted. Where other workers
    were told otherwise (``UnitedChain``), it is time when it is time for each of them, and what any of them keeps is
    kept.
    """
    applied = chain.applied
    trigger = PruneTrigger.CONTINUE_AS_NEW
    if applied.options is not None:
        return PruneDecision(rules=(applied.options,), origin=applied.origin, trigger=trigger, why="asked for")
    executions = ending_execution_id - pruned_through
    own = _automatic(chain, applied, executions, now_ms, paused_until_ms)
    if own.rules is None or not isinstance(chain, UnitedChain):
        return own
    others = [_automatic(each, each.applied, executions, now_ms, paused_until_ms) for each in chain.others]
    if (not_yet := next((each for each in others if each.rules is None), None)) is not None:
        return not_yet
    chains, decisions = (chain, *chain.others), (own, *others)
    rules = dict.fromkeys(options for each in decisions for options in each.rules or ())
    return PruneDecision(rules=tuple(rules), origin=united_origin(chains), trigger=trigger, why="due")


def _automatic(
    chain: PolicyChain, applied: PolicyLink, executions: int, now_ms: int, paused_until_ms: int | None
) -> PruneDecision:
    """Of one worker, whose link ``applied`` applies; ``executions`` have ended since the last time."""
    trigger = PruneTrigger.CONTINUE_AS_NEW
    policy, why_not = chain.policy_of(applied), ""
    if policy is None:
        why_not = why_nothing(chain)
    elif trigger not in chain.triggers:
        why_not = f"the trigger {trigger} is off"
    elif _is_paused(paused_until_ms, now_ms):
        why_not = _paused(paused_until_ms)
    elif executions < policy.every_n_executions:
        have = "has" if executions == 1 else "have"
        why_not = f"{executions} of {policy.every_n_executions} executions {have} ended since the last time"
    rules = None if policy is None or why_not else (policy.options,)
    return PruneDecision(rules=rules, origin=applied.origin, trigger=trigger, why=why_not or "due")


def pruned_through(before: int, ending_execution_id: int, result: PruneResult) -> int:
    """What to remember after the automatic prune in the commit that ended ``ending_execution_id``: a prune that failed,
    or removed something and left more, stays due at the next continue-as-new. One that found nothing to remove among
    the oldest would find nothing there at the next one either: what lies beyond is for a sweep. ``before`` is what was
    remembered."""
    return before if result.error is not None or _goes_on(result) else ending_execution_id


def sweep_after_prune_ms(
    result: PruneResult, *, executions_max: int, swept_at_ms: int | None, now_ms: int
) -> int | None:
    """From when on a sweep is to look at an instance after a prune in a commit; None: not because of this one.

    Now, if it failed, or removed something and left more. If all it looked at is kept, what lies beyond may be kept as
    well, for holds or versions, and to find that out anew after every turn would be to read the whole instance again
    and again. Then a sweep looks once, and again no sooner than 10 s and 10 ms for each of the at most
    ``executions_max`` live executions after it has looked (``swept_at_ms``).
    """
    if result.error is not None or _goes_on(result):
        return now_ms
    if not result.remaining:
        return None
    if swept_at_ms is None or swept_at_ms > now_ms:  # of a clock that was put back since
        return now_ms
    return max(now_ms, swept_at_ms + _LOOK_AGAIN_MS + 10 * executions_max)


def asked_due_ms(result: PruneResult, *, executions_max: int, now_ms: int) -> int | None:
    """From when on a sweep is to go on with what code asked for, after the turn that did the first part of it; None: it
    is done. As ``sweep_after_prune_ms``; but where all that the turn looked at is kept, the first look waits, too, for
    such a call is forgotten when it is done and tells nothing of the look before."""
    if result.error is not None or _goes_on(result):
        return now_ms
    return now_ms + _LOOK_AGAIN_MS + 10 * executions_max if result.remaining else None


def _goes_on(result: PruneResult) -> bool:
    return bool(result.remaining and result.executions_deleted)


def decide_in_sweep(
    united: UnitedPolicy | None, *, last_sweep_at_ms: int | None, now_ms: int, paused_until_ms: int | None = None
) -> PruneDecision:
    """Whether a sweep prunes an instance for the interval of its policy; ``united`` None: no worker has published any.

    Where workers differ, it is time when it is time for each of them. ``last_sweep_at_ms`` is when a sweep last looked
    at the instance for this, None: never.
    """
    trigger = PruneTrigger.INTERVAL
    if united is None:
        nobody = PolicyOrigin(PolicyKind.NONE, "")
        return PruneDecision(rules=None, origin=nobody, trigger=trigger, why="no worker has published its policies")
    rules, why_not = united.rules, ""
    due_at_ms = sweep_due_at_ms(united, last_sweep_at_ms, now_ms)
    if rules is None:
        why_not = united.why
    elif trigger not in united.triggers:
        why_not = f"the trigger {trigger} is off"
    elif due_at_ms is None:
        why_not = "the policy has no interval"
    elif _is_paused(paused_until_ms, now_ms):
        why_not = _paused(paused_until_ms)
    elif now_ms < due_at_ms:
        why_not = f"not due before {format_time(due_at_ms)}"
    decided: tuple[PruneOptions, ...] | None = None if why_not else rules
    return PruneDecision(rules=decided, origin=united.origin, trigger=trigger, why=why_not or "due")


def sweep_due_at_ms(united: UnitedPolicy, last_sweep_at_ms: int | None, now_ms: int) -> int | None:
    """When the next sweep is due, 0 if there was none yet; None: one of the policies has no interval. A last one that
    lies ahead is of a clock that was put back since, and says nothing."""
    intervals_s = [policy.interval_s for policy in united.policies or ()]
    longest_s = max((interval for interval in intervals_s if interval is not None), default=None)
    if longest_s is None or None in intervals_s:
        return None
    if last_sweep_at_ms is None or last_sweep_at_ms > now_ms:
        return 0
    return last_sweep_at_ms + round(longest_s * 1000)


def rollout_paused_until_ms(first_seen_ms: Iterable[int], pause_s: float, cap_s: float) -> int | None:
    """Until when automatic pruning of an orchestration rests because a further version of it has appeared; None: never.

    ``first_seen_ms`` is when each of its versions was first seen. The oldest one starts no pause: there is nothing to
    go back to. Every further one starts a pause of ``pause_s``. Pauses that overlap are one series, which lasts
    ``cap_s`` at most, however many versions follow: a team that deploys every hour must not fill its disk.
    """
    if pause_s <= 0:
        return None
    series_began_ms, pause_ends_ms = 0, None
    for seen_ms in sorted(first_seen_ms)[1:]:
        if pause_ends_ms is None or seen_ms > pause_ends_ms:
            series_began_ms = seen_ms
        pause_ends_ms = seen_ms + round(pause_s * 1000)
    if pause_ends_ms is None:
        return None
    return min(pause_ends_ms, series_began_ms + round(cap_s * 1000))


def _is_paused(paused_until_ms: int | None, now_ms: int) -> bool:
    return paused_until_ms is not None and now_ms < paused_until_ms


def _paused(paused_until_ms: int | None) -> str:
    assert paused_until_ms is not None
    return f"paused until {format_time(paused_until_ms)}: a further version was seen"
