"""Which policy applies to an instance. The more specific statement replaces the more general one whole; nothing is
merged, because a half-merged policy is one that nobody wrote.

1. ``prune=`` in the code of this very turn (``ctx.prune_history`` does not replace anything);
2. the instance's own override;
3. an override of the file, 4. one of the code: the exact name, then the longest pattern;
5. the registration of the version the instance runs;
6. the default of the file, 7. the default of the code;
8. none: nothing is pruned.

Where workers were told different things, what they keep is united.
"""

from collections.abc import Iterable, Iterator, Sequence

from duro.model.policies import PolicyChain, PolicyLink, PolicySources, StatedPolicy, UnitedChain, UnitedPolicy
from duro.model.pruning import PruneTrigger
from duro.model.retention import NEVER, AutoPruneConfig, PolicyKind, PolicyOrigin, PruneOptions
from duro.retention.names import by_precedence


def policy_chain(
    sources: PolicySources,
    name: str,
    version: str,
    *,
    instance_override: StatedPolicy | None = None,
    turn_options: PruneOptions | None = None,
) -> PolicyChain:
    """Every place that could say something about an instance of orchestration ``name`` whose current execution runs
    ``version``, and which of them applies. ``version`` "": it has not begun, and the newest will be chosen for it.

    ``turn_options`` is the ``prune=`` of the turn's ``continue_as_new``, if it has one.
    """
    stopped = stopped_by(sources)
    links: list[PolicyLink] = []
    winner: PolicyLink | None = None
    for link in _candidates(sources, name, version, instance_override, turn_options):
        if link.policy is None and link.options is None:
            links.append(link)
        elif winner is None:
            winner = link
            links.append(_with(link, applies=True, why=_why_it_applies(link, stopped)))
        else:
            links.append(_with(link, applies=False, why=_replaced_by(winner)))
    why = _replaced_by(winner) if winner else "nobody says what to prune: nothing is pruned"
    links.append(PolicyLink(origin=PolicyOrigin(PolicyKind.NONE, ""), applies=winner is None, why=why))
    return PolicyChain(links=tuple(links), triggers=sources.triggers, stopped_by=stopped)


def _candidates(
    sources: PolicySources,
    name: str,
    version: str,
    instance_override: StatedPolicy | None,
    turn_options: PruneOptions | None,
) -> Iterator[PolicyLink]:
    """One link or more for each rank 1 to 7, the strongest first, none of them applying yet."""
    if turn_options is None:
        yield _silent(PolicyKind.TURN, "no prune= in this turn")
    else:
        origin = PolicyOrigin(PolicyKind.TURN, "prune= of continue_as_new")
        yield PolicyLink(origin=origin, applies=False, why="", options=turn_options)
    yield _one(PolicyKind.INSTANCE, instance_override, "the instance has no override")
    yield from _overrides(PolicyKind.FILE_OVERRIDE, sources.file_overrides, name)
    yield from _overrides(PolicyKind.CODE_OVERRIDE, sources.code_overrides, name)
    yield from _registrations(sources, name, version)
    yield _one(PolicyKind.FILE_DEFAULT, sources.file_default, "the file has no default")
    yield _one(PolicyKind.CODE_DEFAULT, sources.code_default, "the code has no default")


def _overrides(kind: PolicyKind, stated: Iterable[StatedPolicy], name: str) -> Iterator[PolicyLink]:
    by_name = {override.name: override for override in stated}
    order = by_precedence(name, by_name)
    if not order:
        yield _silent(kind, f"no override matches {name!r}" if by_name else "there are no overrides")
    for pattern in order:
        yield _link(by_name[pattern])


def _registrations(sources: PolicySources, name: str, version: str) -> Iterator[PolicyLink]:
    of_name = {stated.version: stated for stated in sources.registrations if stated.name == name}
    version = version or _newest_version(sources, name)
    if version in of_name:
        yield _link(of_name[version])
    elif of_name:
        others = ", ".join(sorted(of_name))
        yield _silent(
            PolicyKind.REGISTRATION, f"version {version!r} was registered without auto_prune, unlike {others}"
        )
    elif sources.orchestrations and all(known != name for known, _ in sources.orchestrations):
        yield _silent(PolicyKind.REGISTRATION, f"{name!r} is not registered")
    else:
        yield _silent(PolicyKind.REGISTRATION, f"{name!r} was registered without auto_prune")


def _newest_version(sources: PolicySources, name: str) -> str:
    """Of ``name``, as the worker runs it, which publishes versions from old to new; "" if it does not."""
    return next((version for known, version in reversed(sources.orchestrations) if known == name), "")


