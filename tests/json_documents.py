"""What duroctl prints as JSON, document by document: the source of docs/schemas (see ``tests.json_schemas``)."""

from typing import Final

from duro.model.checkup import Severity
from duro.model.events import AnyEvent
from duro.model.families import OrphanKind, RemovalKind, Standing
from duro.model.ledger import MANUAL, SEVERAL, UNDO, RunKind
from duro.model.pruning import PruneTrigger, WarningCode
from duro.model.retention import NAMED, PolicyKind
from duro.model.status import (
    FINAL_INSTANCE_STATUSES,
    BlockedKind,
    ChildrenPolicy,
    ExecutionStatus,
    InstanceStatus,
    ParentPolicy,
)
from duro.retention.families import SETTLED
from tests.json_schemas import (
    EVERY,
    Document,
    Fields,
    Schema,
    count,
    each,
    flag,
    listing,
    maybe,
    of_records,
    one,
    payload,
    record,
    seconds,
    shared,
    size,
    text,
    time,
    time_ms,
)

COMPLETIONS: Final = ("sent", "ignored")
TRIGGERS: Final = (*PruneTrigger, UNDO, *RemovalKind, SETTLED, SEVERAL)
FINAL: Final = tuple(status for status in InstanceStatus if status in FINAL_INSTANCE_STATUSES)

# --- fields that many records have -----------------------------------------------------------------------------

INSTANCE_ID: Final = text("The instance")
INCARNATION: Final = count("Which life of this id: no two instances of a store share one", 1)
EXECUTION_ID: Final = count("The execution, counted from 1 in its instance", 1)
NAME: Final = text("The orchestration")
VERSION: Final = text('Its version; "": not chosen yet')
STATUS: Final = text("The state of the instance, over all its executions", InstanceStatus)
EXECUTION_STATUS: Final = text("The state of the execution", ExecutionStatus)
STARTED_AT: Final = time("When it was started")
COMPLETED_AT: Final = maybe(time("When it ended, in whatever way; null: it has not"))
COMPLETED_AT_MS: Final = maybe(time_ms("When it ended, in whatever way; null: it has not"))
HISTORY_BYTES: Final = size("What the events of histories weigh")
STORE_ID: Final = text("The store, by an id it was given when it was made")
DURO_VERSION: Final = text("The version of duro that made it")
REASONS: Final = each(text("A code that people can read: docs/pruning.md, docs/families.md"), "Why, completely")
KEEP: Final = flag("false: it is to be removed")

IDENTITY: Final[Fields] = {"instance_id": INSTANCE_ID, "incarnation": INCARNATION}

