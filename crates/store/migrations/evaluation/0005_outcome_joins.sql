-- Outcomes whose prediction is looked for, and the live metrics that are told of. `state` is joined, pending (looked for
-- again at `next_ms`, after `tries` times in vain) or unjoined (given up); `version` grows with every change of a row.
ALTER TABLE outcomes ADD COLUMN state {{text}} NOT NULL DEFAULT 'joined';
ALTER TABLE outcomes ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE outcomes ADD COLUMN tries BIGINT NOT NULL DEFAULT 0;
ALTER TABLE outcomes ADD COLUMN next_ms BIGINT NOT NULL DEFAULT 0;
CREATE INDEX outcomes_pending ON outcomes (next_ms) WHERE state = 'pending';

-- Endpoints with outcomes. `change` grows with every change of what is known of one, `told` is the change whose metrics
-- the gateway was told; where they differ it is told at `due_ms`.
CREATE TABLE live_endpoints (
    workspace {{text}} NOT NULL,
    endpoint {{text}} NOT NULL,
    change BIGINT NOT NULL,
    told BIGINT NOT NULL,
    due_ms BIGINT NOT NULL,
    PRIMARY KEY (workspace, endpoint)
) {{without_rowid}};
CREATE INDEX live_endpoints_due ON live_endpoints (due_ms) WHERE change > told;

-- Who does a work that one replica does at a time; `fence` grows with every change of the holder.
CREATE TABLE keepers (
    name {{text}} NOT NULL PRIMARY KEY,
    holder {{text}} NOT NULL,
    lease_ms BIGINT NOT NULL,
    fence BIGINT NOT NULL
) {{without_rowid}};
