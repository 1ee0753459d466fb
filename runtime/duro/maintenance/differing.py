"""Whether workers that run the same orchestration were told different things about what may go."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from duro.maintenance.looking import looked
from duro.model.checkup import CheckResult, Finding, Severity
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
        try:
            sources = _sources.decode(text)
        except msgspec.DecodeError:  # of another version of duro
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