EXECUTION: Final[Fields] = {
    **IDENTITY,
    "execution_id": EXECUTION_ID,
    "name": NAME,
    "version": VERSION,
    "status": EXECUTION_STATUS,
    "started_at": STARTED_AT,
    "completed_at": COMPLETED_AT,
    "event_count": count("Events of its history"),
    "history_bytes": HISTORY_BYTES,
}
HELD: Final[Fields] = {
    "held?": each(text("A hold, by its id"), "The holds that cover it; left out while the store has no hold in force")
}
OWN_POLICY: Final = maybe(text("The automatic policy of its own; null: it has none"))
INSTANCE: Final[Fields] = {
    **IDENTITY,
    "name": NAME,
    "version": VERSION,
    "status": STATUS,
    "execution_id": count("Its current execution", 1),
    "event_count": count("Events of the current execution's history"),
    "history_bytes": size("What the events of the current execution weigh"),
    "turn_count": count("Turns over all executions"),
    "created_at": time("When it was started"),
    "updated_at": time("When something about it changed last"),
    "completed_at": COMPLETED_AT,
    "custom_status": payload("What the orchestration says of itself; null: nothing"),
    "parent": maybe(shared("parent", "Who spawned it; null: nobody did")),
    "detached": flag("Whether it stands alone: no parent waits for it"),
    "cancel_reason": maybe(text("Why somebody asked it to end; null: nobody did")),
    "blocked": maybe(text("Why it makes no progress although it has work; null: it is not blocked", BlockedKind)),
    "blocked_reason": maybe(text("What stands in its way, for people")),
    "attempt_count": count("Leases since its last commit"),
    "worker_id": maybe(text("The worker that has it; null: none")),
    "ready_at": maybe(time("From when a worker may take it; null: it has nothing to do")),
}
RESULT: Final[Fields] = {
    "output": payload("What it returned; null if it has not completed"),
    "failure": maybe(shared("failure", "Why it did not complete; null: it did, or it has not ended")),
}
CHILD: Final[Fields] = {
    **IDENTITY,
    "name": NAME,
    "version": VERSION,
    "status": STATUS,
    "parent": shared("parent", "Who spawned it"),
    "detached": flag("Whether it stands alone: started so, or adopted"),
    "spawned_at": time("When it was spawned"),
    "spawner_version": text("The version of the execution that spawned it"),
    "spawner_ended_at": maybe(time("When the execution that spawned it ended; null: it runs, or that is not recorded")),
    "spawner_end": maybe(text("How that execution ended; null: as above", ExecutionStatus)),
    "observed_at": maybe(time("When a turn of the parent recorded its end; null: none did")),
    "spawner_pruned": flag("Whether the execution that spawned it is pruned, or gone with its instance"),
    "completion": maybe(text("Where its end was told; null: it has not ended, or is detached", COMPLETIONS)),
    "adopted_at": maybe(time("When somebody said that it stands alone; null: nobody did")),
    "adopted_by": maybe(text("Who said so")),
    "adopted_reason": maybe(text("Why")),
    "orphan": maybe(text("Which kind of orphan it is; null: it is none", OrphanKind)),
}
HOLD: Final[Fields] = {
    "hold_id": text("The hold"),
    "instance_id": maybe(text("It covers this instance; null: it covers a name or a version")),
    "execution_id": maybe(count("Of that instance only this execution; null: all", 1)),
    "name": maybe(text("Orchestrations with such a name (a pattern as in a shell); null: all")),
    "version": maybe(text("Executions of this version; null: of all")),
    "reason": text("Why, for people"),
    "by": text("Who put it there"),
    "created_at": time("Since when"),
    "until": maybe(time("From then on it holds nothing; null: until it is removed")),
}
RUN: Final[Fields] = {
    "run_id": text("The run, for `prune undo`"),
    "kind": text('What it was (orphans: a clean-up of these); "": a run from before this was recorded', (*RunKind, "")),
    "trigger": text("Something was removed by hand, or brought back", (MANUAL, UNDO)),
    "rule": text(f'The rules, such as keep_last=3; "{NAMED}": it was named; "{SEVERAL}": different ones'),
    "origin": text(f'Who said the rules, KIND or KIND: WHERE; "{SEVERAL}": different ones'),
    "by": text("The user who ran it"),
    "reason": text('Why, as it was given; "": it was not'),
    "host": text('The machine it was run on; "": not recorded'),
    "duro_version": text('The version of duro that ran; "": not recorded'),
    "plan_hash": text('Of the plan that was carried out, 32 hexadecimal digits of its SHA-256; "": there was no plan'),
    "archive": maybe(text('The directory of its archive; "": one that was configured, not known which; null: none')),
    "started_at": time("When it began"),
    "instances": count("Instances it was about"),
    "executions": count("Executions it removed or brought back"),
    "events": count("Their events"),
    "history_bytes": HISTORY_BYTES,
}
RANGE: Final[Fields] = {
    "first_execution_id": count("The first execution of these"),
    "last_execution_id": count("The last one"),
    "executions": count("How many; not all in between, if some were kept"),
    "events": count("Their events"),
    "history_bytes": HISTORY_BYTES,
    "rule": text(f'The rules, such as keep_last=3; "{NAMED}": it was named; "{SEVERAL}": different ones'),
    "origin": text(f'Who said the rules, KIND or KIND: WHERE; "{SEVERAL}": different ones'),
    "trigger": text("What made it happen", TRIGGERS),
}
ARCHIVED: Final[Fields] = {
    **EXECUTION,
    "pruned_at": maybe(time("When it was pruned; null: it went with its instance")),
    "run_id": maybe(text("The run that removed it; null: it went automatically")),
    "with_instance": flag("Whether it was live when its whole instance was removed"),
    "archived_at": time("When it was written to the archive"),
    "segment": text("The file that has it"),
    "store_id": STORE_ID,
}
MANIFEST: Final[Fields] = {
    "instances": count("Instances that were removed as a whole"),
    "histories": count("Histories in it"),
    "event_count": count("Their events"),
    "history_bytes": HISTORY_BYTES,
    "content_bytes": size("The segment unpacked"),
    "file_bytes": size("The segment as it stands"),
    "sha256": text("Of the file as it stands, 64 hexadecimal digits"),
}
OUTCOME: Final[Fields] = {
    "archive": text('The directory as it was asked for; "": the configured one'),
    "directory": maybe(text("Where that is; null: nobody says where the configured one is")),
    "segments": count("Segments written"),
    "histories": count("Histories in them"),
    "event_count": count("Their events"),
    "file_bytes": size("What the segments take"),
    "waiting": count("Executions and instances that stay in the store until the archive has them"),
    "problem": maybe(text("Why the archive could not take them, a sentence; null: nothing was wrong")),
}
ARCHIVE_OUTCOME: Final = maybe(shared("archive_outcome", "What was kept in an archive; null: none was asked for"))
RUN_ID: Final = text('The run, for `prune undo`; "": nothing was removed')
REMOVABLE: Final[Fields] = {
    "executions": count("Executions that nothing keeps"),
    "events": count("Their events"),
    "history_bytes": HISTORY_BYTES,
}
RULES: Final[Fields] = {
    "keep_last?": count("Keep the newest so many", 1),
    "keep_within?": seconds("Keep what ended no longer ago"),
    "keep_last_per_version?": count("Keep the newest so many of each version", 1),
    "keep_versions?": count("... of so many versions, those used last", 1),
}
FAMILY: Final[Fields] = {
    **IDENTITY,
    "name": NAME,
    "status": STATUS,
    "completed_at_ms": COMPLETED_AT_MS,
    "child_of": text('ID/EXECUTION of its parent; "": it has none'),
    "rules": {
        "description": "What it was planned with; null: it is never removed",
        "anyOf": [shared("purge_rules"), shared("orphan_rules"), {"type": "null"}],
    },
    "origin": shared("origin", "Who said the rules"),
    "verdict": shared("verdict"),
    "instances": count("Instances of the family, itself counted"),
    "executions": count("Their live executions"),
    "events": count("Events of these"),
    "history_bytes": HISTORY_BYTES,
}
LINK: Final[Fields] = {
    "origin": shared("origin", "The place"),
    "applies": flag("Whether it decides; exactly one of a chain does"),
    "why": text("Why it decides or not, for people"),
    "name?": text("The name or pattern it stands under"),
    "policy?": shared("policy", "What it says; left out: nothing"),
    "options?": shared("rules", "The rules of this very turn, for the kind turn alone"),
}
FILE_SIZES: Final[Fields] = {
    "file_bytes": size("The file of the store"),
    "wal_bytes": size("Its log"),
    "free_bytes": size("Free pages inside the file"),
}
TOUCHED: Final[Fields] = {"instance_id": INSTANCE_ID, "execution_id": count("Its current execution", 1)}
STARTED: Final[Fields] = {"instance_id": INSTANCE_ID, "name": NAME}
RAISED: Final[Fields] = {"instance_id": INSTANCE_ID, "event": text("The name of the event")}
ENDED: Final[Fields] = {
    "instance_id": INSTANCE_ID,
    "execution_id": count("The execution it ended in", 1),
    "status": text("How it ended", FINAL),
    **RESULT,
}
EVENT: Final[Schema] = {
    "description": "An event of a history, as it is stored; docs/guide.md says what happens, the type what its other "
    "fields are",
    "type": "object",
    "properties": {
        "type": {
            "description": "What happened; other versions of duro may know others",
            "type": "string",
            "examples": [kind.__struct_config__.tag for kind in AnyEvent.__args__],
        },
        "event_id": count("Its position in the history, from 1", 1),
        "at_ms": time_ms("When the turn that recorded it ran"),
    },
    "required": ["type", "event_id", "at_ms"],
}

# --- values that stand in several documents --------------------------------------------------------------------