def _one(kind: PolicyKind, stated: StatedPolicy | None, why_not: str) -> PolicyLink:
    return _silent(kind, why_not) if stated is None else _link(stated)


def _link(stated: StatedPolicy) -> PolicyLink:
    return PolicyLink(origin=stated.origin, applies=False, why="", name=stated.name, policy=stated.policy)


def _silent(kind: PolicyKind, why: str) -> PolicyLink:
    return PolicyLink(origin=PolicyOrigin(kind, ""), applies=False, why=why)


def _with(link: PolicyLink, *, applies: bool, why: str) -> PolicyLink:
    return PolicyLink(
        origin=link.origin, applies=applies, why=why, name=link.name, policy=link.policy, options=link.options
    )


def _why_it_applies(link: PolicyLink, stopped_by: str) -> str:
    if stopped_by and link.options is None:
        return f"would apply, but automatic pruning is off: {stopped_by}"
    return "applies"


def _replaced_by(winner: PolicyLink) -> str:
    return f"replaced by {winner.origin}"


def stopped_by(sources: PolicySources) -> str:
    """Who switched automatic pruning off, "" if nobody did. Both must agree: whoever says no is obeyed."""
    if not sources.file_enabled:
        return f"enabled = false in {sources.file}"
    return "" if sources.code_enabled else "AutoPruneConfig(enabled=False)"


def stated_in_code(config: AutoPruneConfig, where: str) -> tuple[tuple[StatedPolicy, ...], StatedPolicy | None]:
    """``config`` as sources: its overrides and its default. ``where`` tells a person where it stands."""
    overrides = tuple(
        StatedPolicy(policy=policy, origin=PolicyOrigin(PolicyKind.CODE_OVERRIDE, where), name=name)
        for name, policy in config.override_policies.items()
    )
    if config.default_policy is None:
        return overrides, None
    return overrides, StatedPolicy(policy=config.default_policy, origin=PolicyOrigin(PolicyKind.CODE_DEFAULT, where))


def with_instance_override(chain: PolicyChain, override: StatedPolicy) -> PolicyChain:
    """``chain``, made without one, as it is for an instance that has an override of its own: the same as if
    ``policy_chain`` had been told."""
    winner = next((link for link in chain.links if link.applies and link.origin.kind is PolicyKind.TURN), None)
    mine = _link(override)
    if winner is None:
        winner = mine = _with(mine, applies=True, why=_why_it_applies(mine, chain.stopped_by))
    else:
        mine = _with(mine, applies=False, why=_replaced_by(winner))
    links = []
    for link in chain.links:
        if link.origin.kind is PolicyKind.INSTANCE:
            link = mine
        elif link is not winner and (link.policy is not None or link.origin.kind is PolicyKind.NONE):
            link = _with(link, applies=False, why=_replaced_by(winner))
        links.append(link)
    made = PolicyChain(links=tuple(links), triggers=chain.triggers, stopped_by=chain.stopped_by)
    if isinstance(chain, UnitedChain):
        return beside(made, [with_instance_override(other, override) for other in chain.others])
    return made


# --- what the workers say together --------------------------------------------------------------------------


def united_policy(
    published: Sequence[PolicySources],
    name: str,
    version: str,
    *,
    instance_override: StatedPolicy | None = None,
    all_run_it: bool = False,
    last_words: Sequence[PolicySources] = (),
) -> UnitedPolicy | None:
    """The automatic policy for an instance as all workers see it: None if none has published anything.

    Those who run this version are asked (of ``version`` "": those who run ``name``); where none does, those who run
    another. Nobody knows then what the program that runs it says, which comes before every default, nor, where nobody
    runs ``name`` at all, whether its file has a better match than a pattern of theirs: the instance's own policy
    applies, and overrides of the files (in the second case those of this very name), and nothing weaker.
    ``all_run_it``: where none does, all are taken to run it and to say nothing else.

    ``last_words``: what those said last who ran this version, and of whom none does now. While they are away, as during
    a restart, whoever switched automatic pruning off has still done so, and a trigger that was off is off.
    """
    running = _running(published, name, version)
    related = running or _running(published, name, "")
    chains = [
        policy_chain(sources, name, version, instance_override=instance_override) for sources in related or published
    ]
    if not chains:
        return None
    may_be_replaced = _outranked_by_its_program if related else _meant_for_others
    if not running and not all_run_it and any(may_be_replaced(chain, name) for chain in chains):
        why = f"no worker that runs {name!r} {version}".rstrip() + " has published its policies"
        return UnitedPolicy(
            policies=None,
            origin=PolicyOrigin(PolicyKind.NONE, why),
            triggers=_common_triggers(chains),
            workers_differ=False,
            why=why,
            is_known=False,
        )
    away = [policy_chain(sources, name, version) for sources in last_words]
    if stopped := next((chain for chain in away if chain.stopped_by), None):
        why = f"{why_nothing(stopped)}, as a worker said that ran {name!r} and is away"
        return UnitedPolicy(
            policies=None,
            origin=PolicyOrigin(PolicyKind.NONE, why),
            triggers=_common_triggers(chains),
            workers_differ=False,
            why=why,
            is_known=False,
        )
    policies = tuple(dict.fromkeys(chain.policy for chain in chains))
    idle = next((chain for chain in chains if chain.policy is None), None)
    return UnitedPolicy(
        policies=None if idle else tuple(policy for policy in policies if policy is not None),
        origin=united_origin([idle] if idle else chains),
        triggers=_common_triggers([*chains, *away]),
        workers_differ=len(policies) > 1,
        why=_why_united(idle, len(policies)),
        is_never=idle is not None and not idle.stopped_by and idle.applied.policy == NEVER,
    )


