"""What is true of families and of what was removed, at every moment; see ``invariants``."""

from duro.stores.base import StoreDump


def nobody_is_there_and_removed(dump: StoreDump) -> list[str]:
    there = {row["incarnation"] for row in dump["instances"]}
    return [
        f"instance {row['incarnation']} is there and removed"
        for row in dump["removed_instances"]
        if row["incarnation"] in there
    ]


def children_are_younger_than_their_parents(dump: StoreDump) -> list[str]:
    """So that no family is a circle."""
    return [
        f"child {row['child_incarnation']} is not younger than its parent {row['parent_incarnation']}"
        for row in dump["lineage"]
        if row["child_incarnation"] <= row["parent_incarnation"]
    ]


def a_family_is_removed_as_one(dump: StoreDump) -> list[str]:
    """Whoever depends on an instance that was removed was removed with it; or before it by itself, and came back."""
    there = {row["incarnation"] for row in dump["instances"]}
    removed = {row["incarnation"] for row in dump["removed_instances"]}
    came_back = {row["incarnation"] for row in dump["ledger"] if row["trigger"] == "undo"}
    return [
        f"child {row['child_incarnation']} is there, and its parent {row['parent_incarnation']} is removed"
        for row in dump["lineage"]
        if not row["detached"]
        and row["parent_incarnation"] in removed
        and row["child_incarnation"] in there - came_back
    ]


def leaves_go_before_their_parents(dump: StoreDump) -> list[str]:
    """Of a tree that is being reclaimed, nobody is left whose parent is gone."""
    levels = {(row["tree"], row["depth"]) for row in dump["removed_instances"]}
    return [
        f"{row['incarnation']} of tree {row['tree']} is left, and nobody above it"
        for row in dump["removed_instances"]
        if row["depth"] > 0 and (row["tree"], row["depth"] - 1) not in levels
    ]


def a_parent_that_is_gone_was_removed(dump: StoreDump) -> list[str]:
    """Lineage says when, so that nobody has to guess what became of the parent."""
    there = {row["incarnation"] for row in dump["instances"]}
    return [
        f"the parent of child {row['child_incarnation']} is not there, and nothing says that it was removed"
        for row in dump["lineage"]
        if row["child_incarnation"] in there
        and (row["parent_incarnation"] in there) != (row["parent_removed_at_ms"] is None)
    ]


FAMILY_INVARIANTS = (
    nobody_is_there_and_removed,
    children_are_younger_than_their_parents,
    a_family_is_removed_as_one,
    leaves_go_before_their_parents,
    a_parent_that_is_gone_was_removed,
)
