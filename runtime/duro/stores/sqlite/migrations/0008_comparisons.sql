-- The same constraints, as comparisons, those that are right most often first. SQLite makes a table of the values of an IN
-- with more than two, and looks there: that was half of what an update of these tables cost. A table's constraints are
-- changed in its text (sqlite.org/lang_altertable.html, section 7); no row is touched. The new index tells other
-- connections that the schema is another one.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(replace(replace(sql,
  'CHECK (status IN
                          (''pending'', ''running'', ''completed'', ''failed'', ''cancelled'', ''terminated''))',
  'CHECK (status = ''running'' OR status = ''completed'' OR status = ''pending'' OR status = ''failed''
                          OR status = ''cancelled'' OR status = ''terminated'')'),
  'CHECK ((completed_at_ms IS NOT NULL) = (status IN (''completed'', ''failed'', ''cancelled'', ''terminated'')))',
  'CHECK ((completed_at_ms IS NULL) = (status = ''running'' OR status = ''pending''))'),
  'CHECK (blocked IN (''nondeterminism'', ''history_unreadable'', ''poison''))',
  'CHECK (blocked IS NULL OR blocked = ''nondeterminism'' OR blocked = ''history_unreadable'' OR blocked = ''poison'')')
WHERE type = 'table' AND name = 'instances';
UPDATE sqlite_schema SET sql = replace(replace(replace(sql,
  'CHECK (status IN
                          (''pending'', ''running'', ''completed'', ''failed'', ''cancelled'', ''terminated'', ''continued_as_new''))',
  'CHECK (status = ''running'' OR status = ''completed'' OR status = ''continued_as_new'' OR status = ''pending''
                          OR status = ''failed'' OR status = ''cancelled'' OR status = ''terminated'')'),
  'CHECK (removal IN (''live'', ''pruned'', ''reclaiming''))',
  'CHECK (removal = ''live'' OR removal = ''pruned'' OR removal = ''reclaiming'')'),
  'CHECK ((completed_at_ms IS NULL) = (status IN (''pending'', ''running'')))',
  'CHECK ((completed_at_ms IS NULL) = (status = ''running'' OR status = ''pending''))')
WHERE type = 'table' AND name = 'executions';
PRAGMA writable_schema = RESET;
DROP INDEX instances_ended_badly;
CREATE INDEX instances_ended_badly ON instances (status, incarnation) WHERE completed_at_ms IS NOT NULL AND status <> 'completed';
