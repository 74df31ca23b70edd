-- A message is found by its id alone: on SQLite the table is that index, which is a page less in every write.
{{sqlite: DROP INDEX outbox_by_next; }}
{{sqlite: ALTER TABLE outbox RENAME TO outbox_before; }}
{{sqlite: CREATE TABLE outbox (event_id TEXT NOT NULL PRIMARY KEY, kind TEXT NOT NULL, payload BLOB NOT NULL,
    created_ms BIGINT NOT NULL, attempts BIGINT NOT NULL, next_ms BIGINT NOT NULL) WITHOUT ROWID; }}
{{sqlite: INSERT INTO outbox (event_id, kind, payload, created_ms, attempts, next_ms)
    SELECT event_id, kind, payload, created_ms, attempts, next_ms FROM outbox_before; }}
{{sqlite: DROP TABLE outbox_before; }}
{{sqlite: CREATE INDEX outbox_by_next ON outbox (next_ms); }}
