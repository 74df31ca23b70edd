-- What purges marked lately: a version of it that was on its way then is refused, also after its rows are gone.
CREATE TABLE purged (
    workspace {{text}} NOT NULL,
    id {{text}} NOT NULL,
    is_run BOOLEAN NOT NULL,
    artifact_uri {{text}} NOT NULL,
    marked_ms BIGINT NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX purged_by_time ON purged (workspace, marked_ms);
