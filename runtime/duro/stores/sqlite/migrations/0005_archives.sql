-- Archives. "archive" is where a history is to be kept before it goes: a directory, '' for the one of the configuration,
-- NULL for nowhere. "unarchived" is 1 while that has yet to be done: until then nothing of it is reclaimed.
ALTER TABLE executions ADD COLUMN archive TEXT;
ALTER TABLE executions ADD COLUMN unarchived INTEGER NOT NULL DEFAULT 0;
ALTER TABLE removed_instances ADD COLUMN archive TEXT;
ALTER TABLE removed_instances ADD COLUMN unarchived INTEGER NOT NULL DEFAULT 0;
ALTER TABLE prune_runs ADD COLUMN archive TEXT;

-- What may be reclaimed, and what waits for its archive: neither is searched for among the other.
DROP INDEX executions_marked;
CREATE INDEX executions_marked ON executions (reclaim_at_ms, incarnation, execution_id, removal)
  WHERE removal <> 'live' AND unarchived = 0;
CREATE INDEX executions_unarchived ON executions (reclaim_at_ms, incarnation, execution_id, archive)
  WHERE unarchived = 1;
DROP INDEX removed_instances_due;
CREATE INDEX removed_instances_due ON removed_instances (reclaim_at_ms, tree, depth DESC, incarnation)
  WHERE unarchived = 0;
CREATE INDEX removed_instances_unarchived ON removed_instances (reclaim_at_ms, tree, depth DESC, incarnation, archive)
  WHERE unarchived = 1;

-- Directories that were written to, and the id of the archive that was there: another one in its place is none of ours.
CREATE TABLE archives (
    directory           TEXT    PRIMARY KEY,
    archive_id          TEXT    NOT NULL,
    last_used_at_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
