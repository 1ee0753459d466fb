"""What was said about automatic pruning, by whom, and which of it applies. JSON both ways: workers publish their
sources, so that sweeps and the command line decide with the same ones; a chain is what ``explain`` shows."""

import msgspec

from duro.model.families import PurgeOptions
from duro.model.limits import ARCHIVE_INTERVAL_S, ORPHAN_MIN_AGE_S, ORPHAN_SWEEP_S, PURGE_SWEEP_S
from duro.model.pruning import PruneTrigger
from duro.model.retention import AutoPrune, Policy, PolicyOrigin, PruneOptions
from duro.model.status import FINAL_INSTANCE_STATUSES, ChildrenPolicy, InstanceStatus


class StatedPolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A policy as it stands somewhere. ``name`` is an orchestration's name or a pattern, "" for a default; ``version``
    is for registrations, which are of one version."""

    policy: Policy
    origin: PolicyOrigin
    name: str = ""
    version: str = ""


class StatedPurge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A purge policy as it stands in a file. ``options`` None: never. ``name`` is an orchestration's name or a pattern,
    "" for the default."""

    options: PurgeOptions | None
    origin: PolicyOrigin
    name: str = ""


class OrphanTerms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a file says about orphans. ``enabled``: sweeps remove those that ended in one of ``child_status`` and have
    been orphans for ``min_age_s``, looking every ``interval_s``."""

    enabled: bool = False
    min_age_s: float = ORPHAN_MIN_AGE_S
    child_status: tuple[InstanceStatus, ...] = tuple(sorted(FINAL_INSTANCE_STATUSES))
    interval_s: float = ORPHAN_SWEEP_S


class PolicySources(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that one worker was told about automatic pruning: its file, its program, and what it registered.

    ``orchestrations`` are the (name, version) pairs it runs; ``registrations`` are of those that bring a policy.
    ``file_enabled`` and ``code_enabled`` must both be True for anything to be pruned automatically; ``file`` names the
    file, "" if there is none. ``triggers`` are those the file allows. ``rollout_pause_s`` and ``rollout_cap_s``: see
    ``duro.retention.triggers``. ``children``: what becomes of the children of a pruned execution. ``purges``: what the
    file says about purging, looked at every ``purge_interval_s``; ``orphans``: about orphans. ``archive_enabled``: what
    goes is kept first, in ``archive_directory`` (absolute), and few histories wait for each other for
    ``archive_interval_s``. ``settings_hash`` names the whole configuration ("" without a file). ``weakened`` is what
    its store gave up for speed ("" nothing). ``problems`` are why its file as it is now is not in force.
    """

    orchestrations: tuple[tuple[str, str], ...] = ()
    file: str = ""
    file_enabled: bool = True
    code_enabled: bool = True
    triggers: tuple[PruneTrigger, ...] = (PruneTrigger.CONTINUE_AS_NEW, PruneTrigger.INTERVAL)
    file_overrides: tuple[StatedPolicy, ...] = ()
    code_overrides: tuple[StatedPolicy, ...] = ()
    registrations: tuple[StatedPolicy, ...] = ()
    file_default: StatedPolicy | None = None
    code_default: StatedPolicy | None = None
    rollout_pause_s: float = 0.0
    rollout_cap_s: float = 7 * 86_400.0
    children: ChildrenPolicy = ChildrenPolicy.KEEP
    purge_enabled: bool = True
    purges: tuple[StatedPurge, ...] = ()
    purge_interval_s: float = PURGE_SWEEP_S
    orphans: OrphanTerms = OrphanTerms()
    archive_enabled: bool = False
    archive_directory: str = ""
    archive_interval_s: float = ARCHIVE_INTERVAL_S
    settings_hash: str = ""
    weakened: str = ""
    problems: tuple[str, ...] = ()


class PolicyLink(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One place a policy can come from, what it says, and why that applies or not (``why``, for people).

    ``policy`` None: it says nothing. ``options`` is for ``PolicyKind.TURN`` alone, which brings rules and no policy.
    ``name`` is the name or pattern it was found under.
    """

    origin: PolicyOrigin
    applies: bool
    why: str
    name: str = ""
    policy: Policy | None = None
    options: PruneOptions | None = None

    @property
    def rank(self) -> int:
        """1 (the strongest) to 8."""
        return self.origin.kind.rank


class PolicyChain(msgspec.Struct, frozen=True, kw_only=True):
    """Every place that could say something about an instance, the strongest first. Exactly one link applies, the last
    (nothing is pruned) if no other does.

    ``stopped_by`` says who switched automatic pruning off, "" if nobody did: then ``policy`` is None, whatever applies.
    """

    links: tuple[PolicyLink, ...]
    triggers: tuple[PruneTrigger, ...]
    stopped_by: str = ""

    @property
    def applied(self) -> PolicyLink:
        [link] = [each for each in self.links if each.applies]
        return link

    @property
    def policy(self) -> AutoPrune | None:
        """The automatic policy in force; None: nothing is pruned automatically."""
        return self.policy_of(self.applied)

    def policy_of(self, applied: PolicyLink) -> AutoPrune | None:
        """``policy``, where the link that applies is known."""
        policy = applied.policy
        return policy if isinstance(policy, AutoPrune) and not self.stopped_by else None


class UnitedChain(PolicyChain, frozen=True, kw_only=True):
    """A chain, and those of other workers that run the same and were told otherwise (``others``): what any of them
    keeps is kept."""

    others: tuple[PolicyChain, ...]


class UnitedPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What all workers together let go: an execution is removed only if each of ``policies`` would remove it.

    ``policies`` None: at least one of them prunes nothing. ``why`` says which, or that workers differ. ``triggers`` are
    those all of them allow. ``is_known`` False: ``policies`` is None because nobody who could say has published
    anything, or because the instance's own cannot be read. ``is_never``: it is None because a policy says so.
    """

    policies: tuple[AutoPrune, ...] | None
    origin: PolicyOrigin
    triggers: tuple[PruneTrigger, ...]
    workers_differ: bool
    why: str
    is_known: bool = True
    is_never: bool = False

    @property
    def rules(self) -> tuple[PruneOptions, ...] | None:
        """For the planner."""
        return None if self.policies is None else tuple(policy.options for policy in self.policies)

    @property
    def firing_triggers(self) -> tuple[PruneTrigger, ...]:
        """Those of ``triggers`` that ever fire: none without a policy, and no interval where one of them has none."""
        return tuple(
            trigger
            for trigger in self.triggers
            if self.policies is not None
            and not (trigger is PruneTrigger.INTERVAL and any(policy.interval is None for policy in self.policies))
        )


class PruneDecision(msgspec.Struct, frozen=True, kw_only=True):
    """Whether to prune now, with which rules, on whose word. ``rules`` None: no, and ``why`` says why not."""

    rules: tuple[PruneOptions, ...] | None
    origin: PolicyOrigin
    trigger: PruneTrigger
    why: str
