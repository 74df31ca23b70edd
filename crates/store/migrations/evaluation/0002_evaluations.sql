-- Evaluations. `body` is the whole record as JSON; the other columns are what is searched and what keeps two replicas
-- apart: `fence` grows with every lease, and who writes with an older one is refused.
CREATE TABLE evaluations (
    evaluation_id {{text}} NOT NULL PRIMARY KEY,
    workspace {{text}} NOT NULL,
    name {{text}} NOT NULL,
    dataset {{text}} NOT NULL,
    model_name {{text}} NOT NULL,
    model_version BIGINT NOT NULL,
    state {{text}} NOT NULL,
    cancel_requested BOOLEAN NOT NULL,
    holder {{text}} NOT NULL,
    lease_ms BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    version BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    body {{text}} NOT NULL
);
CREATE INDEX evaluations_by_time ON evaluations (workspace, created_ms, evaluation_id);
CREATE INDEX evaluations_open ON evaluations (created_ms, evaluation_id) WHERE state IN ('pending', 'running');

-- Answers that are kept: what is in a part is never asked again. `body` is the part as JSON.
CREATE TABLE evaluation_parts (
    evaluation_id {{text}} NOT NULL,
    part_of {{text}} NOT NULL,
    start_row BIGINT NOT NULL,
    body {{text}} NOT NULL,
    PRIMARY KEY (evaluation_id, part_of, start_row)
) {{without_rowid}};

-- The report of an evaluation that has ended, as JSON.
CREATE TABLE evaluation_reports (
    evaluation_id {{text}} NOT NULL PRIMARY KEY,
    body {{text}} NOT NULL
);

-- Answers of judges by the hash of what they were asked.
CREATE TABLE judge_answers (
    workspace {{text}} NOT NULL,
    answer_key {{text}} NOT NULL,
    body {{bytes}} NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (workspace, answer_key)
);
