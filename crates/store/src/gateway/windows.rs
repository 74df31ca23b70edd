//! Windows of measurements, and the secrets of the installation.

use lodeway_domain::{Error, Result, serving::TargetName, time::Timestamp};

use super::{
    Window, WindowKey, WindowQuery,
    endpoints::{key, number},
};
use crate::{
    args,
    sql::{Conn, Row, Tx},
};

pub(super) async fn put(tx: &mut Tx, windows: &[Window]) -> Result<()> {
    let sql = "INSERT INTO windows (endpoint_key, start_ms, revision, target, model_version, replica, end_ms, body) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
               ON CONFLICT (endpoint_key, start_ms, revision, target, model_version, replica) \
               DO UPDATE SET end_ms = excluded.end_ms, body = excluded.body";
    for Window { key, end, body } in windows {
        let args = args![
            number(key.key),
            key.start.millis(),
            i64::from(key.revision),
            key.target.as_str(),
            &key.model_version,
            &key.replica,
            end.millis(),
            body
        ];
        tx.execute(sql, &args).await?;
    }
    Ok(())
}

pub(super) async fn find(conn: &mut Conn, query: &WindowQuery) -> Result<Vec<Window>> {
    let sql = "SELECT endpoint_key, start_ms, revision, target, model_version, replica, end_ms, body FROM windows \
               WHERE endpoint_key = $1 AND start_ms < $3 AND end_ms > $2 \
               ORDER BY start_ms, revision, target, model_version, replica LIMIT $4";
    let args = args![
        number(query.key),
        query.start.millis(),
        query.end.millis(),
        query.limit
    ];
    let rows = conn.query(sql, &args).await?;
    rows.iter().map(window).collect()
}

fn window(row: &Row) -> Result<Window> {
    Ok(Window {
        key: WindowKey {
            key: key(row.int(0)?),
            start: Timestamp::from_millis(row.int(1)?),
            revision: u32::try_from(row.int(2)?).map_err(Error::internal)?,
            target: TargetName::parse("target", row.str(3)?)?,
            model_version: row.text(4)?,
            replica: row.text(5)?,
        },
        end: Timestamp::from_millis(row.int(6)?),
        body: row.bytes(7)?,
    })
}

pub(super) async fn prune(tx: &mut Tx, before: Timestamp) -> Result<()> {
    let sql = "DELETE FROM windows WHERE end_ms < $1";
    tx.execute(sql, &args![before.millis()]).await.map(|_| ())
}

pub(super) async fn secret(tx: &mut Tx, name: &str, fresh: &[u8; 32]) -> Result<[u8; 32]> {
    let sql = "INSERT INTO keys (name, secret) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    tx.execute(sql, &args![name, fresh.as_slice()]).await?;
    let sql = "SELECT secret FROM keys WHERE name = $1";
    let row = tx.query_opt(sql, &args![name]).await?;
    let bytes = row.ok_or_else(|| Error::internal("a secret is gone"))?.bytes(0)?;
    bytes
        .try_into()
        .map_err(|_| Error::internal(format!("the secret `{name}` has another length")))
}