SHARED: Final[dict[str, Schema]] = {
    "parent": record(
        {
            "instance_id": text("The parent instance"),
            "incarnation": INCARNATION,
            "execution_id": count("The execution that spawned it", 1),
            "event_id": count("The event that spawned it", 1),
        },
        "Who spawned an instance",
    ),
    "failure": record(
        {
            "type": text("The class of the exception, or what duro calls it (ActivityTimeout, say)"),
            "message": text("What it says"),
            "traceback": maybe(text("Where it was raised; null: no code failed")),
            "non_retryable": flag("Whether it ended an activity at once, whatever its retry policy says"),
            "cause": maybe(shared("failure", "What caused it; null: nothing")),
        },
        "What went wrong",
    ),
    "child": record(CHILD, "A child, and who may still observe its end"),
    "lineage": record(
        {
            **CHILD,
            "standing": text("Who may still learn how it ends", Standing),
            "why": text("Why it stands so, a sentence"),
            "ancestors": each(shared("child"), "Its parent, its parent's parent and so on, as far as they are there"),
        },
        "Who spawned an instance, and where that leaves it",
    ),
    "execution": record(EXECUTION, "An execution"),
    "event": EVENT,
    "stored_event": {
        "description": "An event as it is stored; one that is damaged comes as text",
        "anyOf": [shared("event"), {"type": "string"}],
    },
    "rules": record(
        {**RULES, "completed_before?": time_ms("Keep what ended at this time or later")},
        "Rules that keep executions; those that were not given are left out",
    ),
    "auto_prune": record(
        {
            **RULES,
            "every_n_executions?": count("At every so many-th continue-as-new; left out: at every one", 1),
            "interval?": seconds("Also in a sweep, this often"),
        },
        "An automatic policy: rules that keep executions, and when they are applied; what was not given is left out",
    ),
    "policy": {"anyOf": [shared("auto_prune"), {"description": "Nothing is pruned automatically", "const": "never"}]},
    "origin": record(
        {
            "kind": text("Which kind of place", PolicyKind),
            "text": text('Where to look, such as config/runtime_config.toml:12; "": nowhere'),
        },
        "Who said it",
    ),
    "triggers": each(text("A trigger", PruneTrigger), "What automatic prunes are allowed to happen at"),
    "facts": record(
        {
            **IDENTITY,
            "execution_id": EXECUTION_ID,
            "name": NAME,
            "version": VERSION,
            "status": EXECUTION_STATUS,
            "started_at_ms": time_ms("When it was started"),
            "completed_at_ms": COMPLETED_AT_MS,
            "event_count": count("Events of its history"),
            "history_bytes": HISTORY_BYTES,
            "is_current": flag("Whether its instance stands on it"),
            "has_queued_successor?": flag("Whether the execution that follows is still queued; left out: no"),
        },
        "An execution, as a plan sees it",
    ),
    "verdict": record({"keep": KEEP, "reasons": REASONS}, "What becomes of it"),
    "skipped_execution": record(
        {
            **IDENTITY,
            "execution_id": EXECUTION_ID,
            "why": text("A sentence for people"),
            "gone": flag("Whether somebody else has removed it, so that nothing is left to do"),
        },
        "Planned for removal and not removed",
    ),
    "skipped_instance": record(
        {"instance_id": INSTANCE_ID, "why": text("A sentence for people")}, "Planned for removal and not removed"
    ),
    "archive_outcome": record(OUTCOME, "What became of an archive when it was written to"),
    "removable": record(REMOVABLE, "What automatic policies let go at once"),
    "removable_whole": record(
        {"instances": count("Instances"), **REMOVABLE},
        "What sweeps remove as whole instances, with what depends on them",
    ),
    "file_sizes": record(FILE_SIZES, "0 for a store without a file"),
    "run": record(RUN, "A run by hand, or an undo"),
    "chain": record(
        {
            "links": each(shared("link"), "Every place that could say something, the strongest first"),
            "triggers": shared("triggers"),
            "stopped_by": text('Who switched automatic pruning off; "": nobody'),
        },
        "What one group of workers was told",
    ),
    "link": record(LINK, "One place a policy can come from"),
    "hold": record(
        {
            "hold_id": text("The hold"),
            "target": record(
                {
                    "instance_id?": INSTANCE_ID,
                    "execution_id?": EXECUTION_ID,
                    "name?": text("Orchestrations with such a name (a pattern as in a shell)"),
                    "version?": text("Executions of this version"),
                },
                "What it covers; what is not given is left out",
            ),
            "reason": text("Why, for people"),
            "created_at_ms": time_ms("Since when"),
            "by?": text("Who put it there; left out: nobody says"),
            "until_ms?": time_ms("From then on it holds nothing; left out: until it is removed"),
        },
        "A hold that concerns the instance",
    ),
    "united": record(
        {
            "policies": maybe(each(shared("auto_prune"), "All must let an execution go; null: nothing is pruned")),
            "origin": shared("origin", "Who said so"),
            "triggers": shared("triggers"),
            "workers_differ": flag("Whether workers were told different things"),
            "why": text("Why, for people"),
            "is_known": flag("False: nobody who could say has published a policy, or the own one is unreadable"),
            "is_never": flag("Nothing goes because a policy says never"),
        },
        "What all workers together let go",
    ),
    "purge_rules": record(
        {
            "type": text("Rules of a purge", ("purge",)),
            "keep_within?": seconds("Keep what ended no longer ago"),
            "keep_failed_within?": seconds("The same for what failed"),
            "completed_before?": time_ms("Keep what ended at this time or later"),
            "keep_last?": count("Keep the newest so many of each orchestration", 1),
            "statuses?": each(text("An end", FINAL), "Only what ended so may go; left out: in whatever way"),
        },
        "Which ended instances a purge keeps; those that were not given are left out",
    ),
    "orphan_rules": record(
        {
            "type": text("Rules of a clean-up of orphans", ("orphans",)),
            "kinds?": each(text("A kind", OrphanKind), "Only these kinds; left out: all but unknown"),
            "child_status?": each(text("A status", InstanceStatus), "Only with this status; left out: any"),
            "parent_completed_before_ms?": time_ms("Only of spawning executions that ended before"),
            "min_age_s?": seconds("Only orphans for so long; left out: 0"),
        },
        "Which orphans go",
    ),
}

# --- documents -------------------------------------------------------------------------------------------------

