"""The automatic policies as all workers of a store see them."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from duro.errors import PolicyUnknownError, StoreError
from duro.model.archive import CONFIGURED
from duro.model.policies import PolicySources, StatedPolicy, UnitedPolicy
from duro.model.removal import PrunableInstance
from duro.model.retention import NEVER, PolicyKind, PolicyOrigin, PruneOptions
from duro.model.status import ChildrenPolicy
from duro.retention.policy import united_policy
from duro.retention.triggers import rollout_paused_until_ms
from duro.stores.base import Store

_sources = msgspec.json.Decoder(PolicySources)
_stated = msgspec.json.Decoder(StatedPolicy)

Rules = tuple[tuple[PruneOptions, ...] | None, PolicyOrigin]
"""What applies to an instance (None: nothing is pruned), and who says so."""


@lru_cache(maxsize=256)
def _decoded(text: str) -> PolicySources:
    return _sources.decode(text)


def _readable(text: str) -> PolicySources | None:
    """None: it is of another version of duro, or damaged."""
    try:
        return _decoded(text)
    except msgspec.DecodeError:
        return None


def readable_sources(texts: Iterable[str]) -> tuple[tuple[PolicySources, ...], bool]:
    """Those that can be read, and whether that is all of them."""
    found = [_readable(text) for text in texts]
    return tuple(each for each in found if each is not None), None not in found


def decode_sources(texts: Iterable[str]) -> tuple[PolicySources, ...]:
    """Sweeps read the same few again and again.

    Raises:
        StoreError: one cannot be read, so nobody can tell what that worker keeps.
    """
    try:
        return tuple(map(_decoded, texts))
    except msgspec.DecodeError as error:
        raise StoreError(
            f"what a worker has published about pruning cannot be read ({error}): it is of another version of duro, or "
            "damaged",
            hint="let all workers of a store run one version of duro, and restart them: they publish anew",
        ) from error


def decode_override(text: str | None) -> StatedPolicy | None:
    """One that cannot be read (of a newer version, or damaged) keeps its instance, and stops nobody else's pruning."""
    return _read_override(text)[0]


def _read_override(text: str | None) -> tuple[StatedPolicy | None, bool]:
    """And whether it could be read."""
    if text is None:
        return None, True
    try:
        return _stated.decode(text), True
    except msgspec.DecodeError as error:
        origin = PolicyOrigin(PolicyKind.INSTANCE, f"unreadable ({error})")
        return StatedPolicy(policy=NEVER, origin=origin), False


class RemovalTerms(NamedTuple):
    """As in ``PruneBatch``."""

    children: ChildrenPolicy
    archive: str | None


