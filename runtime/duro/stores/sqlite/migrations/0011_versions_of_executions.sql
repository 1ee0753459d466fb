-- For rules by version: how many executions of each version come after one. Only what a loop has behind it: an instance of
-- one execution has no row here.
CREATE INDEX executions_by_version ON executions (incarnation, version, execution_id)
  WHERE status = 'continued_as_new' AND removal = 'live';
