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


class RuntimeSettings(NamedTuple):
    """A whole runtime_config.toml. ``store_url`` is as written there; None: it names no store."""

    file: str
    store_url: str | None
    pruning: PruningSettings

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
        ]
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
