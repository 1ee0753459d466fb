-- What code asked to be pruned and a turn did not finish, for a sweep: by the rules "options" (JSON), as if "through" were
-- the newest execution and it were "at_ms" still.
CREATE TABLE asked_prunes (
    incarnation         INTEGER NOT NULL,
    options             TEXT    NOT NULL,
    origin              TEXT    NOT NULL,              -- JSON
    through             INTEGER NOT NULL,
    at_ms               INTEGER NOT NULL,
    due_at_ms           INTEGER NOT NULL,              -- from when a sweep goes on with it
    PRIMARY KEY (incarnation, options)
) STRICT, WITHOUT ROWID;
