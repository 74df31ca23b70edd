//! What statements, reads and writes do.

use super::*;

pub async fn values_come_back(db: Db) {
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

pub async fn one_statement_can_write_by_itself(db: Db) {
    let sql =
        "INSERT INTO t (name, n) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET n = excluded.n RETURNING n";
    for n in [1_i64, 2] {
        let rows = db.write_at_once(sql, &args!["a", n]).await.unwrap();
        assert_eq!((rows.len(), rows[0].int(0).unwrap()), (1, n));
    }
    let plain = "INSERT INTO t (name) VALUES ($1)";
    let error = db.write_at_once(plain, &args!["a"]).await.err().unwrap();
    assert!(is_unique(&error), "{error:?}");
    assert!(db.write_at_once(plain, &args!["b"]).await.unwrap().is_empty());
    assert_eq!(count(&db).await, 2);
}

pub async fn many_writers_are_served(db: Db) {
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

pub async fn many_rows_are_inserted(db: Db) {
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

pub async fn like_is_the_same(db: Db) {
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

pub async fn a_snapshot_stands_still(db: Db) {
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

pub async fn streams_can_be_left(db: Db) {
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
