//! What goes wrong stays small.

use super::*;

pub async fn a_failed_operation_undoes_only_itself(db: Db) {
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

pub async fn a_swallowed_failure_undoes_the_operation(db: Db) {
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

pub async fn unique_keys_are_recognised(db: Db) {
    insert(&db, "a").await.unwrap();
    let error = insert(&db, "a").await.unwrap_err();
    assert!(is_unique(&error), "{error:?}");
    assert_eq!(error.to_string(), "internal error");
    insert(&db, "b").await.unwrap();
    assert_eq!(count(&db).await, 2);
}

pub async fn a_panic_harms_nobody(db: Db) {
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
    assert!(matches!(panics.await.unwrap(), Err(Error::Internal(_))));
    insert(&other, "here").await.unwrap();
    assert_eq!(count(&db).await, 1);
}

pub async fn a_nul_is_no_panic(db: Db) {
    let result = insert(&db, "a\0b").await;
    assert!(
        result.is_ok() || matches!(result, Err(Error::Internal(_))),
        "{result:?}"
    );
    insert(&db, "c").await.unwrap();
}

pub async fn a_closed_database_is_unavailable(db: Db) {
    db.close().await;
    assert!(matches!(insert(&db, "a").await, Err(Error::Unavailable { .. })));
    assert!(matches!(
        db.query("SELECT 1", &[]).await,
        Err(Error::Unavailable { .. })
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
    futures::future::join_all((0..8).map(|_| insert(&db, "a"))).await;
    let kill = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity \
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    db.query(kill, &[]).await.unwrap();
    for i in 0..20 {
        insert(&db, &format!("n{i}")).await.unwrap();
    }
    assert_eq!(count(&db).await, 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_hangs_is_unavailable_and_is_used_again_once_it_goes_on() {
    let server = tokio::task::spawn_blocking(|| Own::start().unwrap())
        .await
        .unwrap();
    let options = DbOptions {
        connect_timeout: Duration::from_millis(500),
        operation_timeout: Duration::from_secs(1),
        ..options()
    };
    let url = StoreUrl::parse(&server.url()).unwrap();
    let db = Db::open(&url, "demo", options).await.unwrap();
    migrate::apply(&db, TABLES, now()).await.unwrap();
    insert(&db, "before").await.unwrap();
    assert!(db.answers().await);

    server.freeze().unwrap();
    let (read, write) = tokio::join!(db.query("SELECT name FROM t", &[]), insert(&db, "meanwhile"));
    for refused in [read.map(drop).unwrap_err(), write.map(drop).unwrap_err()] {
        assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
    }
    let asked = tokio::time::timeout(Duration::from_secs(1), db.answers()).await;
    assert!(!asked.unwrap_or(false));

    server.thaw().unwrap();
    let mut left = 100;
    while let Err(error) = insert(&db, "after").await {
        left -= 1;
        assert!(left > 0, "it is not used again: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(db.answers().await);
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
async fn a_full_disk_is_told_and_the_writer_survives() {
    let is_full = |error: &Error| {
        matches!(error, Error::Unavailable { .. }) && error.to_string() == "the disk of the database is full"
    };
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
    let refused = alone.await.unwrap_err();
    assert!(is_full(&refused), "{refused}");
    let before = count(&db).await;
    let together = futures::future::join_all((0..10).map(|i| fill(format!("n{i}")))).await;
    assert!(together.iter().any(|r| r.as_ref().is_err_and(is_full)));
    let kept = together.iter().filter(|r| r.is_ok()).count() as i64;
    assert_eq!(count(&db).await, before + kept);
    pragma("PRAGMA max_page_count = 100000").await.unwrap();
    fill("again".to_owned()).await.unwrap();
    assert_eq!(count(&db).await, before + kept + 1);
    db.close().await;

    // What PostgreSQL says when a file cannot grow.
    let db = postgres().await;
    let refused = db
        .query(
            "DO $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$",
            &[],
        )
        .await
        .map(drop)
        .unwrap_err();
    assert!(is_full(&refused), "{refused}");
    insert(&db, "after").await.unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_left_amid_its_work_serves_nobody_else() {
    let db = postgres().await;
    insert(&db, "a").await.unwrap();
    let process = || async {
        let rows = db.query("SELECT CAST(pg_backend_pid() AS BIGINT)", &[]).await;
        rows.unwrap()[0].int(0).unwrap()
    };
    let first = process().await;
    assert_eq!(first, process().await, "the last to come back goes first");

    // A snapshot is a transaction that nobody ends; its connection goes on all the same.
    let mut seen = HashSet::new();
    for _ in 0..40 {
        let mut snapshot = db.snapshot().await.unwrap();
        let sql = "SELECT CAST(pg_backend_pid() AS BIGINT)";
        seen.insert(snapshot.query_one(sql, &[]).await.unwrap().int(0).unwrap());
    }
    assert!(seen.len() <= 10, "{} connections for 40 snapshots", seen.len());
    let many = (0..40).map(|_| async { db.snapshot().await.map(drop) });
    for taken in futures::future::join_all(many).await {
        taken.unwrap();
    }
    let first = process().await;

    // More than there are connections: each gives up amid its statement.
    for _ in 0..12 {
        let slow = db.query("SELECT pg_sleep(600)", &[]);
        let given_up = tokio::time::timeout(Duration::from_millis(20), slow).await;
        assert!(given_up.is_err());
    }
    assert_ne!(first, process().await);
    assert_eq!(count(&db).await, 1);

    // Amid a transaction, which holds a lock until the server sees that the connection is gone.
    let (holds, held) = tokio::sync::oneshot::channel();
    let (holder, holds) = (db.clone(), std::sync::Mutex::new(Some(holds)));
    let task = tokio::task::spawn(async move {
        holder
            .write_with(holds, |tx, holds| {
                Box::pin(async move {
                    tx.execute("UPDATE t SET n = 100 WHERE name = 'a'", &[]).await?;
                    let holds = holds.lock().unwrap().take();
                    holds.unwrap().send(()).unwrap();
                    std::future::pending::<lodeway_domain::Result<()>>().await
                })
            })
            .await
    });
    held.await.unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let changed = db
        .write(|tx| Box::pin(async move { tx.execute("UPDATE t SET n = n + 1 WHERE name = 'a'", &[]).await }))
        .await;
    assert_eq!(changed.unwrap(), 1);
    let rows = db.query("SELECT n FROM t WHERE name = 'a'", &[]).await.unwrap();
    assert_eq!(rows[0].int(0).unwrap(), 2);
    db.close().await;
}
