-- Which version of its dataset an evaluation reads; 0: the newest one, not known yet, or written before this column was.
ALTER TABLE evaluations ADD COLUMN dataset_version BIGINT NOT NULL DEFAULT 0;
CREATE INDEX evaluations_by_dataset ON evaluations (workspace, dataset, dataset_version);
