"""The settings as the program uses them. Pure."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec


class PolicyRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The rules of one policy of the file, all of them rules that keep; durations in seconds. None: not given."""

    keep_last: int | None = None
    keep_within_s: int | None = None
    keep_last_per_version: int | None = None
    keep_versions: int | None = None
    every_n_executions: int = 1
    interval_s: int | None = None


class SettingsPolicy(NamedTuple):
    """A policy and where it is written. ``rules`` None: never prune. ``name``: the orchestration or pattern, None for
    the default."""

    name: str | None
    rules: PolicyRules | None
    file: str
    line: int

    @property
    def origin(self) -> str:
        """``FILE:LINE``, for explanations."""
        return f"{self.file}:{self.line}"


class PruningSettings(NamedTuple):
    """``[pruning]``. ``overrides`` are in the order of the file; which one wins is not decided here."""

    enabled: bool
    triggers: tuple[str, ...]
    children: str
    default: SettingsPolicy | None
    overrides: tuple[SettingsPolicy, ...]
    rollout_pause_s: int
    rollout_cap_s: int


class PurgeRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The rules of one purge policy of the file; durations in seconds. None: not given."""

    keep_within_s: int | None = None
    keep_failed_within_s: int | None = None
    keep_last: int | None = None


class SettingsPurge(NamedTuple):
    """A purge policy and where it is written, as ``SettingsPolicy``."""

    name: str | None
    rules: PurgeRules | None
    file: str
    line: int

    @property
    def origin(self) -> str:
        return f"{self.file}:{self.line}"


class PurgeSettings(NamedTuple):
    """``[purge]``. ``policies``: the default first, if there is one, then the overrides in the order of the file."""

    enabled: bool
    policies: tuple[SettingsPurge, ...]
    interval_s: int


class OrphanSettings(NamedTuple):
    """``[orphans]``."""

    on_parent_continue: str
    on_parent_end: str
    enabled: bool
    min_age_s: int
    child_status: tuple[str, ...]
    interval_s: int


class ArchiveSettings(NamedTuple):
    """``[archive]``. ``directory`` is as written there; None: it names none. ``level`` is zstd's."""

    enabled: bool = False
    directory: str | None = None
    interval_s: int = 600
    level: int = 3


class RuntimeSettings(NamedTuple):
    """A whole runtime_config.toml. ``store_url`` is as written there; None: it names no store."""

    file: str
    store_url: str | None
    pruning: PruningSettings
    purge: PurgeSettings
    orphans: OrphanSettings
    archive: ArchiveSettings = ArchiveSettings()

    @property
    def effective_hash(self) -> str:
        """32 hexadecimal digits of what the settings *do*: equal for files that differ in comments, order, defaults
        written out, place or store URL. Workers publish it, so that workers that differ can be noticed."""
        import hashlib  # only those who publish it pay for it

        pruning = self.pruning
        policies = sorted((policy.name or "", policy.rules) for policy in pruning.overrides)
        effective = [
            pruning.enabled,
            sorted(pruning.triggers),
            pruning.children,
            pruning.default and pruning.default.rules,
            policies,
            pruning.rollout_pause_s,
            pruning.rollout_cap_s,
            self.purge.enabled,
            self.purge.interval_s,
            sorted((policy.name or "", policy.rules) for policy in self.purge.policies),
            self.orphans._replace(child_status=tuple(sorted(self.orphans.child_status))),
        ]
        if self.archive.enabled:
            effective.append(self.archive)
        return hashlib.sha256(_ENCODER.encode(effective)).hexdigest()[:32]


_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


def build_settings(values: Mapping[str, Any], lines: Mapping[tuple[str, ...], int], file: str) -> RuntimeSettings:
    """Of checked ``values`` (``check.Checked`` without findings); ``lines`` has the line of every key."""
    pruning = values["pruning"]
    overrides = tuple(
        SettingsPolicy(name, _rules(table), file, lines["pruning", "overrides", name])
        for name, table in pruning["overrides"].items()
    )
    return RuntimeSettings(
        file=file,
        store_url=values["store"]["url"],
        pruning=PruningSettings(
            enabled=pruning["enabled"],
            triggers=pruning["triggers"],
            children=pruning["children"],
            default=_default(pruning, lines, file),
            overrides=overrides,
            rollout_pause_s=pruning["rollout"]["pause"],
            rollout_cap_s=pruning["rollout"]["cap"],
        ),
        purge=_purge(values["purge"], lines, file),
        orphans=OrphanSettings(
            on_parent_continue=values["orphans"]["on_parent_continue"],
            on_parent_end=values["orphans"]["on_parent_end"],
            enabled=values["orphans"]["enabled"],
            min_age_s=values["orphans"]["min_age"],
            child_status=values["orphans"]["child_status"],
            interval_s=values["orphans"]["interval"],
        ),
        archive=ArchiveSettings(
            enabled=values["archive"]["enabled"],
            directory=values["archive"]["directory"],
            interval_s=values["archive"]["interval"],
            level=values["archive"]["level"],
        ),
    )


def _purge(purge: Mapping[str, Any], lines: Mapping[tuple[str, ...], int], file: str) -> PurgeSettings:
    policies = [
        SettingsPurge(name, _purge_rules(table), file, lines["purge", "overrides", name])
        for name, table in purge["overrides"].items()
    ]
    if any(purge[rule] is not None for rule in ("keep_within", "keep_last")):
        policies.insert(0, SettingsPurge(None, _purge_rules(purge), file, lines["purge",]))
    return PurgeSettings(enabled=purge["enabled"], policies=tuple(policies), interval_s=purge["interval"])


def _purge_rules(table: Mapping[str, Any]) -> PurgeRules | None:
    if table.get("never"):
        return None
    return PurgeRules(
        keep_within_s=table["keep_within"],
        keep_failed_within_s=table["keep_failed_within"],
        keep_last=table["keep_last"],
    )


def _default(pruning: Mapping[str, Any], lines: Mapping[tuple[str, ...], int], file: str) -> SettingsPolicy | None:
    if pruning["default"] is not None:
        return SettingsPolicy(None, _rules(pruning["default"]), file, lines["pruning", "default"])
    if pruning["default_keep_last"] is not None:
        rules = PolicyRules(keep_last=pruning["default_keep_last"])
        return SettingsPolicy(None, rules, file, lines["pruning", "default_keep_last"])
    return None


def _rules(table: Mapping[str, Any]) -> PolicyRules | None:
    if table.get("never"):
        return None
    return PolicyRules(
        keep_last=table["keep_last"],
        keep_within_s=table["keep_within"],
        keep_last_per_version=table["keep_last_per_version"],
        keep_versions=table["keep_versions"],
        every_n_executions=table["every_n_executions"],
        interval_s=table["interval"],
    )
