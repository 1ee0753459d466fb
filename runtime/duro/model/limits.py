"""Every limit of duro, with its unit and the reason for its size. Nothing else defines one."""

from typing import Final

INSTANCE_ID_BYTES_MAX: Final = 255
"""UTF-8 bytes of an instance id or a request id: a file name and a PostgreSQL index key (2.7 KB with its neighbours)
must hold it."""

NAME_BYTES_MAX: Final = 255
"""UTF-8 bytes of an orchestration, activity or event name, and of a version."""

REASON_BYTES_MAX: Final = 4096
"""UTF-8 bytes of the reason somebody gives for a cancel or a termination: a sentence, kept in the instance's row."""

PAYLOAD_BYTES_MAX: Final = 2 * 1024 * 1024
"""Encoded bytes of one input, result, event or custom status: one row must not stall a group commit."""

MAILBOX_EVENTS_MAX: Final = 10_000
"""Undelivered events one instance may hold: a sender without a receiver is refused instead of filling the disk."""

ATTEMPTS_MAX: Final = 10
"""Leases of the same work without a commit before it is set aside as poison."""

FAILURE_TEXT_CHARACTERS_MAX: Final = 16_384
"""Characters kept of a failure's message and of its traceback; the middle is cut, the ends say the most."""

LIST_LIMIT_DEFAULT: Final = 100
"""Rows of a listing when nobody says how many."""

CONTINUE_AS_NEW_EVENTS: Final = 10_000
"""History events from which ``continue_as_new_suggested`` is true: a replay of that many takes a noticeable time."""

CONTINUE_AS_NEW_BYTES: Final = 8 * 1024 * 1024
"""History bytes from which ``continue_as_new_suggested`` is true."""

HISTORY_EVENTS_MAX: Final = 50_000
"""Events of one execution's history from which it may ask for nothing more: five times what suggests to continue as
new, and a replay of a few seconds. What was asked for still arrives, so a history ends at twice that at most."""

HISTORY_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of one execution's history from which it may ask for nothing more: a worker that takes the execution over reads
all of it. What was asked for still arrives: the results of one turn's requests may come on top."""

TURN_REQUESTS_MAX: Final = 10_000
"""Activities, timers, waits, children and detached orchestrations that code may ask for between two deliveries: they
are one transaction, and every other turn of its group commit waits for it."""

TURN_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of their inputs together, for the same reason."""

LEASE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of inputs, messages and events that a store hands to a worker at once, or of histories that a worker reads at
once, unless one alone is more: a worker that is given more than it can hold in memory does nothing any more."""

TIME_MS_MAX: Final = 253_402_300_799_999
"""Unix ms: the last moment that a ``datetime`` can say, in the year 9999."""

NUMBER_MAX: Final = 2**63 - 2
"""Largest number of an execution, of a limit or of a position: a store's whole numbers have 64 bits, and a listing asks
for one row more than its limit."""

KEEP_COUNT_MAX: Final = 1_000_000_000
"""Executions or versions a retention rule may name: more keeps everything there will ever be, and is a slip."""

RETENTION_S_MAX: Final = 100 * 366 * 86_400
"""Seconds a retention rule or an interval may last, a century: more is a slip, and no clock of ours holds it."""

TURN_PRUNE_EXECUTIONS_MAX: Final = 64
"""Oldest live executions a turn looks at when it prunes; the rest is left to the sweep, so no turn is held up."""

ASKED_PRUNES_MAX: Final = 8
"""Prunes with different rules that code asked for, and a turn did not finish, that wait for a sweep, of one instance;
the oldest gives way. A sweep does them within seconds."""

SKIPPED_HELD_MAX: Final = 1_000
"""Executions a prune by rules names because only holds keep them; the others are counted: a store may hold millions."""

MARK_RECLAIM_EVENTS_MAX: Final = 2_000
"""Events a transaction that marks may also delete, when there is no grace: a few milliseconds that other writers
wait."""

RECLAIM_EVENTS_MAX: Final = 2_000
"""Events one transaction of a reclaim deletes, about, for the same reason."""

PRUNE_GRACE_S: Final = 3600.0
"""How long a manual prune can be undone, unless it says otherwise: an hour is enough to see that it was a mistake."""

UNDO_HOLD_S: Final = 7 * 86_400.0
"""How long what an undo brought back is held: a week is enough to mend the policy that would take it again."""

RECLAIM_INSTANCE_EVENTS: Final = 20
"""What deleting an instance costs beside its events, counted in events: its other rows and its ledger."""

LEDGER_RANGES_MAX: Final = 64
"""Ranges the ledger keeps of one instance: what was pruned costs a bounded amount, however often it happens."""

ORPHAN_MIN_AGE_S: Final = 3600.0
"""How long something must have been an orphan before it is cleaned up: whoever looks into what left it there has an
hour, and no clock of another machine is that wrong."""

ORPHAN_SWEEP_S: Final = 600.0
PURGE_SWEEP_S: Final = 3600.0
"""How often a sweep looks for orphans, and for instances to purge. The second look reads every ended instance."""

ARCHIVE_INTERVAL_S: Final = 600.0
"""How long few histories wait for more of them, to become one segment."""

REMOVAL_INSTANCES_MAX: Final = 60
"""Instances one transaction takes out of sight, about: a few milliseconds that other writers wait. A family goes as
one, however large it is."""
