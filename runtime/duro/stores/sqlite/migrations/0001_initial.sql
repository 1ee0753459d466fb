-- The first schema. Times are Unix milliseconds. "incarnation" is one life of an instance id: a number from
-- a counter of the store that is never reused, so it also is the key of everything that belongs to that life.
-- Payloads, events and messages are JSON text.

-- One row: what is true of the store as a whole. The next_* columns are its counters.
CREATE TABLE store (
    one                 INTEGER PRIMARY KEY CHECK (one = 1),
    store_id            TEXT    NOT NULL,
    created_at_ms       INTEGER NOT NULL,
    next_incarnation    INTEGER NOT NULL DEFAULT 1,
    next_message_id     INTEGER NOT NULL DEFAULT 1,
    policy_revision     INTEGER NOT NULL DEFAULT 0,
    hold_revision       INTEGER NOT NULL DEFAULT 0,
    maintenance_holder  TEXT,
    maintenance_until_ms INTEGER,
    ignored_messages    INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE instances (
    incarnation         INTEGER PRIMARY KEY,
    instance_id         TEXT    NOT NULL UNIQUE,
    name                TEXT    NOT NULL,
    version             TEXT    NOT NULL,              -- '' until the first turn chose it
    status              TEXT    NOT NULL CHECK (status IN
                          ('pending', 'running', 'completed', 'failed', 'cancelled', 'terminated')),
    execution_id        INTEGER NOT NULL CHECK (execution_id >= 1),   -- the current execution
    created_at_ms       INTEGER NOT NULL,
    updated_at_ms       INTEGER NOT NULL,
    completed_at_ms     INTEGER,
    start_request_id    TEXT    NOT NULL,
    custom_status       TEXT,                          -- JSON
    turn_sequence       INTEGER NOT NULL DEFAULT 0,
    last_commit_token   TEXT,
    attempt_count       INTEGER NOT NULL DEFAULT 0,
    lease_worker_id     TEXT,
    lease_epoch         INTEGER NOT NULL DEFAULT 0,
    ready_at_ms         INTEGER,
    waits               TEXT    NOT NULL DEFAULT '[]', -- JSON array of mailbox names, one entry a wait
    cancel_requested_at_ms INTEGER,
    cancel_reason       TEXT,
    cancel_delivered    INTEGER NOT NULL DEFAULT 0 CHECK (cancel_delivered IN (0, 1)),
    blocked             TEXT CHECK (blocked IN ('nondeterminism', 'history_unreadable', 'poison')),
    blocked_reason      TEXT,
    CHECK ((completed_at_ms IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled', 'terminated'))),
    CHECK (completed_at_ms IS NULL OR (lease_worker_id IS NULL AND ready_at_ms IS NULL))
) STRICT;

-- What can be leased, by kind of work: a kind nobody can take is never scanned.
CREATE INDEX instances_ready ON instances (name, version, ready_at_ms) WHERE ready_at_ms IS NOT NULL;
CREATE INDEX instances_leased ON instances (lease_worker_id) WHERE lease_worker_id IS NOT NULL;
-- Listings, newest first.
CREATE INDEX instances_by_name ON instances (name, incarnation);
CREATE INDEX instances_unfinished ON instances (incarnation) WHERE completed_at_ms IS NULL;
CREATE INDEX instances_ended_badly ON instances (status, incarnation) WHERE status IN ('failed', 'cancelled', 'terminated');
CREATE INDEX instances_blocked ON instances (incarnation) WHERE blocked IS NOT NULL;

-- One execution: what planning and listing need, so that neither reads a history.
CREATE TABLE executions (
    incarnation         INTEGER NOT NULL,
    execution_id        INTEGER NOT NULL CHECK (execution_id >= 1),
    version             TEXT    NOT NULL,
    status              TEXT    NOT NULL CHECK (status IN
                          ('pending', 'running', 'completed', 'failed', 'cancelled', 'terminated', 'continued_as_new')),
    started_at_ms       INTEGER NOT NULL,
    completed_at_ms     INTEGER,
    event_count         INTEGER NOT NULL DEFAULT 0,
    history_bytes       INTEGER NOT NULL DEFAULT 0,
    input               TEXT,                          -- JSON, until the first turn put it into the history
    removal             TEXT    NOT NULL DEFAULT 'live' CHECK (removal IN ('live', 'pruned', 'reclaiming')),
    PRIMARY KEY (incarnation, execution_id),
    CHECK ((completed_at_ms IS NULL) = (status IN ('pending', 'running')))
) STRICT, WITHOUT ROWID;

-- Clustered, so that a whole execution is one range.
CREATE TABLE history (
    incarnation         INTEGER NOT NULL,
    execution_id        INTEGER NOT NULL,
    event_id            INTEGER NOT NULL,
    data                TEXT    NOT NULL,
    PRIMARY KEY (incarnation, execution_id, event_id)
) STRICT, WITHOUT ROWID;

-- The queue of an instance, in order of arrival.
CREATE TABLE messages (
    incarnation         INTEGER NOT NULL,
    message_id          INTEGER NOT NULL,
    data                TEXT    NOT NULL,
    PRIMARY KEY (incarnation, message_id)
) STRICT, WITHOUT ROWID;

-- External events nobody has waited for yet.
CREATE TABLE mailbox (
    incarnation         INTEGER NOT NULL,
    name                TEXT    NOT NULL,
    sequence            INTEGER NOT NULL,              -- from the same counter as message_id
    data                TEXT    NOT NULL,
    PRIMARY KEY (incarnation, name, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE timers (
    incarnation         INTEGER NOT NULL,
    execution_id        INTEGER NOT NULL,
    event_id            INTEGER NOT NULL,
    fire_at_ms          INTEGER NOT NULL,
    PRIMARY KEY (incarnation, execution_id, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX timers_due ON timers (incarnation, fire_at_ms);

-- The activity queue. Input, retry policy and time-outs stand in the ActivityScheduled event of the same key.
CREATE TABLE activities (
    incarnation         INTEGER NOT NULL,
    execution_id        INTEGER NOT NULL,
    event_id            INTEGER NOT NULL,
    name                TEXT    NOT NULL,
    scheduled_at_ms     INTEGER NOT NULL,
    visible_at_ms       INTEGER NOT NULL,
    attempt             INTEGER NOT NULL DEFAULT 1,    -- failures reported so far, plus one
    lease_worker_id     TEXT,
    lease_epoch         INTEGER NOT NULL DEFAULT 0,    -- deliveries so far
    PRIMARY KEY (incarnation, execution_id, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX activities_ready ON activities (name, visible_at_ms) WHERE lease_worker_id IS NULL;
CREATE INDEX activities_leased ON activities (lease_worker_id) WHERE lease_worker_id IS NOT NULL;

-- Who spawned whom. Lives as long as the child does, whatever is pruned of the parent.
CREATE TABLE lineage (
    child_incarnation   INTEGER PRIMARY KEY,
    parent_instance_id  TEXT    NOT NULL,
    parent_incarnation  INTEGER NOT NULL,
    parent_execution_id INTEGER NOT NULL,
    parent_event_id     INTEGER NOT NULL,
    detached            INTEGER NOT NULL CHECK (detached IN (0, 1)),
    on_parent_continue  TEXT CHECK (on_parent_continue IN ('abandon', 'cancel', 'terminate')),
    on_parent_end       TEXT CHECK (on_parent_end IN ('abandon', 'cancel', 'terminate')),
    spawned_at_ms       INTEGER NOT NULL,
    spawner_version     TEXT    NOT NULL,
    spawner_ended_at_ms INTEGER,
    spawner_end         TEXT,
    observed_at_ms      INTEGER,
    completion          TEXT CHECK (completion IN ('sent', 'ignored'))
) STRICT;
CREATE UNIQUE INDEX lineage_by_parent
    ON lineage (parent_incarnation, parent_execution_id, parent_event_id);

CREATE TABLE workers (
    worker_id           TEXT    PRIMARY KEY,
    host                TEXT    NOT NULL,
    process_id          INTEGER NOT NULL,
    started_at_ms       INTEGER NOT NULL,
    lease_until_ms      INTEGER NOT NULL,
    duro_version        TEXT    NOT NULL,
    published           TEXT    NOT NULL               -- JSON object
) STRICT, WITHOUT ROWID;

-- What a worker can take: kind is 'orchestration' (with version) or 'activity' (version '').
CREATE TABLE capabilities (
    worker_id           TEXT    NOT NULL,
    kind                TEXT    NOT NULL CHECK (kind IN ('orchestration', 'activity')),
    name                TEXT    NOT NULL,
    version             TEXT    NOT NULL,
    PRIMARY KEY (worker_id, kind, name, version)
) STRICT, WITHOUT ROWID;

-- Writes of clients that were applied, so that a repeat is not.
CREATE TABLE requests (
    request_id          TEXT    NOT NULL,
    incarnation         INTEGER NOT NULL,
    applied_at_ms       INTEGER NOT NULL,
    PRIMARY KEY (request_id, incarnation)
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_by_age ON requests (applied_at_ms);
