//! The contract of the SQL layer, on both engines.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "every task that a test spawns is awaited by it"
)]

mod contract;
mod failures;
mod ledger;

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

use self::{contract::*, failures::*, ledger::*};
use lodeway_domain::{Caller, Error, Reason, id::RequestId, time::Timestamp};
use lodeway_store::{
    args,
    ledger::{changes, outbox, requests},
    migrate::{self, Migrations, Step},
    sql::{Arg, Db, DbOptions, Engine, OpenError, StoreUrl, is_unique},
};
use lodeway_testkit::postgres::Own;

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
    one_statement_can_write_by_itself
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
