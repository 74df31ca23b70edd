-- Registered models. `next_version` is the number the next version gets; its row is the lock of the whole model.
CREATE TABLE models (
    model_key {{id}},
    workspace {{text}} NOT NULL,
    uid {{text}} NOT NULL,
    name {{text}} NOT NULL,
    description {{text}},
    next_version BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX models_by_name ON models (workspace, name);
CREATE UNIQUE INDEX models_by_uid ON models (workspace, uid);
CREATE INDEX models_by_update ON models (workspace, updated_ms, model_key);

CREATE TABLE model_tags (
    workspace {{text}} NOT NULL,
    model_key BIGINT NOT NULL,
    key {{text}} NOT NULL,
    value {{text}} NOT NULL,
    PRIMARY KEY (model_key, key)
) {{without_rowid}};
CREATE INDEX model_tags_by_key ON model_tags (workspace, key, model_key);

-- Versions. Name and uid are the model's, kept here so that searches and lookups need no join; a renaming writes them all.
CREATE TABLE versions (
    version_key {{id}},
    workspace {{text}} NOT NULL,
    model_key BIGINT NOT NULL,
    model_uid {{text}} NOT NULL,
    name {{text}} NOT NULL,
    version BIGINT NOT NULL,
    stage {{text}} NOT NULL,
    description {{text}},
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
    updated_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX versions_by_number ON versions (workspace, model_key, version);
CREATE UNIQUE INDEX versions_by_name ON versions (workspace, name, version);
CREATE INDEX versions_by_stage ON versions (workspace, model_key, stage, version);
CREATE INDEX versions_by_update ON versions (workspace, updated_ms, version_key);
CREATE INDEX versions_by_run ON versions (workspace, run_id, version_key);
CREATE INDEX versions_by_digest ON versions (version_key) WHERE digest_state = 1;

CREATE TABLE version_tags (
    workspace {{text}} NOT NULL,
    version_key BIGINT NOT NULL,
    key {{text}} NOT NULL,
    value {{text}} NOT NULL,
    PRIMARY KEY (version_key, key)
) {{without_rowid}};
CREATE INDEX version_tags_by_key ON version_tags (workspace, key, version_key);

CREATE TABLE aliases (
    workspace {{text}} NOT NULL,
    model_key BIGINT NOT NULL,
    alias {{text}} NOT NULL,
    version BIGINT NOT NULL,
    version_key BIGINT NOT NULL,
    PRIMARY KEY (workspace, model_key, alias)
) {{without_rowid}};
CREATE INDEX aliases_by_version ON aliases (version_key);

-- The ledger. `group_id` is the first entry of the same step, NULL in that one; kinds are numbered in the domain.
CREATE TABLE transitions (
    id {{id}},
    workspace {{text}} NOT NULL,
    group_id BIGINT,
    kind BIGINT NOT NULL,
    model_uid {{text}} NOT NULL,
    name {{text}} NOT NULL,
    version BIGINT NOT NULL,
    from_stage {{text}},
    to_stage {{text}},
    alias {{text}},
    from_version BIGINT NOT NULL,
    from_name {{text}},
    principal {{text}} NOT NULL,
    principal_verified BOOLEAN NOT NULL,
    created_ms BIGINT NOT NULL,
    comment {{text}} NOT NULL,
    rollback_of BIGINT
);
CREATE INDEX transitions_by_workspace ON transitions (workspace, id);
CREATE INDEX transitions_by_model ON transitions (workspace, model_uid, id);
CREATE INDEX transitions_by_version ON transitions (workspace, model_uid, version, id);
CREATE INDEX transitions_by_name ON transitions (workspace, name, id) WHERE kind IN (3, 4, 5);
CREATE INDEX transitions_by_old_name ON transitions (workspace, from_name, id) WHERE from_name IS NOT NULL;
CREATE INDEX transitions_by_group ON transitions (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX transitions_by_rollback ON transitions (rollback_of) WHERE rollback_of IS NOT NULL;

-- Append-only, whoever has the connection.
{{sqlite: CREATE TRIGGER transitions_no_update BEFORE UPDATE ON transitions BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END; }}
{{sqlite: CREATE TRIGGER transitions_no_delete BEFORE DELETE ON transitions BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END; }}
{{postgres: CREATE FUNCTION transitions_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$; }}
{{postgres: CREATE TRIGGER transitions_append_only BEFORE UPDATE OR DELETE ON transitions FOR EACH ROW EXECUTE FUNCTION transitions_refuse(); }}
