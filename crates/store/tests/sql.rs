//! The contract of the SQL layer, on both engines.

use std::{
    collections::HashSet,
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use lodeway_domain::{Caller, Error, Reason, id::RequestId, time::Timestamp};
use lodeway_store::{
    args,
    ledger::{changes, outbox, requests},
    migrate::{self, Migrations, Step},
    sql::{Arg, Db, DbOptions, Engine, OpenError, StoreUrl, is_unique},
};

const TABLES: Migrations = Migrations {
    component: "demo",
    steps: &[Step {
        name: "demo",
        sql: "CREATE TABLE t (id {{id}}, name {{text}} NOT NULL UNIQUE, n BIGINT, r DOUBLE PRECISION, \
              b BOOLEAN, raw {{bytes}});",
    }],
};

fn now() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}

fn options() -> DbOptions {
    DbOptions {
        queue_timeout: Duration::from_secs(60),
        ..DbOptions::default()
    }
}

async fn sqlite(folder: &Path) -> Db {
    let url = StoreUrl::Sqlite(folder.join("deep/demo.db"));
    let db = Db::open(&url, "demo", options()).await.unwrap();
    migrate::apply(&db, TABLES, now()).await.unwrap();
    db
}

async fn postgres_url() -> StoreUrl {
    let text = tokio::task::spawn_blocking(lodeway_testkit::postgres::database)
        .await
        .unwrap()
        .unwrap();
    StoreUrl::parse(&text).unwrap()
}

async fn postgres() -> Db {
    let db = Db::open(&postgres_url().await, "demo", options()).await.unwrap();
    migrate::apply(&db, TABLES, now()).await.unwrap();
    db
}

/// Runs a test once per engine.
macro_rules! both {
    ($($name:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let folder = tempfile::tempdir().unwrap();
                let db = super::sqlite(folder.path()).await;
                super::$name(db.clone()).await;
                db.close().await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let db = super::postgres().await;
                super::$name(db.clone()).await;
                db.close().await;
            })*
        }
    };
}

both! {
    values_come_back
    a_failed_operation_undoes_only_itself
    a_swallowed_failure_undoes_the_operation
    unique_keys_are_recognised
    a_panic_harms_nobody
    many_writers_are_served
    many_rows_are_inserted
    like_is_the_same
    a_snapshot_stands_still
    streams_can_be_left
    repeated_requests_have_one_effect
    changes_come_in_order
    pruned_cursors_are_refused
    watchers_are_woken
    the_outbox_delivers
    migrations_are_applied_once
    newer_schemas_are_refused
    a_nul_is_no_panic
    a_closed_database_is_unavailable
}

async fn insert(db: &Db, name: &str) -> lodeway_domain::Result<u64> {
    db.write_with(name.to_owned(), |tx, name| {
        Box::pin(async move {
            tx.execute("INSERT INTO t (name, n) VALUES ($1, 1)", &args![name])
                .await
        })
    })
    .await
}

async fn count(db: &Db) -> i64 {
    db.query_opt("SELECT COUNT(*) FROM t", &[])
        .await
        .unwrap()
        .unwrap()
        .int(0)
        .unwrap()
}

