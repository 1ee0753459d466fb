"""The checks of what stands in single columns: text that is no UTF-8, and words that a column cannot have. See ``sql``
and ``sql_checks`` for the rules that hold for them.

``bad_texts`` is a function of ``texts``: of the table named first, the columns whose bytes are no UTF-8, or NULL.
"""

# ruff: noqa: S608 - as in `sql`: only constants are put together, data is bound

from collections.abc import Iterable
from typing import Final

from duro.model.ledger import RunKind
from duro.model.limits import NUMBER_MAX
from duro.model.status import (
    FINAL_EXECUTION_STATUSES,
    STORED_BLOCKS,
    ExecutionStatus,
    InstanceStatus,
    ParentPolicy,
    RemovalState,
)
from duro.stores.sqlite.check import DAMAGED, Check
from duro.stores.sqlite.words import is_one_of

# The columns of each table that hold text.
TEXTS: Final = {
    "store": ("store_id", "maintenance_holder"),
    "instances": (
        *("instance_id", "name", "version", "status", "start_request_id", "custom_status", "last_commit_token"),
        *("lease_worker_id", "waits", "cancel_reason", "blocked", "blocked_reason", "prune_policy"),
    ),
    "removed_instances": (
        *("instance_id", "name", "version", "status", "start_request_id", "custom_status", "last_commit_token"),
        *("cancel_reason", "prune_policy", "run_id", "archive"),
    ),
    "executions": ("version", "status", "input", "removal", "run_id", "archive"),
    "history": ("data",),
    "messages": ("data",),
    "mailbox": ("name", "data"),
    "activities": ("name", "lease_worker_id"),
    "lineage": (
        *("parent_instance_id", "on_parent_continue", "on_parent_end", "spawner_version", "spawner_end"),
        *("completion", "adopted_by", "adopted_reason"),
    ),
    "workers": ("worker_id", "host", "duro_version", "published"),
    "capabilities": ("worker_id", "kind", "name", "version"),
    "requests": ("request_id",),
    "holds": ("hold_id", "instance_id", "name", "version", "reason", "created_by"),
    "ledger": ("rule", "origin", "trigger", "run_id"),
    "asked_prunes": ("options", "origin"),
    "prune_runs": (
        *("run_id", "trigger", "rule", "origin", "run_by", "reason", "host", "duro_version", "plan_hash"),
        *("archive", "kind"),
    ),
    "ledger_totals": ("name",),
    "archives": ("directory", "archive_id"),
    "versions": ("name", "version"),
    "publications": ("published",),
}
# How a row of each is called: by the incarnation it belongs to, or by what it has as its key.
_OF_INCARNATION: Final = "'incarnation ' || t.incarnation"
_SUBJECTS: Final = {
    "store": "'store'",
    "executions": f"{_OF_INCARNATION} || '/' || t.execution_id",
    "history": f"{_OF_INCARNATION} || '/' || t.execution_id",
    "activities": f"{_OF_INCARNATION} || '/' || t.execution_id",
    "lineage": "'incarnation ' || t.child_incarnation",
    "workers": "substr(t.worker_id, 1, 100)",
    "capabilities": "substr(t.worker_id, 1, 100)",
    "requests": _OF_INCARNATION,
    "holds": "substr(t.hold_id, 1, 100)",
    "prune_runs": "substr(t.run_id, 1, 100)",
    "ledger_totals": "substr(t.name, 1, 100)",
    "archives": "substr(t.directory, 1, 100)",
    "versions": "substr(t.name, 1, 100)",
    "publications": "'publication ' || t.sequence",
}
_PLACES: Final = {
    "history": "' of event ' || t.event_id",
    "messages": "' of message ' || t.message_id",
    "mailbox": "' of event ' || t.sequence",
    "activities": "' of event ' || t.event_id",
    "ledger": "' of row ' || t.sequence",
}


