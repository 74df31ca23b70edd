-- Tracking was told of versions that name a run or a logged model only. Those that name none may have their files in a folder
-- of one all the same, so that it hears of them too before it purges. Later messages about them go before this one, 0.
INSERT INTO outbox (event_id, kind, payload, created_ms, attempts, next_ms)
SELECT {{sqlite: lower(hex(randomblob(16))) }}{{postgres: replace(CAST(gen_random_uuid() AS TEXT), '-', '') }},
    'model_version_reference',
    {{sqlite: CAST(json_object( }}{{postgres: convert_to(CAST(json_build_object( }}
        'workspace', workspace, 'seq', 0, 'uid', model_uid, 'name', name, 'version', version, 'model_id', '', 'run_id', '',
        'artifact_uri', artifact_uri, 'released', {{sqlite: json('false')) AS BLOB) }}{{postgres: FALSE) AS TEXT), 'UTF8') }},
    created_ms, 0, 0
FROM versions
WHERE run_id IS NULL AND model_id IS NULL AND NOT source_unchecked
    AND (artifact_uri LIKE '/%' OR artifact_uri LIKE '%:/%');
