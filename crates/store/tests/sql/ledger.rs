//! The shared tables and the migrations.

use super::*;

pub async fn create_once(
    db: &Db,
    id: RequestId,
    body: &'static [u8],
    name: &str,
) -> lodeway_domain::Result<Vec<u8>> {
    db.write_with(name.to_owned(), move |tx, name| {
        Box::pin(async move {
            let caller = Caller::anonymous();
            match requests::once(tx, &caller, "Create", Some(id), body, now()).await? {
                requests::Seen::Replay(answer) => Ok(answer),
                requests::Seen::Fresh => {
                    tx.execute("INSERT INTO t (name) VALUES ($1)", &args![name])
                        .await?;
                    requests::record(tx, &caller, "Create", Some(id), name.as_bytes(), now()).await?;
                    Ok(name.clone().into_bytes())
                }
            }
        })
    })
    .await
}

pub async fn repeated_requests_have_one_effect(db: Db) {
    let id = RequestId::generate();
    // A failed attempt leaves no trace.
    insert(&db, "taken").await.unwrap();
    assert!(create_once(&db, id, b"body", "taken").await.is_err());
    let all = (0..20).map(|i| {
        let db = db.clone();
        async move { create_once(&db, id, b"body", &format!("n{i}")).await.unwrap() }
    });
    let answers: HashSet<_> = futures::future::join_all(all).await.into_iter().collect();
    assert_eq!(answers.len(), 1);
    assert_eq!(count(&db).await, 2);
    let error = create_once(&db, id, b"other body", "z").await.unwrap_err();
    assert_eq!(error.reason(), Reason::RequestIdReused);
    let later = now().plus(requests::RETENTION).plus(Duration::from_secs(1));
    let pruned = db
        .write(move |tx| Box::pin(requests::prune(tx, later)))
        .await
        .unwrap();
    assert_eq!(pruned, 1);
    create_once(&db, id, b"other body", "z").await.unwrap();
}

pub async fn append(db: &Db, entity_id: &str) -> i64 {
    db.write_with(entity_id.to_owned(), |tx, entity_id| {
        Box::pin(async move {
            let change = changes::NewChange {
                workspace: "w",
                entity: "run",
                entity_id,
                version: 1,
                payload: b"p",
            };
            changes::append(tx, change, now()).await
        })
    })
    .await
    .unwrap()
}

pub async fn read_after(db: &Db, cursor: i64) -> lodeway_domain::Result<Vec<changes::Change>> {
    let mut reader = db.read().await?;
    let batch = changes::after(&mut reader, cursor, changes::ChangeFilter::default(), 1000).await?;
    assert!(batch.next >= batch.changes.last().map_or(cursor, |last| last.seq));
    Ok(batch.changes)
}

