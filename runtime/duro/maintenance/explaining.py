"""Which policy applies to an instance, and why: everything ``policy explain`` shows."""

import msgspec

from duro.maintenance.policies import ConfiguredPolicies, decode_override
from duro.maintenance.pruned import prunable_instance
from duro.model.policies import PolicyChain, UnitedPolicy
from duro.model.pruning import Hold, PruneTrigger
from duro.model.removal import PrunableInstance
from duro.model.retention import PolicyKind
from duro.model.status import InstanceStatus
from duro.retention.holds import concerns_instance, holds_in_force
from duro.retention.policy import in_doubt, policy_chain, said_of
from duro.retention.triggers import sweep_due_at_ms
from duro.stores.base import Store


class PolicyExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """``chains``: one for every different statement of the workers that run it (usually one); of all workers, where
    none does, and then nothing applies but what comes before their programs. ``united``: what all of them together let
    go; None: nobody has published anything. ``paused_until_ms``: automatic pruning rests because a further
    version was seen. ``next_sweep_at_ms``: when a sweep is due for the interval (0: now), None: none will be, as it has
    no interval, the trigger is off, or there is nothing but its current execution.
    ``instance_id`` None: it is about the orchestration."""

    instance_id: str | None
    name: str
    version: str
    chains: tuple[PolicyChain, ...]
    united: UnitedPolicy | None
    paused_until_ms: int | None
    next_sweep_at_ms: int | None
    holds: tuple[Hold, ...]


def explain(store: Store, instance_id: str | None, name: str | None, version: str) -> PolicyExplanation:
    """Of an instance, or of any instance of orchestration ``name`` (``version`` "": whatever it runs).

    Raises:
        InstanceNotFoundError: there is no such instance.
    """
    policies = ConfiguredPolicies(store)
    instance = prunable_instance(store, instance_id) if instance_id is not None else _anyone(name or "", version)
    override = decode_override(instance.policy)
    united = policies.of(instance)
    now_ms = store.now_ms()
    chains = [
        policy_chain(each, instance.name, instance.version, instance_override=override)
        for each in said_of(policies.sources, instance.name, instance.version)
    ]
    if united is not None and not united.is_known and united.origin.kind is PolicyKind.NONE:
        chains = [in_doubt(chain, united.why) for chain in chains]
    paused_until_ms = policies.paused_until_ms(instance.name, instance.version)
    return PolicyExplanation(
        instance_id=instance_id,
        name=instance.name,
        version=instance.version,
        chains=tuple(dict.fromkeys(chains)),
        united=united,
        paused_until_ms=paused_until_ms if paused_until_ms is not None and paused_until_ms > now_ms else None,
        next_sweep_at_ms=_next_sweep_at_ms(united, instance, now_ms),
        holds=tuple(
            hold
            for hold in holds_in_force(store.list_holds(), now_ms)
            if concerns_instance(hold, instance.instance_id, instance.name)
        ),
    )


def _next_sweep_at_ms(united: UnitedPolicy | None, instance: PrunableInstance, now_ms: int) -> int | None:
    passed_by = instance.instance_id != "" and instance.live_executions_max <= 1
    if united is None or passed_by or PruneTrigger.INTERVAL not in united.firing_triggers:
        return None
    due_at_ms = sweep_due_at_ms(united, instance.swept_at_ms, now_ms)
    return 0 if due_at_ms is not None and due_at_ms <= now_ms else due_at_ms


def _anyone(name: str, version: str) -> PrunableInstance:
    return PrunableInstance(
        instance_id="",
        incarnation=0,
        name=name,
        version=version,
        status=InstanceStatus.RUNNING,
        execution_id=1,
        live_executions_max=1,
        policy=None,
        swept_at_ms=None,
    )