async fn values_come_back(db: Db) {
    let bits = f64::from_bits(0x7ff8_0000_0000_1234);
    let id = db
        .write(move |tx| {
            Box::pin(async move {
                let sql = "INSERT INTO t (name, n, r, b, raw) VALUES ($1, $2, $3, $4, $5) RETURNING id";
                let id = tx
                    .query_one(sql, &args!["ä", bits.to_bits() as i64, 0.5, true, b"\0\xff"])
                    .await?
                    .int(0)?;
                // The same statement, kept prepared, with NULLs.
                tx.query(sql, &args!["ö", None::<i64>, None::<f64>, Arg::Null, Arg::Null])
                    .await?;
                Ok(id)
            })
        })
        .await
        .unwrap();
    let rows = db
        .query("SELECT name, n, r, b, raw, id FROM t ORDER BY name", &[])
        .await
        .unwrap();
    let row = &rows[0];
    assert_eq!(
        (row.str(0).unwrap(), row.real(2).unwrap(), row.bool(3).unwrap()),
        ("ä", 0.5, true)
    );
    assert_eq!(
        f64::from_bits(row.int(1).unwrap() as u64).to_bits(),
        bits.to_bits()
    );
    assert_eq!(
        (row.bytes(4).unwrap(), row.int(5).unwrap()),
        (b"\0\xff".to_vec(), id)
    );
    let row = &rows[1];
    assert_eq!(
        (
            row.opt_int(1).unwrap(),
            row.opt_real(2).unwrap(),
            row.opt_bool(3).unwrap()
        ),
        (None, None, None)
    );
    assert_eq!(row.opt_bytes(4).unwrap(), None);
    assert!(matches!(row.int(1), Err(Error::Internal(_))));
    assert!(matches!(row.text(99), Err(Error::Internal(_))));
    let one = db.query_opt("SELECT 1", &[]).await.unwrap().unwrap();
    assert_eq!(one.int(0).unwrap(), 1);
}

async fn a_failed_operation_undoes_only_itself(db: Db) {
    let writes = (0..40).map(|i| {
        let db = db.clone();
        async move {
            db.write(move |tx| {
                Box::pin(async move {
                    tx.execute("INSERT INTO t (name) VALUES ($1)", &args![format!("n{i}")])
                        .await?;
                    if i % 3 == 0 {
                        Err(Error::DeadlineExceeded)
                    } else {
                        Ok(i)
                    }
                })
            })
            .await
        }
    });
    let results = futures::future::join_all(writes).await;
    for (i, result) in results.iter().enumerate() {
        assert_eq!(result.is_err(), i % 3 == 0, "{i}: {result:?}");
    }
    let names = db.query("SELECT name FROM t", &[]).await.unwrap();
    let names: HashSet<_> = names.iter().map(|row| row.text(0).unwrap()).collect();
    assert_eq!(
        names,
        (0..40).filter(|i| i % 3 != 0).map(|i| format!("n{i}")).collect()
    );
}

async fn a_swallowed_failure_undoes_the_operation(db: Db) {
    let result = db
        .write(|tx| {
            Box::pin(async move {
                tx.execute("INSERT INTO t (name) VALUES ('a')", &[]).await?;
                assert!(
                    tx.execute("INSERT INTO nowhere (name) VALUES ('a')", &[])
                        .await
                        .is_err()
                );
                Ok(())
            })
        })
        .await;
    assert!(matches!(result, Err(Error::Internal(_))), "{result:?}");
    assert_eq!(count(&db).await, 0);
    insert(&db, "a").await.unwrap();
}

async fn unique_keys_are_recognised(db: Db) {
    insert(&db, "a").await.unwrap();
    let error = insert(&db, "a").await.unwrap_err();
    assert!(is_unique(&error), "{error:?}");
    assert_eq!(error.to_string(), "internal error");
    insert(&db, "b").await.unwrap();
    assert_eq!(count(&db).await, 2);
}

async fn a_panic_harms_nobody(db: Db) {
    let (other, panics) = (db.clone(), db.clone());
    let panics = tokio::task::spawn(async move {
        panics
            .write(|tx| {
                Box::pin(async move {
                    tx.execute("INSERT INTO t (name) VALUES ('gone')", &[]).await?;
                    if tx.engine() != Engine::Sqlite || tx.query("SELECT 1", &[]).await.is_ok() {
                        panic!("on purpose");
                    }
                    Ok(())
                })
            })
            .await
    });
    // In the writer a panic becomes an error; in the caller's own task it is the caller's.
    let outcome = panics.await;
    assert!(!matches!(outcome, Ok(Ok(()))));
    insert(&other, "here").await.unwrap();
    assert_eq!(count(&db).await, 1);
}

