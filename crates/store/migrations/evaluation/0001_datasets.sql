-- Datasets. `body` is the dataset as JSON; what is counted stands in columns: `latest_version`, the newest record
-- (`last_record`, from 1 without gaps) and the newest that is in a version (`published_record`).
CREATE TABLE datasets (
    uid {{text}} NOT NULL PRIMARY KEY,
    workspace {{text}} NOT NULL,
    name {{text}} NOT NULL,
    body {{text}} NOT NULL,
    latest_version BIGINT NOT NULL,
    last_record BIGINT NOT NULL,
    published_record BIGINT NOT NULL
);
CREATE UNIQUE INDEX datasets_by_name ON datasets (workspace, name);

-- Versions never change. `body` is the version as JSON.
CREATE TABLE dataset_versions (
    uid {{text}} NOT NULL,
    version BIGINT NOT NULL,
    body {{text}} NOT NULL,
    PRIMARY KEY (uid, version)
) {{without_rowid}};

-- Records in the order of adding, each a JSON object.
CREATE TABLE dataset_records (
    uid {{text}} NOT NULL,
    number BIGINT NOT NULL,
    body {{text}} NOT NULL,
    PRIMARY KEY (uid, number)
) {{without_rowid}};

-- Folders in the artifact service that are to be removed: those of datasets that are gone, and at once when an upload
-- begins, in case it never becomes a version; the version takes its line away.
CREATE TABLE dataset_leftovers (
    location {{text}} NOT NULL PRIMARY KEY,
    workspace {{text}} NOT NULL,
    due_ms BIGINT NOT NULL
);
CREATE INDEX dataset_leftovers_due ON dataset_leftovers (due_ms);
