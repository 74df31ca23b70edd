-- Endpoints, deleted ones too: an answer's id must explain itself after the endpoint is gone. `version` grows with every
-- change and is the etag. `body` is the endpoint as JSON.
CREATE TABLE endpoints (
    endpoint_key BIGINT NOT NULL PRIMARY KEY,
    workspace {{text}} NOT NULL,
    uid {{text}} NOT NULL,
    name {{text}} NOT NULL,
    body {{text}} NOT NULL,
    version BIGINT NOT NULL,
    deleted_ms BIGINT
);
CREATE UNIQUE INDEX endpoints_by_name ON endpoints (workspace, name) WHERE deleted_ms IS NULL;

-- Revisions never change. `body` holds the revision as JSON, the map of its split included.
CREATE TABLE revisions (
    endpoint_key BIGINT NOT NULL,
    number BIGINT NOT NULL,
    body {{text}} NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (endpoint_key, number)
) {{without_rowid}};

-- What each target meant from which moment on: stages and aliases are followed, so that a revision alone does not say it.
CREATE TABLE resolutions (
    endpoint_key BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    target {{text}} NOT NULL,
    from_ms BIGINT NOT NULL,
    body {{text}} NOT NULL,
    PRIMARY KEY (endpoint_key, revision, target, from_ms)
) {{without_rowid}};

-- Rollouts. `body` is plan and state as JSON; `version` makes every step compare-and-set; the lease says which replica
-- decides until when.
CREATE TABLE rollouts (
    rollout_id {{text}} NOT NULL PRIMARY KEY,
    workspace {{text}} NOT NULL,
    endpoint_key BIGINT NOT NULL,
    body {{text}} NOT NULL,
    version BIGINT NOT NULL,
    is_open BOOLEAN NOT NULL,
    holder {{text}} NOT NULL,
    lease_ms BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX rollouts_open ON rollouts (endpoint_key) WHERE is_open;
CREATE INDEX rollouts_by_time ON rollouts (workspace, created_ms, rollout_id);

-- What one replica measured of one target in one window. `body` is a mergeable summary in its own byte form.
CREATE TABLE windows (
    endpoint_key BIGINT NOT NULL,
    start_ms BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    target {{text}} NOT NULL,
    model_version {{text}} NOT NULL,
    replica {{text}} NOT NULL,
    end_ms BIGINT NOT NULL,
    body {{bytes}} NOT NULL,
    PRIMARY KEY (endpoint_key, start_ms, revision, target, model_version, replica)
) {{without_rowid}};

-- Secrets of this installation, made once: what signs prediction ids.
CREATE TABLE keys (
    name {{text}} NOT NULL PRIMARY KEY,
    secret {{bytes}} NOT NULL
);
