-- Evaluations of traffic that are repeated. `body` is the schedule as JSON; the other columns are what is searched and what
-- keeps two replicas apart: `fence` grows with every lease, and who writes with an older one is refused. While `is_taken`
-- holds, the window that ends at `next_ms` is at work and is not exchanged for a later one.
CREATE TABLE schedules (
    uid {{text}} NOT NULL PRIMARY KEY,
    workspace {{text}} NOT NULL,
    name {{text}} NOT NULL,
    endpoint {{text}} NOT NULL,
    next_ms BIGINT NOT NULL,
    is_taken BOOLEAN NOT NULL,
    lease_ms BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    body {{text}} NOT NULL
);
CREATE UNIQUE INDEX schedules_by_name ON schedules (workspace, name);
CREATE INDEX schedules_due ON schedules (next_ms, uid);
