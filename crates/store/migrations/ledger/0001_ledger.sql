-- Writes that carried a request id: their answers, so that a retry has no further effect.
CREATE TABLE requests (
    workspace {{text}} NOT NULL,
    principal {{text}} NOT NULL,
    method {{text}} NOT NULL,
    request_id {{text}} NOT NULL,
    body_hash {{bytes}} NOT NULL,
    response {{bytes}},
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (workspace, principal, method, request_id)
) {{without_rowid}};
CREATE INDEX requests_by_age ON requests (created_ms);

-- What changed, in the order of commits; feeds every Watch call.
CREATE TABLE changes (
    seq {{seq}},
    workspace {{text}} NOT NULL,
    entity {{text}} NOT NULL,
    entity_id {{text}} NOT NULL,
    version BIGINT NOT NULL,
    payload {{bytes}} NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE INDEX changes_by_entity ON changes (workspace, entity, entity_id, seq);
CREATE INDEX changes_by_age ON changes (created_ms);
-- One row. Its lock, held to the commit, puts the numbers into commit order where writers run side by side.
CREATE TABLE change_head (one BIGINT PRIMARY KEY, seq BIGINT NOT NULL, pruned_seq BIGINT NOT NULL);
INSERT INTO change_head (one, seq, pruned_seq) VALUES (1, 0, 0);

-- Messages to other services, written with the change that causes them.
CREATE TABLE outbox (
    event_id {{text}} PRIMARY KEY,
    kind {{text}} NOT NULL,
    payload {{bytes}} NOT NULL,
    created_ms BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    next_ms BIGINT NOT NULL
);
CREATE INDEX outbox_by_next ON outbox (next_ms);
