"""What workers were told about what may go: whether it can be read, and whether those that run the same orchestration
were told different things."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from duro.errors import StoreError
from duro.maintenance.looking import looked
from duro.model.checkup import FINDINGS_SHOWN, CheckResult, Finding, Severity
from duro.model.policies import PolicySources
from duro.retention.policy import policy_chain
from duro.retention.purging import purge_policy
from duro.stores.base import Store

_sources = msgspec.json.Decoder(PolicySources)

_Told = dict[str, list[str]]
"""Publications, each with the live workers of which it is."""


def workers_differ(store: Store) -> CheckResult:
    """Programs that have no orchestration in common may be told what they like."""
    check = CheckResult(
        name="workers-differ",
        severity=Severity.WARNING,
        looks_for="orchestrations whose workers were told different things about retention (what any of them keeps is "
        "kept)",
        remedy="give those workers the same configuration; `duroctl policy explain --name` shows what each says",
    )
    return looked(
        check,
        lambda: [Finding(f"{name} {version}".rstrip(), text) for name, version, text in _differences(_told(store))],
    )


def with_unreadable(store: Store, found: CheckResult) -> CheckResult:
    """What a store found of publications that are damaged, with those that another version of duro made: it knows
    nothing of what they say."""
    if found.severity is Severity.ERROR or found.count > FINDINGS_SHOWN:  # it could not look, or names not all of them
        return found
    try:
        told = _told(store)
    except StoreError:  # `workers_differ` says so
        return found
    known = {finding.subject for finding in found.findings}
    unreadable = [
        Finding(worker_id, f"it says {text[:100]}")
        for text, workers in told.items()
        if _readable(text) is None
        for worker_id in workers
        if worker_id not in known
    ]
    every = (*found.findings, *unreadable)
    return msgspec.structs.replace(found, count=len(every), findings=every[:FINDINGS_SHOWN])


def _readable(text: str) -> PolicySources | None:
    try:
        return _sources.decode(text)
    except msgspec.DecodeError:
        return None


def _told(store: Store) -> _Told:
    now_ms, told = store.now_ms(), defaultdict[str, list[str]](list)
    for worker in store.list_workers():
        if worker.lease_until_ms > now_ms:
            told[worker.published].append(worker.worker_id)
    return told


def _differences(told: _Told) -> Iterator[tuple[str, str, str]]:
    """Orchestration, version, and what is told of whom."""
    running = defaultdict[tuple[str, str], list[tuple[PolicySources, list[str]]]](list)
    for text, workers in told.items():
        if (sources := _readable(text)) is None:
            continue
        for orchestration in sources.orchestrations:
            running[orchestration].append((sources, workers))
    for (name, version), of in sorted(running.items()):
        if len(of) > 1 and (text := _difference(name, version, of)):
            yield name, version, text


def _difference(name: str, version: str, of: Sequence[tuple[PolicySources, list[str]]]) -> str:
    said = [(_said(sources, name, version), sorted(workers)) for sources, workers in of]
    subjects = [each for each in _SUBJECTS if len({_comparable(what[each]) for what, _ in said}) > 1]
    if not subjects:
        return ""
    groups = defaultdict[tuple[str, ...], list[str]](list)
    for what, workers in said:
        groups[tuple(_comparable(what[each]) for each in subjects)] += workers
    return f"{' | '.join(' '.join(workers) for workers in groups.values())} differ in {', '.join(subjects)}"


_SUBJECTS: Final = ("the policy", "its triggers", "[pruning.rollout]", "children", "[purge]", "[orphans]", "[archive]")


def _said(sources: PolicySources, name: str, version: str) -> dict[str, Any]:
    """What one worker was told, by subject."""
    chain, purge = policy_chain(sources, name, version), purge_policy(sources, name)
    return dict(
        zip(
            _SUBJECTS,
            (
                (chain.policy, bool(chain.stopped_by)),
                sorted(chain.triggers),
                (sources.rollout_pause_s, sources.rollout_cap_s),
                sources.children,
                (sources.purge_enabled, None if purge is None else (purge.options,)),
                sources.orphans,
                (sources.archive_enabled, sources.archive_directory),
            ),
            strict=True,
        )
    )


def _comparable(value: Any) -> str:
    return msgspec.json.encode(value).decode()
