"""Which tests judge the mutants of which module: the fast ones that are nearest to it."""

from typing import Final, NamedTuple


class Target(NamedTuple):
    """``share``: of the mutants, where all of them would take too long."""

    tests: tuple[str, ...]
    """Or other arguments of pytest."""

    share: float = 1.0


_UNIT: Final = "tests/unit/test_"
_MEMORY: Final = "tests/contract/test_memory_contract.py"
_SQLITE: Final = "tests/contract/test_sqlite_contract.py"
_STORE: Final = "tests/integration/test_sqlite_"
_ARCHIVES: Final = (
    *(f"tests/integration/test_archive{which}.py" for which in ("", "_odds", "_meanwhile", "_outcomes", "_sweeps")),
    # as long as all the others together, and about another module
    "--deselect=tests/integration/test_archive.py::test_every_flipped_bit_and_every_truncation_of_a_manifest_is_found",
)
_ENGINE: Final = tuple(
    f"{_UNIT}engine_{topic}.py"
    for topic in (
        "activities",
        "awaits",
        "cancel",
        "check_replay",
        "children",
        "continue_as_new",
        "deadlines",
        "detached",
        "determinism",
        "failures",
        "generators",
        "join_select",
        "mailbox",
        "nondeterminism",
        "prune",
        "sealing",
        "stale_messages",
        "status",
        "timers",
        "turns",
    )
)
_POLICIES: Final = (f"{_UNIT}retention_policy.py", f"{_UNIT}retention_values.py")
_PLANS: Final = (
    f"{_UNIT}retention_plan.py",
    f"{_UNIT}retention_golden.py",
    f"{_UNIT}retention_transaction.py",
    "tests/properties/test_retention_plan.py",
)

TARGETS: Final[dict[str, Target]] = {
    "runtime/duro/retention/plan.py": Target(_PLANS),
    "runtime/duro/retention/holds.py": Target(_PLANS),
    "runtime/duro/retention/names.py": Target((*_POLICIES, f"{_UNIT}families.py")),
    "runtime/duro/retention/policy.py": Target(_POLICIES),
    "runtime/duro/retention/triggers.py": Target(_POLICIES),
    "runtime/duro/retention/ledger.py": Target(
        (f"{_UNIT}retention_ledger.py", "tests/properties/test_retention_ledger.py")
    ),
    "runtime/duro/retention/families.py": Target((f"{_UNIT}families.py",)),
    "runtime/duro/retention/parents.py": Target((f"{_UNIT}families.py", f"{_MEMORY}::TestParentEnd")),
    "runtime/duro/retention/purging.py": Target((f"{_UNIT}families.py", *_POLICIES)),
    "runtime/duro/retention/transaction.py": Target(
        (f"{_UNIT}retention_transaction.py", f"{_MEMORY}::TestTurnPruning")
    ),
    "runtime/duro/retention/restoring.py": Target((f"{_UNIT}retention_ledger.py", f"{_MEMORY}::TestArchives")),
    "runtime/duro/model/retention.py": Target(_POLICIES),
    "runtime/duro/model/families.py": Target((f"{_UNIT}families.py", *_POLICIES)),
    "runtime/duro/replay/engine.py": Target(_ENGINE),
    "runtime/duro/replay/context.py": Target(_ENGINE),
    "runtime/duro/replay/matching.py": Target(_ENGINE),
    "runtime/duro/replay/futures.py": Target(_ENGINE),
    "runtime/duro/stores/sqlite/committer.py": Target(
        (f"{_STORE}committer.py", f"{_STORE}commits.py", f"{_STORE}checkpoints.py", f"{_STORE}durability.py", _SQLITE)
    ),
    "runtime/duro/stores/sqlite/turns.py": Target((_SQLITE, f"{_STORE}commits.py", f"{_STORE}prune_turns.py")),
    "runtime/duro/stores/sqlite/turn_pruning.py": Target((_SQLITE, f"{_STORE}prune_turns.py")),
    "runtime/duro/stores/sqlite/pruning.py": Target((_SQLITE, f"{_STORE}prune_turns.py")),
    "runtime/duro/stores/sqlite/families.py": Target((_SQLITE, f"{_STORE}reclaiming.py")),
    "runtime/duro/stores/sqlite/reclaiming.py": Target((_SQLITE, f"{_STORE}reclaiming.py")),
    "runtime/duro/stores/sqlite/archiving.py": Target((_SQLITE,)),
    "runtime/duro/stores/sqlite/ledger.py": Target((_SQLITE,)),
    "runtime/duro/maintenance/archive/archiver.py": Target(_ARCHIVES),
    "runtime/duro/maintenance/archive/segments.py": Target(_ARCHIVES),
}
