-- What this host was asked to run. Whether it is in memory is not kept: after a start everything is loaded on demand.
CREATE TABLE deployments (
    deployment_id {{text}} NOT NULL PRIMARY KEY,
    workspace {{text}} NOT NULL,
    source {{text}} NOT NULL,
    model_name {{text}} NOT NULL,
    model_version {{text}} NOT NULL,
    model_uid {{text}} NOT NULL,
    artifact_uri {{text}} NOT NULL,
    content_digest {{text}} NOT NULL,
    settings {{text}} NOT NULL,
    created_ms BIGINT NOT NULL
);
