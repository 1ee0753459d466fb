"""What this worker was told about automatic pruning, and how its turns and its publication say it. Pure."""

from collections.abc import Sequence
from typing import Final

import msgspec

from duro.maintenance.file_sources import with_file
from duro.maintenance.policies import children_of
from duro.model.policies import PolicyChain, PolicySources, UnitedChain
from duro.model.retention import AutoPruneConfig, PolicyKind, PruneOptions
from duro.model.status import ChildrenPolicy, ParentPolicy
from duro.model.turns import ChildTerms, PruneTerms
from duro.registry import Registry
from duro.retention.policy import beside, policy_chain, stated_in_code, stopped_by
from duro.settings.values import RuntimeSettings

_CODE: Final = "RuntimeOptions(auto_prune=)"

_UNREADABLE: Final = "what another worker says about pruning cannot be read"

_DEFAULT_TERMS: Final = ChildTerms()

_CHAINS_KEPT: Final = 1_000
"""Chains kept for the names, versions and options of turns: code that makes up options at every turn must not fill the
memory."""


def sources_of(settings: RuntimeSettings | None, code: AutoPruneConfig | None, registry: Registry) -> PolicySources:
    """Everything that the file (if there is one), the program and its registrations say."""
    overrides, default = ((), None) if code is None else stated_in_code(code, _CODE)
    sources = PolicySources(
        orchestrations=registry.orchestrations,
        code_enabled=code is None or code.enabled,
        code_overrides=overrides,
        code_default=default,
        registrations=registry.policies,
    )
    return sources if settings is None else with_file(sources, settings)


def child_terms(settings: RuntimeSettings | None) -> ChildTerms:
    """What the file says about the children of what ends; without one, the defaults."""
    if settings is None:
        return ChildTerms()
    return ChildTerms(
        on_parent_continue=ParentPolicy(settings.orphans.on_parent_continue),
        on_parent_end=ParentPolicy(settings.orphans.on_parent_end),
    )


class WorkerPolicies:
    """``sources`` as a worker needs them: ``published`` for its row, ``terms`` and ``child_terms`` for its batches,
    chains for its turns. ``others``: what the other workers of the store publish; what those of them keep that run the
    same, its turns keep, too. ``unreadable``: one of them says what nobody can read, and may keep anything: then turns
    prune only what code asks for, and no children with it."""

    def __init__(
        self,
        sources: PolicySources,
        child_terms: ChildTerms = _DEFAULT_TERMS,
        others: Sequence[PolicySources] = (),
        *,
        unreadable: bool = False,
    ) -> None:
        self.sources = sources
        self.others = tuple(others)
        self.child_terms = child_terms
        self.published = msgspec.json.encode(sources).decode()
        pausing = [each for each in (sources, *others) if each.rollout_pause_s > 0]
        self.terms = PruneTerms(
            children=ChildrenPolicy.KEEP if unreadable else children_of((sources, *others)),
            rollout_pause_s=max((each.rollout_pause_s for each in pausing), default=0.0),
            rollout_cap_s=max((each.rollout_cap_s for each in pausing), default=sources.rollout_cap_s),
            stopped_by=stopped_by(sources) or (_UNREADABLE if unreadable else ""),
            triggers=sources.triggers,
            archive=any(each.archive_enabled for each in (sources, *others)),
        )
        self._chains: dict[tuple[str, str, PruneOptions | None], PolicyChain | None] = {}

    def chain(self, name: str, version: str, prune: PruneOptions | None) -> PolicyChain | None:
        """For a turn that continues as new with ``prune``; None: nobody says anything."""
        key = (name, version, prune)
        try:
            return self._chains[key]
        except KeyError:
            running = [each for each in self.others if (name, version) in each.orchestrations]
            chain = beside(
                policy_chain(self.sources, name, version, turn_options=prune),
                [policy_chain(each, name, version) for each in running],
            )
            chain = msgspec.structs.replace(chain, stopped_by=self.terms.stopped_by)
            if len(self._chains) >= _CHAINS_KEPT:
                self._chains.clear()
            silent = chain.applied.origin.kind is PolicyKind.NONE and not isinstance(chain, UnitedChain)
            kept = None if silent else chain
            self._chains[key] = kept
            return kept