async fn many_writers_are_served(db: Db) {
    let start = std::time::Instant::now();
    let writes = (0..500).map(|i| {
        let db = db.clone();
        tokio::task::spawn(async move { insert(&db, &format!("n{i}")).await })
    });
    for result in futures::future::join_all(writes).await {
        assert_eq!(result.unwrap().unwrap(), 1);
    }
    println!(
        "500 concurrent writes on {:?}: {:?}",
        db.engine(),
        start.elapsed()
    );
    assert_eq!(count(&db).await, 500);
}

async fn many_rows_are_inserted(db: Db) {
    for (base, rows) in [(0, 0), (0, 1), (1, 7), (10, 999), (2000, 4321)] {
        let added = db
            .write(move |tx| {
                Box::pin(async move {
                    let args: Vec<_> = (base..base + rows)
                        .flat_map(|i| args![format!("n{i}"), if i % 2 == 0 { None } else { Some(i) }])
                        .collect();
                    tx.insert_many("INSERT INTO t (name, n)", 2, "ON CONFLICT DO NOTHING", &args)
                        .await
                })
            })
            .await
            .unwrap();
        assert_eq!(added, rows as u64);
    }
    assert_eq!(count(&db).await, 1 + 7 + 999 + 4321);
    let odd = db
        .query("SELECT COUNT(n) FROM t WHERE name = 'n2001'", &[])
        .await
        .unwrap();
    assert_eq!(odd[0].int(0).unwrap(), 1);
}

async fn like_is_the_same(db: Db) {
    for name in ["Loss", "loss", "LOSS_x", "Ärger", "ärger", "100%", r"a\b", "日本"] {
        insert(&db, name).await.unwrap();
    }
    let cases: &[(&str, bool, &[&str])] = &[
        ("loss", false, &["loss"]),
        ("loss", true, &["Loss", "loss"]),
        ("L%", false, &["LOSS_x", "Loss"]),
        ("l%", true, &["LOSS_x", "Loss", "loss"]),
        ("ÄRGER", true, &["Ärger"]),
        ("_rger", false, &["Ärger", "ärger"]),
        ("100%", false, &["100%"]),
        (r"a\b", false, &[r"a\b"]),
        (r"a\_", false, &[r"a\b"]),
        ("__", false, &["日本"]),
        ("loss_x", true, &["LOSS_x"]),
        ("", true, &[]),
    ];
    for (pattern, fold, expected) in cases {
        let sql = format!(
            "SELECT name FROM t WHERE {} ORDER BY name",
            db.engine().like("name", "$1", *fold)
        );
        let rows = db.query(&sql, &args![*pattern]).await.unwrap();
        let names: Vec<_> = rows.iter().map(|row| row.text(0).unwrap()).collect();
        assert_eq!(&names, expected, "`{pattern}` fold={fold}");
    }
}

async fn a_snapshot_stands_still(db: Db) {
    insert(&db, "a").await.unwrap();
    let mut snapshot = db.snapshot().await.unwrap();
    let sql = "SELECT COUNT(*) FROM t";
    assert_eq!(snapshot.query_one(sql, &[]).await.unwrap().int(0).unwrap(), 1);
    insert(&db, "b").await.unwrap();
    assert_eq!(snapshot.query_one(sql, &[]).await.unwrap().int(0).unwrap(), 1);
    assert!(
        snapshot
            .execute("INSERT INTO t (name) VALUES ('c')", &[])
            .await
            .is_err()
    );
    drop(snapshot);
    assert_eq!(count(&db).await, 2);
}

