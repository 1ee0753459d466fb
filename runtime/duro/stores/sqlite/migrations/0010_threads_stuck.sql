-- How many threads of a worker are in plain activities that were cancelled or ran out of time, and have not returned.
ALTER TABLE workers ADD COLUMN threads_stuck INTEGER NOT NULL DEFAULT 0;