class ConfiguredPolicies:
    """What is published, read once; ``revision`` is the store's as it was then. ``instead``: what each worker's
    publication is taken for; it is to show how much might go, so it counts for orchestrations that no worker runs, too.
    """

    def __init__(
        self, store: Store, instead: Callable[[tuple[PolicySources, ...]], tuple[PolicySources, ...]] | None = None
    ) -> None:
        published = store.published_policies()
        self._store = store
        self._published = frozenset(published.sources)
        self.revision = published.revision
        self.sources = decode_sources(published.sources)
        self._all_run_it = instead is not None
        if instead is not None:
            self.sources = instead(self.sources)
        self._united: dict[tuple[str, str], UnitedPolicy | None] = {}
        self._terms: dict[str, RemovalTerms] = {}
        self._paused: dict[tuple[str, str], int | None] = {}
        self._away: tuple[PolicySources, ...] | None = None

    def of(self, instance: PrunableInstance) -> UnitedPolicy | None:
        """The automatic policy of the instance; None: nobody has published any, and it has none of its own."""
        override, is_readable = _read_override(instance.policy)
        if override is not None:
            published = self.sources or (PolicySources(),)
            united = united_policy(
                published,
                instance.name,
                instance.version,
                instance_override=override,
                last_words=self.last_words(instance.name, instance.version),
            )
            return united if united is None or is_readable else msgspec.structs.replace(united, is_known=False)
        key = (instance.name, instance.version)
        if key not in self._united:
            self._united[key] = united_policy(
                self.sources, *key, all_run_it=self._all_run_it, last_words=self.last_words(*key)
            )
        return self._united[key]

    def rules(self, instance: PrunableInstance) -> Rules:
        """What a prune without rules of its own does to the instance.

        Raises:
            PolicyUnknownError: nobody says anything about it.
        """
        united = self.of(instance)
        if united is None:
            raise nobody_says()
        if united.rules is None:
            return None, united.origin
        return united.rules, united.origin

    def last_words(self, name: str, version: str = "") -> tuple[PolicySources, ...]:
        """What was published last by a worker that ran this version of ``name`` (``version`` "": any), where no worker
        does now: it restarts, or is gone. At most one; none where somebody runs it, or nobody ever did."""
        if self._all_run_it or any(_runs(each, name, version) for each in self.sources):
            return ()
        return tuple(islice((each for each in self._past() if _runs(each, name, version)), 1))

    def _past(self) -> tuple[PolicySources, ...]:
        """What is published no more, the latest first; read when it is asked for."""
        if self._away is None:
            past = self._store.past_publications()
            readable = (_readable(text) for text in past if text not in self._published)
            self._away = tuple(each for each in readable if each is not None)
        return self._away

    def about(self, name: str) -> tuple[PolicySources, ...]:
        """Whose word counts for whole instances of ``name``: all workers, whatever they run, and whoever ran it last if
        none of them does."""
        return (*self.sources, *self.last_words(name))

    def everyone(self) -> tuple[PolicySources, ...]:
        """All workers, and of every orchestration that none of them runs whoever ran it last."""
        there = {name for each in self.sources for name, _ in each.orchestrations}
        away = dict.fromkeys(
            last
            for past in self._past()
            for name, _ in past.orchestrations
            if name not in there
            for last in self.last_words(name)
        )
        return (*self.sources, *away)

    def paused_until_ms(self, name: str, version: str) -> int | None:
        """Until when automatic pruning of ``name`` rests, because a further version was seen; None: it does not. The
        longest pause that any worker was told, or said that ran ``version`` and is away."""
        key = (name, version)
        if key not in self._paused:
            seen = [seen_ms for _, seen_ms in self._store.versions_seen(name)]
            said = (*self.sources, *self.last_words(*key))
            until = [rollout_paused_until_ms(seen, each.rollout_pause_s, each.rollout_cap_s) for each in said]
            self._paused[key] = max((each for each in until if each is not None), default=None)
        return self._paused[key]

    def terms_of(self, name: str) -> RemovalTerms:
        """How what goes of orchestration ``name`` goes."""
        if name not in self._terms:
            said = self.about(name)
            self._terms[name] = RemovalTerms(children_of(said), archive_of(said))
        return self._terms[name]

    @property
    def children(self) -> ChildrenPolicy:
        """What becomes of the children of a pruned execution."""
        return children_of(self.sources)

    @property
    def archive(self) -> str | None:
        """Where what is removed is kept first (``PruneBatch.archive``): in the configured archive, as soon as one
        worker was told so."""
        return archive_of(self.sources)

    @property
    def archive_interval_s(self) -> float:
        """How long few histories wait to become one segment; the longest, where workers differ."""
        return max((each.archive_interval_s for each in self.sources), default=PolicySources().archive_interval_s)

    @property
    def archive_directory(self) -> Path | None:
        """The configured archive's; the first, where workers differ."""
        found = [each.archive_directory for each in self.sources if each.archive_enabled and each.archive_directory]
        return Path(found[0]) if found else None


def _runs(sources: PolicySources, name: str, version: str) -> bool:
    return any(name == known and version in ("", each) for known, each in sources.orchestrations)


def archive_of(sources: Iterable[PolicySources]) -> str | None:
    """In the configured archive, as soon as one worker was told so."""
    return CONFIGURED if any(each.archive_enabled for each in sources) else None


def children_of(sources: Sequence[PolicySources]) -> ChildrenPolicy:
    """What becomes of the children of a pruned execution: they stay unless all workers say otherwise."""
    settled = bool(sources) and all(each.children is ChildrenPolicy.SETTLED for each in sources)
    return ChildrenPolicy.SETTLED if settled else ChildrenPolicy.KEEP


def nobody_says() -> PolicyUnknownError:
    """For a prune without rules of its own, where nothing is configured: nothing was pruned."""
    return PolicyUnknownError(
        "no rules were given, and no worker of this store has published a policy for what is to be pruned",
        hint="give rules, such as keep_last (--keep-last 3), or start a worker that has a policy",
    )


def asked_for(options: PruneOptions) -> Rules:
    """Rules that somebody gave to a call."""
    return (options,), PolicyOrigin(PolicyKind.CALL, "")
