-- Where a manual run was made, by which duro, and of which plan ('' if it was made without one).
ALTER TABLE prune_runs ADD COLUMN host TEXT NOT NULL DEFAULT '';
ALTER TABLE prune_runs ADD COLUMN duro_version TEXT NOT NULL DEFAULT '';
ALTER TABLE prune_runs ADD COLUMN plan_hash TEXT NOT NULL DEFAULT '';