_LOOK: Final = (
    listing(
        "duroctl.instances/1",
        "Instances; `instances show` adds how they ended, who spawned them and what keeps them",
        ("instances list", "instances show A B"),
        "instances",
        {
            **INSTANCE,
            "output?": RESULT["output"],
            "failure?": RESULT["failure"],
            "lineage?": maybe(shared("lineage", "Who spawned it; null: nobody did")),
            "policy?": OWN_POLICY,
            **HELD,
        },
        paged=True,
    ),
    one(
        "duroctl.instance/1",
        "One instance, how it ended, who spawned it and what keeps it",
        ("instances show A",),
        {
            **INSTANCE,
            **RESULT,
            "lineage": maybe(shared("lineage", "Who spawned it; null: nobody did")),
            "policy": OWN_POLICY,
            "held": each(text("A hold, by its id"), "The holds that cover it or an execution of it"),
        },
    ),
    of_records(
        "duroctl.tree/1",
        "An instance and those below it, parents before their children",
        ("instances tree",),
        {
            "instance_id": text("The instance at the top"),
            "nodes": each(shared("record"), "The instances, in the order of the tree"),
            "truncated": flag("Whether there are more, because of --limit or --depth"),
        },
        {
            "depth": count("Levels below the top, which is 0 and has the first fields alone"),
            **{
                name: schema
                for name, schema in CHILD.items()
                if name in ("instance_id", "incarnation", "name", "version", "status", "detached")
            },
            "parent": INSTANCE["parent"],
            **{f"{name}?": schema for name, schema in CHILD.items() if name not in INSTANCE},
        },
    ),
    listing(
        "duroctl.executions/1", "Executions", ("executions list",), "executions", {**EXECUTION, **HELD}, paged=True
    ),
    Document(
        "duroctl.history/1",
        "An execution and its events, these as they are stored (`-o jsonl`: the events alone)",
        ("history show",),
        record(
            {
                "schema": {"description": "The name of this schema", "const": "duroctl.history/1", "type": "string"},
                "execution": shared("execution"),
                "input": payload("The input of an execution that has not had its first turn; null otherwise"),
                "events": each(shared("stored_event"), "In the order they happened"),
            }
        ),
    ),
    one(
        "duroctl.exported_history/1",
        "What was written to a file",
        ("history export",),
        {"instance_id": INSTANCE_ID, "execution_id": EXECUTION_ID, "event_count": count("Events written")},
    ),
    of_records(
        "duroctl.stats/1",
        "What takes the room, and how much of it may go",
        ("stats",),
        {
            "store": record(
                {
                    "url": text("The store"),
                    "store_id": STORE_ID,
                    "schema_version": count("Of its tables"),
                    "engine": text("What keeps it, with its version"),
                    "instances": count("Instances"),
                    "executions": count("Live executions"),
                    "events": count("Their events"),
                    "logical_bytes": size("What these events weigh"),
                    **FILE_SIZES,
                },
                "The store and its files",
            ),
            "recent_since_ms": time_ms("What recent_* counts from"),
            "marked": record(
                {
                    "executions": count("Executions"),
                    "events": count("Their events"),
                    "history_bytes": HISTORY_BYTES,
                },
                "What was pruned or removed, and is there until it is reclaimed",
            ),
            "removable": shared("removable", "What policies would let go now, instances that go whole included"),
            "removable_whole": shared("removable_whole", "The instances that would go whole"),
            "names": each(shared("record"), "The orchestrations, those with the most bytes first"),
        },
        {
            "name": NAME,
            "instances": count("Its instances"),
            "unfinished": count("Those that have not ended"),
            "executions": count("Its live executions"),
            "events": count("Their events"),
            "history_bytes": HISTORY_BYTES,
            "recent_executions": count("Live executions that were started since recent_since_ms"),
            "recent_bytes": size("What the events of these weigh"),
            "share": {
                "description": "Of the history bytes of the store, 0 to 1",
                "type": "number",
                "minimum": 0,
                "maximum": 1,
            },
            "removable": shared("removable", "What policies would let go now, instances that go whole included"),
            "removable_whole": shared("removable_whole", "Its instances that would go whole"),
        },
    ),
    listing(
        "duroctl.doctor/1",
        "Checks and what they found",
        ("doctor",),
        "checks",
        {
            "name": text("The check"),
            "severity": text("What it means if it finds something", Severity),
            "looks_for": text("What it looks for"),
            "remedy": text("What to do about it"),
            "repairable": flag("Whether `doctor --repair` deletes what it finds"),
            "count": count("What it found; 0: all is well"),
            "findings": each(
                record({"subject": text("What it is about, by its id"), "text": text("What is wrong, for people")}),
                "The first of them",
            ),
        },
    ),
    listing(
        "duroctl.repairs/1",
        "What was deleted",
        ("doctor --repair",),
        "repairs",
        {"name": text("The check whose findings were deleted"), "rows": count("Rows deleted")},
    ),
)

_RUN: Final = (
    one(
        "duroctl.init/1",
        "What was made",
        ("init",),
        {
            "store": text("The store, a URL"),
            "store_created": flag("false: it was there"),
            "config": text("The configuration file"),
            "config_created": flag("false: it was there, and was left as it is"),
        },
    ),
    listing(
        "duroctl.started/1",
        "Instances that were started; without --inputs-from the line of the only one",
        ("start",),
        "started",
        STARTED,
    ),
    one("duroctl.result/1", "How an instance ended", ("start --wait",), ENDED),
    listing("duroctl.results/1", "How instances ended", ("start --inputs-from --wait",), "results", ENDED),
    listing(
        "duroctl.raised/1",
        "Instances that were sent an event; of one instance its line alone",
        ("raise",),
        "raised",
        RAISED,
    ),
    listing(
        "duroctl.cancel_requested/1",
        "Instances that were asked to end",
        ("instances cancel",),
        "cancel_requested",
        TOUCHED,
    ),
    listing("duroctl.resumed/1", "Instances that are tried again", ("instances resume",), "resumed", TOUCHED),
    listing("duroctl.terminated/1", "Instances that were ended", ("instances terminate",), "terminated", TOUCHED),
)

POLICY_EXPLANATION: Final[Fields] = {
    "instance_id": maybe(text("The instance; null: any of the orchestration")),
    "name": NAME,
    "version": text('The version; "": any, or not chosen yet'),
    "chains": each(shared("chain"), "One for every group of workers that were told the same"),
    "united": maybe(shared("united", "What follows from them; null: nobody says anything")),
    "paused_until_ms": maybe(time_ms("Until when a new version pauses pruning; null: it does not")),
    "next_sweep_at_ms": maybe(time_ms("When a sweep is due; 0: now; null: none will be")),
    "holds": each(shared("hold"), "Holds that concern it"),
    "executions": each(
        record(
            {
                "execution_id": EXECUTION_ID,
                "keep": KEEP,
                "reasons": REASONS,
                "event_count": count("Events of its history"),
                "history_bytes": HISTORY_BYTES,
            }
        ),
        "What a prune without rules would do now to its live executions, oldest first",
    ),
}

