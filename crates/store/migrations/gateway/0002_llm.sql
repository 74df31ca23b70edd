-- Routes to language models. `version` grows with every change and is the etag. `body` is the route as JSON; it names
-- keys and holds none.
CREATE TABLE llm_routes (
    workspace {{text}} NOT NULL,
    name {{text}} NOT NULL,
    body {{text}} NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (workspace, name)
) {{without_rowid}};
