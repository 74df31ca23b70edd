-- The newest figure of each live metric of a target's version, as evaluation reported it; `body` is the figure as JSON.
CREATE TABLE live_metrics (
    endpoint_key BIGINT NOT NULL,
    target {{text}} NOT NULL,
    model_version {{text}} NOT NULL,
    metric {{text}} NOT NULL,
    end_ms BIGINT NOT NULL,
    body {{text}} NOT NULL,
    PRIMARY KEY (endpoint_key, target, model_version, metric)
) {{without_rowid}};