_REMOVE: Final = (
    of_records(
        "duroctl.prune_plan/1",
        "What a prune would remove; `--apply` reads it",
        ("prune --dry-run", "prune --plan-out"),
        {
            "store_id": STORE_ID,
            "policy_revision": count("Of the store's policies when it was planned"),
            "hold_revision": count("Of the store's holds when it was planned"),
            "made_at_ms": time_ms("When it was planned"),
            "children": text("What becomes of the children of what goes", ChildrenPolicy),
            "instances": each(
                record(
                    {
                        **IDENTITY,
                        "name": NAME,
                        "rules": maybe(
                            each(
                                shared("rules"),
                                "All must let an execution go; null: never pruned; []: what goes was named",
                            )
                        ),
                        "origin": shared("origin", "Who said the rules"),
                        "items": each(
                            record({"execution": shared("facts"), "verdict": shared("verdict")}),
                            "Its live executions, oldest first",
                        ),
                        "children": each(
                            record(
                                {
                                    **IDENTITY,
                                    "execution_id": count("The execution that spawned it, and takes it with it", 1),
                                    "instances": count("It and what depends on it"),
                                    "executions": count("Their live executions"),
                                    "events": count("Events of these"),
                                    "history_bytes": HISTORY_BYTES,
                                }
                            ),
                            "Settled children that go with what goes",
                        ),
                        "why": text("Why its policy lets nothing go, a sentence; empty where there are rules"),
                    }
                ),
                "Instance by instance",
            ),
            "totals": record(
                {
                    "executions_kept": count("Executions that stay"),
                    "executions_removed": count("Executions that go"),
                    "events_kept": count("Events that stay"),
                    "events_removed": count("Events that go"),
                    "bytes_kept": size("Histories that stay"),
                    "bytes_removed": size("Histories that go"),
                    "children_removed": count("Settled children and what depends on them"),
                    "child_events_removed": count("Their events"),
                    "child_bytes_removed": size("Their histories"),
                },
                "Of the whole plan",
            ),
            "warnings": each(
                record(
                    {
                        "code": text("What it is about", WarningCode),
                        "instance_id": INSTANCE_ID,
                        "text": text("A sentence for people"),
                    }
                ),
                "What is to be known before",
            ),
        },
        {"execution": text("INSTANCE/EXECUTION"), "keep": KEEP, "reasons": REASONS},
    ),
    one(
        "duroctl.plan_written/1",
        "Where a plan was written, and what it would remove",
        ("prune --plan-out", "instances purge --plan-out", "orphans cleanup --plan-out"),
        {
            "file": text("The file"),
            "plan": text("The schema of what is in it", ("duroctl.prune_plan/1", "duroctl.removal_plan/1")),
            "instances_removed": count(
                "Instances that would go; of a prune, settled children and what depends on them"
            ),
            "executions_removed": count("Executions that would go; of a prune, without those of children"),
            "events_removed": count("All events that would go"),
            "bytes_removed": size("What these weigh"),
        },
    ),
    one(
        "duroctl.prune_check/1",
        "How much a prune would remove",
        ("prune --check",),
        {"executions_removed": count("Executions that would go"), "events_removed": count("Their events")},
    ),
    one(
        "duroctl.prune_result/1",
        "What a prune removed",
        ("prune",),
        {
            "executions_deleted": count("Executions removed"),
            "children_removed": count("Settled children that go with them, with what depends on these: instances"),
            "events_deleted": count("Their events"),
            "bytes_deleted": size("What these weigh"),
            "instances_processed": count("Instances looked at"),
            "instances_pruned": count("Those of them that something was removed from"),
            "remaining": count("Executions that may go and are still there"),
            "skipped": each(shared("skipped_execution"), "Planned for removal and not removed: the first 1,000"),
            "skipped_count": count("All of them"),
            "run_id": RUN_ID,
            "archived": ARCHIVE_OUTCOME,
        },
    ),
    one(
        "duroctl.prune_undo/1",
        "What was brought back",
        ("prune undo",),
        {
            "instances_restored": count("Whole instances"),
            "executions_restored": count("Executions"),
            "events_restored": count("Their events"),
            "bytes_restored": size("What these weigh"),
            "instances": each(text("An instance"), "Those with executions that are live again"),
            "gone": count("Executions that had been reclaimed and cannot come back"),
            "taken": each(text("An instance"), "Those that stay removed, because an id is used again"),
            "removed": each(text("An instance"), "Those that were removed whole since: the undo of that comes first"),
            "hold_ids": each(text("A hold"), "What holds it for 7 days"),
        },
    ),
    of_records(
        "duroctl.removal_plan/1",
        "Which whole instances would be removed; `--apply` reads it",
        (
            "instances purge --dry-run",
            "instances purge --plan-out",
            "orphans cleanup --dry-run",
            "orphans cleanup --plan-out",
        ),
        {
            "store_id": STORE_ID,
            "policy_revision": count("Of the store's policies when it was planned"),
            "hold_revision": count("Of the store's holds when it was planned"),
            "made_at_ms": time_ms("When it was planned"),
            "items": each(shared("record"), "Family by family"),
            "totals": record(
                {
                    "families_kept": count("Families that stay"),
                    "families_removed": count("Families that go"),
                    "instances_removed": count("Instances that go"),
                    "executions_removed": count("Their live executions"),
                    "events_removed": count("Events of these"),
                    "bytes_removed": size("What these weigh"),
                },
                "Of the whole plan",
            ),
            "running_orphans": each(
                text("An instance"), "Orphans that run and were not asked to end yet, for --cancel-running"
            ),
            "running": each(
                record({"instance_id": text("The instance"), "incarnation": INCARNATION}),
                "The lives of these",
            ),
            "orphan_rules": maybe(shared("orphan_rules", "What a clean-up was asked for; null: it is a purge")),
            "kind": maybe(text("What it is for", RemovalKind)),
        },
        FAMILY,
    ),
    one(
        "duroctl.removal_check/1",
        "How many instances would be removed",
        ("instances purge --check", "orphans cleanup --check"),
        {
            "instances_removed": count("Instances that would go"),
            "running_orphans": count("Orphans that run and were not asked to end yet"),
        },
    ),
    one(
        "duroctl.removal_result/1",
        "Which whole instances were removed",
        ("instances purge", "orphans cleanup"),
        {
            "families": count("Families removed"),
            "instances": count("Their instances"),
            "executions": count("Live executions of these"),
            "events": count("Events of these"),
            "history_bytes": HISTORY_BYTES,
            "cancelled": each(text("An instance"), "Running orphans that were asked to end"),
            "skipped": each(
                shared("skipped_instance"), "Families planned for removal and not removed: the first 1,000"
            ),
            "skipped_count": count("All of them"),
            "remaining": count("Families that were not looked at"),
            "run_id": RUN_ID,
            "archived": ARCHIVE_OUTCOME,
        },
    ),
    listing(
        "duroctl.orphans/1",
        "Children that no parent will observe",
        ("orphans list",),
        "orphans",
        {
            "kind": text("Which kind of orphan it is", OrphanKind),
            "since": maybe(time("When it became one; null: that is not recorded")),
            "why": text("Why it is one, a sentence"),
            **CHILD,
            "spawner_pruned": flag(
                "Whether the execution that spawned it is pruned; false where it is gone with its instance: kind "
                "parent-missing"
            ),
        },
        paged=True,
    ),
    listing("duroctl.adopted/1", "Orphans that stand alone from now on", ("orphans adopt",), "adopted", CHILD),
    listing(
        "duroctl.holds/1",
        "Holds, the oldest first",
        ("holds list", "holds add INSTANCE INSTANCE", "holds add -"),
        "holds",
        HOLD,
    ),
    one("duroctl.hold/1", "The hold that was made", ("holds add",), HOLD),
    listing(
        "duroctl.prune_runs/1", "Runs by hand, and undos, the newest first", ("ledger list",), "runs", RUN, paged=True
    ),
    listing(
        "duroctl.ledger_totals/1",
        "What was removed of instances that are gone, by orchestration",
        ("ledger totals",),
        "totals",
        {
            "name": NAME,
            "instances": count("Instances of it that are gone and had a ledger"),
            "executions": count("Executions that were removed of them"),
            "events": count("Their events"),
            "history_bytes": HISTORY_BYTES,
            "first_pruned_at": maybe(time("When the first of them was removed; null: none was")),
            "last_pruned_at": maybe(time("When the last of them was removed; null: none was")),
        },
    ),
    one("duroctl.prune_run/1", "One run", ("ledger show RUN",), RUN),
    listing(
        "duroctl.ledger/1",
        "What was removed of an instance, the oldest first",
        ("ledger show INSTANCE",),
        "entries",
        {
            **RANGE,
            "first_pruned_at": time("When the first of them was removed"),
            "last_pruned_at": time("When the last of them was removed"),
            "run": maybe(shared("run", "The run that did it; null: it was done automatically")),
        },
    ),
    listing(
        "duroctl.archived_executions/1",
        "Archived executions, those that were archived last first",
        ("archive list", "archive show INSTANCE"),
        "executions",
        ARCHIVED,
        paged=True,
    ),
    one("duroctl.archived_execution/1", "One archived execution", ("archive show INSTANCE/EXECUTION",), ARCHIVED),
    one(
        "duroctl.archive_segment/1",
        "What a segment of an archive holds",
        ("archive show SEGMENT",),
        {
            "segment": text("The name of the file"),
            "store_id": STORE_ID,
            "made_at": time("When it was written"),
            "duro_version": DURO_VERSION,
            **MANIFEST,
        },
    ),
    listing(
        "duroctl.archive_checks/1",
        "Every segment, and whether it is as it was written",
        ("archive verify",),
        "segments",
        {
            "segment": text("The name of the file"),
            "histories": count("Histories in it"),
            "event_count": count("Their events"),
            "file_bytes": size("What it takes"),
            "problem": maybe(text("What is wrong with it, a sentence; null: nothing")),
        },
    ),
    listing(
        "duroctl.archive_outcomes/1",
        "What became of each archive that something waited for",
        ("archive write",),
        "archives",
        OUTCOME,
    ),
    one(
        "duroctl.restore_result/1",
        "What came back from an archive",
        ("archive restore",),
        {
            "instances": count("Whole instances"),
            "executions": count("Executions"),
            "events": count("Their events"),
            "history_bytes": HISTORY_BYTES,
            "there": count("Executions that were there already, and are the same"),
            "hold_ids": each(text("A hold"), "What holds it for 7 days"),
        },
    ),
    one(
        "duroctl.policy_explanation/1",
        "Which policy prunes an instance, and why",
        ("policy explain",),
        POLICY_EXPLANATION,
    ),
    listing(
        "duroctl.policy_explanations/1",
        "The same of several instances",
        ("policy explain INSTANCE INSTANCE", "policy explain -"),
        "explanations",
        POLICY_EXPLANATION,
    ),
    listing(
        "duroctl.effective_policies/1",
        "What prunes each version of each orchestration",
        ("policy show",),
        "policies",
        {
            "name": NAME,
            "version": text('The version; "": no worker runs one'),
            "policies": maybe(each(shared("auto_prune"), "All must let an execution go; null: nothing is pruned")),
            "origin": maybe(shared("origin", "Who said so; null: nobody says anything")),
            "triggers": shared("triggers"),
            "firing_triggers": each(text("A trigger", PruneTrigger), "Those that ever fire"),
            "why": text("Why, for people"),
            "workers_differ": flag("Whether workers were told different things"),
            "paused_until_ms": maybe(time_ms("Until when a new version pauses pruning; null: it does not")),
        },
    ),
    listing(
        "duroctl.policies/1",
        "Every policy any worker was told",
        ("policy show --published",),
        "policies",
        {
            "worker_id": text("The worker that says so"),
            "policy": shared("policy"),
            "origin": shared("origin", "Where it stands"),
            "name?": text("The orchestration or pattern; left out: a default"),
            "version?": text("The version, of a registration; left out: any"),
            "enabled": flag("Whether the worker prunes automatically at all"),
            "settings_hash": text('Of the whole configuration the worker runs with; "": it has no file'),
        },
    ),
    listing(
        "duroctl.policy_check/1",
        "What is wrong with a runtime_config.toml",
        ("policy check",),
        "problems",
        {
            "file": text("The file"),
            "line": count("Its line, from 1; 0: it is the file itself"),
            "column": count("Its column in characters, from 1; 0: it is the file itself"),
            "message": text("What is wrong"),
            "hint": text("What to do"),
        },
    ),
    one(
        "duroctl.policy_change/1",
        "What a change of a policy did, or would do: of a file, or of one instance",
        ("policy set", "policy unset", "policy edit"),
        {
            "file?": text("The file"),
            "diff?": each(text("A line"), "Its lines before and after, as a unified diff; empty: it says so already"),
            "simulation?": maybe(
                record(
                    {
                        "file": text("The file"),
                        "published": flag("Whether any worker has said what applies now"),
                        "names": each(
                            record(
                                {
                                    "name": NAME,
                                    "instances": count("Its instances"),
                                    "executions": count("Their live executions"),
                                    "now": shared("removable", "What may go now"),
                                    "then": shared("removable", "What may go after the change"),
                                    "origins": each(text("KIND: WHERE"), "Who says so, with the file"),
                                    "whole_now": shared("removable_whole", "What may go whole now"),
                                    "whole_then": shared("removable_whole", "What may go whole after the change"),
                                    "executions_more": count("Executions that would go and are kept now"),
                                    "instances_more": count("Whole instances that would go and are kept now"),
                                }
                            ),
                            "The orchestrations, by name",
                        ),
                        "now": shared("removable", "What may go now, of all"),
                        "then": shared("removable", "What may go after the change, of all"),
                        "purgeable_now": count("Whole instances that may go now by [purge]"),
                        "purgeable_then": count("Whole instances that may go after the change by [purge]"),
                        "orphans_now": count("Whole instances that may go now by [orphans]"),
                        "orphans_then": count("Whole instances that may go after the change by [orphans]"),
                        "whole_now": shared("removable_whole", "What may go whole now, of all"),
                        "whole_then": shared("removable_whole", "What may go whole after the change, of all"),
                        "executions_more": count("Executions that would go and are kept now, of all"),
                        "instances_more": count("Whole instances that would go and are kept now, of all"),
                        "loosened": each(text("A sentence"), "What else is removed, or no longer kept"),
                    },
                    "What the change lets go at once; null: there is no store, or no change",
                )
            ),
            "instance_id?": text("The instance whose own policy it is"),
            "policy?": maybe(text("Its own policy then; null: none")),
            "now?": shared("removable", "What of the instance may go now"),
            "then?": shared("removable", "What of it may go after the change"),
            "whole_now?": shared("removable_whole", "Its settled children that may go now"),
            "whole_then?": shared("removable_whole", "Its settled children that may go after the change"),
            "executions_more?": count("Executions that would go and are kept now"),
            "instances_more?": count("Settled children that would go and are kept now"),
        },
    ),
    of_records(
        "duroctl.policy_simulation/1",
        "What another runtime_config.toml would let go",
        ("policy simulate",),
        {
            "file": text("The file"),
            "published": flag("Whether any worker has said what applies now"),
            "names": each(shared("record"), "The orchestrations, by name"),
            "now": shared("removable", "What may go now, of all"),
            "then": shared("removable", "What may go if all workers read the file, of all"),
            "purgeable_now": count("Whole instances that may go now by [purge]"),
            "purgeable_then": count("Whole instances that may go by [purge] if all workers read the file"),
            "orphans_now": count("Whole instances that may go now by [orphans]"),
            "orphans_then": count("Whole instances that may go by [orphans] if all workers read the file"),
            "whole_now": shared("removable_whole", "What may go whole now, of all"),
            "whole_then": shared("removable_whole", "What may go whole if all workers read the file, of all"),
            "executions_more": count("Executions that would go and are kept now, of all"),
            "instances_more": count("Whole instances that would go and are kept now, of all"),
            "loosened": each(text("A sentence"), "What else is removed, or no longer kept"),
        },
        {
            "name": NAME,
            "instances": count("Its instances"),
            "executions": count("Their live executions"),
            "now": shared("removable", "What may go now"),
            "then": shared("removable", "What may go if all workers read the file"),
            "origins": each(text("KIND: WHERE"), "Who says so, with the file"),
            "whole_now": shared("removable_whole", "What may go whole now, by its policy"),
            "whole_then": shared("removable_whole", "What may go whole if all workers read the file"),
            "executions_more": count("Executions that would go and are kept now"),
            "instances_more": count("Whole instances that would go and are kept now"),
        },
    ),
)

