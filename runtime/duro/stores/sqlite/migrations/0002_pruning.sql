-- Pruning. What an instance says about itself: a policy of its own (JSON), the last execution at whose end an automatic
-- prune was done, when a sweep has to look at it, when one looked for its interval, and the number below which none of
-- its executions is live.
ALTER TABLE instances ADD COLUMN prune_policy TEXT;
ALTER TABLE instances ADD COLUMN pruned_through INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN prune_due_at_ms INTEGER;
ALTER TABLE instances ADD COLUMN swept_at_ms INTEGER;
ALTER TABLE instances ADD COLUMN live_from INTEGER NOT NULL DEFAULT 1;
CREATE INDEX instances_prune_due ON instances (incarnation) WHERE prune_due_at_ms IS NOT NULL;
CREATE INDEX instances_own_policy ON instances (incarnation) WHERE prune_policy IS NOT NULL;

-- Of executions that are marked: when, until when they can be brought back, by which manual run ('' is an automatic
-- prune), and whether their settled children go with them.
ALTER TABLE executions ADD COLUMN pruned_at_ms INTEGER;
ALTER TABLE executions ADD COLUMN reclaim_at_ms INTEGER;
ALTER TABLE executions ADD COLUMN run_id TEXT;
ALTER TABLE executions ADD COLUMN takes_children INTEGER NOT NULL DEFAULT 0;
-- With everything it takes to count them.
CREATE INDEX executions_marked ON executions (reclaim_at_ms, incarnation, execution_id, removal) WHERE removal <> 'live';

-- What may not be removed, and why. Exactly one kind of target: an instance (with an execution), or a name and/or version.
CREATE TABLE holds (
    hold_id             TEXT    PRIMARY KEY,
    instance_id         TEXT,
    execution_id        INTEGER,
    name                TEXT,                          -- a name or a pattern, as in a shell
    version             TEXT,
    reason              TEXT    NOT NULL,
    created_at_ms       INTEGER NOT NULL,
    created_by          TEXT    NOT NULL,
    until_ms            INTEGER,
    CHECK (instance_id IS NOT NULL OR name IS NOT NULL OR version IS NOT NULL),
    CHECK (execution_id IS NULL OR instance_id IS NOT NULL)
) STRICT, WITHOUT ROWID;
CREATE INDEX holds_by_instance ON holds (instance_id);

-- What was pruned of each life of an instance, oldest first. Rows without a run are automatic: coalesced, at most 64 an
-- instance. A row with a run is that run's, and is never changed once the run is over.
CREATE TABLE ledger (
    incarnation         INTEGER NOT NULL,
    sequence            INTEGER NOT NULL,
    first_execution_id  INTEGER NOT NULL,
    last_execution_id   INTEGER NOT NULL,
    executions          INTEGER NOT NULL,
    events              INTEGER NOT NULL,
    history_bytes       INTEGER NOT NULL,
    rule                TEXT    NOT NULL,
    origin              TEXT    NOT NULL,
    trigger             TEXT    NOT NULL,
    first_pruned_at_ms  INTEGER NOT NULL,
    last_pruned_at_ms   INTEGER NOT NULL,
    run_id              TEXT,
    PRIMARY KEY (incarnation, sequence)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX ledger_by_run ON ledger (run_id, incarnation) WHERE run_id IS NOT NULL;

-- Manual prunes and undos, as a whole.
CREATE TABLE prune_runs (
    run_id              TEXT    PRIMARY KEY,
    trigger             TEXT    NOT NULL CHECK (trigger IN ('manual', 'undo')),
    rule                TEXT    NOT NULL,
    origin              TEXT    NOT NULL,
    run_by              TEXT    NOT NULL,
    reason              TEXT    NOT NULL,
    started_at_ms       INTEGER NOT NULL,
    instances           INTEGER NOT NULL,
    executions          INTEGER NOT NULL,
    events              INTEGER NOT NULL,
    history_bytes       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX prune_runs_by_age ON prune_runs (started_at_ms);

-- The ledgers of instances that are gone, by orchestration.
CREATE TABLE ledger_totals (
    name                TEXT    PRIMARY KEY,
    instances           INTEGER NOT NULL,
    executions          INTEGER NOT NULL,
    events              INTEGER NOT NULL,
    history_bytes       INTEGER NOT NULL,
    first_pruned_at_ms  INTEGER NOT NULL,
    last_pruned_at_ms   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- When a worker first registered a version of an orchestration.
CREATE TABLE versions (
    name                TEXT    NOT NULL,
    version             TEXT    NOT NULL,
    first_seen_at_ms    INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;

-- What workers published, each distinct text once, so that it outlives them.
CREATE TABLE publications (
    published           TEXT    PRIMARY KEY,
    sequence            INTEGER NOT NULL,              -- in the order of their first publication
    last_published_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What is gone leaves nothing behind.
CREATE INDEX requests_by_incarnation ON requests (incarnation);
