-- What a gate asks of a verdict beside its data: by which definition, and on which share of the rows, in millionths.
ALTER TABLE verdicts ADD COLUMN definition_digest {{text}} NOT NULL DEFAULT '';
ALTER TABLE verdicts ADD COLUMN row_millionths BIGINT NOT NULL DEFAULT 0;