_KEEP: Final = (
    one(
        "duroctl.compact/1",
        "The sizes before and after",
        ("compact",),
        {
            "before": shared("file_sizes"),
            "after": shared("file_sizes"),
            "stopped": flag("Whether it was interrupted before all was given back"),
        },
    ),
    one(
        "duroctl.backup/1",
        "The copy that was written",
        ("backup",),
        {"file": text("The file"), "file_bytes": size("What it takes")},
    ),
    one(
        "duroctl.export/1",
        "Rows that were written, table by table",
        ("export",),
        {
            "file": text("The file"),
            **{
                name: count(f"Rows of the table {name}")
                for name in ("instances", "executions", "events", "lineage", "ledger", "runs")
            },
        },
    ),
)

_ERROR: Final = one(
    "duroctl.error/1",
    "Why a command failed, on standard error",
    (EVERY,),
    {
        "error": text("The class of the error, for programs"),
        "message": text("What happened, to which thing"),
        "hint": maybe(text("What to do; null: nothing comes to mind")),
        "exit_code": count("The exit status of the command: `duroctl --help` lists them", 1),
    },
)

# --- files -----------------------------------------------------------------------------------------------------

_KEPT_EXECUTION: Final[Fields] = {
    **IDENTITY,
    "execution_id": EXECUTION_ID,
    "name": NAME,
    "version": VERSION,
    "status": EXECUTION_STATUS,
    "started_at_ms": time_ms("When it was started"),
    "completed_at_ms": COMPLETED_AT_MS,
    "event_count": count("Events of its history"),
    "history_bytes": HISTORY_BYTES,
    "input": maybe(text("The JSON text of its input, before its first turn; null afterwards")),
    "pruned_at_ms": maybe(time_ms("When it was pruned; null: it went with its instance")),
    "run_id": maybe(text('The run that pruned it; "": automatically; null: it went with its instance')),
    "archive": text('The archive it was marked for, a directory; "": the configured one'),
}
_KEPT_LINEAGE: Final[Fields] = {
    "parent": shared("parent"),
    "detached": CHILD["detached"],
    "on_parent_continue": maybe(text("What happens to it when its parent continues as new", ParentPolicy)),
    "on_parent_end": maybe(text("What happens to it when its parent ends", ParentPolicy)),
    "spawned_at_ms": time_ms("When it was spawned"),
    "spawner_version": text("The version of the execution that spawned it"),
    "spawner_ended_at_ms": maybe(time_ms("When that execution ended")),
    "spawner_end": maybe(text("How it ended", ExecutionStatus)),
    "observed_at_ms": maybe(time_ms("When a turn of the parent recorded its end")),
    "completion": CHILD["completion"],
    "parent_removed_at_ms": maybe(time_ms("When the parent was removed")),
    "adopted_at_ms": maybe(time_ms("When somebody said that it stands alone")),
    "adopted_by": maybe(text("Who said so")),
    "adopted_reason": maybe(text("Why")),
    "given_up_at_ms?": maybe(time_ms("When a turn of the parent recorded that it waits for it no longer")),
}
_KEPT_RANGE: Final[Fields] = {
    **RANGE,
    "first_pruned_at_ms": time_ms("When the first of them was removed"),
    "last_pruned_at_ms": time_ms("When the last of them was removed"),
}
_KEPT_INSTANCE: Final[Fields] = {
    "incarnation": INCARNATION,
    "instance_id": INSTANCE_ID,
    "name": NAME,
    "version": VERSION,
    "status": STATUS,
    "execution_id": count("Its last execution", 1),
    "created_at_ms": time_ms("When it was started"),
    "updated_at_ms": time_ms("When something about it changed last"),
    "completed_at_ms": time_ms("When it ended"),
    "start_request_id": text("The request that started it"),
    "custom_status": maybe(text("The JSON text of what it says of itself")),
    "turn_sequence": count("Turns over all executions"),
    "last_commit_token": maybe(text("Of the commit of its last turn")),
    "lease_epoch": count("Leases of it"),
    "cancel_requested_at_ms": maybe(time_ms("When somebody asked it to end")),
    "cancel_reason": maybe(text("Why")),
    "cancel_delivered": flag("Whether a turn recorded that"),
    "prune_policy": maybe(text("The JSON text of its own policy")),
    "pruned_through": count("Executions up to this one are pruned"),
    "prune_due_at_ms": maybe(time_ms("When a sweep had to look at it")),
    "swept_at_ms": maybe(time_ms("When a sweep looked at it last")),
    "live_from": count("Executions from this one on were live"),
    "removed_at_ms": time_ms("When it was removed"),
    "run_id": text('The run that removed it; "": automatically'),
    "archive": text('The archive it was marked for, a directory; "": the configured one'),
    "lineage": maybe(shared("kept_lineage", "Who spawned it; null: nobody did")),
    "ledger": each(
        record(
            {
                "sequence": count("Its position in the ledger"),
                "range": shared("kept_range"),
                "run_id": maybe(text("The run; null: an automatic prune")),
            }
        ),
        "What had been removed of it, the oldest first",
    ),
}


