-- A version's number is found by the model's name, which is as unique as its key; and no entry for versions without a run.
DROP INDEX versions_by_number;
DROP INDEX versions_by_run;
CREATE INDEX versions_by_run ON versions (workspace, run_id, version_key) WHERE run_id IS NOT NULL;
