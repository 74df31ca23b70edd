-- What processes are about to do with the files of a version: promote it, or let its files go. Of two that meet, the second to
-- write its row sees the other's; `until_ms` is by the clock of the database, for those that ended in between.
CREATE TABLE file_intents (
    workspace {{text}} NOT NULL,
    model_uid {{text}} NOT NULL,
    version BIGINT NOT NULL,
    mark {{text}} NOT NULL,
    is_promotion BOOLEAN NOT NULL,
    until_ms BIGINT NOT NULL,
    PRIMARY KEY (workspace, model_uid, version, mark)
) {{without_rowid}};
