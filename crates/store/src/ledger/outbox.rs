//! Messages to other services, committed with the change that causes them and sent until they arrive.
//!
//! Delivery is at least once, in no fixed order: receivers are idempotent by `event_id`.

use std::time::Duration;

use lodeway_domain::{Result, time::Timestamp};

use crate::{
    args,
    sql::{Arg, Conn, Db, Engine, Row, Tx},
};

/// The longest pause between two attempts.
pub const RETRY_MAX: Duration = Duration::from_secs(300);

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// A UUID; the receiver takes each only once.
    pub event_id: String,
    /// What it is about; tells the sender how to deliver it.
    pub kind: String,
    /// Its content.
    pub payload: Vec<u8>,
    /// When it was written.
    pub created: Timestamp,
    /// How many attempts there were, with this one.
    pub attempts: i64,
}

/// Writes a message; it is due `delay` after `now`, which leaves the writer time to deliver it itself.
pub async fn append(
    tx: &mut Tx,
    event_id: &str,
    kind: &str,
    payload: &[u8],
    now: Timestamp,
    delay: Duration,
) -> Result<()> {
    let sql = "INSERT INTO outbox (event_id, kind, payload, created_ms, attempts, next_ms) \
               VALUES ($1, $2, $3, $4, 0, $5) ON CONFLICT (event_id) DO NOTHING";
    tx.execute(
        sql,
        &args![event_id, kind, payload, now.millis(), now.plus(delay).millis()],
    )
    .await?;
    Ok(())
}

/// Takes at most `limit` messages that are due. Nobody else gets them for `lease`, within which the sender says
/// [`done`] or [`retry_later`]; if it dies, they are due again.
pub async fn claim(db: &Db, now: Timestamp, lease: Duration, limit: i64) -> Result<Vec<Event>> {
    db.write(move |tx| {
        Box::pin(async move {
            let skip = match tx.engine() {
                Engine::Sqlite => "",
                Engine::Postgres => " FOR UPDATE SKIP LOCKED",
            };
            let sql = format!(
                "UPDATE outbox SET next_ms = $2, attempts = attempts + 1 WHERE event_id IN (SELECT event_id FROM \
                 outbox WHERE next_ms <= $1 ORDER BY next_ms, event_id LIMIT $3{skip}) \
                 RETURNING event_id, kind, payload, created_ms, attempts"
            );
            let rows = tx.query(&sql, &args![now.millis(), now.plus(lease).millis(), limit]).await?;
            let mut events = rows.iter().map(event).collect::<Result<Vec<_>>>()?;
            events.sort_by(|a, b| (a.created, &a.event_id).cmp(&(b.created, &b.event_id)));
            Ok(events)
        })
    })
    .await
}

fn event(row: &Row) -> Result<Event> {
    Ok(Event {
        event_id: row.text(0)?,
        kind: row.text(1)?,
        payload: row.bytes(2)?,
        created: Timestamp::from_millis(row.int(3)?),
        attempts: row.int(4)?,
    })
}

/// A message that did not arrive yet, as far as is known here; its attempts are not counted by this.
pub async fn find(conn: &mut Conn, event_id: &str) -> Result<Option<Event>> {
    let sql = "SELECT event_id, kind, payload, created_ms, attempts FROM outbox WHERE event_id = $1";
    let row = conn.query_opt(sql, &args![event_id]).await?;
    row.as_ref().map(event).transpose()
}

/// Takes away messages that have arrived.
pub async fn done(tx: &mut Tx, event_ids: &[String]) -> Result<()> {
    for some in event_ids.chunks(64) {
        // Of few shapes, so that statements stay prepared; what is missing is filled up with an id that no message has.
        let shape = if some.len() == 1 { 1 } else { 64 };
        let places: Vec<_> = (1..=shape).map(|place| format!("${place}")).collect();
        let sql = format!("DELETE FROM outbox WHERE event_id IN ({})", places.join(", "));
        let ids = some.iter().map(String::as_str).chain(std::iter::repeat(""));
        let arguments: Vec<_> = ids.take(shape).map(Arg::from).collect();
        tx.execute(&sql, &arguments).await?;
    }
    Ok(())
}

/// Makes a message that did not arrive due again after a pause that doubles with each attempt, from 1 s to 5 min.
pub async fn retry_later(tx: &mut Tx, event: &Event, now: Timestamp) -> Result<()> {
    let doublings = u32::try_from(event.attempts.clamp(1, 16) - 1).unwrap_or(0);
    let pause = Duration::from_secs(1_u64 << doublings).min(RETRY_MAX);
    tx.execute(
        "UPDATE outbox SET next_ms = $2 WHERE event_id = $1",
        &args![&event.event_id, now.plus(pause).millis()],
    )
    .await?;
    Ok(())
}

/// How many messages wait; for a gauge.
pub async fn waiting(db: &Db) -> Result<i64> {
    db.query_opt("SELECT COUNT(*) FROM outbox", &[])
        .await?
        .map_or(Ok(0), |row| row.int(0))
}
