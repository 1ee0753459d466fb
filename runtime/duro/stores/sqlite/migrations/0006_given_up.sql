-- When a turn of the parent recorded that it waits for a child no longer. Nothing says so of children from before.
ALTER TABLE lineage ADD COLUMN given_up_at_ms INTEGER;