def said_of(published: Sequence[PolicySources], name: str, version: str) -> Sequence[PolicySources]:
    """Whose word on an instance of ``name`` counts: those who run this version, or another; or, where nobody does, all
    of them, of whom little counts then (see ``united_policy``)."""
    return _running(published, name, version) or _running(published, name, "") or published


def in_doubt(chain: PolicyChain, why: str) -> PolicyChain:
    """``chain``, of which nothing applies because of ``why``."""
    links = []
    for link in chain.links:
        if link.origin.kind is PolicyKind.NONE:
            link = _with(link, applies=True, why=f"{why}: nothing is pruned")
        elif link.applies:
            link = _with(link, applies=False, why=why)
        links.append(link)
    return PolicyChain(links=tuple(links), triggers=chain.triggers, stopped_by=chain.stopped_by)


def beside(chain: PolicyChain, others: Iterable[PolicyChain]) -> PolicyChain:
    """``chain`` of one worker, together with those of ``others`` that say something else."""
    said = {_said(chain)}
    differing = []
    for other in others:
        if _said(other) not in said:
            said.add(_said(other))
            differing.append(other)
    if not differing:
        return chain
    return UnitedChain(links=chain.links, triggers=chain.triggers, stopped_by=chain.stopped_by, others=tuple(differing))


def _said(chain: PolicyChain) -> tuple[object, ...]:
    return chain.policy, chain.triggers, bool(chain.stopped_by)


def why_nothing(chain: PolicyChain) -> str:
    """Why ``chain``, whose ``policy`` is None, prunes nothing automatically."""
    if chain.stopped_by:
        return f"automatic pruning is off: {chain.stopped_by}"
    applied = chain.applied
    return applied.why if applied.policy is None else f"{applied.origin} says never"


def united_origin(chains: Sequence[PolicyChain]) -> PolicyOrigin:
    """Who says what ``chains`` say together."""
    origins = sorted({chain.applied.origin for chain in chains}, key=lambda origin: (origin.kind.rank, origin.text))
    if len(origins) == 1:
        return origins[0]
    return PolicyOrigin(origins[0].kind, "; ".join(str(origin) for origin in origins))


def _why_united(idle: PolicyChain | None, policies: int) -> str:
    differ = f"workers differ ({policies} policies)"
    if idle is None:
        return f"{differ}: what any of them keeps is kept" if policies > 1 else "applies"
    return f"{differ}: {why_nothing(idle)}" if policies > 1 else why_nothing(idle)


def _running(published: Sequence[PolicySources], name: str, version: str) -> Sequence[PolicySources]:
    """Those who run this version of ``name``; of version "", which is not chosen yet, any of it."""
    return [
        sources
        for sources in published
        if any(name == known and version in ("", each) for known, each in sources.orchestrations)
    ]


def _outranked_by_its_program(chain: PolicyChain, _name: str) -> bool:
    """Whether what applies, were it nothing, would give way to what the program that runs the orchestration may say."""
    return chain.applied.rank > PolicyKind.FILE_OVERRIDE.rank


def _meant_for_others(chain: PolicyChain, name: str) -> bool:
    """The same, or to what its file may say: a pattern in the file of another program is no word about it."""
    is_pattern = chain.applied.rank == PolicyKind.FILE_OVERRIDE.rank and chain.applied.name != name
    return _outranked_by_its_program(chain, name) or is_pattern


def _common_triggers(chains: Sequence[PolicyChain]) -> tuple[PruneTrigger, ...]:
    return tuple(trigger for trigger in PruneTrigger if all(trigger in chain.triggers for chain in chains))
