"""What this worker was told about automatic pruning, and how its turns and its publication say it. Pure."""

from typing import Final

import msgspec

from duro.model.families import PurgeOptions
from duro.model.policies import OrphanTerms, PolicyChain, PolicySources, StatedPolicy, StatedPurge
from duro.model.pruning import PruneTrigger
from duro.model.retention import NEVER, AutoPrune, AutoPruneConfig, Policy, PolicyKind, PolicyOrigin, PruneOptions
from duro.model.status import ChildrenPolicy, InstanceStatus, ParentPolicy
from duro.model.turns import ChildTerms, PruneTerms
from duro.registry import Registry
from duro.retention.policy import policy_chain, stated_in_code, stopped_by
from duro.settings.values import PruningSettings, RuntimeSettings, SettingsPolicy, SettingsPurge

_CODE: Final = "RuntimeOptions(auto_prune=)"

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
    return sources if settings is None else _with_file(sources, settings)


def _with_file(sources: PolicySources, settings: RuntimeSettings) -> PolicySources:
    pruning = settings.pruning
    return msgspec.structs.replace(
        sources,
        file=settings.file,
        file_enabled=pruning.enabled,
        triggers=tuple(PruneTrigger(trigger) for trigger in pruning.triggers),
        file_overrides=tuple(_stated(each, PolicyKind.FILE_OVERRIDE) for each in pruning.overrides),
        file_default=_default(pruning),
        rollout_pause_s=float(pruning.rollout_pause_s),
        rollout_cap_s=float(pruning.rollout_cap_s),
        children=ChildrenPolicy(pruning.children),
        purge_enabled=settings.purge.enabled,
        purges=tuple(_stated_purge(each) for each in settings.purge.policies),
        purge_interval_s=float(settings.purge.interval_s),
        orphans=OrphanTerms(
            enabled=settings.orphans.enabled,
            min_age_s=float(settings.orphans.min_age_s),
            child_status=tuple(InstanceStatus(status) for status in settings.orphans.child_status),
            interval_s=float(settings.orphans.interval_s),
        ),
        settings_hash=settings.effective_hash,
    )


def _default(pruning: PruningSettings) -> StatedPolicy | None:
    return None if pruning.default is None else _stated(pruning.default, PolicyKind.FILE_DEFAULT)


def _stated(written: SettingsPolicy, kind: PolicyKind) -> StatedPolicy:
    rules = written.rules
    policy: Policy = NEVER
    if rules is not None:
        policy = AutoPrune(
            keep_last=rules.keep_last,
            keep_within=rules.keep_within_s,
            keep_last_per_version=rules.keep_last_per_version,
            keep_versions=rules.keep_versions,
            every_n_executions=rules.every_n_executions,
            interval=rules.interval_s,
        )
    return StatedPolicy(policy=policy, origin=PolicyOrigin(kind, written.origin), name=written.name or "")


def _stated_purge(written: SettingsPurge) -> StatedPurge:
    rules = written.rules
    kind = PolicyKind.FILE_DEFAULT if written.name is None else PolicyKind.FILE_OVERRIDE
    options = None
    if rules is not None:
        options = PurgeOptions(
            keep_within=rules.keep_within_s, keep_failed_within=rules.keep_failed_within_s, keep_last=rules.keep_last
        )
    return StatedPurge(options=options, origin=PolicyOrigin(kind, written.origin), name=written.name or "")


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
    chains for its turns."""

    def __init__(self, sources: PolicySources, child_terms: ChildTerms = _DEFAULT_TERMS) -> None:
        self.sources = sources
        self.child_terms = child_terms
        self.published = msgspec.json.encode(sources).decode()
        self.terms = PruneTerms(
            children=sources.children,
            rollout_pause_s=sources.rollout_pause_s,
            rollout_cap_s=sources.rollout_cap_s,
            stopped_by=stopped_by(sources),
            triggers=sources.triggers,
        )
        self._chains: dict[tuple[str, str, PruneOptions | None], PolicyChain | None] = {}

    def chain(self, name: str, version: str, prune: PruneOptions | None) -> PolicyChain | None:
        """For a turn that continues as new with ``prune``; None: nobody says anything."""
        key = (name, version, prune)
        try:
            return self._chains[key]
        except KeyError:
            chain = policy_chain(self.sources, name, version, turn_options=prune)
            if len(self._chains) >= _CHAINS_KEPT:
                self._chains.clear()
            kept = None if chain.applied.origin.kind is PolicyKind.NONE else chain
            self._chains[key] = kept
            return kept