def _segment_line(kind: str, fields: Fields, about: str) -> Schema:
    return record({"line": {"description": "Which line it is", "const": kind, "type": "string"}, **fields}, about)


_FILES: Final = (
    one(
        "duro.archive/1",
        "`archive.json` of an archive: says that the directory is one",
        (),
        {"archive_id": text("Its id, made with it")},
    ),
    Document(
        "duro.archive_segment/1",
        "A line of a segment of an archive, `*.jsonl.zst` unpacked; the first one has `schema`",
        (),
        {"oneOf": [*map(shared, ("head", "instance", "history", "event", "event_text", "end"))]},
        None,
        {
            "head": _segment_line(
                "segment",
                {
                    "schema": {
                        "description": "The name of this schema",
                        "const": "duro.archive_segment/1",
                        "type": "string",
                    },
                    "store_id": STORE_ID,
                    "made_at_ms": time_ms("When it was written"),
                    "duro_version": DURO_VERSION,
                },
                "The first line",
            ),
            "instance": _segment_line(
                "instance", {"instance": shared("kept_instance")}, "Before the first history of an instance that went"
            ),
            "history": _segment_line(
                "history",
                {
                    "execution": shared("kept_execution"),
                    "events": count("So many lines with events follow"),
                    "with_instance": flag("Whether it was live when its whole instance was removed"),
                    "as_text": flag("Whether its events are JSON texts, because one of them is damaged"),
                },
                "Before the events of a history",
            ),
            "event": EVENT,
            "event_text": text("An event of a history with as_text: what is stored, as text"),
            "end": _segment_line(
                "end",
                {
                    "instances": count("Lines with an instance"),
                    "histories": count("Histories"),
                    "events": count("Their events"),
                    "history_bytes": HISTORY_BYTES,
                },
                "The last line",
            ),
            "kept_execution": record(_KEPT_EXECUTION, "An execution as it stood in the store"),
            "kept_instance": record(_KEPT_INSTANCE, "A removed instance as it stood in the store"),
            "kept_lineage": record(_KEPT_LINEAGE, "Who spawned an instance, as it stood in the store"),
            "kept_range": record(_KEPT_RANGE, "What was removed of an instance"),
        },
    ),
    one(
        "duro.archive_manifest/1",
        "`*.manifest.json` beside a segment of an archive: what it holds",
        (),
        {
            "segment": text("The name of the file"),
            "store_id": STORE_ID,
            "made_at_ms": time_ms("When it was written"),
            "duro_version": DURO_VERSION,
            **{"events" if name == "event_count" else name: schema for name, schema in MANIFEST.items()},
        },
    ),
    Document(
        "duro.export/1",
        "What `duroctl export` writes: no JSON, but the tables of a SQLite file ([operating.md](../operating.md))",
        (),
        None,
    ),
)

DOCUMENTS: Final[tuple[Document, ...]] = (*_RUN, *_LOOK, *_REMOVE, *_KEEP, _ERROR, *_FILES)

WITHOUT: Final = (
    "demo",
    "worker",
    "holds remove",
    "policy schema",
)
"""Commands that print no such document."""


def documents_of(command: str) -> list[Document]:
    """Those that ``command`` (without its arguments) prints, errors aside."""
    return [found for found in DOCUMENTS if any(f"{how} ".startswith(f"{command} ") for how in found.printed_by)]
