-- Folders whose files nobody may change or remove, by their names in the digest index. Several holders may hold one folder.
CREATE TABLE artifact_holds (
    location {{text}} NOT NULL,
    holder {{text}} NOT NULL,
    workspace {{text}} NOT NULL,
    uri {{text}} NOT NULL,
    reason {{text}} NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (location, holder)
){{without_rowid}};

CREATE INDEX artifact_holds_by_workspace ON artifact_holds (workspace, location, holder);
