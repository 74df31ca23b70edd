-- The log is read and pruned by its numbers alone: what it does not need is a page less in every write. On SQLite the
-- next number follows from the last one, or from the last pruned one, so that no other table has to keep it.
DROP INDEX changes_by_entity;
DROP INDEX changes_by_age;
{{sqlite: ALTER TABLE changes RENAME TO changes_before; }}
{{sqlite: CREATE TABLE changes (seq INTEGER PRIMARY KEY, workspace TEXT NOT NULL, entity TEXT NOT NULL,
    entity_id TEXT NOT NULL, version BIGINT NOT NULL, payload BLOB NOT NULL, created_ms BIGINT NOT NULL); }}
{{sqlite: INSERT INTO changes (seq, workspace, entity, entity_id, version, payload, created_ms)
    SELECT seq, workspace, entity, entity_id, version, payload, created_ms FROM changes_before ORDER BY seq; }}
{{sqlite: DROP TABLE changes_before; }}
