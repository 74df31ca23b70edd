-- What was true of predictions that were given, one row a prediction: a later outcome takes the place of an earlier one.
-- `body` is the outcome as JSON.
CREATE TABLE outcomes (
    workspace {{text}} NOT NULL,
    prediction_id {{text}} NOT NULL,
    endpoint {{text}} NOT NULL,
    target {{text}} NOT NULL,
    predicted_ms BIGINT NOT NULL,
    known_ms BIGINT NOT NULL,
    body {{text}} NOT NULL,
    PRIMARY KEY (workspace, prediction_id)
) {{without_rowid}};
CREATE INDEX outcomes_by_time ON outcomes (workspace, endpoint, predicted_ms, prediction_id);