pub async fn changes_come_in_order(db: Db) {
    const WRITES: usize = 200;
    let writers = (0..8).map(|w| {
        let db = db.clone();
        tokio::task::spawn(async move {
            for i in 0..WRITES / 8 {
                append(&db, &format!("{w}-{i}")).await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    // A reader that follows with a cursor must see every entry exactly once.
    let mut wakeups = db.wakeups();
    let mut seen = Vec::new();
    let follow = async {
        while seen.len() < WRITES {
            let cursor = seen.last().copied().unwrap_or(0);
            let batch = read_after(&db, cursor).await.unwrap();
            if batch.is_empty() {
                let _ = tokio::time::timeout(Duration::from_millis(200), wakeups.changed()).await;
            }
            seen.extend(batch.iter().map(|c| c.seq));
        }
    };
    tokio::time::timeout(Duration::from_secs(30), follow)
        .await
        .unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(seen, (1..=WRITES as i64).collect::<Vec<_>>());
    let mut reader = db.snapshot().await.unwrap();
    assert_eq!(changes::head(&mut reader).await.unwrap(), WRITES as i64);
    let filter = changes::ChangeFilter {
        entity_id: Some("3-4"),
        workspace: Some("w"),
        entity: Some("run"),
    };
    let one = changes::after(&mut reader, 0, filter, 10).await.unwrap();
    assert_eq!((one.changes.len(), one.next), (1, WRITES as i64));
    assert_eq!(
        (
            one.changes[0].entity_id.as_str(),
            one.changes[0].payload.as_slice()
        ),
        ("3-4", b"p".as_slice())
    );
    let two = changes::after(&mut reader, 5, changes::ChangeFilter::default(), 2)
        .await
        .unwrap();
    assert_eq!((two.changes.len(), two.next), (2, 7));
}

pub async fn pruned_cursors_are_refused(db: Db) {
    for i in 0..5 {
        append(&db, &i.to_string()).await;
    }
    assert_eq!(read_after(&db, 0).await.unwrap().len(), 5);
    let hour = Duration::from_secs(3600);
    assert_eq!(changes::prune(&db, now(), hour).await.unwrap(), 0);
    assert_eq!(changes::prune(&db, now().plus(2 * hour), hour).await.unwrap(), 5);
    assert_eq!(
        read_after(&db, 4).await.unwrap_err().reason(),
        Reason::CursorExpired
    );
    assert!(read_after(&db, 5).await.unwrap().is_empty());
    assert_eq!(
        read_after(&db, 6).await.unwrap_err().reason(),
        Reason::CursorExpired
    );
    assert_eq!(append(&db, "next").await, 6);
    assert_eq!(read_after(&db, 5).await.unwrap()[0].entity_id, "next");
    assert_eq!(changes::oldest(&mut db.read().await.unwrap()).await.unwrap(), 6);
}

pub async fn watchers_are_woken(db: Db) {
    let mut wakeups = db.wakeups();
    append(&db, "a").await;
    tokio::time::timeout(Duration::from_secs(5), wakeups.changed())
        .await
        .unwrap()
        .unwrap();
}

pub async fn the_outbox_delivers(db: Db) {
    db.write(|tx| {
        Box::pin(async move {
            outbox::append(tx, "e1", "link", b"1", now(), Duration::ZERO).await?;
            outbox::append(tx, "e1", "link", b"again", now(), Duration::ZERO).await?;
            outbox::append(tx, "e2", "link", b"2", now(), Duration::from_secs(1)).await
        })
    })
    .await
    .unwrap();
    let lease = Duration::from_secs(10);
    let first = outbox::claim(&db, now(), lease, 10).await.unwrap();
    assert_eq!(first.len(), 1);
    assert_eq!(
        (
            first[0].event_id.as_str(),
            first[0].payload.as_slice(),
            first[0].attempts
        ),
        ("e1", b"1".as_slice(), 1)
    );
    assert!(outbox::claim(&db, now(), lease, 10).await.unwrap().is_empty());
    db.write_with(first, |tx, first| {
        Box::pin(outbox::retry_later(tx, &first[0], now()))
    })
    .await
    .unwrap();
    let second = outbox::claim(&db, now().plus(Duration::from_secs(1)), lease, 10)
        .await
        .unwrap();
    assert_eq!(
        second
            .iter()
            .map(|e| (e.event_id.as_str(), e.attempts))
            .collect::<Vec<_>>(),
        [("e1", 2), ("e2", 1)]
    );
    // More than one statement takes away.
    let arrived: Vec<_> = (0..300)
        .map(|n| format!("x{n}"))
        .chain(["e1".to_owned()])
        .collect();
    db.write_with(arrived, |tx, ids| Box::pin(outbox::done(tx, ids)))
        .await
        .unwrap();
    assert_eq!(outbox::waiting(&db).await.unwrap(), 1);
}

pub async fn migrations_are_applied_once(db: Db) {
    migrate::apply(&db, TABLES, now()).await.unwrap();
    let sql = "SELECT component, version FROM schema_versions ORDER BY component, version";
    let rows = db.query(sql, &[]).await.unwrap();
    let rows: Vec<_> = rows
        .iter()
        .map(|r| (r.text(0).unwrap(), r.int(1).unwrap()))
        .collect();
    let ledger = |version| ("ledger".to_owned(), version);
    assert_eq!(rows, [("demo".to_owned(), 1), ledger(1), ledger(2), ledger(3)]);
    const CHANGED: Migrations = Migrations {
        component: "demo",
        steps: &[Step {
            name: "demo",
            sql: "SELECT 1",
        }],
    };
    let error = migrate::apply(&db, CHANGED, now()).await.unwrap_err();
    assert!(
        matches!(error, OpenError::ChangedMigration { version: 1, .. }),
        "{error}"
    );
}

pub async fn newer_schemas_are_refused(db: Db) {
    db.write(|tx| {
        Box::pin(async move {
            let sql = "INSERT INTO schema_versions (component, version, name, checksum, applied_ms) VALUES ('demo', 2, 'x', 'y', 0)";
            tx.execute(sql, &[]).await
        })
    })
    .await
    .unwrap();
    let error = migrate::apply(&db, TABLES, now()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`demo` in this database has schema 2, and this program knows 1; use a newer program"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_migrate_at_once() {
    let url = postgres_url().await;
    let replicas = (0..6).map(|_| {
        let url = url.clone();
        tokio::task::spawn(async move {
            let db = Db::open(&url, "demo", options()).await.unwrap();
            migrate::apply(&db, TABLES, now()).await.unwrap();
            let mut wakeups = db.wakeups();
            insert(&db, &RequestId::generate().to_string()).await.unwrap();
            wakeups.mark_unchanged();
            (db, wakeups)
        })
    });
    let mut replicas: Vec<_> = futures::future::join_all(replicas)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(count(&replicas[0].0).await, 6);
    // A change made by one wakes the others.
    append(&replicas[0].0, "a").await;
    tokio::time::timeout(Duration::from_secs(10), replicas[5].1.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(read_after(&replicas[5].0, 0).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_share_a_postgres() {
    let url = postgres_url().await;
    for schema in ["tracking", "registry"] {
        let db = Db::open(&url, schema, options()).await.unwrap();
        migrate::apply(&db, TABLES, now()).await.unwrap();
        insert(&db, "same").await.unwrap();
        assert_eq!(count(&db).await, 1);
    }
    assert!(matches!(
        Db::open(&url, "no such", options()).await,
        Err(OpenError::Schema { .. })
    ));
}

/// Numbers go on where they were in a log whose table gave them by itself, also if nothing of it is left.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_log_goes_on() {
    for kept in [2, 0] {
        let folder = tempfile::tempdir().unwrap();
        let db = sqlite(folder.path()).await;
        db.write(move |tx| {
            Box::pin(async move {
                let script = format!(
                    "DROP TABLE changes;
                     CREATE TABLE changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, workspace TEXT NOT NULL,
                         entity TEXT NOT NULL, entity_id TEXT NOT NULL, version BIGINT NOT NULL, payload BLOB NOT NULL,
                         created_ms BIGINT NOT NULL);
                     CREATE INDEX changes_by_entity ON changes (workspace, entity, entity_id, seq);
                     CREATE INDEX changes_by_age ON changes (created_ms);
                     INSERT INTO changes SELECT value, 'default', 'run', 'r' || value, 1, x'', 0
                         FROM json_each('[1, 2, 3, 4, 5]');
                     DELETE FROM changes WHERE seq <= 5 - {kept};
                     UPDATE change_head SET pruned_seq = 5 - {kept};
                     DELETE FROM schema_versions WHERE component = 'ledger' AND version > 1;"
                );
                tx.execute_script(&script).await
            })
        })
        .await
        .unwrap();
        migrate::apply(&db, TABLES, now()).await.unwrap();
        let mut reader = db.read().await.unwrap();
        assert_eq!(changes::head(&mut reader).await.unwrap(), 5);
        drop(reader);
        let left = read_after(&db, 5 - kept).await.unwrap();
        let ids: Vec<_> = left.iter().map(|change| change.entity_id.as_str()).collect();
        assert_eq!(ids, ["r4", "r5"][..usize::try_from(kept).unwrap()]);
        assert_eq!(append(&db, "next").await, 6);
        let sql = "SELECT count(*) FROM sqlite_sequence WHERE name LIKE 'changes%'";
        assert_eq!(db.query(sql, &[]).await.unwrap()[0].int(0).unwrap(), 0);
        db.close().await;
    }
}
