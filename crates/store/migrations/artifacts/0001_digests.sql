-- Digests of artifact files. No workspace: a row belongs to a place in the store, whoever asks for it.
-- At most one row of a location is current; the others are writes that were about to replace it.
CREATE TABLE artifact_digests (
    location {{text}} NOT NULL,
    write_id {{text}} NOT NULL,
    is_current BOOLEAN NOT NULL,
    begun_ms BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    sha256 {{bytes}} NOT NULL,
    blocks {{bytes}} NOT NULL,
    PRIMARY KEY (location, write_id)
){{without_rowid}};

CREATE UNIQUE INDEX artifact_digests_current ON artifact_digests (location) WHERE is_current;