async fn streams_can_be_left(db: Db) {
    many_rows_are_inserted(db.clone()).await;
    let mut reader = db.read().await.unwrap();
    for stop in [1, 100, 5000] {
        let mut seen = 0;
        let each = |row: lodeway_store::sql::Row| {
            row.text(0)?;
            seen += 1;
            Ok(if seen == stop {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        };
        reader
            .for_each("SELECT name FROM t ORDER BY id", &[], each)
            .await
            .unwrap();
        assert_eq!(seen, stop);
        assert_eq!(
            reader
                .query_one("SELECT COUNT(*) FROM t", &[])
                .await
                .unwrap()
                .int(0)
                .unwrap(),
            5328
        );
    }
}

async fn create_once(
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

async fn repeated_requests_have_one_effect(db: Db) {
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

async fn append(db: &Db, entity_id: &str) -> i64 {
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

async fn read_after(db: &Db, cursor: i64) -> lodeway_domain::Result<Vec<changes::Change>> {
    let mut reader = db.read().await?;
    changes::after(&mut reader, cursor, changes::ChangeFilter::default(), 1000).await
}

async fn changes_come_in_order(db: Db) {
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
    assert_eq!(
        (one.len(), one[0].entity_id.as_str(), one[0].payload.as_slice()),
        (1, "3-4", b"p".as_slice())
    );
}

async fn pruned_cursors_are_refused(db: Db) {
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

async fn watchers_are_woken(db: Db) {
    let mut wakeups = db.wakeups();
    append(&db, "a").await;
    tokio::time::timeout(Duration::from_secs(5), wakeups.changed())
        .await
        .unwrap()
        .unwrap();
}

async fn the_outbox_delivers(db: Db) {
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
    db.write(|tx| Box::pin(outbox::done(tx, "e1"))).await.unwrap();
    assert_eq!(outbox::waiting(&db).await.unwrap(), 1);
}

async fn migrations_are_applied_once(db: Db) {
    migrate::apply(&db, TABLES, now()).await.unwrap();
    let sql = "SELECT component, version FROM schema_versions ORDER BY component, version";
    let rows = db.query(sql, &[]).await.unwrap();
    let rows: Vec<_> = rows
        .iter()
        .map(|r| (r.text(0).unwrap(), r.int(1).unwrap()))
        .collect();
    assert_eq!(rows, [("demo".to_owned(), 1), ("ledger".to_owned(), 1)]);
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

async fn newer_schemas_are_refused(db: Db) {
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

async fn a_nul_is_no_panic(db: Db) {
    let result = insert(&db, "a\0b").await;
    assert!(
        result.is_ok() || matches!(result, Err(Error::Internal(_))),
        "{result:?}"
    );
    insert(&db, "c").await.unwrap();
}

async fn a_closed_database_is_unavailable(db: Db) {
    db.close().await;
    assert!(matches!(insert(&db, "a").await, Err(Error::Unavailable { .. })));
    assert!(matches!(
        db.query("SELECT 1", &[]).await,
        Err(Error::Unavailable { .. })
    ));
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

#[tokio::test(flavor = "multi_thread")]
async fn deadlocks_are_retried() {
    let db = postgres().await;
    insert(&db, "a").await.unwrap();
    insert(&db, "b").await.unwrap();
    let runs = Arc::new(AtomicU32::new(0));
    let gate = Arc::new(tokio::sync::Barrier::new(2));
    let cross = |first: &'static str, second: &'static str| {
        let (db, runs, gate) = (db.clone(), Arc::clone(&runs), Arc::clone(&gate));
        async move {
            db.write_with((runs, gate), move |tx, (runs, gate)| {
                Box::pin(async move {
                    let run = runs.fetch_add(1, Ordering::SeqCst);
                    tx.execute("UPDATE t SET n = n + 1 WHERE name = $1", &args![first])
                        .await?;
                    if run < 2 {
                        gate.wait().await;
                    }
                    tx.execute("UPDATE t SET n = n + 1 WHERE name = $1", &args![second])
                        .await
                })
            })
            .await
        }
    };
    let (one, two) = tokio::join!(cross("a", "b"), cross("b", "a"));
    assert_eq!((one.unwrap(), two.unwrap()), (1, 1));
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    let sum = db
        .query("SELECT CAST(SUM(n) AS BIGINT) FROM t", &[])
        .await
        .unwrap();
    assert_eq!(sum[0].int(0).unwrap(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_postgres_is_unavailable_soon_and_connections_recover() {
    let url = StoreUrl::parse("postgres://nobody@127.0.0.1:1/none").unwrap();
    let options = DbOptions {
        connect_timeout: Duration::from_millis(300),
        ..DbOptions::default()
    };
    let db = Db::open(&url, "demo", options).await.unwrap();
    let start = std::time::Instant::now();
    let all = (0..50).map(|_| db.query("SELECT 1", &[]));
    for result in futures::future::join_all(all).await {
        assert!(matches!(result, Err(Error::Unavailable { .. })));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());

    // All connections killed, as by a restart of the server: the next operations find new ones.
    let db = postgres().await;
    futures::future::join_all((0..8).map(|i| insert(&db, if i == 0 { "a" } else { "a" }))).await;
    let kill = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity \
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    db.query(kill, &[]).await.unwrap();
    for i in 0..20 {
        insert(&db, &format!("n{i}")).await.unwrap();
    }
    assert_eq!(count(&db).await, 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_file_is_refused_and_freed_by_close() {
    let folder = tempfile::tempdir().unwrap();
    let db = sqlite(folder.path()).await;
    insert(&db, "a").await.unwrap();
    let url = StoreUrl::Sqlite(db.path().unwrap().clone());
    let Err(error) = Db::open(&url, "demo", options()).await else {
        panic!("opened twice")
    };
    assert!(error.to_string().contains("demo.db"), "{error}");
    assert!(matches!(error, OpenError::Locked { .. }));
    db.close().await;
    let again = Db::open(&url, "demo", options()).await.unwrap();
    assert_eq!(count(&again).await, 1);
    again.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_unavailable_and_the_writer_survives() {
    let folder = tempfile::tempdir().unwrap();
    let db = sqlite(folder.path()).await;
    let pragma =
        |sql: &'static str| db.write(move |tx| Box::pin(async move { tx.query(sql, &[]).await.map(|_| ()) }));
    pragma("PRAGMA max_page_count = 40").await.unwrap();
    let fill = |name: String| {
        let db = db.clone();
        async move {
            db.write_with(name, |tx, name| {
                Box::pin(async move {
                    let raw = vec![7_u8; 50_000];
                    tx.execute("INSERT INTO t (name, raw) VALUES ($1, $2)", &args![name, raw])
                        .await
                })
            })
            .await
        }
    };
    let alone = async {
        for i in 0..10 {
            fill(format!("alone{i}")).await?;
        }
        Ok::<_, Error>(())
    };
    assert!(matches!(alone.await, Err(Error::Unavailable { .. })));
    let before = count(&db).await;
    let together = futures::future::join_all((0..10).map(|i| fill(format!("n{i}")))).await;
    assert!(
        together
            .iter()
            .any(|r| matches!(r, Err(Error::Unavailable { .. })))
    );
    let kept = together.iter().filter(|r| r.is_ok()).count() as i64;
    assert_eq!(count(&db).await, before + kept);
    pragma("PRAGMA max_page_count = 100000").await.unwrap();
    fill("again".to_owned()).await.unwrap();
    assert_eq!(count(&db).await, before + kept + 1);
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_costs_little() {
    let folder = tempfile::tempdir().unwrap();
    let db = sqlite(folder.path()).await;
    let cpu = || {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<u64> = stat
            .rsplit(") ")
            .next()
            .unwrap()
            .split(' ')
            .filter_map(|f| f.parse().ok())
            .collect();
        // utime and stime in ticks of 10 ms; the state letter before them is no number.
        fields[10] + fields[11]
    };
    let (start, ticks) = (std::time::Instant::now(), cpu());
    const ROUNDS: u32 = 100;
    for round in 0..ROUNDS {
        let all = (0..16).map(|i| {
            let db = db.clone();
            async move { insert(&db, &format!("{round}-{i}")).await.unwrap() }
        });
        futures::future::join_all(all).await;
    }
    let writes = ROUNDS * 16;
    println!(
        "{writes} writes, 16 at a time: {:?} each, {} us CPU each",
        start.elapsed() / writes,
        (cpu() - ticks) * 10_000 / u64::from(writes)
    );
    assert_eq!(count(&db).await, i64::from(writes));
    db.close().await;
}
