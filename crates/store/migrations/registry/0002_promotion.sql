-- Promotion rules as they are now. `model` is a name, or empty for every model; `body` the rule as JSON.
CREATE TABLE promotion_rules (
    workspace {{text}} NOT NULL,
    model {{text}} NOT NULL,
    name {{text}} NOT NULL,
    target_kind {{text}} NOT NULL,
    target {{text}} NOT NULL,
    rule_version BIGINT NOT NULL,
    body {{text}} NOT NULL,
    PRIMARY KEY (workspace, model, name)
) {{without_rowid}};
CREATE INDEX promotion_rules_by_target ON promotion_rules (workspace, target_kind, target, model);

-- Every version of every rule, deletions included.
CREATE TABLE promotion_rule_history (
    id {{id}},
    workspace {{text}} NOT NULL,
    model {{text}} NOT NULL,
    name {{text}} NOT NULL,
    rule_version BIGINT NOT NULL,
    body {{text}} NOT NULL
);
CREATE UNIQUE INDEX promotion_rule_history_by_version ON promotion_rule_history (workspace, model, name, rule_version);
CREATE INDEX promotion_rule_history_by_model ON promotion_rule_history (workspace, model, id);

CREATE TABLE verdicts (
    id {{id}},
    workspace {{text}} NOT NULL,
    model_uid {{text}} NOT NULL,
    version BIGINT NOT NULL,
    evaluation {{text}} NOT NULL,
    dataset {{text}} NOT NULL,
    data_digest {{text}} NOT NULL,
    content_digest {{text}} NOT NULL,
    body {{text}} NOT NULL,
    principal {{text}} NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE INDEX verdicts_by_version ON verdicts (workspace, model_uid, version, id);
CREATE INDEX verdicts_by_evaluation ON verdicts (workspace, model_uid, version, evaluation, id);

CREATE TABLE approvals (
    id {{id}},
    workspace {{text}} NOT NULL,
    model_uid {{text}} NOT NULL,
    version BIGINT NOT NULL,
    target_kind {{text}} NOT NULL,
    target {{text}} NOT NULL,
    principal {{text}} NOT NULL,
    comment {{text}} NOT NULL,
    content_digest {{text}} NOT NULL,
    created_ms BIGINT NOT NULL,
    withdrawn_ms BIGINT
);
CREATE INDEX approvals_by_version ON approvals (workspace, model_uid, version, id);
CREATE UNIQUE INDEX approvals_in_force ON approvals (workspace, model_uid, version, target_kind, target, principal)
    WHERE withdrawn_ms IS NULL;

-- Promotions that a gate let through: what a rollback may return to.
CREATE TABLE promotions (
    transition_id BIGINT NOT NULL PRIMARY KEY,
    workspace {{text}} NOT NULL,
    model_uid {{text}} NOT NULL,
    version BIGINT NOT NULL,
    target_kind {{text}} NOT NULL,
    target {{text}} NOT NULL,
    content_digest {{text}} NOT NULL,
    report {{text}} NOT NULL
);
CREATE INDEX promotions_by_version ON promotions (workspace, model_uid, version, target_kind, target);

-- Formats of a version's files, a JSON list, as they were when its digest was recorded.
CREATE TABLE version_formats (
    workspace {{text}} NOT NULL,
    version_key BIGINT NOT NULL PRIMARY KEY,
    formats {{text}} NOT NULL
);

-- Append-only, whoever has the connection.
{{sqlite: CREATE TRIGGER rule_history_no_update BEFORE UPDATE ON promotion_rule_history BEGIN SELECT RAISE(ABORT, 'the history of rules is append-only'); END; }}
{{sqlite: CREATE TRIGGER rule_history_no_delete BEFORE DELETE ON promotion_rule_history BEGIN SELECT RAISE(ABORT, 'the history of rules is append-only'); END; }}
{{sqlite: CREATE TRIGGER verdicts_no_update BEFORE UPDATE ON verdicts BEGIN SELECT RAISE(ABORT, 'verdicts are append-only'); END; }}
{{sqlite: CREATE TRIGGER verdicts_no_delete BEFORE DELETE ON verdicts BEGIN SELECT RAISE(ABORT, 'verdicts are append-only'); END; }}
{{sqlite: CREATE TRIGGER promotions_no_update BEFORE UPDATE ON promotions BEGIN SELECT RAISE(ABORT, 'promotions are append-only'); END; }}
{{sqlite: CREATE TRIGGER promotions_no_delete BEFORE DELETE ON promotions BEGIN SELECT RAISE(ABORT, 'promotions are append-only'); END; }}
{{postgres: CREATE TRIGGER rule_history_append_only BEFORE UPDATE OR DELETE ON promotion_rule_history FOR EACH ROW EXECUTE FUNCTION transitions_refuse(); }}
{{postgres: CREATE TRIGGER verdicts_append_only BEFORE UPDATE OR DELETE ON verdicts FOR EACH ROW EXECUTE FUNCTION transitions_refuse(); }}
{{postgres: CREATE TRIGGER promotions_append_only BEFORE UPDATE OR DELETE ON promotions FOR EACH ROW EXECUTE FUNCTION transitions_refuse(); }}