def _subject_of(table: str) -> str:
    """An expression for a row ``t``."""
    return _SUBJECTS.get(table, _OF_INCARNATION)


def _said_of(table: str, columns: str) -> str:
    return f"'{table}.' || {columns} || {_PLACES.get(table, _quoted(''))}"


def _quoted(text: str) -> str:
    return f"'{text}'"


def _bad_texts(table: str, source: str = "") -> str:
    """Rows (subject, text), one for each row of a table with text that is no UTF-8."""
    columns = ", ".join(f"CAST(t.{column} AS BLOB)" for column in TEXTS[table])
    return f"""
SELECT {_subject_of(table)}, {_said_of(table, "bad")} || ' is no text (UTF-8)' FROM (
  SELECT *, bad_texts('{table}', {columns}) AS bad FROM {source or f"{table} AS t"}) AS t WHERE bad IS NOT NULL"""


# Of the histories those of what runs, if they are not longer than ?3; unless that is where everything is.
_HISTORIES_READ: Final = f"""executions e CROSS JOIN history t
    ON t.incarnation = e.incarnation AND t.execution_id = e.execution_id
    AND iif(e.completed_at_ms IS NULL, e.event_count, {NUMBER_MAX}) <= ?3"""

# All tables but those of histories, to tell where something is that could not be read.
BAD_TEXTS: Final = " UNION ALL ".join(_bad_texts(table) for table in TEXTS if table != "history") + " LIMIT ?1"


_INSTANCE_STATUS: Final = tuple(InstanceStatus)
_WORDS: Final = {
    ("instances", "status"): _INSTANCE_STATUS,
    ("instances", "blocked"): STORED_BLOCKS,
    ("removed_instances", "status"): _INSTANCE_STATUS,
    ("executions", "status"): tuple(ExecutionStatus),
    ("executions", "removal"): tuple(RemovalState),
    ("lineage", "on_parent_continue"): tuple(ParentPolicy),
    ("lineage", "on_parent_end"): tuple(ParentPolicy),
    ("lineage", "spawner_end"): FINAL_EXECUTION_STATUSES,
    ("lineage", "completion"): ("sent", "ignored"),
    ("capabilities", "kind"): ("orchestration", "activity"),
    ("prune_runs", "kind"): ("", *RunKind),
}


def _other_words(table: str, column: str, words: Iterable[str]) -> str:
    return f"""
SELECT {_subject_of(table)}, {_said_of(table, _quoted(column))} || ' is ' || substr(t.{column}, 1, 100)
FROM {table} AS t WHERE t.{column} IS NOT NULL AND NOT {is_one_of(f"t.{column}", words)}"""


# The same of words, in all tables.
OTHER_WORDS: Final = f"{' UNION ALL '.join(_other_words(*place, words) for place, words in _WORDS.items())} LIMIT ?1"

_UNREADABLE: Final = f"{DAMAGED}; until then what the row says counts as unknown, and nothing is removed because of it"

TEXT_CHECKS: Final = (
    Check(
        "text-unreadable",
        "error",
        "text that is no UTF-8: what reads such a row fails, or is blocked",
        DAMAGED,
        " UNION ALL ".join(_bad_texts(table, _HISTORIES_READ if table == "history" else "") for table in TEXTS),
    ),
    Check(
        "word-unknown",
        "error",
        "words that a column cannot have, and prunes that code asked for and that nobody can read",
        _UNREADABLE,
        f"""{" UNION ALL ".join(_other_words(*place, words) for place, words in _WORDS.items())}
UNION ALL
SELECT {_subject_of("asked_prunes")}, 'asked_prunes.options is ' || substr(t.options, 1, 100) FROM asked_prunes AS t
WHERE CASE WHEN json_valid(t.options) AND json_valid(t.origin)
  THEN json_type(t.options) <> 'object' OR json_type(t.origin) <> 'object' ELSE 1 END""",
    ),
)
