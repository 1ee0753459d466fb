-- What a run was: prune, purge, orphans, undo or restore. Of runs from before as far as the rows say: a restore names the
-- archive, and what a run removed stands in the ledgers of instances that are not gone. '' is a run of which nothing does.
ALTER TABLE prune_runs ADD COLUMN kind TEXT NOT NULL DEFAULT '';
UPDATE prune_runs SET kind = CASE
  WHEN trigger = 'undo' THEN CASE origin WHEN 'archive' THEN 'restore' ELSE 'undo' END
  ELSE coalesce((SELECT CASE l.trigger WHEN 'manual' THEN 'prune' ELSE l.trigger END FROM ledger l INDEXED BY ledger_by_run
    WHERE l.run_id = prune_runs.run_id AND l.trigger IN ('manual', 'purge', 'orphans') LIMIT 1), '')
END;
