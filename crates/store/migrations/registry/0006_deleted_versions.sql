-- What is left of a version that was deleted: which files it was. Texts and tags that people wrote are gone with it.
CREATE TABLE deleted_versions (
    workspace {{text}} NOT NULL,
    model_uid {{text}} NOT NULL,
    version BIGINT NOT NULL,
    name {{text}} NOT NULL,
    source {{text}} NOT NULL,
    artifact_uri {{text}} NOT NULL,
    run_id {{text}},
    run_link {{text}} NOT NULL,
    model_id {{text}},
    user_id {{text}} NOT NULL,
    status {{text}} NOT NULL,
    status_message {{text}} NOT NULL,
    content_digest {{text}} NOT NULL,
    digest_state BIGINT NOT NULL,
    source_unchecked BOOLEAN NOT NULL,
    revision BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    deleted_ms BIGINT NOT NULL,
    PRIMARY KEY (workspace, model_uid, version)
) {{without_rowid}};
