"""Which purge policy applies to an orchestration: the exact name, then the longest pattern, then the default; never
more than one of them. Where workers were told different things, what any of them keeps is kept. Pure."""

from collections.abc import Iterable, Sequence

from duro.model.families import OrphanRules, PurgeOptions, PurgeOverride, PurgeOverrides
from duro.model.policies import PolicySources, StatedPurge
from duro.model.retention import PolicyKind, PolicyOrigin
from duro.retention.names import by_precedence

_NONE = PolicyOrigin(PolicyKind.NONE, "")


def purge_policy(sources: PolicySources, name: str) -> StatedPurge | None:
    """What one worker was told about orchestration ``name``; None: nothing."""
    by_name = {stated.name: stated for stated in sources.purges}
    order = by_precedence(name, [each for each in by_name if each])
    return by_name[order[0]] if order else by_name.get("")


def united_purge(published: Sequence[PolicySources], name: str) -> tuple[PurgeOptions | None, PolicyOrigin]:
    """What all workers together let go of ``name``, and who says so. None: at least one of them purges nothing of it
    (the origin's kind is ``NONE`` if that is because nothing is said)."""
    stated = [purge_policy(sources, name) for sources in published]
    if not stated or any(each is None for each in stated):
        return None, _NONE
    said = [each for each in stated if each is not None]
    origins = sorted({each.origin for each in said}, key=str)
    origin = origins[0] if len(origins) == 1 else PolicyOrigin(origins[0].kind, "; ".join(map(str, origins)))
    options = [each.options for each in said]
    if any(each is None for each in options):
        return None, origin
    return union(each for each in options if each is not None), origin


def purge_overrides(published: Iterable[PolicySources]) -> PurgeOverrides:
    """What protects members of families by their own names: the overrides of each worker, every such list once."""
    lists = (
        tuple(PurgeOverride(name=stated.name, options=stated.options) for stated in sources.purges if stated.name)
        for sources in published
    )
    return tuple(dict.fromkeys(each for each in lists if each))


def overrides_of(overrides: PurgeOverrides, name: str) -> tuple[PurgeOptions | None, ...]:
    """Of each list that has an override for ``name``, the options of the one that applies."""
    found = []
    for each in overrides:
        by_name = {override.name: override.options for override in each}
        found += [by_name[chosen] for chosen in by_precedence(name, by_name)[:1]]
    return tuple(found)


def union(options: Iterable[PurgeOptions]) -> PurgeOptions:
    """Options that keep what any of ``options`` (policies, at least one) keeps: a rule that is stronger than another of
    its kind keeps all that the other one does, and rules of different kinds are united anyway."""
    given = list(options)
    return PurgeOptions(
        keep_within=_longest(each.keep_within_s for each in given),
        keep_failed_within=_longest(
            each.keep_within_s if each.keep_failed_within_s is None else each.keep_failed_within_s for each in given
        )
        if any(each.keep_failed_within_s is not None for each in given)
        else None,
        keep_last=max((each.keep_last for each in given if each.keep_last is not None), default=None),
    )


def _longest(windows_s: Iterable[float | None]) -> float | None:
    return max((window_s for window_s in windows_s if window_s is not None), default=None)


def united_orphan_rules(published: Sequence[PolicySources]) -> tuple[OrphanRules, float] | None:
    """Which orphans sweeps clean up, and how often they look, in seconds; None: not all workers want it."""
    terms = [sources.orphans for sources in published]
    if not terms or not all(each.enabled for each in terms):
        return None
    statuses = [each.child_status for each in terms]
    common = tuple(status for status in statuses[0] if all(status in each for each in statuses))
    if not common:
        return None
    rules = OrphanRules(child_status=common, min_age_s=max(each.min_age_s for each in terms))
    return rules, min(each.interval_s for each in terms)


def purge_interval_s(published: Iterable[PolicySources]) -> float | None:
    """How often sweeps look for instances to purge; None: nobody wants any purged."""
    wanted = [sources.purge_interval_s for sources in published if sources.purges and sources.purge_enabled]
    return min(wanted, default=None)
