"""What a runtime_config.toml says about pruning, purging, orphans and archives, in the words workers publish it in."""

import msgspec

from duro.model.families import PurgeOptions
from duro.model.policies import OrphanTerms, PolicySources, StatedPolicy, StatedPurge
from duro.model.pruning import PruneTrigger
from duro.model.retention import NEVER, AutoPrune, Policy, PolicyKind, PolicyOrigin
from duro.model.status import ChildrenPolicy, InstanceStatus
from duro.settings.places_of_stores import archive_directory
from duro.settings.values import PruningSettings, RuntimeSettings, SettingsPolicy, SettingsPurge


def with_file(sources: PolicySources, settings: RuntimeSettings) -> PolicySources:
    """``sources`` with what ``settings`` say in place of what another file said."""
    pruning, directory = settings.pruning, settings.archive.directory
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
        archive_enabled=settings.archive.enabled,
        archive_directory="" if directory is None else str(archive_directory(directory, settings.file)),
        archive_interval_s=float(settings.archive.interval_s),
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
