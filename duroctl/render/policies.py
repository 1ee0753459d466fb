"""Policies explained, as lines and documents. Pure."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from duro.maintenance.explaining import PolicyExplanation
from duro.model.policies import PolicyChain, PolicyLink, PolicySources, StatedPolicy, UnitedPolicy
from duro.model.pruning import PrunePlan
from duro.model.retention import PolicyKind, PolicyOrigin
from duroctl.render.tables import Column, View
from duroctl.render.text import versioned, visible_field
from duroctl.render.units import iso

_CALLED: Final = {
    PolicyKind.TURN: "prune= of the turn",
    PolicyKind.INSTANCE: "the instance's own",
    PolicyKind.FILE_OVERRIDE: "override in the file",
    PolicyKind.CODE_OVERRIDE: "override in the program",
    PolicyKind.REGISTRATION: "registration",
    PolicyKind.FILE_DEFAULT: "default of the file",
    PolicyKind.CODE_DEFAULT: "default of the program",
    PolicyKind.NONE: "none",
}


def explanation_lines(told: PolicyExplanation) -> Iterator[str]:
    """The whole chain, the strongest first, and what follows from it."""
    what = told.name if told.instance_id is None else f"{told.instance_id} ({versioned(told.name, told.version)})"
    if not told.chains:
        yield visible_field(f"{what}: no worker has published any policy, so nothing is pruned automatically")
    for number, chain in enumerate(told.chains, 1):
        which = f", as {number} of {len(told.chains)} groups of workers see it" if len(told.chains) > 1 else ""
        yield visible_field(f"{what}{which}:")
        yield from _chain_lines(chain)
    yield from _outcome_lines(told)


def _chain_lines(chain: PolicyChain) -> Iterator[str]:
    for link in chain.links:
        mark = "->" if link.applies else "  "
        says, why = visible_field(_says(link)), visible_field(link.why)
        yield f"{mark} {link.rank}  {_CALLED[link.origin.kind]:<23}  {says}{_where(link)}  [{why}]"


def _says(link: PolicyLink) -> str:
    said = link.options if link.options is not None else link.policy
    return "-" if said is None else str(said)


def _where(link: PolicyLink) -> str:
    named = f" for {visible_field(link.name)}" if link.name and link.origin.kind is not PolicyKind.REGISTRATION else ""
    return f"{named}  at {visible_field(link.origin.text)}" if link.origin.text else named


def _outcome_lines(told: PolicyExplanation) -> Iterator[str]:
    united = told.united
    if united is not None:
        if united.policies is None:
            why = united.why.removesuffix(": nothing is pruned")
            yield visible_field(f"nothing is pruned automatically: {why}")
        else:
            yield visible_field(f"pruned automatically: {' and '.join(map(str, united.policies))} ({united.origin})")
            yield f"when: {', '.join(united.firing_triggers) or _never_fires(united)}"
            if united.workers_differ:
                yield visible_field(united.why)
    if told.paused_until_ms is not None:
        yield visible_field(f"paused until {iso(told.paused_until_ms)}: a further version of {told.name} was seen")
    if told.next_sweep_at_ms is not None:
        yield "next sweep: now" if told.next_sweep_at_ms == 0 else f"next sweep: {iso(told.next_sweep_at_ms)}"
    for hold in told.holds:
        yield visible_field(f"held by {hold.hold_id} ({hold.target}): {hold.reason}")


def _never_fires(united: UnitedPolicy) -> str:
    if not united.triggers:
        return "never, all triggers are off"
    return f"never: the only trigger that is on is {', '.join(united.triggers)}, and it has no interval"


class Explained(NamedTuple):
    """What is said of an instance (or of an orchestration, which has no plan), and what a prune without rules would do
    now."""

    told: PolicyExplanation
    plan: PrunePlan | None


def explained_json(explained: Explained) -> dict[str, Any]:
    told, plan = explained
    items = () if plan is None else plan.instances[0].items if plan.instances else ()
    executions = [
        {
            "execution_id": item.execution.execution_id,
            "keep": item.verdict.keep,
            "reasons": item.verdict.reasons,
            "event_count": item.execution.event_count,
            "history_bytes": item.execution.history_bytes,
        }
        for item in items
    ]
    return {**msgspec.to_builtins(told), "executions": executions}


class Linked(NamedTuple):
    """A link of a chain, and whose it is."""

    instance_id: str | None
    link: PolicyLink


def links(told: PolicyExplanation) -> Iterator[Linked]:
    for chain in told.chains:
        for link in chain.links:
            yield Linked(told.instance_id, link)


LINKS: Final = View(
    "duroctl.policy_explanation/1",
    "explanation",
    (
        Column("rank", None, "number", lambda row: row.link.rank),
        Column("kind", None, "text", lambda row: row.link.origin.kind),
        Column("applies", None, "text", lambda row: "yes" if row.link.applies else "no"),
        Column("policy", None, "text", lambda row: _says(row.link)),
        Column("name", None, "text", lambda row: row.link.name),
        Column("origin", None, "text", lambda row: row.link.origin.text),
        Column("why", None, "text", lambda row: row.link.why),
        Column("instance_id", None, "id", lambda row: row.instance_id),
    ),
    msgspec.to_builtins,
    lambda row: str(row.link.origin),
)
"""Printed link by link: as rows and as ids."""
EXPLANATION: Final = View("duroctl.policy_explanation/1", "explanation", (), explained_json, str)
EXPLANATIONS: Final = View("duroctl.policy_explanations/1", "explanations", (), explained_json, str)
"""Printed as documents alone."""


class Published(NamedTuple):
    """A policy somebody stated, and which worker says so."""

    worker_id: str
    stated: StatedPolicy
    enabled: bool
    settings_hash: str


def published_policies(worker_id: str, sources: PolicySources) -> Iterator[Published]:
    enabled = sources.file_enabled and sources.code_enabled
    defaults = [each for each in (sources.file_default, sources.code_default) if each is not None]
    for stated in (*sources.file_overrides, *sources.code_overrides, *sources.registrations, *defaults):
        yield Published(worker_id, stated, enabled, sources.settings_hash)


def published_json(row: Published) -> dict[str, Any]:
    stated: dict[str, Any] = msgspec.to_builtins(row.stated)
    return {"worker_id": row.worker_id, **stated, "enabled": row.enabled, "settings_hash": row.settings_hash}


PUBLISHED: Final = View(
    "duroctl.policies/1",
    "policies",
    (
        Column("worker_id", None, "id", lambda row: row.worker_id),
        Column("name", "NAME", "id", lambda row: row.stated.name or "(default)"),
        Column("version", "VERSION", "text", lambda row: row.stated.version),
        Column("policy", "POLICY", "id", lambda row: str(row.stated.policy)),
        Column("kind", "SAID BY", "text", lambda row: _CALLED[row.stated.origin.kind]),
        Column("origin", "WHERE", "id", lambda row: row.stated.origin.text),
        Column("enabled", "ENABLED", "text", lambda row: "yes" if row.enabled else "no"),
        Column("settings_hash", None, "text", lambda row: row.settings_hash),
    ),
    published_json,
    lambda row: row.stated.name,
)


def _policy(told: PolicyExplanation) -> str:
    united = told.united
    if united is None or united.policies is None:
        return "never"
    return " and ".join(map(str, united.policies))


def _firing(told: PolicyExplanation) -> list[str]:
    return [] if told.united is None else list(told.united.firing_triggers)


def _effective_json(told: PolicyExplanation) -> dict[str, Any]:
    united = told.united
    return {
        "name": told.name,
        "version": told.version,
        "policies": None if united is None else msgspec.to_builtins(united.policies),
        "origin": None if united is None else msgspec.to_builtins(united.origin),
        "triggers": [] if united is None else list(united.triggers),
        "firing_triggers": _firing(told),
        "why": "nobody says what to prune" if united is None else united.why,
        "workers_differ": united is not None and united.workers_differ,
        "paused_until_ms": told.paused_until_ms,
    }


EFFECTIVE: Final = View(
    "duroctl.effective_policies/1",
    "policies",
    (
        Column("name", "NAME", "id", lambda told: told.name),
        Column("version", "VERSION", "text", lambda told: told.version),
        Column("policy", "POLICY", "id", _policy),
        Column("firing_triggers", "WHEN", "text", lambda told: ", ".join(_firing(told)) or "never"),
        Column("kind", "SAID BY", "text", lambda told: _CALLED[_origin(told).kind]),
        Column("origin", "WHERE", "id", lambda told: _origin(told).text),
        Column("why", None, "text", lambda told: "" if told.united is None else told.united.why),
        Column("paused_until", "PAUSED UNTIL", "time", lambda told: told.paused_until_ms),
    ),
    _effective_json,
    lambda told: told.name,
)


def _origin(told: PolicyExplanation) -> PolicyOrigin:
    return PolicyOrigin(PolicyKind.NONE, "") if told.united is None else told.united.origin
