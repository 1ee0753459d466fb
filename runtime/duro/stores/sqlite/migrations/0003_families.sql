-- Families: who was told on purpose to stand alone, whose parent is gone, and whole instances that were removed.
ALTER TABLE lineage ADD COLUMN parent_removed_at_ms INTEGER;
ALTER TABLE lineage ADD COLUMN adopted_at_ms INTEGER;
ALTER TABLE lineage ADD COLUMN adopted_by TEXT;
ALTER TABLE lineage ADD COLUMN adopted_reason TEXT;
-- Where orphans are: a child that its parent observed, or still may observe, is not among them.
CREATE INDEX lineage_unobserved ON lineage (child_incarnation)
  WHERE detached = 0 AND observed_at_ms IS NULL AND spawner_ended_at_ms IS NOT NULL;

-- Instances that were removed, as they were. Everything else of them is still in its table until it is reclaimed, a
-- tree (by the incarnation of its root) from the leaves up: those of the greatest depth go first.
CREATE TABLE removed_instances (
    incarnation         INTEGER PRIMARY KEY,
    instance_id         TEXT    NOT NULL,
    name                TEXT    NOT NULL,
    version             TEXT    NOT NULL,
    status              TEXT    NOT NULL CHECK (status IN ('completed', 'failed', 'cancelled', 'terminated')),
    execution_id        INTEGER NOT NULL,
    created_at_ms       INTEGER NOT NULL,
    updated_at_ms       INTEGER NOT NULL,
    completed_at_ms     INTEGER NOT NULL,
    start_request_id    TEXT    NOT NULL,
    custom_status       TEXT,
    turn_sequence       INTEGER NOT NULL,
    last_commit_token   TEXT,
    lease_epoch         INTEGER NOT NULL,
    cancel_requested_at_ms INTEGER,
    cancel_reason       TEXT,
    cancel_delivered    INTEGER NOT NULL,
    prune_policy        TEXT,
    pruned_through      INTEGER NOT NULL,
    prune_due_at_ms     INTEGER,
    swept_at_ms         INTEGER,
    live_from           INTEGER NOT NULL,
    tree                INTEGER NOT NULL,
    depth               INTEGER NOT NULL,
    executions          INTEGER NOT NULL,              -- those that were live, their events and bytes
    events              INTEGER NOT NULL,
    history_bytes       INTEGER NOT NULL,
    removed_at_ms       INTEGER NOT NULL,
    reclaim_at_ms       INTEGER NOT NULL,
    run_id              TEXT    NOT NULL,              -- '' is automatic
    reclaiming          INTEGER NOT NULL DEFAULT 0 CHECK (reclaiming IN (0, 1))
) STRICT;
CREATE INDEX removed_instances_due ON removed_instances (reclaim_at_ms, tree, depth DESC, incarnation);
CREATE INDEX removed_instances_by_id ON removed_instances (instance_id, incarnation);
CREATE INDEX removed_instances_by_tree ON removed_instances (tree);
CREATE INDEX removed_instances_by_run ON removed_instances (run_id) WHERE run_id <> '';
